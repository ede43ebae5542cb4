"""Labels of a scene from whatever file holds them: rasters, shapes, or single places."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsistream.errors import ConfigError, SceneError
from hsistream.readers.label_places import read_places
from hsistream.readers.label_shapes import read_shapes
from hsistream.readers.labelled import Indices, Labelled, LabelOptions, by_frame
from hsistream.readers.labels import label_georeference, read_labels
from hsistream.readers.zarr_stores import is_zarr
from hsistream.scene.scene import Frame, Scene

CLASSES_MOST = 1000
"""More classes than this are a mistake: a column of numbers that are no classes."""


def read_labelled(path: str | Path, scene: Scene, options: LabelOptions) -> Labelled:
    """Read the labelled pixels of a scene.

    Parameters
    ----------
    path : str or Path
        A raster that :func:`hsistream.readers.labels.read_labels` reads, 0 =
        unlabelled; points or polygons (GeoJSON, GeoPackage, shapefile); or a CSV of
        places and classes.
    scene : Scene
        Whose pixels they are.
    options : LabelOptions
        How to read it.

    Returns
    -------
    Labelled
        Pixels with data or without. Those that have several classes are left out,
        and counted in a note.

    Raises
    ------
    SceneError
        If the file cannot be read, or labels no pixel.
    ConfigError
        If the labels do not fit the frames.
    """
    place = Path(path)
    if not place.exists():
        raise SceneError(f"A file with labels is needed, but there is none at {place}.")
    if options.frame is not None:
        scene.frame_number(options.frame)
    found = SOURCES.get(place.suffix.lower(), _of_rasters)(place, scene, options)
    if not len(found.number):
        raise SceneError(f"Labelled pixels are needed, but {place} labels no pixel of {scene.uri}.")
    if len(found.names) > CLASSES_MOST:
        raise ConfigError(
            f"At most {CLASSES_MOST} classes can be told apart, but {place} has "
            f"{len(found.names)}. Is it a file of labels, and {options.field!r} their field?"
        )
    return found


def _of_rasters(path: Path, scene: Scene, options: LabelOptions) -> Labelled:
    """Read labels from rasters on the grid of their frames."""
    rasters = by_frame(scene, read_labels(path, options.key), options.frame, "labels")
    check_places(path, scene, tuple(rasters))
    places = [np.nonzero(values > 0) for values in rasters.values()]
    row, column = (np.concatenate([each[axis] for each in places]) for axis in (0, 1))
    numbers = [scene.frame_number(name) for name in rasters]
    frame = np.repeat(numbers, [len(each[0]) for each in places])
    classes = np.concatenate([values[values > 0] for values in rasters.values()])
    return _of_numbers(frame, row, column, classes)


def check_places(path: Path, scene: Scene, frames: Sequence[str]) -> None:
    """Refuse a raster of labels that lies elsewhere than the frame that it labels.

    That is the one frame, or in a folder that of its name.

    Raises
    ------
    ConfigError
        If both have a georeference, and their grids differ by more than half a pixel.
    """
    if path.is_dir() and not is_zarr(path):
        known = {frame.name: frame for frame in scene.frames if frame.name in set(frames)}
        for file in (each for each in sorted(path.iterdir()) if each.stem in known):
            _check_place(file, known[file.stem])
    elif len(frames) == 1:
        _check_place(path, scene.frames[scene.frame_number(frames[0])])


def _check_place(path: Path, frame: Frame) -> None:
    """Refuse a raster that lies elsewhere than a frame."""
    found, place = label_georeference(path), frame.georeference
    if found is None or place is None or found.agrees(place, frame.shape):
        return
    raise ConfigError(
        f"Labels must lie on the grid of their frame, but {path} lies elsewhere: its first pixel "
        f"is at {found.transform[2]:g}, {found.transform[5]:g} and that of {frame.name} at "
        f"{place.transform[2]:g}, {place.transform[5]:g}, or pixel sizes or coordinate systems "
        f"differ. Warp the labels to the frame, or give them as points or polygons."
    )


def _of_numbers(
    frame: Indices, row: Indices, column: Indices, classes: NDArray[np.integer[Any]]
) -> Labelled:
    """Take labels (pixel,) that are numbers, each of one pixel."""
    known, number = np.unique(classes, return_inverse=True)
    order = np.lexsort((column, row, frame))
    frame, row, column = (each[order].astype(np.int64) for each in (frame, row, column))
    names = tuple(str(each) for each in known)
    return Labelled(frame, row, column, number.ravel()[order], names)


Source = Callable[[Path, Scene, LabelOptions], Labelled]

SOURCES: Mapping[str, Source] = MappingProxyType(
    {
        ".csv": read_places,
        ".geojson": read_shapes,
        ".json": read_shapes,
        ".gpkg": read_shapes,
        ".shp": read_shapes,
    }
)
"""Suffix to reader; all other files are rasters."""
