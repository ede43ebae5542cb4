"""Axes and paths as plain numbers and texts: what all figures of the page are made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

TICKS = 7
"""About how many ticks an axis has."""
HEADROOM = 0.04
"""Share of the range left free above and below the data."""

Box = tuple[float, float, float, float]
"""Left, top, right and bottom of the axes in their picture."""


@dataclass(frozen=True, slots=True)
class Axis:
    """A linear scale from data to the picture: ``low`` lies at ``start``, ``high`` at ``stop``.

    ``most_ticks`` is about how many ticks there are; ``whole`` keeps them to
    whole numbers.
    """

    title: str
    low: float
    high: float
    start: float
    stop: float
    most_ticks: int = TICKS
    whole: bool = False

    def at(self, value: NDArray[Any] | float) -> NDArray[np.float64]:
        """Give the place of values, in units of the picture."""
        share = (np.asarray(value, np.float64) - self.low) / (self.high - self.low)
        return self.start + share * (self.stop - self.start)

    @property
    def ticks(self) -> list[tuple[float, str]]:
        """Places and texts of round numbers on the axis."""
        from matplotlib.ticker import MaxNLocator

        locator = MaxNLocator(self.most_ticks, steps=[1, 2, 2.5, 5, 10], integer=self.whole)
        found = locator.tick_values(self.low, self.high)
        values = [round(float(value), 12) + 0.0 for value in found]
        return [
            (round(float(self.at(value)), 1), f"{value:,g}")
            for value in values
            if self.low <= value <= self.high
        ]


def axis_over(
    title: str, low: float, high: float, ends: tuple[float, float], *, room: float = HEADROOM
) -> Axis:
    """Make an axis with some room at both ends, also for a single value."""
    low, high = float(low), float(high)
    if high <= low:
        low, high = low - 0.5, low + 0.5
    lowest = low - room * (high - low)
    if low >= 0:
        lowest = max(lowest, 0.0)
    return Axis(title, lowest, high + room * (high - low), *ends)


def extent(values: Sequence[NDArray[Any]]) -> tuple[float, float]:
    """Smallest and largest finite value; NaN if there is none."""
    joined = np.concatenate([np.zeros(0), *values])
    finite = joined[np.isfinite(joined)]
    return (float(finite.min()), float(finite.max())) if finite.size else (np.nan, np.nan)


def runs_of(mask: NDArray[np.bool_]) -> list[slice]:
    """Give the runs of True.

    Examples
    --------
    >>> runs_of(np.array([True, True, False, True]))
    [slice(0, 2, None), slice(3, 4, None)]
    """
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]])))
    return [slice(int(start), int(stop)) for start, stop in edges.reshape(-1, 2)]


def path_through(places: Sequence[tuple[float, float]]) -> str:
    """Write a path; a single point becomes a dot where line ends are round."""
    if len(places) == 1:
        return f"M{places[0][0]},{places[0][1]}h0"
    return "M" + "L".join(f"{across},{up}" for across, up in places)


def broken_path(across: NDArray[Any], up: NDArray[Any]) -> str:
    """Write a path with gaps wherever ``up`` is not finite.

    Examples
    --------
    >>> broken_path(np.arange(4.0), np.array([5, 6, np.nan, 7]))
    'M0.0,5.0L1.0,6.0M3.0,7.0h0'
    """
    return "".join(
        path_through(list(zip(rounded(across[piece]), rounded(up[piece]), strict=True)))
        for piece in runs_of(np.isfinite(up))
    )


def rounded(places: NDArray[np.float64]) -> list[float]:
    """Round places to a tenth of a unit."""
    shorter: list[float] = np.round(places, 1).tolist()
    return shorter
