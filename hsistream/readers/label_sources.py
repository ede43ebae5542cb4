"""Labels of a scene from whatever file holds them: rasters, shapes, or single places."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.crs import CRS

from hsistream.errors import ConfigError, SceneError
from hsistream.files import local_path
from hsistream.georeference import Georeference
from hsistream.readers.label_places import read_places
from hsistream.readers.label_shapes import read_shapes
from hsistream.readers.labelled import Indices, Labelled, LabelOptions, by_frame
from hsistream.readers.labels import label_georeference, read_labels
from hsistream.readers.zarr_stores import is_zarr
from hsistream.scene.scene import Frame, Scene

CLASSES_MOST = 1000
"""More classes than this are a mistake: a column of numbers that are no classes."""


def read_labelled(path: str | PathLike[str], scene: Scene, options: LabelOptions) -> Labelled:
    """Read the labelled pixels of a scene.

    Parameters
    ----------
    path : str or os.PathLike
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
    place = local_path(path, SceneError)
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
        files = [each for each in sorted(path.iterdir()) if each.is_file()]
        named = [each for each in files if each.stem in known]
        for file in named or (files if len(known) == 1 else ()):  # the only frame takes any name
            _check_place(file, known.get(file.stem) or known[frames[0]])
    elif len(frames) == 1:
        _check_place(path, scene.frames[scene.frame_number(frames[0])])


def _check_place(path: Path, frame: Frame) -> None:
    """Refuse a raster that lies elsewhere than a frame."""
    found, place = label_georeference(path), frame.georeference
    if found is None or place is None or found.agrees(place, frame.shape):
        return
    raise ConfigError(
        f"Labels must lie on the grid of their frame, but {path} lies elsewhere: its "
        f"{_difference(found, place)} of {frame.name}. Warp the labels to the frame; if they are "
        f"tiles of one frame, join them first (evaluate takes them with --mosaic)."
    )


def _difference(found: Georeference, place: Georeference) -> str:
    """Say in what a place differs from another: system, size of pixels, or first pixel."""
    if found.has_other_system(place):
        ours, theirs = (CRS.from_wkt(each.crs_wkt).to_string()[:60] for each in (found, place))
        return f"coordinate system is {ours}, not the {theirs}"
    (a, b, c, d, e, f), wanted = found.transform, place.transform
    if not np.allclose((a, b, d, e), (*wanted[:2], *wanted[3:5]), rtol=1e-6):
        return f"pixels measure {a:.10g}, {e:.10g}, not the {wanted[0]:.10g}, {wanted[4]:.10g}"
    return f"first pixel is at {c:.10g}, {f:.10g}, not the {wanted[2]:.10g}, {wanted[5]:.10g}"


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
