"""How a training went, as plain numbers for the template: its losses and its checks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsistream.report.drawing import Axis, Box, axis_over, broken_path, extent, rounded

BINS = 600
"""Steps beyond twice so many are drawn by the lowest and the highest loss of each of so many bins,
so that a curve does not grow with the training."""
MEAN_PARTS, MEAN_LEAST = 20, 5
"""The running mean spans this part of all steps, and at least so many steps."""
CHECK_TICKS = 4
MOST_CHECKS = 400
"""Checks beyond so many are thinned."""


@dataclass(frozen=True, slots=True)
class LossPlot:
    """The loss of every step and its running mean over ``mean_steps``, as SVG paths with gaps.

    Where there are many steps, ``steps`` shows the range of every ``bin_steps``
    of them. ``missing`` counts the losses that are not finite.
    """

    x: Axis
    y: Axis
    steps: str
    mean: str
    mean_steps: int
    bin_steps: int
    missing: int


@dataclass(frozen=True, slots=True)
class CheckPlot:
    """One quantity over the checks: a line with gaps, its points (x, y, text), and the last one."""

    name: str
    x: Axis
    y: Axis
    line: str
    points: list[tuple[float, float, str]]
    last: str


def plot_losses(losses: NDArray[Any], box: Box) -> LossPlot | None:
    """Draw the loss of every step, with its running mean.

    Parameters
    ----------
    losses : (step,) float
        Those that are not finite become gaps; the mean leaves them out.
    box : (left, top, right, bottom)
        Where in the picture the axes lie.

    Returns
    -------
    LossPlot or None
        None where no loss is finite, as in a training of 0 steps.
    """
    values = np.asarray(losses, np.float64).ravel()
    values = np.where(np.isfinite(values), values, np.nan)
    low, high = extent([values])
    if not np.isfinite(low):
        return None
    left, top, right, bottom = box
    x = replace(axis_over("Step", 0, values.size, (left, right), room=0), whole=True)
    y = axis_over("Loss", low, high, (bottom, top))
    window = min(values.size, max(MEAN_LEAST, values.size // MEAN_PARTS))
    places, drawn, bin_steps = _binned(values)
    mean = running_mean(values, window)[bin_steps // 2 :: bin_steps]
    middles = 1 + np.arange(bin_steps // 2, values.size, bin_steps)
    return LossPlot(
        x,
        y,
        steps=broken_path(x.at(places), y.at(drawn)),
        mean=broken_path(x.at(middles), y.at(mean)),
        mean_steps=window,
        bin_steps=bin_steps,
        missing=int(np.isnan(values).sum()),
    )


def plot_checks(
    steps: NDArray[Any], checks: Mapping[str, NDArray[Any]], box: Box
) -> list[CheckPlot]:
    """Draw every measured quantity over the steps at which it was checked.

    Parameters
    ----------
    steps : (check,) int
        Steps of the checks, increasing from 0.
    checks : mapping of (check,) float
        Values by name; those that are not finite become gaps. Axes begin at 0,
        unless values lie below, so that a small change looks small.
    box : (left, top, right, bottom)
        Where in each picture the axes lie.

    Returns
    -------
    list of CheckPlot
        Empty where there are less than two checks, as in a training of 0
        steps; a quantity without any finite value is left out.
    """
    if len(steps) < 2:
        return []
    thin = np.unique(np.linspace(0, len(steps) - 1, min(len(steps), MOST_CHECKS)).astype(int))
    plots = (
        _plot_check(name, np.asarray(steps)[thin], np.asarray(values, np.float64)[thin], box)
        for name, values in checks.items()
    )
    return [plot for plot in plots if plot is not None]


def running_mean(values: NDArray[np.float64], window: int) -> NDArray[np.float64]:
    """Average every value with its neighbours, ``window`` together, as far as there are any.

    NaN is left out, and is the result where a window holds nothing else.

    Examples
    --------
    >>> running_mean(np.array([1, 3, np.nan, 5, 7.0]), 3)
    array([2., 2., 4., 6., 6.])
    """
    known = np.isfinite(values)
    sums = np.concatenate([[0], np.cumsum(np.where(known, values, 0))])
    counts = np.concatenate([[0], np.cumsum(known)])
    first = np.maximum(np.arange(values.size) - (window - 1) // 2, 0)
    last = np.minimum(np.arange(values.size) + window // 2 + 1, values.size)
    number = counts[last] - counts[first]
    return np.where(number > 0, (sums[last] - sums[first]) / np.maximum(number, 1), np.nan)


def format_check(value: float) -> str:
    """Write a measured value.

    Examples
    --------
    >>> [format_check(value) for value in (24.0, 0.013497, 2.81540188, float("nan"))]
    ['24', '0.0135', '2.82', 'not finite']
    """
    return f"{value:,.3g}" if np.isfinite(value) else "not finite"


def _binned(
    values: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64], int]:
    """Give places and losses to draw, and how many steps share a bin."""
    size = -(-values.size // BINS) if values.size > 2 * BINS else 1
    if size == 1:
        return np.arange(1.0, values.size + 1), values, 1
    starts = np.arange(0, values.size, size)
    ends = np.minimum(starts + size, values.size)
    ranges = np.fmin.reduceat(values, starts), np.fmax.reduceat(values, starts)
    return np.repeat((starts + 1 + ends) / 2, 2), np.stack(ranges, axis=1).ravel(), size


def _plot_check(
    name: str, steps: NDArray[Any], values: NDArray[np.float64], box: Box
) -> CheckPlot | None:
    """Draw one quantity."""
    low, high = extent([values])
    if not np.isfinite(low):
        return None
    left, top, right, bottom = box
    across = axis_over("Step", 0, steps[-1], (left, right), room=0)
    up = axis_over("", min(low, 0.0), high if high > 0 or low < 0 else 1.0, (bottom, top))
    x, y = (replace(axis, most_ticks=CHECK_TICKS) for axis in (across, up))
    x = replace(x, whole=True)
    shown = np.flatnonzero(np.isfinite(values))
    places = zip(rounded(x.at(steps[shown])), rounded(y.at(values[shown])), strict=True)
    texts = [f"Step {steps[each]:,}: {format_check(values[each])}" for each in shown]
    points = [(*place, text) for place, text in zip(places, texts, strict=True)]
    line = broken_path(x.at(steps), y.at(values))
    return CheckPlot(name, x, y, line, points, format_check(values[-1]))
