from __future__ import annotations

import math

import pytest

from hsistream.nn.learner import Schedule


def test_the_rate_rises_linearly_and_falls_along_a_cosine() -> None:
    plan = Schedule(steps=240, learning_rate=1e-3)
    assert plan.rate(0) == pytest.approx(1e-3 / 20)
    assert plan.rate(9) == pytest.approx(1e-3 / 2)
    assert plan.rate(19) == plan.rate(20) == pytest.approx(1e-3)
    for step in range(20, 241):
        share = (step - 20) / 220
        assert plan.rate(step) == pytest.approx(1e-3 * (0.5 + 0.5 * math.cos(math.pi * share)))
    assert plan.rate(240) == 0
    assert plan.rate(239) > 0


def test_a_training_that_is_shorter_than_its_warm_up_has_a_rate() -> None:
    plan = Schedule(steps=5, learning_rate=1.0, warm_up=20)
    assert [plan.rate(step) for step in range(5)] == pytest.approx([0.05, 0.1, 0.15, 0.2, 0.25])


def test_a_training_without_a_warm_up_begins_at_full_rate() -> None:
    assert Schedule(steps=5, learning_rate=0.7, warm_up=0).rate(0) == 0.7
