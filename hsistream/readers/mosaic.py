"""Many rasters that are pieces of one frame, placed by their georeference."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.crs import CRS

from hsistream.errors import SceneError
from hsistream.georeference import Georeference
from hsistream.readers.rasters import RasterSource
from hsistream.scene.missing import find_missing
from hsistream.scene.source import FrameHeader, check_scales
from hsistream.tiles import Window, overlap, within

log = logging.getLogger(__name__)

ALIGNMENT_PX = 0.01
"""How far pixels of two pieces may lie apart and still be of one grid."""

SHORTEST_NAME = 3
"""Letters that the names of pieces must share to give the frame its name."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A raster and the row and column of its first pixel."""

    source: RasterSource
    row: int
    column: int

    @property
    def window(self) -> Window:
        """Place of the piece."""
        height, width = self.source.header.shape
        return slice(self.row, self.row + height), slice(self.column, self.column + width)


@dataclass(frozen=True, slots=True, eq=False)
class MosaicSource:
    """One frame made of pieces; where none lies there is no data.

    Where pieces overlap, the first one that has data counts.
    """

    header: FrameHeader
    pieces: tuple[Piece, ...]
    no_data: float | None = None
    keep_zeros: bool = False

    def read(self, window: Window) -> NDArray[Any]:
        """Return the values of a window, (band, y, x); places without a piece hold no data."""
        return self._compose(window)[0]

    def valid(self, window: Window) -> NDArray[np.bool_]:
        """Tell where a piece lies, (y, x), by its own mask if it has one."""
        rows, columns = (part.stop - part.start for part in window)
        covered = np.zeros((rows, columns), np.bool_)
        for piece in self.pieces:
            shared = overlap(piece.window, window)
            if shared is not None:
                mask = piece.source.valid(within(shared, piece.window))
                covered[within(shared, window)] |= True if mask is None else mask
        return covered

    def _compose(self, window: Window) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Fill a window piece by piece; tell where there is data."""
        rows, columns = (part.stop - part.start for part in window)
        values = np.full((self.header.bands, rows, columns), _fill(self.header))
        filled = np.zeros((rows, columns), np.bool_)
        for piece in self.pieces:
            shared = overlap(piece.window, window)
            if shared is not None:
                at = within(shared, window)
                inside = within(shared, piece.window)
                block = piece.source.read(inside)
                has_data = self._has_data(block)
                mask = piece.source.valid(inside)
                has_data &= True if mask is None else mask
                take = ~filled[at]
                values[:, *at][:, take] = block[:, take]
                filled[at] |= has_data
        return values, filled

    def _has_data(self, block: NDArray[Any]) -> NDArray[np.bool_]:
        """Tell which pixels have a value in any band, (y, x)."""
        no_data = self.header.no_data if self.no_data is None else self.no_data
        has_data = ~find_missing(block, no_data).all(axis=0)
        if not self.keep_zeros and len(block) > 1:
            has_data &= block.any(axis=0)
        return np.asarray(has_data)


def join_mosaic(sources: Sequence[RasterSource]) -> MosaicSource:
    """Place rasters of one grid as pieces of one frame.

    Parameters
    ----------
    sources : sequence of RasterSource
        Pieces with the same bands, type, coordinate system and resolution.

    Returns
    -------
    MosaicSource
        The frame, named after what the names of the files share, else after
        their folder. Its shape is the box around all pieces.

    Raises
    ------
    SceneError
        If a piece has no georeference or does not lie on the grid of the first.
    """
    first = sources[0]
    for source in sources:
        _check_alike(first, source)
    if len(sources) > 1 and _are_bands(sources):
        raise SceneError(
            f"The pieces of a mosaic lie side by side, but the {len(sources)} rasters of one band, "
            f"{first.path} and so on, lie on one another: they look like the bands of one image. "
            f"Join them first: gdalbuildvrt -separate bands.vrt FILES, gdal_translate bands.vrt "
            f"image.tif."
        )
    corners = [_corner(first, source) for source in sources]
    top, left = min(row for row, _ in corners), min(column for _, column in corners)
    pieces = tuple(
        Piece(source, row - top, column - left)
        for source, (row, column) in zip(sources, corners, strict=True)
    )
    shape = (
        max(piece.window[0].stop for piece in pieces),
        max(piece.window[1].stop for piece in pieces),
    )
    place = first.header.georeference
    assert place is not None
    header = replace(
        first.header,
        name=_shared_name(sources),
        shape=shape,
        georeference=place.shifted(top, left),
        attributes={**first.header.attributes, "pieces": str(len(pieces))},
    )
    return MosaicSource(header, pieces)


def hint_mosaic(sources: Sequence[RasterSource]) -> bool:
    """Log a hint, and return True, if rasters look like pieces of one frame, or its bands."""
    if len(sources) > 1 and _are_bands(sources):
        log.warning(
            "The %d rasters of one band lie on one another, and become %d frames. If they are the "
            "bands of one image, join them first: gdalbuildvrt -separate, gdal_translate.",
            len(sources), len(sources),
        )  # fmt: skip
        return True
    try:
        pieces = join_mosaic(sources).pieces if len(sources) > 1 else ()
    except SceneError:
        return False
    starts = {(piece.row, piece.column) for piece in pieces}
    right = {(piece.row, piece.window[1].stop) for piece in pieces}
    below = {(piece.window[0].stop, piece.column) for piece in pieces}
    adjacent = len(starts) == len(pieces) and bool(starts & (right | below))
    if adjacent:
        log.warning(
            "The %d rasters lie side by side on one grid, and become %d frames. If they are "
            "pieces of one frame, use --mosaic.", len(pieces), len(pieces),
        )  # fmt: skip
    return adjacent


def _are_bands(sources: Sequence[RasterSource]) -> bool:
    """Tell whether rasters look like the bands of one image: of one band, in one place."""
    first = sources[0].header
    return first.georeference is not None and all(
        (each.header.bands, each.header.shape, each.header.georeference)
        == (1, first.shape, first.georeference)
        for each in sources
    )


def _fill(header: FrameHeader) -> NDArray[Any]:
    """Give the no-data value in the type of the frame; 0 where there is none that it can hold."""
    if header.no_data is None:
        return np.zeros((), header.dtype)
    with np.errstate(all="ignore"):
        value = np.asarray(header.no_data).astype(header.dtype)
        fits = value.dtype.kind == "f" or float(value) == header.no_data
    return value if fits else np.zeros((), header.dtype)


def _check_alike(first: RasterSource, other: RasterSource) -> None:
    """Refuse a piece whose bands, type or no-data value differ from those of the first."""
    if other.header.georeference is None:
        raise SceneError(
            f"The pieces of a mosaic are placed by their georeference, but {other.path} has none."
        )
    check_scales(first.header, other.header)
    facts = [
        (header.bands, str(header.dtype), repr(header.no_data), header.good_bands)
        for header in (first.header, other.header)
    ]
    if facts[0] != facts[1]:
        raise SceneError(
            f"The pieces of a mosaic share bands, type, no-data value and bad bands, but "
            f"{first.path} has {facts[0][:3]} and {other.path} has {facts[1][:3]}"
            + (", with other bad bands." if facts[0][:3] == facts[1][:3] else ".")
        )
    ours, theirs = first.header.wavelengths_nm, other.header.wavelengths_nm
    if len(ours) != len(theirs) or not np.allclose(ours, theirs, atol=1.0):
        raise SceneError(
            f"The pieces of a mosaic share their wavelengths, but those of {first.path} and "
            f"{other.path} differ by more than 1 nm."
        )


def _corner(first: RasterSource, other: RasterSource) -> tuple[int, int]:
    """Find the row and column of a raster's first pixel in the grid of the first raster."""
    grid, place = first.header.georeference, other.header.georeference
    assert grid is not None
    assert place is not None
    _check_grid(grid, place, first, other)
    a, b, c, d, e, f = grid.transform
    offset = (place.transform[2] - c, place.transform[5] - f)
    column, row = np.linalg.solve(((a, b), (d, e)), offset)
    if max(abs(column - round(column)), abs(row - round(row))) > ALIGNMENT_PX:
        raise SceneError(
            f"The pieces of a mosaic lie on one grid of whole pixels, but {other.path} lies "
            f"{row:.3f} rows and {column:.3f} columns from {first.path}. Resample it first."
        )
    return round(row), round(column)


