"""Which tokens an autoencoder must guess: a function of seed, pixel and epoch only."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]

MASKS_KEY = 11
"""Sets the random numbers of masks apart from those of other uses of a seed."""


def hidden_count(tokens: int, share: float) -> int:
    """Count the tokens of a pixel that are hidden: the share of them rounded down, one at least.

    Examples
    --------
    >>> [hidden_count(145, 0.65), hidden_count(176, 0.5), hidden_count(1, 0.5)]
    [94, 88, 1]
    """
    return max(1, math.floor(share * tokens))


def masks(
    seed: int, pixels: Iterable[int], epoch: int, tokens: int, hidden: int
) -> tuple[Indices, Indices]:
    """Draw which tokens of each pixel are seen and which are hidden.

    The mask of a pixel does not depend on which others are asked for.

    Parameters
    ----------
    seed, epoch : int
        Another mask for each of them.
    pixels : iterable of int
        Numbers of the pixels.
    tokens : int
        Tokens of a pixel.
    hidden : int
        How many of them are hidden.

    Returns
    -------
    (pixel, seen) int64, (pixel, hidden) int64
        Numbers of the tokens, in increasing order.
    """
    orders = [
        np.random.default_rng((seed, MASKS_KEY, epoch, pixel)).permutation(tokens)
        for pixel in pixels
    ]
    order = np.asarray(orders, np.int64).reshape(-1, tokens)
    return np.sort(order[:, hidden:], axis=1), np.sort(order[:, :hidden], axis=1)
