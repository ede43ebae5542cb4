from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from hsistream.report.training_figures import (
    BINS,
    MOST_CHECKS,
    plot_checks,
    plot_losses,
    running_mean,
)

BOX = (0.0, 0.0, 100.0, 50.0)


def points_of(path: str) -> list[tuple[float, float]]:
    """Places of a path, without its gaps."""
    words = path.replace("h0", "").replace("M", " ").replace("L", " ").split()
    return [(float(word.split(",")[0]), float(word.split(",")[1])) for word in words]


@pytest.mark.parametrize("steps", [1, 2, 30, 2 * BINS])
def test_every_step_is_a_point(steps: int) -> None:
    plot = plot_losses(np.linspace(3, 1, steps), BOX)
    assert plot is not None
    assert (len(points_of(plot.steps)), len(points_of(plot.mean))) == (steps, steps)
    assert (plot.bin_steps, plot.missing) == (1, 0)
    assert points_of(plot.steps)[-1][0] == 100.0


@pytest.mark.parametrize("steps", [2 * BINS + 1, 5000, 1_000_000])
def test_a_long_training_is_drawn_in_bins(steps: int) -> None:
    losses = np.random.default_rng(0).random(steps)
    losses[steps // 3] = 9.0
    plot = plot_losses(losses, BOX)
    assert plot is not None
    assert plot.bin_steps > 1
    assert BINS // 2 < len(points_of(plot.mean)) <= BINS
    assert len(points_of(plot.steps)) <= 2 * BINS
    highest = min(up for _, up in points_of(plot.steps))
    assert highest == pytest.approx(float(plot.y.at(9.0)), abs=0.1)
    assert all(0 <= across <= 100 for across, _ in points_of(plot.steps + plot.mean))


def test_losses_that_are_not_finite_are_gaps() -> None:
    losses = np.array([4, np.nan, 3, 2, np.inf, -np.inf, 1.0])
    plot = plot_losses(losses, BOX)
    assert plot is not None
    assert plot.missing == 3
    assert plot.steps.count("M") == 3
    assert len(points_of(plot.steps)) == 4
    assert plot.mean.count("M") == 1
    assert plot.y.low >= 0
    assert plot.y.high < 5


def test_a_bin_without_finite_losses_is_a_gap() -> None:
    losses = np.ones(10 * BINS)
    losses[1000:2000] = np.nan
    plot = plot_losses(losses, BOX)
    assert plot is not None
    assert plot.bin_steps == 10
    assert plot.steps.count("M") == 2
    assert plot.mean.count("M") == 2


@pytest.mark.parametrize("losses", [[], [np.nan], [np.inf, np.nan]])
def test_without_a_finite_loss_there_is_no_curve(losses: list[float]) -> None:
    assert plot_losses(np.array(losses), BOX) is None


@pytest.mark.parametrize("window", [1, 2, 5, 8])
def test_the_running_mean_is_that_of_the_neighbours(window: int) -> None:
    values = np.random.default_rng(1).random(8)
    values[3] = np.nan
    expected = [
        np.nanmean(values[max(0, at - (window - 1) // 2) : at + window // 2 + 1])
        if window > 1 or at != 3
        else np.nan
        for at in range(8)
    ]
    np.testing.assert_allclose(running_mean(values, window), np.array(expected, np.float64))


def checks(**values: list[float]) -> dict[str, NDArray[np.float64]]:
    return {name: np.array(each) for name, each in values.items()}


def test_checks_are_small_multiples() -> None:
    steps = np.array([0, 30, 60])
    found = plot_checks(steps, checks(use=[24, 20, 12], margin=[0.2, np.nan, 0.1]), BOX)
    assert [plot.name for plot in found] == ["use", "margin"]
    use, margin = found
    assert [across for across, _, _ in use.points] == [0.0, 50.0, 100.0]
    assert use.points[1][2] == "Step 30: 20"
    assert use.last == "12"
    assert use.y.low == 0
    assert len(margin.points) == 2
    assert margin.line.count("M") == 2


def test_many_checks_are_thinned() -> None:
    steps = np.arange(0, 30_000, 30)
    (plot,) = plot_checks(steps, {"use": steps / 30_000}, BOX)
    assert len(plot.points) == MOST_CHECKS
    assert plot.points[-1][0] == 100.0


@pytest.mark.parametrize("value", [0.0, -0.5])
def test_values_of_nothing_and_below_nothing_are_inside(value: float) -> None:
    (plot,) = plot_checks(np.array([0, 1]), checks(agreement=[value, value]), BOX)
    assert plot.y.low <= value < plot.y.high
    assert 0 <= plot.points[0][1] <= 50


def test_nothing_is_drawn_without_a_second_check_or_any_finite_value() -> None:
    assert plot_checks(np.array([0]), checks(use=[24]), BOX) == []
    assert plot_checks(np.array([0, 1]), checks(use=[np.nan, np.inf]), BOX) == []
