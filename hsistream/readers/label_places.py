"""Labels of single places: a CSV with a header, one row for each.

The columns of a place are ``x`` and ``y`` (or ``col`` and ``row``), pixels from 0 at the
upper left, or ``x_map`` and ``y_map``, in the coordinates of the frame, or ``lon`` and
``lat``, in degrees. A column ``frame`` names the frame of each, where there are several
that a place may lie in. Columns are told apart by commas, semicolons or tabs.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from rasterio.warp import transform as to_system

from hsistream.errors import ConfigError, SceneError
from hsistream.readers.labelled import (
    UNLABELLED,
    Indices,
    Labelled,
    LabelOptions,
    class_name,
    joined,
)
from hsistream.readers.map_places import georeferenced, pixel_of
from hsistream.scene.scene import Scene

PIXELS, MAP, DEGREES = ("x", "y"), ("x_map", "y_map"), ("lon", "lat")
"""Columns of a place."""

ALIASES: Mapping[str, str] = MappingProxyType(
    {"longitude": "lon", "latitude": "lat", "column": "x", "col": "x", "row": "y"}
)
"""Other names of these columns."""

SEPARATORS = ",;\t"
FRAME = "frame"
DEGREES_SYSTEM = "EPSG:4326"

Coordinates = NDArray[np.float64]


def read_places(path: Path, scene: Scene, options: LabelOptions) -> Labelled:
    """Read the labels of a CSV.

    Raises
    ------
    SceneError
        If the file is no CSV of places and classes, or a place is no number.
    ConfigError
        If places lie in no frame, or it is not known in which.
    """
    field = options.field.lower()
    rows = list(_rows(path))
    columns = _columns(path, rows, field)
    kept = [row for row in rows if class_name(row[field]) not in UNLABELLED]
    first, second = (
        np.array([_number(path, row, name) for row in kept], np.float64) for name in columns
    )
    frames = _frames(path, kept, scene, options.frame)
    names = [class_name(row[field]) for row in kept]
    if columns == PIXELS:
        return _of_pixels(path, scene, frames, (second, first), names)
    return _of_coordinates(path, scene, frames, (first, second), names, columns == DEGREES)


def _rows(path: Path) -> Iterator[dict[str, str]]:
    """Read the rows of a file, by the names of its columns in lower case."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            names = file.readline().strip().lower()
            comma = max(SEPARATORS, key=names.count)
            [split] = csv.reader([names], delimiter=comma, skipinitialspace=True)
            known = [ALIASES.get(name.strip(), name.strip()) for name in split]
            yield from csv.DictReader(file, known, delimiter=comma, skipinitialspace=True)
    except UnicodeDecodeError as error:
        raise SceneError(
            f"A CSV of labels is read as UTF-8, but {path} is not: {error}. Save it as UTF-8."
        ) from error
    except (OSError, csv.Error) as error:
        raise SceneError(f"{path} cannot be read as a CSV of labels: {error}.") from error


def _columns(path: Path, rows: Sequence[dict[str, str]], field: str) -> tuple[str, str]:
    """Find the columns of the places."""
    there = set(rows[0]) if rows else set()
    for columns in (PIXELS, MAP, DEGREES):
        if field in there and there.issuperset(columns):
            return columns
    raise SceneError(
        f"A CSV of labels needs rows, and the columns {field} and x, y (pixels), x_map, y_map or "
        f"lon, lat, but {path} has {', '.join(map(str, rows[0])) if rows else 'no rows'}."
        + ("" if field in there else " Name the column of the class with --field.")
    )


def _number(path: Path, row: dict[str, str], name: str) -> float:
    """Read one coordinate."""
    try:
        return float(row[name])
    except (TypeError, ValueError) as error:
        raise SceneError(f"Places are numbers, but {path} has {name} = {row[name]!r}.") from error


def _frames(
    path: Path, rows: Sequence[dict[str, str]], scene: Scene, only: str | None
) -> Indices | None:
    """Find the numbers of the frames that rows name, (label,); None where they name none."""
    if rows and FRAME in rows[0] and only is None:
        return np.array([scene.frame_number((row[FRAME] or "").strip()) for row in rows], np.int64)
    if only is not None:
        return np.full(len(rows), scene.frame_number(only), np.int64)
    return np.zeros(len(rows), np.int64) if len(scene.frames) == 1 else None


def _of_pixels(
    path: Path,
    scene: Scene,
    frames: Indices | None,
    places: tuple[Coordinates, Coordinates],
    names: Sequence[str],
) -> Labelled:
    """Take rows and columns as they are."""
    if frames is None:
        raise ConfigError(
            f"Pixels need a frame, but {scene.uri} has {len(scene.frames)} and {path} names none. "
            f"Add a column {FRAME!r}, or use --frame."
        )
    row, column = places
    shapes = np.array([frame.shape for frame in scene.frames])[frames]
    whole = (row == np.floor(row)) & (column == np.floor(column))
    inside = (row >= 0) & (column >= 0) & (row < shapes[:, 0]) & (column < shapes[:, 1])
    wrong = np.flatnonzero(~(whole & inside))
    if len(wrong):
        at = wrong[0]
        frame = scene.frames[int(frames[at])]
        raise ConfigError(
            f"x and y are whole numbers of pixels, from 0, within the frame, but {path} has x = "
            f"{column[at]:g}, y = {row[at]:g} and {frame.name} is {frame.shape[0]} x "
            f"{frame.shape[1]} px (y, x). Coordinates of a map are called x_map and y_map."
        )
    return joined(frames, row.astype(np.int64), column.astype(np.int64), names)


def _of_coordinates(
    path: Path,
    scene: Scene,
    frames: Indices | None,
    places: tuple[Coordinates, Coordinates],
    names: Sequence[str],
    degrees: bool,
) -> Labelled:
    """Find the pixels of map coordinates, in every frame that is asked for."""
    x, y = places
    found, labelled = [], np.zeros(len(x), np.bool_)
    for number, georeference in georeferenced(scene, path):
        own = np.arange(len(x)) if frames is None else np.flatnonzero(frames == number)
        here_x, here_y = x[own], y[own]
        if degrees and len(own):
            here_x, here_y = _from_degrees(here_x, here_y, georeference.crs_wkt, path)
        row, column, inside = pixel_of(here_x, here_y, georeference, scene.frames[number].shape)
        found += [
            (number, int(row[at]), int(column[at]), names[int(own[at])])
            for at in np.flatnonzero(inside)
        ]
        labelled[own[inside]] = True
    missed = int((~labelled).sum())
    if not found:
        raise ConfigError(
            f"Labels must lie in a frame, but none of the {len(x):,} places of {path} lies in one "
            f"of {scene.uri}. Check the coordinates, and the order of the columns."
        )
    frame, row, column = (np.array([each[axis] for each in found], np.int64) for axis in range(3))
    notes = [f"{missed:,} of {len(x):,} places of {path.name} lie in no frame"] if missed else []
    return joined(frame, row, column, [each[3] for each in found], notes)


def _from_degrees(
    lon: Coordinates, lat: Coordinates, system: str, path: Path
) -> tuple[Coordinates, Coordinates]:
    """Move degrees to the coordinate system of a frame."""
    try:
        x, y = to_system(DEGREES_SYSTEM, system, lon, lat)
    except Exception as error:  # PROJ fails with several kinds where a place has no coordinates
        raise ConfigError(
            f"lon and lat are degrees, lat from -90 to 90, but {path} has places without "
            f"coordinates in the system of the frame ({error}). Check the order of the columns."
        ) from error
    return np.asarray(x), np.asarray(y)
