"""Sums over pixels that add up, and the seeded choice of the reservoir.

The sums of a scene are those of its storage tiles, merged in tile order, so
they do not depend on how a run is executed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import blas

from hsistream.tiles import Window

PIXELS_AT_ONCE = 8_192
"""Columns of one matrix product; bounds the memory of a float64 copy."""

LEAST_SHARE = 0.1
"""A small frame gets at least this share of an equal part of the reservoir."""


@dataclass(frozen=True, slots=True)
class BandSums:
    """Count, mean (band,), centred outer products (band, band), minimum and maximum (band,).

    ``outer`` is the sum of ``(x - mean) (x - mean)^T``; merging keeps it so.
    """

    count: int
    mean: NDArray[np.float64]
    outer: NDArray[np.float64]
    minimum: NDArray[np.float64]
    maximum: NDArray[np.float64]

    @classmethod
    def empty(cls, bands: int) -> BandSums:
        """Make the sums over no pixel."""
        return cls(
            0,
            np.zeros(bands),
            np.zeros((bands, bands)),
            np.full(bands, np.inf),
            np.full(bands, -np.inf),
        )

    @classmethod
    def from_pixels(cls, spectra: NDArray[np.floating]) -> BandSums:
        """Sum over spectra (band, pixel), in float64."""
        sums = cls.empty(len(spectra))
        for first in range(0, spectra.shape[1], PIXELS_AT_ONCE):
            part = spectra[:, first : first + PIXELS_AT_ONCE]
            low, high = part.min(axis=1), part.max(axis=1)
            centred = part.astype(np.float64, order="C")
            mean = centred.mean(axis=1)
            centred -= mean[:, None]
            outer = blas.dsyrk(1.0, centred.T, trans=1)  # its upper triangle
            sums = sums.merge(cls(part.shape[1], mean, outer, low, high))
        return replace(sums, outer=_symmetric(sums.outer))

    def merge(self, other: BandSums) -> BandSums:
        """Add the pixels of other sums.

        References
        ----------
        .. [1] T. F. Chan, G. H. Golub and R. J. LeVeque, "Updating formulae and
           a pairwise algorithm for computing sample variances", 1979.
        """
        count = self.count + other.count
        if not self.count or not other.count:
            return self if self.count else other
        step = other.mean - self.mean
        mean = self.mean + step * (other.count / count)
        between = np.outer(step, step) * (self.count * other.count / count)
        return BandSums(
            count,
            mean,
            self.outer + other.outer + between,
            np.minimum(self.minimum, other.minimum),
            np.maximum(self.maximum, other.maximum),
        )


def reservoir_thresholds(valid_pixels: Sequence[int], wanted: int) -> NDArray[np.float64]:
    """Share of its pixels that each frame gives to the reservoir.

    Frames give in proportion to their valid pixels, but a small frame at
    least ``LEAST_SHARE`` of an equal part; all pixels of a scene that has no
    more than ``wanted``.

    Examples
    --------
    >>> reservoir_thresholds([1000, 3000], 400)
    array([0.1, 0.1])
    >>> reservoir_thresholds([100, 0], 400)
    array([1., 0.])
    """
    valid = np.asarray(valid_pixels, float)
    total = valid.sum()
    if total <= wanted:
        return (valid > 0).astype(float)
    least = LEAST_SHARE * wanted / len(valid)
    share = np.maximum(valid * wanted / total, least)
    return np.where(valid > 0, np.minimum(1.0, share / np.maximum(valid, 1)), 0.0)


def in_reservoir(seed: int, frame: int, window: Window, threshold: float) -> NDArray[np.bool_]:
    """Choose pixels of a window, (y, x), by a hash of seed, frame, row and column.

    A pixel's fate does not depend on the window in which it is asked for.
    """
    rows, columns = window
    row = np.arange(rows.start, rows.stop, dtype=np.uint64)[:, None]
    column = np.arange(columns.start, columns.stop, dtype=np.uint64)[None, :]
    with np.errstate(over="ignore"):
        key = np.uint64(seed) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(frame)
        mixed = _mix(_mix(np.full((1, 1), key) + np.uint64(0x632BE59BD9B4E019)) + row)
        mixed = _mix(mixed + column * np.uint64(0xD1B54A32D192ED03))
    return np.asarray((mixed >> np.uint64(11)).astype(np.float64) < threshold * 2.0**53)


def _mix(value: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Scramble 64-bit numbers (the finaliser of the splitmix64 generator)."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


def _symmetric(upper: NDArray[np.float64]) -> NDArray[np.float64]:
    """Fill the lower triangle of a matrix from its upper one."""
    return np.triu(upper) + np.triu(upper, 1).T