def _check_grid(
    grid: Georeference, place: Georeference, first: RasterSource, other: RasterSource
) -> None:
    """Refuse a raster of another coordinate system or resolution."""
    a, b, _, d, e, _ = grid.transform
    steps = (place.transform[0], place.transform[1], place.transform[3], place.transform[4])
    extent = max(other.header.shape)
    scale = max(abs(a), abs(b), abs(d), abs(e))
    same_steps = all(
        math.isclose(ours, theirs, abs_tol=ALIGNMENT_PX * scale / extent)
        for ours, theirs in zip((a, b, d, e), steps, strict=True)
    )
    if not same_steps:
        raise SceneError(
            f"The pieces of a mosaic have one resolution, but a pixel of {first.path} is "
            f"{(a, b, d, e)} and one of {other.path} {steps} map units (a, b, d, e)."
        )
    if grid.crs_wkt != place.crs_wkt and _crs(grid) != _crs(place):
        raise SceneError(
            f"The pieces of a mosaic have one coordinate system, but {first.path} and "
            f"{other.path} have different ones. Reproject one of them first."
        )


def _crs(place: Georeference) -> CRS | None:
    """Parse a coordinate system."""
    return CRS.from_wkt(place.crs_wkt) if place.crs_wkt else None


def _shared_name(sources: Sequence[RasterSource]) -> str:
    """Name a frame by what the names of its files share, else by their folder."""
    shared = os.path.commonprefix([source.path.stem for source in sources])  # noqa: RUF071 (letters)
    trimmed = shared.rstrip("0123456789-_. ") if len(sources) > 1 else shared
    if len(trimmed) >= SHORTEST_NAME:
        return trimmed
    return sources[0].path.resolve().parent.name or trimmed
