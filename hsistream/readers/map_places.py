"""From places on a map to pixels of the frames that have a georeference."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.transform import Affine

from hsistream.errors import ConfigError
from hsistream.georeference import Georeference
from hsistream.scene.scene import Scene

Coordinates = NDArray[np.float64]
Indices = NDArray[np.int64]


def georeferenced(
    scene: Scene, path: Path, only: str | None = None
) -> Iterator[tuple[int, Georeference]]:
    """Yield number and georeference of the frames that have one, all or one of them.

    Raises
    ------
    ConfigError
        If none has one that names its coordinate system.
    """
    found = [
        (number, frame.georeference)
        for number, frame in enumerate(scene.frames)
        if frame.georeference is not None
        and frame.georeference.crs_wkt
        and only in (None, frame.name)
    ]
    if not found:
        raise ConfigError(
            f"Coordinates of a map need a frame with a georeference, but {scene.uri} has none. "
            f"Give labels as a raster, or as a CSV of the pixels x, y."
        )
    yield from found


def transform_of(georeference: Georeference) -> Affine:
    """Give the transform from pixel corners to map coordinates."""
    return Affine(*georeference.transform)


def pixel_of(
    x: Coordinates, y: Coordinates, georeference: Georeference, shape: tuple[int, int]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Find the pixels of map coordinates.

    Parameters
    ----------
    x, y : (place,) float64
        In the system of the georeference.
    georeference : Georeference
        Of the frame.
    shape : (int, int)
        Size (y, x) of the frame, px.

    Returns
    -------
    row, column : (place,) int64
        Without meaning for places outside.
    inside : (place,) bool
        Whether a place lies in the frame.
    """
    row, column = georeference.pixels_at(x, y)
    known = np.isfinite(row) & np.isfinite(column)
    inside = known & (row >= 0) & (column >= 0) & (row < shape[0]) & (column < shape[1])
    return _whole(row, inside), _whole(column, inside), inside


def ground_places(
    scene: Scene, frame: Indices, row: Indices, column: Indices
) -> tuple[Indices, Indices, Indices]:
    """Give pixels of frames that overlap on the ground the places that they share.

    Parameters
    ----------
    scene : Scene
        Its frames.
    frame, row, column : (pixel,) int64
        Where pixels lie.

    Returns
    -------
    frame, row, column : (pixel,) int64
        The same, but for frames with a georeference: pixels of the grid of the first
        of these frames of their coordinate system, which goes on in all directions.
    """
    found = np.stack([frame, row, column])
    first_of: dict[str, int] = {}
    for number in np.unique(frame).tolist():
        place = scene.frames[number].georeference
        if place is None or not place.crs_wkt:
            continue
        first = _first_of(place.crs_wkt, number, first_of)
        grid = scene.frames[first].georeference
        if first == number or grid is None:
            continue
        own = frame == number
        rows, columns = grid.pixels_at(*place.places_of(row[own] + 0.5, column[own] + 0.5))
        found[:, own] = np.stack([np.full(len(rows), first), np.floor(rows), np.floor(columns)])
    return found[0], found[1], found[2]


def _first_of(system: str, number: int, first_of: dict[str, int]) -> int:
    """Give the first frame of a coordinate system, however its WKT is written."""
    if system not in first_of:
        wanted = CRS.from_wkt(system)
        alike = (first for known, first in first_of.items() if CRS.from_wkt(known) == wanted)
        first_of[system] = next(alike, number)
    return first_of[system]


def _whole(values: Coordinates, inside: NDArray[Any]) -> NDArray[np.int64]:
    """Take the pixel in which values lie; 0 for those outside."""
    return np.floor(np.where(inside, values, 0)).astype(np.int64)
