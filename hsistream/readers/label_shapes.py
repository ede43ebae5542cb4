"""Labels of points and polygons: GeoJSON, GeoPackage, shapefile.

A point labels the pixel in which it lies, a polygon those whose centre it holds.
Polygons are drawn strip by strip, so that a large one needs no mask of its frame.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.errors import CRSError
from rasterio.features import geometry_mask
from rasterio.warp import transform_geom

from hsistream.errors import ConfigError, SceneError
from hsistream.georeference import Georeference
from hsistream.readers.labelled import (
    UNLABELLED,
    Labelled,
    LabelOptions,
    class_name,
    joined,
)
from hsistream.readers.map_places import georeferenced, pixel_of, transform_of
from hsistream.scene.scene import Scene

STRIP_PX = 1024
"""Rows of a polygon that are drawn at once."""

POINTS = ("Point", "MultiPoint")
POLYGONS = ("Polygon", "MultiPolygon")

Shape = dict[str, Any]
"""A geometry as in GeoJSON: type and coordinates."""


@dataclass(frozen=True, slots=True)
class Shapes:
    """Geometries, the name of the class of each, and their coordinate system."""

    geometries: Sequence[Shape]
    names: Sequence[str]
    system: CRS


def read_shapes(path: Path, scene: Scene, options: LabelOptions) -> Labelled:
    """Read the labels of points and polygons.

    Raises
    ------
    SceneError
        If the file cannot be read, or lacks the field, or holds other geometries.
    ConfigError
        If no frame has a georeference, or none of the shapes lies in one.
    """
    shapes = _read(path, options.field, options.key)
    places, names = [], []
    hit = np.zeros(len(shapes.names), np.bool_)
    for number, georeference in georeferenced(scene, path, options.frame):
        shape = scene.frames[number].shape
        geometries = _moved(shapes, georeference, path)
        for at, (geometry, name) in enumerate(zip(geometries, shapes.names, strict=True)):
            for row, column in _pixels(geometry, georeference, shape):
                places.append(np.stack([np.full(len(row), number), row, column]))
                names += [name] * len(row)
                hit[at] |= bool(len(row))
    if not names:
        raise ConfigError(
            f"Labels must lie in a frame, but none of the {len(shapes.names):,} shapes of {path} "
            f"lies in one of {scene.uri}. Check that its coordinate system is the right one."
        )
    missed = int((~hit).sum())
    notes = [f"{missed:,} of {len(hit):,} shapes of {path.name} label no pixel"] if missed else []
    frame, row, column = np.concatenate(places, axis=1).astype(np.int64)
    return joined(frame, row, column, names, notes)


def _read(path: Path, field: str, key: str | None) -> Shapes:
    """Read the geometries of a file, and the field of their classes."""
    try:
        import pyogrio
        import shapely
    except ImportError as error:
        raise SceneError(
            f"Points and polygons need pyogrio and shapely, to read {path}. Install them with: "
            f'pip install "hsistream[vectors]"'
        ) from error
    try:
        layer = _layer(pyogrio.list_layers(path)[:, 0].tolist(), key, path)
        about = pyogrio.read_info(path, layer=layer)
        if field not in about["fields"]:
            raise SceneError(
                f"Shapes need a field with their class, but {path} has no {field!r}; it has "
                f"{', '.join(about['fields']) or 'none'}. Name it with --field."
            )
        _, _, found, [values] = pyogrio.raw.read(path, layer=layer, columns=[field])
    except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError) as error:
        raise SceneError(f"{path} cannot be read as points or polygons: {error}.") from error
    kept = [(text, class_name(value)) for text, value in zip(found, values, strict=True)]
    drawn = [(shapely.from_wkb(text), name) for text, name in kept if text is not None]
    named = [(each, name) for each, name in drawn if name not in UNLABELLED and not each.is_empty]
    geometries = [shapely.geometry.mapping(each) for each, _ in named]
    others = {each["type"] for each in geometries} - {*POINTS, *POLYGONS}
    if others:
        raise SceneError(f"Labels are points or polygons, but {path} has {', '.join(others)}.")
    return Shapes(geometries, [name for _, name in named], _system(about["crs"], path))


def _layer(layers: list[str], key: str | None, path: Path) -> str:
    """Choose the layer of a file: the only one, or the one that is named."""
    if len(layers) == 1:
        return layers[0]
    if key not in layers:
        raise SceneError(
            f"One layer holds the labels, but {path} has {', '.join(layers)}. Name it with --key."
        )
    return key


def _system(text: str | None, path: Path) -> CRS:
    """Read the coordinate system of a file."""
    try:
        return CRS.from_user_input(text or "")
    except CRSError as error:
        raise SceneError(
            f"Shapes need a coordinate system, but {path} names none. Write it with one."
        ) from error


def _moved(shapes: Shapes, georeference: Georeference, path: Path) -> list[Shape]:
    """Move shapes to the coordinate system of a frame."""
    system = CRS.from_wkt(georeference.crs_wkt)
    if system == shapes.system or not shapes.geometries:
        return list(shapes.geometries)
    try:
        return list(transform_geom(shapes.system, system, list(shapes.geometries)))
    except Exception as error:  # PROJ fails with several kinds where a place has no coordinates
        raise ConfigError(
            f"The shapes of {path} have no place in the coordinate system of the frame "
            f"({system.to_string()[:60]}): {error}."
        ) from error


def _pixels(
    geometry: Shape, georeference: Georeference, shape: tuple[int, int]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield rows and columns of the pixels of a geometry, part by part."""
    if geometry["type"] in POINTS:
        points = np.atleast_2d(np.asarray(geometry["coordinates"], np.float64))
        row, column, inside = pixel_of(points[:, 0], points[:, 1], georeference, shape)
        yield row[inside], column[inside]
        return
    corners = np.array(list(_corners(geometry["coordinates"])))
    rows, columns = georeference.pixels_at(corners[:, 0], corners[:, 1])
    top, bottom = _span(rows, shape[0])
    left, right = _span(columns, shape[1])
    for first in range(top, bottom, STRIP_PX):
        last = min(bottom, first + STRIP_PX)
        if left < right:
            moved = transform_of(georeference.shifted(first, left))
            outside = geometry_mask([geometry], (last - first, right - left), moved)
            row, column = np.nonzero(~outside)
            yield row + first, column + left


def _corners(coordinates: Any) -> Iterator[tuple[float, float]]:
    """Yield all corners of a polygon, or of several."""
    if isinstance(coordinates[0], int | float):
        yield float(coordinates[0]), float(coordinates[1])
        return
    for part in coordinates:
        yield from _corners(part)


def _span(values: NDArray[np.float64], extent: int) -> tuple[int, int]:
    """First and last pixel that values touch along an axis, cut at the frame."""
    low, high = np.clip([np.floor(values.min()), np.ceil(values.max())], 0, extent)
    return int(low), int(high)
