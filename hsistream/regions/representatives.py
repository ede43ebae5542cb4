"""The pixels that stand for a superpixel: its densest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsistream.regions.density import density_order


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
