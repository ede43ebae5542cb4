"""The part of a mean over regions that adds up over tiles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse


@dataclass(frozen=True, slots=True)
class RegionSums:
    """Pixels of every region (region,) int64, and the sum of their features (region, feature).

    Examples
    --------
    >>> left = RegionSums.from_pixels(np.array([0, 1, 1]), np.array([[1.0], [2], [4]]), 2)
    >>> right = RegionSums.from_pixels(np.array([1, -1]), np.array([[6.0], [9]]), 2)
    >>> (left + right).means()
    array([[1.],
           [4.]])
    """

    count: NDArray[np.int64]
    feature_sum: NDArray[np.float64]

    @classmethod
    def empty(cls, regions: int, features: int) -> RegionSums:
        """Make the sums over no pixel."""
        return cls(np.zeros(regions, np.int64), np.zeros((regions, features)))

    @classmethod
    def from_pixels(
        cls, index: NDArray[np.integer[Any]], features: NDArray[np.floating], regions: int
    ) -> RegionSums:
        """Sum up the pixels of a tile.

        Parameters
        ----------
        index : (pixel,) int
            Region of every pixel, from 0; negative where there is no data.
        features : (pixel, feature) float
            Features of every pixel, finite where there is data.
        regions : int
            Number of regions.

        Returns
        -------
        RegionSums
            In float64; regions without a pixel have sum 0.
        """
        found = np.flatnonzero(index >= 0)
        cells = index[found].astype(np.int64), np.arange(len(found))
        members = sparse.csr_array((np.ones(len(found)), cells), shape=(regions, len(found)))
        total = members @ features[found].astype(np.float64)
        return cls(np.bincount(cells[0], minlength=regions), np.asarray(total))

    def __add__(self, other: RegionSums) -> RegionSums:
        return RegionSums(self.count + other.count, self.feature_sum + other.feature_sum)

    def means(self) -> NDArray[np.float64]:
        """Mean features of every region, (region, feature); 0 for a region without a pixel."""
        return self.feature_sum / np.maximum(self.count, 1)[:, None]
