"""From places on a map to pixels of the frames that have a georeference."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.transform import Affine

from hsistream.errors import ConfigError
from hsistream.georeference import Georeference
from hsistream.scene.scene import Scene

Coordinates = NDArray[np.float64]


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
    row, column = grid_places(x, y, georeference)
    known = np.isfinite(row) & np.isfinite(column)
    inside = known & (row >= 0) & (column >= 0) & (row < shape[0]) & (column < shape[1])
    return _whole(row, inside), _whole(column, inside), inside


def grid_places(
    x: Coordinates, y: Coordinates, georeference: Georeference
) -> tuple[Coordinates, Coordinates]:
    """Find rows and columns (place,) of map coordinates; whole ones are corners of pixels."""
    back = ~transform_of(georeference)
    return back.d * x + back.e * y + back.f, back.a * x + back.b * y + back.c


def _whole(values: Coordinates, inside: NDArray[Any]) -> NDArray[np.int64]:
    """Take the pixel in which values lie; 0 for those outside."""
    return np.floor(np.where(inside, values, 0)).astype(np.int64)
