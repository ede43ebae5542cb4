"""An affine map of many features to few scores: ranges and principal directions in one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh
from threadpoolctl import threadpool_limits

LEAST_VARIANCE = 1e-6
"""Of the largest variance: components of less are not made larger than those of so much."""

PIXELS_AT_ONCE = 2048


def turn(size: int) -> NDArray[np.float64]:
    """Give an orthogonal matrix (size, size) whose values are all about as large (Hartley's).

    Scores that are turned by it share what varies: to bring each of them to one scale, as
    classifiers do, then leaves distances as they are, and does not make noise as large as
    what is seen well.

    Examples
    --------
    >>> turn(2).round(3).tolist()
    [[0.707, 0.707], [0.707, -0.707]]
    """
    angle = 2 * np.pi / size * np.outer(np.arange(size), np.arange(size))
    return np.asarray((np.cos(angle) + np.sin(angle)) / np.sqrt(size))


class Part(NamedTuple):
    """So many features, their share of the variance of all, and whether each has as much."""

    size: int
    share: float
    even: bool = False


@dataclass(frozen=True)
class AffineMap:
    """Scores are ``matrix @ features + offset``: (score, feature) and (score,), float32."""

    matrix: NDArray[np.float32]
    offset: NDArray[np.float32]


def principal_map(
    features: NDArray[np.float32],
    components: int,
    *,
    whiten: bool = False,
    parts: Sequence[Part] = (),
) -> AffineMap:
    """Fit the leading principal components of features that are brought to ranges from 0 to 1.

    They are turned afterwards, see :func:`turn`, but for those that are whitened.

    Parameters
    ----------
    features : (feature, pixel) float32
        Sample of at least one pixel. A feature that is constant in it counts for nothing.
    components : int
        How many, at most as many as features.
    whiten : bool
        Whether every component has variance 1. Otherwise all are divided by one scale.
    parts : sequence of Part, optional
        Features that follow each other, and the share of the variance that they have
        together; all features as they are by default.

    Returns
    -------
    AffineMap
        With scores of mean 0 over the sample, whose variances sum up to 1, or are 1 each
        if whitened. The largest loading of every component is positive before it is turned.

    Notes
    -----
    Needs ``2 * 8 * feature**2`` bytes.
    """
    low, high = features.min(axis=1), features.max(axis=1)
    span = (high - low).astype(np.float64)
    stretch = np.where(span > 0, 1 / np.where(span > 0, span, 1), 0)
    mean = features.mean(axis=1, dtype=np.float64)
    stretch *= _weights(features, stretch, parts)
    with threadpool_limits(1):  # sums of several threads have other bytes
        variance, directions = _leading(features, mean, stretch, components)
    directions = directions * np.where(_largest(directions) < 0, -1, 1)
    least = LEAST_VARIANCE * variance[0]
    scale = np.sqrt(np.maximum(variance, least) if whiten else variance.sum())
    matrix = (directions * stretch[:, None] / np.where(scale > 0, scale, 1)).T
    if not whiten:
        with threadpool_limits(1):
            matrix = turn(components) @ matrix
    return AffineMap(matrix.astype(np.float32), (-matrix @ mean).astype(np.float32))


def _weights(
    features: NDArray[np.float32], stretch: NDArray[np.float64], parts: Sequence[Part]
) -> NDArray[np.float64]:
    """Weigh features (feature,) so that each part has its share of the variance."""
    variance = features.var(axis=1, dtype=np.float64) * stretch**2
    weights, first = np.ones(len(features)), 0
    for part in parts:
        own = slice(first, first + part.size)
        variance_of = variance[own]
        if part.even:
            varies = variance_of > LEAST_VARIANCE * variance_of.max(initial=0)
            weights[own] = np.where(varies, 1 / np.sqrt(np.where(varies, variance_of, 1)), 0)
            variance_of = varies.astype(np.float64)
        total = variance_of.sum()
        weights[own] *= np.sqrt(part.share / total) if total > 0 else 0
        first += part.size
    return weights


def _leading(
    features: NDArray[np.float32],
    mean: NDArray[np.float64],
    stretch: NDArray[np.float64],
    components: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Leading variances (component,) and directions (feature, component) of stretched features."""
    size = len(features)
    scatter = np.zeros((size, size))
    for first in range(0, features.shape[1], PIXELS_AT_ONCE):
        part = (features[:, first : first + PIXELS_AT_ONCE] - mean[:, None]) * stretch[:, None]
        scatter += part @ part.T
    scatter /= features.shape[1]
    values, directions = eigh(
        scatter, subset_by_index=(size - components, size - 1), overwrite_a=True
    )
    return np.maximum(values[::-1], 0), directions[:, ::-1]


def _largest(directions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Take the loading of largest magnitude of every direction (feature, component)."""
    place = np.abs(directions).argmax(axis=0)
    return np.asarray(directions[place, np.arange(directions.shape[1])])
