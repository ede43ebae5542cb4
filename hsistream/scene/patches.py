"""Squares of spectra around single pixels, and how a frame goes on where it has no spectra.

What a pixel sees is the same in whatever window it is looked at: a gap is filled
from its near surroundings only, and only the edges of a frame are mirrored.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter

from hsistream.scene.scene import Scene
from hsistream.tiles import Window, grow

Indices = NDArray[np.int64]
Places = tuple[Indices, Indices, Indices]
"""Frame, row and column of pixels, (pixel,) each."""


def filling_reach(reach: int) -> int:
    """Pixels around a pixel with data on which its filled square of this reach depends.

    A gap at the corner of the square is ``reach`` times the root of 2 from its centre,
    so the nearest pixel with data may lie as far beyond the corner.

    Examples
    --------
    >>> filling_reach(3)
    7
    """
    return reach + int(reach * 2**0.5)


def fill_gaps(values: NDArray[Any], valid: NDArray[np.bool_], reach: int) -> None:
    """Give pixels without data the values of the nearest one with data.

    Parameters
    ----------
    values : (band, y, x)
        Changed in place.
    valid : (y, x) bool
        Pixels with data.
    reach : int
        Pixels that far from one with data, in rows and columns, are filled
        rightly; those beyond may keep what they have. Of pixels equally far,
        the first in row-major order is taken.
    """
    if valid.all():
        return
    rows, columns = np.nonzero(maximum_filter(valid, 2 * reach + 1) & ~valid)
    height, width = valid.shape
    source_rows, source_columns = rows.copy(), columns.copy()
    missing = np.arange(len(rows))
    for down, right in _by_distance(reach):
        row, column = rows[missing] + down, columns[missing] + right
        inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
        inside[inside] = valid[row[inside], column[inside]]
        found = missing[inside]
        source_rows[found], source_columns[found] = row[inside], column[inside]
        missing = missing[~inside]
        if not len(missing):
            break
    values[:, rows, columns] = values[:, source_rows, source_columns]


def read_patches(scene: Scene, places: Places, reach: int) -> NDArray[Any]:
    """Read the squares around pixels with data, one chunk after the other.

    Parameters
    ----------
    scene : Scene
        What is read.
    places : tuple of (pixel,) int64
        Frame, row and column of every pixel; all have data.
    reach : int
        Pixels around each.

    Returns
    -------
    (pixel, band, y, x)
        As stored. Beyond the edges of a frame it is mirrored, the pixels at the
        edge included; pixels without data are as the nearest with data.
    """
    side = 2 * reach + 1
    found = np.empty((len(places[0]), scene.bands, side, side), scene.dtype)
    for frame, numbers in _by_chunk(places, scene.chunk_px):
        rows, columns = places[1][numbers], places[2][numbers]
        shape = scene.frames[frame].shape
        window = grow(_around(rows, columns), filling_reach(reach), shape)
        spectra = scene.read(frame, window)
        fill_gaps(spectra, scene.valid(frame, window), reach)
        own_rows = _mirrored(rows, reach, shape[0]) - window[0].start
        own_columns = _mirrored(columns, reach, shape[1]) - window[1].start
        squares = spectra[:, own_rows[:, :, None], own_columns[:, None, :]]
        found[numbers] = squares.transpose(1, 0, 2, 3)
    return found


def mirrored(places: Indices, extent: int) -> Indices:
    """Find what lies at places beyond the edges of an axis: the pixels at the edge come twice.

    Examples
    --------
    >>> mirrored(np.arange(-3, 7), 4)
    array([2, 1, 0, 0, 1, 2, 3, 3, 2, 1])
    """
    around = places % (2 * extent)
    return np.asarray(np.minimum(around, 2 * extent - 1 - around))


def repeated(places: Indices, extent: int) -> Indices:
    """Find what lies at places beyond the edges of an axis: the pixel at the edge, all the way."""
    return np.asarray(np.clip(places, 0, extent - 1))


def _mirrored(centres: Indices, reach: int, extent: int) -> Indices:
    """Rows, or columns, of the squares around pixels, (pixel, side)."""
    return mirrored(centres[:, None] + np.arange(-reach, reach + 1), extent)


def _by_distance(reach: int) -> Iterator[tuple[int, int]]:
    """Yield steps (down, right) to other pixels, the near ones first."""
    far = filling_reach(reach) - reach
    around = range(-far, far + 1)
    steps = [(down**2 + right**2, down, right) for down in around for right in around]
    for length, down, right in sorted(steps):
        if 0 < length <= 2 * reach**2:
            yield down, right


def _by_chunk(places: Places, chunk_px: int) -> Iterator[tuple[int, Indices]]:
    """Yield the frame of every chunk in which a pixel lies, and the numbers of these pixels."""
    frame, row, column = places
    chunks = np.stack([frame, row // chunk_px, column // chunk_px], axis=1)
    known, member = np.unique(chunks, axis=0, return_inverse=True)
    for number, chunk in enumerate(known):
        yield int(chunk[0]), np.flatnonzero(member.ravel() == number)


def _around(rows: Indices, columns: Indices) -> Window:
    """Window that holds all pixels."""
    first, last = (rows.min(), columns.min()), (rows.max(), columns.max())
    return (
        slice(int(first[0]), int(last[0]) + 1),
        slice(int(first[1]), int(last[1]) + 1),
    )
