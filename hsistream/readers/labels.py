"""Reference labels from any of the formats that frames are read from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from hsistream.errors import SceneError
from hsistream.files import local_path
from hsistream.georeference import Georeference
from hsistream.readers.arrays import Member, listing, npz_members
from hsistream.readers.envi_header import TIFF_SUFFIXES, find_header
from hsistream.readers.matlab import load_variable, mat_members
from hsistream.readers.mosaic import MosaicSource, join_mosaic
from hsistream.readers.options import ReadOptions
from hsistream.readers.rasters import (
    ENVI_DRIVER,
    TIFF_DRIVER,
    RasterSource,
    data_file,
    describe_raster,
)
from hsistream.readers.unpacking import readable
from hsistream.readers.zarr_stores import is_zarr, zarr_members

Labels = NDArray[np.integer[Any]]

USUAL_KEY = "gt"
"""Usual name of reference labels; it comes first."""

UNLABELLED = 0
"""Label of pixels that the reference does not know."""


def read_labels(path: str | PathLike[str], key: str | None = None) -> dict[str, Labels]:
    """Read the label rasters of a file.

    Parameters
    ----------
    path : str or os.PathLike
        An npz, npy, MATLAB, GeoTIFF or ENVI file, a zarr store, or a folder of
        such files.
    key : str, optional
        Name of the one raster that is wanted; in zarr the last part of its
        path is enough.

    Returns
    -------
    dict of str to (y, x) integer
        Rasters by name: the variable of an npz or mat, the path in a zarr
        store, else the name of the file without suffix. ``gt`` comes first.
        Floats count if all are whole numbers. NaN and the no-data value of a
        raster become 0, which means unlabelled; all else is as stored.

    Raises
    ------
    SceneError
        If there is no such file or raster, or the file is damaged.
    """
    place = local_path(path, SceneError)
    if not place.exists():
        raise SceneError(f"A file with labels is needed, but there is none at {place}.")
    if place.is_dir() and not is_zarr(place):
        return _of_folder(place, key)
    found = _of_file(place, key)
    if not found:
        wanted = "an integer raster (y, x)" if key is None else f"an integer raster {key!r} (y, x)"
        raise SceneError(f"Labels need {wanted}, but {place} holds {_contents(place)}.")
    return dict(sorted(found.items(), key=lambda item: item[0] != USUAL_KEY))


def label_georeference(path: Path) -> Georeference | None:
    """Tell where a raster of labels lies; None if it does not say."""
    data = data_file(path) if path.is_file() else path
    return _raster(data).header.georeference if _is_raster(data) else None


def read_label_mosaic(folder: str | PathLike[str]) -> dict[str, Labels]:
    """Read label rasters that are pieces of one frame, placed by their georeference.

    Parameters
    ----------
    folder : str or os.PathLike
        Folder of GeoTIFF or ENVI rasters.

    Returns
    -------
    dict of str to (y, x) integer
        One raster, named after what the names of the files share; 0 where no
        piece lies.

    Raises
    ------
    SceneError
        If the pieces do not lie on one grid.
    """
    paths = sorted(local_path(folder, SceneError).iterdir())
    rasters = [_raster(path) for path in paths if _is_raster(path)]
    if not rasters:
        raise SceneError(f"Label rasters are needed, but {folder} holds no GeoTIFF or ENVI file.")
    joined = join_mosaic(rasters)
    if joined.header.no_data is None:  # what one piece leaves unlabelled, another may label
        joined = replace(joined, no_data=0.0)
    return {joined.header.name: _whole_raster(joined)}


def _of_folder(folder: Path, key: str | None) -> dict[str, Labels]:
    """Read the labels of all files of a folder, by the names of the files."""
    found: dict[str, Labels] = {}
    for path in sorted(folder.iterdir()):
        if is_zarr(path) or path.suffix.lower() in (*READERS, *TIFF_SUFFIXES) or _is_raster(path):
            found |= {
                name if name == path.stem else f"{path.stem}/{name}": labels
                for name, labels in _of_file(path, key).items()
            }
    if not found:
        raise SceneError(f"Labels need an integer raster (y, x), but no file of {folder} has one.")
    return found


def _of_file(path: Path, key: str | None) -> dict[str, Labels]:
    """Read the labels of one file, or of one store."""
    if is_zarr(path):
        return _of_zarr(path, key)
    reader = READERS.get(path.suffix.lower())
    if reader is not None:
        return reader(path, key)
    if _is_raster(path) or path.suffix.lower() == ".hdr":
        return _of_raster(path)
    raise SceneError(
        f"Labels are read from npz, npy, mat, GeoTIFF, ENVI and zarr, but {path} is none of them."
    )


def _of_npz(path: Path, key: str | None) -> dict[str, Labels]:
    """Read the integer rasters of an npz."""
    with readable(path):
        members = _wanted(npz_members(path), key)
        with np.load(path, allow_pickle=False) as file:
            return _only_whole({name: np.asarray(file[name]) for name in members})


def _of_mat(path: Path, key: str | None) -> dict[str, Labels]:
    """Read the integer rasters of a MATLAB file."""
    members = _wanted(mat_members(path), key)
    with readable(path):
        return _only_whole({name: load_variable(path, name) for name in members})


def _of_npy(path: Path, _key: str | None) -> dict[str, Labels]:
    """Read the one raster of an npy."""
    with readable(path):
        values = np.load(path, mmap_mode="r", allow_pickle=False)
        if values.ndim != 2:
            return {}
        return _only_whole({path.stem: np.array(values)})


def _of_zarr(path: Path, key: str | None) -> dict[str, Labels]:
    """Read the integer rasters of a zarr store, by their paths."""
    with readable(path):
        node = zarr.open(str(path), mode="r")
        if isinstance(node, zarr.Array):
            return _only_whole({path.stem: np.asarray(node[:])}) if node.ndim == 2 else {}
        members = _wanted(zarr_members(path, node), None)
        names = [name for name in members if key in (None, name, name.rpartition("/")[2])]
        return _only_whole({name: np.asarray(node[name][:]) for name in names})  # type: ignore[index]


def _of_raster(path: Path) -> dict[str, Labels]:
    """Read the one band of a raster."""
    source = _raster(path)
    return {} if source.header.bands != 1 else {source.path.stem: _whole_raster(source)}


READERS: Mapping[str, Callable[[Path, str | None], dict[str, Labels]]] = {
    ".npz": _of_npz,
    ".npy": _of_npy,
    ".mat": _of_mat,
}
"""Suffix to reader of label rasters; all other files are rasters for GDAL."""


def _is_raster(path: Path) -> bool:
    """Tell whether GDAL is asked: a TIFF, or a data file with an ENVI header beside it."""
    if not path.is_file() or path.suffix.lower() == ".hdr":
        return False
    return path.suffix.lower() in TIFF_SUFFIXES or find_header(path) is not None


def _raster(path: Path) -> RasterSource:
    """Describe a raster of labels."""
    data = data_file(path)
    driver = TIFF_DRIVER if data.suffix.lower() in TIFF_SUFFIXES else ENVI_DRIVER
    return describe_raster(data, driver, None, ReadOptions())


def _whole_raster(source: RasterSource | MosaicSource) -> Labels:
    """Read all of a raster as labels; 0 where there is no data."""
    height, width = source.header.shape
    window = (slice(0, height), slice(0, width))
    values, mask = source.read(window)[0], source.valid(window)
    unknown = np.zeros(values.shape, np.bool_) if mask is None else ~mask
    if source.header.no_data is not None:
        unknown |= values == source.header.no_data
    cleaned = np.where(unknown, UNLABELLED, values).astype(values.dtype)
    name = source.header.name
    return whole_labels({name: cleaned})[name]


def whole_labels(arrays: Mapping[str, NDArray[Any]]) -> dict[str, Labels]:
    """Take arrays (y, x) for labels; NaN becomes 0, which means unlabelled.

    Raises
    ------
    SceneError
        If one of them holds anything but whole numbers.
    """
    labels = _only_whole(arrays)
    for name in arrays:
        if name not in labels:
            raise SceneError(f"Labels are whole numbers, but {name} holds others.")
    return labels


def _wanted(members: Mapping[str, Member], key: str | None) -> list[str]:
    """Choose the arrays that may be labels: the asked one, or all rasters of numbers."""
    return [
        name
        for name, member in members.items()
        if len(member.shape) == 2
        and member.is_number
        and (name == key if key is not None else min(member.shape) > 1)
    ]


def _only_whole(arrays: Mapping[str, NDArray[Any]]) -> dict[str, Labels]:
    """Keep the arrays of whole numbers, as integers in native byte order."""
    found: dict[str, Labels] = {}
    for name, values in arrays.items():
        if values.dtype.kind in "iu":
            found[name] = values.astype(values.dtype.newbyteorder("="))
        elif values.dtype.kind == "f":
            known = np.where(np.isnan(values), UNLABELLED, values)
            if np.all(np.isfinite(known)) and np.all(known == np.round(known)):
                found[name] = known.astype(np.int64)
    return found


def _contents(path: Path) -> str:
    """List what a file holds instead of labels."""
    suffix = path.suffix.lower()
    if suffix == ".npz":
        return listing(npz_members(path))
    if suffix == ".mat":
        return listing(mat_members(path))
    return "other arrays" if is_zarr(path) else "no single band of whole numbers"
