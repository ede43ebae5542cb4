"""MATLAB files: up to v7 through scipy, v7.3 (HDF5) through h5py.

MATLAB stores columns first. scipy gives arrays in MATLAB's own order of axes;
HDF5 shows the same bytes with the axes reversed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray
from scipy import io

from hsistream.readers.arrays import (
    FWHM_KEYS,
    NO_DATA_KEYS,
    WAVELENGTH_KEYS,
    Member,
    axis_beside,
    choose_cube,
    no_data_beside,
    resolve_axes,
    unfold,
)
from hsistream.readers.cube_source import (
    CubeSource,
    WindowedArray,
    cube_header,
)
from hsistream.readers.hdf import HdfArray
from hsistream.readers.options import ReadOptions
from hsistream.readers.unpacking import readable, spilled
from hsistream.scene.source import check_type

MATLAB_TYPES = {
    "double": "f8", "single": "f4", "logical": "?", "int8": "i1", "int16": "i2", "int32": "i4",
    "int64": "i8", "uint8": "u1", "uint16": "u2", "uint32": "u4", "uint64": "u8",
}  # fmt: skip
"""MATLAB's classes of numbers; all others (cell, struct, char, sparse) count as objects."""

SIZE_KEYS = ("nRow", "nCol")
"""Size of a cube that is stored as (band, pixel)."""


@dataclass(frozen=True, slots=True)
class PixelColumns:
    """A view (x, y, band) of a dataset (pixel, band) whose pixels run down the columns.

    A window costs the reading of whole columns, which lie together.
    """

    pixels: HdfArray
    shape: tuple[int, int, int]

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""
        return self.pixels.dtype

    def __getitem__(self, index: tuple[slice, ...]) -> NDArray[Any]:
        columns, rows, bands = index
        width, height, count = self.shape
        first, last, _ = columns.indices(width)
        block = self.pixels[slice(first * height, last * height), slice(None)]
        return block.reshape(last - first, height, count)[:, rows, bands]


@dataclass(frozen=True, slots=True)
class BandColumns:
    """A view (band, x, y) of a dataset (band, pixel) whose pixels run down the columns."""

    pixels: HdfArray
    shape: tuple[int, int, int]

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""
        return self.pixels.dtype

    def __getitem__(self, index: tuple[slice, ...]) -> NDArray[Any]:
        bands, columns, rows = index
        count, width, height = self.shape
        first, last, _ = columns.indices(width)
        block = self.pixels[slice(None), slice(first * height, last * height)]
        return block.reshape(count, last - first, height)[bands, :, rows]


def open_mat(path: Path, options: ReadOptions) -> list[CubeSource]:
    """Open the cube of a MATLAB file.

    The cube is ``--key``, else the only array of three axes, in the order
    (y, x, band) unless ``--axes`` says otherwise (as MATLAB's ``size`` shows
    them). A cube stored as (band, pixel) or (pixel, band), columns first, is
    understood where ``nRow`` and ``nCol`` or ``--shape`` give its size.

    Parameters
    ----------
    path : Path
        The file, of any version from 4 to 7.3.
    options : ReadOptions
        ``key``, ``axes`` and ``shape``.

    Returns
    -------
    list of CubeSource
        One frame.

    Raises
    ------
    SceneError
        If no cube can be told (a label map is none), or the file is damaged.

    Notes
    -----
    Version 7.3 is read window by window. Older versions must be parsed as a
    whole: when opened, the cube is in memory once, and is then mapped from a
    temporary file.
    """
    members = mat_members(path)
    size = options.shape or _stored_size(path, members)
    if not any(len(member.shape) == 3 for member in members.values()):
        members = _with_stored_types(path, members)
    flat = size is not None and _flat_key(members, options) is not None
    if flat and options.key is None:
        key = str(_flat_key(members, options))
    else:
        key = choose_cube(members, options, path)
    check_type(members[key].dtype, f"{key} in {path}")
    if flat and size is not None:
        array, axes = _flat_cube(path, key, members[key], size)
    else:
        array, axes = _cube(path, key, members[key], options)
    beside = _beside(path, members)
    bands = dict(zip(axes, array.shape, strict=True)).get("b", 1)
    header = cube_header(
        path,
        array,
        axes,
        axis=axis_beside(beside, bands, options, path),
        no_data=no_data_beside(beside),
        attributes={"variable": key},
    )
    return [CubeSource(header, path, array, axes)]


def mat_members(path: Path) -> dict[str, Member]:
    """List the arrays of a MATLAB file with their shapes in MATLAB's order of axes."""
    with readable(path):
        if h5py.is_hdf5(path):
            return _hdf_members(path)
        return {
            name: Member(tuple(shape), np.dtype(MATLAB_TYPES.get(kind, "O")))
            for name, shape, kind in io.whosmat(path)
        }


