from __future__ import annotations

from dataclasses import replace

import numpy as np

from hsistream.report.drawing import Axis, axis_over, broken_path


def test_ticks_are_round_and_inside() -> None:
    axis = Axis("x", 423.0, 2451.0, 0.0, 100.0)
    assert [text for _, text in axis.ticks] == ["500", "1,000", "1,500", "2,000"]
    assert all(0 <= at <= 100 for at, _ in axis.ticks)


def test_ticks_may_be_fewer_and_whole() -> None:
    axis = axis_over("x", 0, 3, (0.0, 90.0), room=0)
    assert len(replace(axis, most_ticks=3).ticks) < len(axis.ticks)
    assert [text for _, text in replace(axis, whole=True).ticks] == ["0", "1", "2", "3"]


def test_an_axis_over_one_value_has_room() -> None:
    axis = axis_over("x", 4, 4, (0.0, 90.0))
    assert axis.low < 4 < axis.high


def test_a_path_has_gaps_where_values_are_not_finite() -> None:
    up = np.array([np.nan, 1, 2, np.inf, 3, np.nan])
    assert broken_path(np.arange(6.0), up) == "M1.0,1.0L2.0,2.0M4.0,3.0h0"
    assert broken_path(np.arange(2.0), np.full(2, np.nan)) == ""
