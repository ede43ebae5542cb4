"""How often labels change across the seams of a frame that was cut at tiles, and elsewhere."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsistream.tiles import Window, within


@dataclass(frozen=True, slots=True)
class LabelChanges:
    """Pairs of neighbouring pixels with data, and those whose labels differ.

    A pair lies at a seam if the edge of a tile runs between its pixels, and
    is an inner one if not. Neighbours share a side.

    Examples
    --------
    >>> labels, whole = np.array([[0, 0, 1], [0, 2, 1]]), (slice(0, 2), slice(0, 3))
    >>> found = LabelChanges.from_window(labels, whole, whole, tile_px=2, no_data=9)
    >>> found
    LabelChanges(seam_pairs=2, seam_changes=2, inner_pairs=5, inner_changes=2)
    >>> found.ratio
    2.5
    """

    seam_pairs: int = 0
    seam_changes: int = 0
    inner_pairs: int = 0
    inner_changes: int = 0

    @classmethod
    def from_window(
        cls,
        labels: NDArray[np.integer[Any]],
        window: Window,
        core: Window,
        *,
        tile_px: int,
        no_data: int,
    ) -> LabelChanges:
        """Count the pairs whose upper or left pixel lies in a core.

        Parameters
        ----------
        labels : (y, x) int
            Labels of the window.
        window : Window
            Of the frame: the core and, where the frame goes on, at least one
            row below it and one column to its right.
        core : Window
            Cores that partition a frame count every pair once.
        tile_px : int
            Side of the tiles that the frame was cut at, from its first pixel.
        no_data : int
            Label of pixels that are in no pair.

        Returns
        -------
        LabelChanges
            In integers: those of cores add up to those of the frame.
        """
        found, inner = cls(), within(core, window)
        for axis in (0, 1):
            reach = list(inner)
            reach[axis] = slice(inner[axis].start, inner[axis].stop + 1)
            lines = np.moveaxis(labels[tuple(reach)], axis, 0)
            seconds = core[axis].start + np.arange(1, len(lines))
            found += cls._between(lines[:-1], lines[1:], seconds % tile_px == 0, no_data)
        return found

    @classmethod
    def _between(
        cls,
        first: NDArray[np.integer[Any]],
        second: NDArray[np.integer[Any]],
        at_seam: NDArray[np.bool_],
        no_data: int,
    ) -> LabelChanges:
        """Count pairs (line, pixel), some lines of which lie at seams."""
        known = (first != no_data) & (second != no_data)
        changed = known & (first != second)
        pairs, changes = (int(np.count_nonzero(each[at_seam])) for each in (known, changed))
        return cls(
            pairs,
            changes,
            int(np.count_nonzero(known)) - pairs,
            int(np.count_nonzero(changed)) - changes,
        )

    def __add__(self, other: LabelChanges) -> LabelChanges:
        return LabelChanges(
            self.seam_pairs + other.seam_pairs,
            self.seam_changes + other.seam_changes,
            self.inner_pairs + other.inner_pairs,
            self.inner_changes + other.inner_changes,
        )

    @property
    def seam_rate(self) -> float:
        """Share of the pairs at seams whose labels differ; 0 without such a pair."""
        return self.seam_changes / max(1, self.seam_pairs)

    @property
    def inner_rate(self) -> float:
        """Share of the inner pairs whose labels differ; 0 without such a pair."""
        return self.inner_changes / max(1, self.inner_pairs)

    @property
    def ratio(self) -> float:
        """How much more often labels change at seams; infinite if nowhere else, 1 if nowhere."""
        if self.inner_rate:
            return self.seam_rate / self.inner_rate
        return math.inf if self.seam_rate else 1.0