def load_variable(path: Path, key: str) -> NDArray[Any]:
    """Load one array in MATLAB's order of axes."""
    if h5py.is_hdf5(path):
        with h5py.File(path, "r") as file:
            return np.asarray(file[key][()]).T
    return np.asarray(io.loadmat(path, variable_names=[key])[key])


def _hdf_members(path: Path) -> dict[str, Member]:
    """List the datasets of a v7.3 file; MATLAB's own book-keeping is left out."""
    members = {}
    with h5py.File(path, "r") as file:
        for name, item in file.items():
            if isinstance(item, h5py.Dataset) and not name.startswith("#"):
                kind = item.attrs.get("MATLAB_class", b"")
                logical = kind in (b"logical", "logical")
                dtype = np.dtype(np.bool_) if logical else _plain(item.dtype)
                members[name] = Member(tuple(item.shape)[::-1], dtype)
    return members


def _plain(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Show MATLAB's complex numbers, a pair of fields in HDF5, as what they are."""
    return np.dtype(np.complex128) if dtype.names == ("real", "imag") else dtype


def _stored_size(path: Path, members: Mapping[str, Member]) -> tuple[int, int] | None:
    """Read the size (y, x) that a file gives for a flat cube."""
    if not all(key in members and np.prod(members[key].shape) == 1 for key in SIZE_KEYS):
        return None
    with readable(path):
        rows, columns = (int(load_variable(path, key).item()) for key in SIZE_KEYS)
    return rows, columns


def _with_stored_types(path: Path, members: Mapping[str, Member]) -> dict[str, Member]:
    """Find the arrays of doubles that hold whole numbers, so that label maps are told."""
    found = dict(members)
    for name, member in members.items():
        if len(member.shape) == 2 and member.is_number:
            with readable(path):
                values = load_variable(path, name)
            whole = values.dtype.kind == "f" and bool(np.all(values == np.round(values)))
            found[name] = Member(member.shape, np.dtype(np.int64) if whole else values.dtype)
    return found


def _flat_key(members: Mapping[str, Member], options: ReadOptions) -> str | None:
    """Find the cube among arrays of two axes: the asked one, or the only one that is numbers."""
    flat = [
        name
        for name, member in members.items()
        if len(member.shape) == 2 and min(member.shape) > 1 and member.is_number
    ]
    if options.key is not None:
        return options.key if options.key in flat else None
    cubes = [name for name, member in members.items() if len(member.shape) == 3]
    return flat[0] if len(flat) == 1 and not cubes else None


def _cube(path: Path, key: str, member: Member, options: ReadOptions) -> tuple[WindowedArray, str]:
    """Open an array of three axes, or of two that were asked for."""
    axes = resolve_axes(options, member.shape, f"{key} in {path}")
    if h5py.is_hdf5(path):
        return _hdf_array(path, key), axes[::-1]
    return spilled(_loaded(path, key)), axes


def _flat_cube(
    path: Path, key: str, member: Member, size: tuple[int, int]
) -> tuple[WindowedArray, str]:
    """Open an array (band, pixel) or (pixel, band), columns first, as a cube."""
    where = f"{key} in {path}"
    if not h5py.is_hdf5(path):
        cube, axes = unfold(_loaded(path, key), size, "F", where)
        return spilled(cube), axes
    probe = np.broadcast_to(np.zeros((), member.dtype), member.shape)
    axes = unfold(probe, size, "F", where)[1]
    array = _hdf_array(path, key)
    if axes == "byx":
        return PixelColumns(array, (size[1], size[0], array.shape[1])), "xyb"
    return BandColumns(array, (array.shape[0], size[1], size[0])), "bxy"


def _loaded(path: Path, key: str) -> NDArray[Any]:
    """Load one array of an older file; only then is its stored type known."""
    with readable(path):
        values = load_variable(path, key)
    check_type(values.dtype, f"{key} in {path}")
    return values


def _hdf_array(path: Path, key: str) -> HdfArray:
    """Describe a dataset as HDF5 shows it."""
    with readable(path), h5py.File(path, "r") as file:
        return HdfArray(path, key, tuple(file[key].shape), file[key].dtype)


def _beside(path: Path, members: Mapping[str, Member]) -> dict[str, NDArray[Any]]:
    """Load the small arrays that describe the cube."""
    vectors = (*WAVELENGTH_KEYS, *FWHM_KEYS, "bbl")
    beside = {}
    for name, member in members.items():
        is_vector = name in vectors and len(member.shape) - member.shape.count(1) <= 1
        is_scalar = name in NO_DATA_KEYS and int(np.prod(member.shape)) == 1
        if (is_vector or is_scalar) and member.dtype.kind in "iufb":
            with readable(path):
                beside[name] = load_variable(path, name)
    return beside
