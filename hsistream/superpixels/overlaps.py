"""One set of superpixels from windows that overlap, each of which was cut by itself.

A window is the core of a tile and a margin around it. A superpixel is kept by the tile
in whose core most of its pixels lie, wherever its others are; so superpixels cross the
edges of tiles as they do anything else, and every tile is cut without knowing another.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Ids = NDArray[np.int64]

NONE = -1
"""Number of a pixel that belongs to no superpixel."""


def kept_superpixels(
    index: NDArray[np.int32], tiles: NDArray[np.int64], own: int
) -> NDArray[np.int32]:
    """Keep the superpixels of a window most of whose pixels lie in the core of its own tile.

    Parameters
    ----------
    index : (y, x) int32
        Superpixel of every pixel of the window, from 0; negative where there is no data.
    tiles : (y, x) int64
        Number of the tile in whose core every pixel lies.
    own : int
        Number of the window's own tile.

    Returns
    -------
    (y, x) int32
        Kept superpixels, numbered from 0 in their order; -1 elsewhere. Of tiles with equally
        many pixels of a superpixel, that of the smallest number keeps it.

    Examples
    --------
    >>> kept_superpixels(np.array([[0, 0, 1, 1, 1]]), np.array([[4, 4, 4, 5, 5]]), own=4)
    array([[ 0,  0, -1, -1, -1]], dtype=int32)
    """
    known = index >= 0
    numbers, place = np.unique(tiles, return_inverse=True)
    shape = int(index.max(initial=NONE)) + 1, len(numbers)
    at = index[known].astype(np.int64) * shape[1] + place.reshape(index.shape)[known]
    pixels = np.bincount(at, minlength=shape[0] * shape[1]).reshape(shape)
    kept = numbers[pixels.argmax(axis=1)] == own
    number = np.where(kept, np.cumsum(kept) - 1, NONE).astype(np.int32)
    return np.where(known, number[np.maximum(index, 0)], np.int32(NONE)) if len(kept) else index


def settle(valid: NDArray[np.bool_], offers: Iterable[Ids], spare: int) -> Ids:
    """Give each pixel of a part of a frame to one of the superpixels that windows offer for it.

    Parameters
    ----------
    valid : (y, x) bool
        Pixels of the part with data.
    offers : iterable of (y, x) int64
        Ids of kept superpixels, of each window; -1 where a window has none. All parts are
        offered them in one order of the windows, so that a superpixel is the same on both
        sides of an edge.
    spare : int
        Id for the pixels of a part to which no window offers anything.

    Returns
    -------
    (y, x) int64
        The first id that is offered; where there is none, that of the nearest pixel of the
        part that has one. -1 where there is no data.

    Examples
    --------
    >>> own, other = np.array([[7, -1, -1, -1]]), np.array([[9, 9, -1, -1]])
    >>> settle(np.array([[True, True, True, False]]), [own, other], spare=8)
    array([[ 7,  9,  9, -1]])
    """
    found = np.full(valid.shape, NONE, np.int64)
    for ids in offers:
        np.copyto(found, ids, where=(found < 0) & valid)
    missing = valid & (found < 0)
    if (found >= 0).any() and missing.any():
        nearest = ndimage.distance_transform_edt(
            found < 0, return_distances=False, return_indices=True
        )
        found[missing] = found[tuple(nearest[:, missing])]
    found[valid & (found < 0)] = spare
    return found
