from __future__ import annotations

import numpy as np
import pytest

from hsistream.report.palette import BASE, css_colours, palette, scale_colours


@pytest.mark.parametrize("count", [0, 1, 12, 13, 300, 2000])
def test_colours_are_distinct(count: int) -> None:
    assert palette(count).shape == (count, 3)
    assert len(set(css_colours(count))) == count


def test_a_label_keeps_its_colour_in_a_longer_palette() -> None:
    np.testing.assert_array_equal(palette(40)[:7], palette(7))
    assert css_colours(12) == [colour.lower() for colour in BASE]


def test_all_colours_can_be_seen_on_white() -> None:
    linear = (palette(60) / 255) ** 2.2
    luminance = linear @ np.array([0.2126, 0.7152, 0.0722])
    assert (1.05 / (luminance + 0.05) > 1.7).all()


def test_neighbours_among_the_first_colours_differ_clearly() -> None:
    colours = palette(24).astype(int)
    apart = np.abs(colours[:, None] - colours[None]).sum(axis=-1) + 999 * np.eye(24, dtype=int)
    assert apart.min() > 40


def test_steps_of_the_scale_are_distinct() -> None:
    assert np.unique(scale_colours(51), axis=0).shape == (51, 3)
