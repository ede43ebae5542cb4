"""Entropy-rate superpixels: the edges whose random walk is most uncertain, in balanced parts."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hsistream.superpixels.base_image import check_image
from hsistream.superpixels.ers_kernel import (
    Forest,
    Queue,
    balance_gain,
    begin,
    grow,
    number,
    weigh,
)

SMALLEST_SIGMA = 1e-100
"""Smaller ones have no square."""

SIGMA_PER_CHANNEL = 5.0
"""Distance, in 8-bit steps of each channel, at which a weight has fallen to ``exp(-1/2)``."""

LARGEST_PX = 2**29 - 1
"""Pixels whose edges have 32-bit numbers."""

_BUCKETS_PER_SPREAD = 64
"""Pixels for one bucket, where gains are as dense as at the start; speed only."""

_SPREADS = 16
"""How far below the best first gain buckets reach, in spreads of the first gains; speed only."""


@dataclass(frozen=True)
class EntropyRate:
    """Superpixels, and what the greedy search has measured on its way."""

    numbers: NDArray[np.int32]
    """(y, x): number of the superpixel, -1 where there is no data."""
    superpixels: int
    beta: float
    """Weight of the balance against the entropy rate."""
    largest_entropy_gain: float
    """Of all edges, before one is taken."""
    balance_gain: float
    """Of every edge, before one is taken."""
    total_weight: float
    """Sum of all weights, each edge in both directions."""
    taken: NDArray[np.int32]
    """(merge,): edges in the order in which they were taken; ``neighbours / 2`` for each pixel."""
    gain: float
    """Sum of the gains of the taken edges."""


def entropy_rate(
    image: NDArray[np.generic],
    count: int,
    *,
    valid: NDArray[np.bool_] | None = None,
    neighbours: int = 8,
    balance: float = 0.5,
    sigma: float | None = None,
) -> NDArray[np.int32]:
    r"""Cut an image into superpixels of uncertain random walks and of similar size.

    Starts from single pixels and joins, again and again, the two neighbouring
    superpixels that gain most in :math:`H + \beta B`: the entropy rate of a
    random walk on the joined edges, and the balance of the sizes. The weight of
    an edge is :math:`\exp(-d^2 / 2 \sigma^2)`, where d is the sum over channels
    of absolute differences, times :math:`\sqrt 2` for diagonal neighbours.

    Parameters
    ----------
    image : (channel, y, x) uint8 or float
        Usually scores on a scale of 0 to 255, of ``eight_bit``; 8-bit values
        are not needed. Values without data are not looked at.
    count : int
        Superpixels wanted, from 1. No more are made than there are valid
        pixels, and no fewer than pieces into which the valid pixels fall.
    valid : (y, x) bool, optional
        False where there is no data; no superpixel holds or crosses such a
        pixel. All are valid by default.
    neighbours : {8, 4}
        Whether diagonal neighbours are joined.
    balance : float
        How much similar sizes matter, from 0.
    sigma : float, optional
        Scale of the differences, in units of the image; 5 for each channel by
        default, which suits a range of 0 to 255.

    Returns
    -------
    (y, x) int32
        Number of the superpixel, from 0 in the order of their first pixels in
        rows; -1 where there is no data. Each superpixel is connected.

    Raises
    ------
    ValueError
        If the image has another number of axes, no channel, values that are not
        finite in valid pixels, or more than ``LARGEST_PX`` pixels; if ``valid``
        has another shape; if ``count``, ``neighbours``, ``balance`` or ``sigma``
        is outside of its range.

    Notes
    -----
    The greedy search is exact, in float64; of equal gains the first edge in
    rows wins, so the result does not depend on how it was computed. One thread,
    which lets others run; about 2 s for 1024 x 1024 pixels, and at most 140
    bytes for each pixel beside the image.

    References
    ----------
    .. [1] M.-Y. Liu, O. Tuzel, S. Ramalingam, R. Chellappa, "Entropy rate
       superpixel segmentation", CVPR 2011, 2097-2104.
       doi:10.1109/CVPR.2011.5995323

    Examples
    --------
    >>> image = np.array([[[0, 0, 200, 200], [0, 0, 200, 200]]], np.uint8)
    >>> entropy_rate(image, 2)
    array([[0, 0, 1, 1],
           [0, 0, 1, 1]], dtype=int32)
    """
    return measure_entropy_rate(
        image, count, valid=valid, neighbours=neighbours, balance=balance, sigma=sigma
    ).numbers


def measure_entropy_rate(
    image: NDArray[np.generic],
    count: int,
    *,
    valid: NDArray[np.bool_] | None = None,
    neighbours: int = 8,
    balance: float = 0.5,
    sigma: float | None = None,
) -> EntropyRate:
    """Cut an image as ``entropy_rate`` does, and tell what was measured.

    Parameters
    ----------
    image, count, valid, neighbours, balance, sigma
        As in ``entropy_rate``.

    Returns
    -------
    EntropyRate
        The superpixels, the weight of the balance, the taken edges and their gain.

    Raises
    ------
    ValueError
        As in ``entropy_rate``.
    """
    check_image(image, valid)
    _check_size(image.shape)
    if sigma is None:
        sigma = SIGMA_PER_CHANNEL * len(image)
    _check_settings(count, neighbours, balance, sigma)
    if valid is None:
        valid = np.ones(image.shape[1:], np.bool_)
    pixels = int(np.count_nonzero(valid))
    forest = _forest(valid.shape, pixels, neighbours // 2)
    image, valid = np.ascontiguousarray(image), np.ascontiguousarray(valid)  # compiled once
    weight = weigh(image, valid, 0.5 / sigma**2, neighbours // 2, forest.edges)
    entropy = begin(forest, valid, weight)
    balanced = balance_gain(forest.parts, 1, 1) if pixels > 1 else 0.0
    beta = balance * count * (entropy / balanced) if balanced > 0.0 else 0.0
    taken = np.empty(max(pixels - count, 0), np.int32)
    buckets = max(64, pixels // _BUCKETS_PER_SPREAD)
    queue = _queue(len(forest.edges), _SPREADS * buckets + 1)
    scale = buckets / entropy if entropy > 0.0 else 0.0
    merges, gain = grow(forest, queue, beta, scale, taken)
    numbers = np.empty(valid.size, np.int32)
    found = number(forest.parent, valid.ravel(), numbers)
    return EntropyRate(
        numbers=numbers.reshape(valid.shape),
        superpixels=found,
        beta=beta,
        largest_entropy_gain=entropy,
        balance_gain=balanced,
        total_weight=weight,
        taken=taken[:merges],
        gain=gain,
    )


def _forest(shape: tuple[int, ...], pixels: int, directions: int) -> Forest:
    """Reserve what grows: a forest of single pixels, not filled yet."""
    height, width = shape
    steps = np.array([1, width, width + 1, 1 - width][:directions], np.int64)
    return Forest(
        edges=np.empty((directions * height * width, 2)),
        loops=np.empty((height * width, 2)),
        parent=np.empty(height * width, np.int32),
        parts=np.empty(max(pixels, 1) + 1),
        steps=steps,
    )


def _queue(edges: int, buckets: int) -> Queue:
    """Reserve the queue of all edges."""
    return Queue(
        first=np.empty(buckets, np.int32),
        following=np.empty(edges, np.int32),
        heap=np.empty(edges, np.int32),
    )


def _check_size(shape: tuple[int, ...]) -> None:
    pixels = shape[1] * shape[2]
    if pixels > LARGEST_PX:
        raise ValueError(
            f"An image of at most {LARGEST_PX} pixels is needed, but it has {pixels}. "
            "Cut it into tiles."
        )


def _check_settings(count: int, neighbours: int, balance: float, sigma: float) -> None:
    if count < 1:
        raise ValueError(f"At least one superpixel must be asked for, not count={count}.")
    if neighbours not in (4, 8):
        raise ValueError(f"A pixel has 4 or 8 neighbours, not neighbours={neighbours}.")
    if not 0.0 <= balance < math.inf:
        raise ValueError(f"balance must be 0 or more, and finite, not {balance}.")
    if not sigma >= SMALLEST_SIGMA:
        raise ValueError(f"sigma must be at least {SMALLEST_SIGMA}, not {sigma}.")
