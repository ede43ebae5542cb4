"""The pixels that stand for a superpixel: its densest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsistream.regions.density import density_order
from hsistream.regions.sums import RegionSums

PIXELS_AT_ONCE = 65_536
"""Pixels that are compared with means together."""


@dataclass(frozen=True, slots=True)
class Representatives:
    """Chosen pixels (node,), increasing; the superpixel that each stands for; its mass.

    The mass (node,) is the number of pixels of the superpixel over the number
    of its nodes, so that masses sum to the number of valid pixels.
    """

    pixels: NDArray[np.int64]
    owner: NDArray[np.int64]
    mass: NDArray[np.float64]


def choose_representatives(
    superpixels: NDArray[np.integer[Any]], density: NDArray[np.float64], size: int
) -> Representatives:
    """Choose the densest pixels of every superpixel.

    Parameters
    ----------
    superpixels : (pixel,) int
        Superpixel of every pixel, in row-major order; negative where there is
        no data.
    density : (pixel,) float64
        Density of every pixel. Of equals, the first pixel is denser.
    size : int
        Pixels per superpixel; all of them where a superpixel has fewer.

    Returns
    -------
    Representatives
        In the order of their pixels, which does not depend on how superpixels
        are numbered.

    Examples
    --------
    >>> chosen = choose_representatives(np.array([4, 4, 7, 4]), np.array([0.1, 0.3, 0.2, 0.4]), 2)
    >>> chosen.pixels, chosen.owner, chosen.mass
    (array([1, 2, 3]), array([4, 7, 4]), array([1.5, 1. , 1.5]))
    """
    order = density_order(density)
    order = order[superpixels[order] >= 0]
    order = order[np.argsort(superpixels[order], kind="stable")]
    grouped = np.asarray(superpixels[order], np.int64)
    _, starts, inverse, sizes = np.unique(
        grouped, return_index=True, return_inverse=True, return_counts=True
    )
    kept = np.arange(len(order)) - starts[inverse] < size
    mass = (sizes / np.minimum(sizes, size))[inverse]
    sorting = np.argsort(order[kept])
    return Representatives(
        order[kept][sorting], grouped[kept][sorting], np.asarray(mass[kept][sorting])
    )


def nearest_to_means(
    superpixels: NDArray[np.int64],
    features: NDArray[np.float32],
    sums: RegionSums,
    most: int,
) -> NDArray[np.int64]:
    """Choose the pixels of every superpixel that are most like its mean.

    Parameters
    ----------
    superpixels : (pixel,) int64
        Superpixel of every pixel, from 0.
    features : (pixel, feature) float32
        Features of every pixel.
    sums : RegionSums
        Of these pixels.
    most : int
        Pixels per superpixel; all of them where a superpixel has no more.

    Returns
    -------
    (chosen,) int64
        Numbers of pixels, increasing. Of equals, the first pixels are taken.

    Notes
    -----
    The densest pixels of a large superpixel lie near its mean; so the density of
    the others need not be measured.
    """
    large = np.flatnonzero(sums.count[superpixels] > most)
    means = sums.means()
    gaps = np.empty(len(large))
    for first in range(0, len(large), PIXELS_AT_ONCE):
        part = large[first : first + PIXELS_AT_ONCE]
        apart = features[part] - means[superpixels[part]]
        gaps[first : first + PIXELS_AT_ONCE] = np.einsum("pf,pf->p", apart, apart)
    order = large[np.lexsort((gaps, superpixels[large]))]
    owner = superpixels[order]
    rank = np.arange(len(order)) - np.searchsorted(owner, owner)
    small = np.flatnonzero(sums.count[superpixels] <= most)
    return np.sort(np.concatenate([small, order[rank < most]]))
