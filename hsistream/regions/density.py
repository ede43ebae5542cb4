"""How dense the pixels of a scene lie in feature space, and which of two is denser.

The density of a pixel is a sum of Gaussian kernels over its nearest neighbours
[1]_, in the scene itself or in a reference sample that is the same for all
tiles. The scale of the kernel is a percentile of the distances to neighbours.

References
----------
.. [1] S. L. Polk et al., "Unsupervised diffusion and volume maximization-based
   clustering of hyperspectral images", Remote Sensing 15, 1053, 2023.
   doi:10.3390/rs15041053
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hsistream.neighbours import nearest_rows

Floats = NDArray[np.float64]


def neighbour_distances(
    queries: NDArray[np.floating],
    sample: NDArray[np.floating],
    count: int,
    *,
    own: NDArray[np.int64] | None = None,
) -> Floats:
    """Measure how far the nearest rows of a reference sample are.

    Parameters
    ----------
    queries : (pixel, feature) float
        Pixels of a tile, finite.
    sample : (row, feature) float
        The reference sample, finite; the same for all tiles.
    count : int
        Neighbours per pixel.
    own : (pixel,) int64, optional
        Row of the sample that is the pixel itself, which is no neighbour of its
        own; -1 where the pixel is not in the sample. By default none is.

    Returns
    -------
    (pixel, rank) float64
        Distances, nearest first; exactly 0 to an equal row. Infinite where the
        sample has too few rows.
    """
    apart = None if own is None else (own, np.arange(len(sample)))
    return nearest_rows(queries, sample, count, apart=apart).distances


def density_scale(distances: Floats, percentile: float) -> float:
    """Find the scale of the kernel: a percentile of the positive distances to neighbours.

    Parameters
    ----------
    distances : (pixel, rank) float64
        Of :func:`neighbour_distances`; infinite ones do not count.
    percentile : float
        From 0 to 100, by the definition of Hazen: of N sorted values, value i
        (from 1) lies at 100 (i - 0.5) / N.

    Returns
    -------
    float
        In the unit of the features; 1 where no distance is positive.

    Examples
    --------
    >>> density_scale(np.array([[0.0, 1, 2, 3, 4]]), 30)
    1.7
    """
    positive = distances[(distances > 0) & np.isfinite(distances)]
    return float(np.percentile(positive, percentile, method="hazen")) if len(positive) else 1.0


def kernel_density(distances: Floats, scale: float) -> Floats:
    """Sum ``exp(-(distance / scale)^2)`` over the neighbours of every pixel, (pixel,)."""
    return np.asarray(np.exp(-((distances / scale) ** 2)).sum(axis=1))


def density_shares(density: Floats) -> Floats:
    """Divide densities (pixel,) by their sum; zeros get the smallest positive value.

    All are equal where none is positive.
    """
    if not density.any():
        return np.full(len(density), 1 / max(1, len(density)))
    shares = density / density.sum()
    return np.asarray(np.where(shares > 0, shares, shares[shares > 0].min()))


def estimate_density(
    features: NDArray[np.floating], *, neighbours: int, percentile: float
) -> Floats:
    """Estimate the density of all pixels of a small scene, each among all others.

    Parameters
    ----------
    features : (pixel, feature) float
        Valid pixels, finite.
    neighbours : int
        Neighbours per pixel; all others where there are fewer.
    percentile : float
        Of the distances, for :func:`density_scale`.

    Returns
    -------
    (pixel,) float64
        Shares, positive, of sum 1 but for the zeros that were replaced.

    Examples
    --------
    >>> points = np.array([[0.0], [1], [3], [7]])
    >>> estimate_density(points, neighbours=2, percentile=50).round(6)
    array([0.328708, 0.416348, 0.23066 , 0.024284])
    """
    own = np.arange(len(features))
    distances = neighbour_distances(features, features, neighbours, own=own)
    return density_shares(kernel_density(distances, density_scale(distances, percentile)))


def density_order(density: Floats) -> NDArray[np.int64]:
    """Sort pixels or nodes from the densest down, (node,); of equals, the first is denser.

    No two are equal in this order, so that only one has no denser one. Equal
    spectra have exactly equal densities, and each would be a peak otherwise.
    """
    return np.argsort(-density, kind="stable")
