"""Products in HDF5 and netCDF 4, such as those of NEON, EMIT and Tanager.

Every producer has a layout of its own. What they share is enough: one array of
three axes, a vector of wavelengths as long as one of them, and attributes that
name units and no data. Nothing here depends on a producer but the words.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray
from rasterio.crs import CRS

from hsistream.errors import SceneError
from hsistream.georeference import Georeference
from hsistream.readers.arrays import Member, choose_cube
from hsistream.readers.beside import (
    QUALITY,
    UNITS,
    WAVELENGTHS,
    WIDTHS,
    no_data_value,
    one_of,
    plain,
    said,
    settled_place,
    texts,
)
from hsistream.readers.cube_source import (
    CubeSource,
    check_axes,
    cube_header,
    named_axes,
)
from hsistream.readers.options import ReadOptions
from hsistream.readers.spectral_axis import BandFacts, SpectralAxis, spectral_axis
from hsistream.readers.unpacking import readable
from hsistream.scene.source import check_type

log = logging.getLogger(__name__)

HDF_SUFFIXES = (".h5", ".hdf5", ".he5", ".hdf", ".nc", ".nc4")

MAP_INFO = ("map_info",)
EPSG = ("epsg_code", "epsg")
"""Names of datasets, as names are compared."""

WINDOW_OF_ABSORPTION = re.compile(r"band_window_\d+_nanometers", re.IGNORECASE)
"""Attributes of a group that give the limits, nm, of bands without light."""

Vector = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class HdfArray:
    """A dataset of an HDF5 file, opened for each read and closed again."""

    path: Path
    key: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def __getitem__(self, index: tuple[slice, ...]) -> NDArray[Any]:
        with h5py.File(self.path, "r") as file:
            return np.asarray(file[self.key][index])


def open_hdf(path: Path, options: ReadOptions) -> list[CubeSource]:
    """Open the cube of an HDF5 or netCDF 4 file; its pixels are read window by window.

    The cube is ``--key`` (a path, or its last part where that is unique), else
    the only array of three axes. The axes come from ``--axes``, else from the
    names of the dimensions, else from the wavelengths: the axis that is as long
    as they are is the band, and y comes before x. Wavelengths, widths, good
    bands, the no-data value and the place are looked for beside the cube and
    in its attributes.

    Parameters
    ----------
    path : Path
        The file.
    options : ReadOptions
        ``key``, ``axes`` and ``wavelength_units``.

    Returns
    -------
    list of CubeSource
        One frame.

    Raises
    ------
    SceneError
        If no cube or no axes can be told, or the file is damaged or of an
        older format (HDF4, classic netCDF).

    Notes
    -----
    Values are kept as stored: a scale factor is not applied.
    """
    with _opened(path) as file:
        members = _members(file)
        options = _with_whole_key(options, members)
        key = choose_cube(members, options, path)
        return [_open_dataset(path, file[key], members, options)]


@contextmanager
def _opened(path: Path) -> Iterator[h5py.File]:
    """Open a file, and translate what the library says of damage."""
    with readable(path):
        if not h5py.is_hdf5(path):
            raise SceneError(
                f"HDF5 or netCDF 4 is needed, but {path} is neither: it is damaged, or of an older "
                f"format (HDF4, classic netCDF). Convert it, for example with nccopy -k nc4."
            )
        with h5py.File(path, "r") as file:
            yield file


def _members(file: h5py.File) -> dict[str, Member]:
    """List the datasets of a file and of its groups, by their paths."""
    found: dict[str, Member] = {}

    def add(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and item.shape is not None:
            found[name] = Member(tuple(item.shape), item.dtype)

    file.visititems(add)
    return found


def _with_whole_key(options: ReadOptions, members: Mapping[str, Member]) -> ReadOptions:
    """Let the last part of a path stand for it where only one path ends so."""
    ends = [name for name in members if PurePosixPath(name).name == options.key]
    if options.key in members or len(ends) != 1:
        return options
    return replace(options, key=ends[0])


def _open_dataset(
    path: Path, cube: h5py.Dataset, members: Mapping[str, Member], options: ReadOptions
) -> CubeSource:
    """Describe a dataset as a frame."""
    key = str(cube.name).lstrip("/")
    where = f"{key} in {path}"
    check_type(cube.dtype, where)
    beside = _Beside(cube, members)
    axes = check_axes(options.axes or _axes_of(beside, where), cube.shape, where)
    bands = dict(zip(axes, cube.shape, strict=True)).get("b", 1)
    array = HdfArray(path, key, tuple(cube.shape), cube.dtype)
    header = cube_header(
        path,
        array,
        axes,
        axis=_spectral_axis(beside, bands, options, where),
        no_data=_no_data(cube, where),
        georeference=_place(beside, axes, where),
        attributes={"variable": key, **texts(cube.attrs)},
    )
    return CubeSource(header, path, array, axes)


@dataclass(frozen=True, slots=True)
class _Beside:
    """What lies around a cube: its own attributes first, then datasets, the nearest first."""

    cube: h5py.Dataset
    members: Mapping[str, Member]

    def vector(self, names: tuple[str, ...], lengths: tuple[int, ...]) -> tuple[Vector, str]:
        """Find a vector of numbers, of one of the lengths, and its unit."""
        for name, value in self.cube.attrs.items():
            if said(name) in names and np.size(value) in lengths:
                return _numbers(value), ""
        for item in self._datasets(names):
            lies_along = item.ndim > 0 and max(item.shape) == item.size
            if lies_along and item.dtype.kind in "iufb" and item.size in lengths:
                return _numbers(item[()]), str(one_of(item.attrs, UNITS) or "")
        return (), ""

    def word(self, names: tuple[str, ...]) -> str | None:
        """Find a dataset of one text or number."""
        for item in self._datasets(names):
            if item.size == 1:
                return str(plain(item[()]))
        return None

    def _datasets(self, names: tuple[str, ...]) -> Iterator[h5py.Dataset]:
        """Yield the datasets of such names, those that share most folders with the cube first."""
        mine = PurePosixPath(str(self.cube.name)).parents

        def shared(name: str) -> int:
            return len(set(mine) & set(PurePosixPath("/", name).parents))

        paths = [name for name in self.members if said(PurePosixPath(name).name) in names]
        for path in sorted(paths, key=shared, reverse=True):
            yield self.cube.file[path]


def _axes_of(beside: _Beside, where: str) -> str:
    """Tell the axes from the names of dimensions, else from the number of wavelengths."""
    shape = tuple(beside.cube.shape)
    named = named_axes([_dimension(each) for each in beside.cube.dims], shape)
    if named is not None:
        return named
    wavelengths, _ = beside.vector(WAVELENGTHS, shape)
    if len(shape) == 3 and shape.count(len(wavelengths)) == 1:
        letters = iter("yx")
        return "".join("b" if size == len(wavelengths) else next(letters) for size in shape)
    raise SceneError(
        f"The axes y, x and band of {where} must be known, but its dimensions have no known names, "
        f"and no vector of wavelengths is as long as one axis; its shape is {shape}. Tell them, "
        f"such as --axes yxb or --axes byx."
    )


def _dimension(dimension: Any) -> str:  # h5py has no types
    """Name a dimension: by its label, else by the scale that is attached to it."""
    if dimension.label:
        return str(dimension.label)
    return PurePosixPath(str(dimension[0].name)).name if len(dimension) else ""


def _spectral_axis(beside: _Beside, bands: int, options: ReadOptions, where: str) -> SpectralAxis:
    """Read the spectral axis from what lies beside a cube."""
    lengths = (bands,)
    wavelengths, units = beside.vector(WAVELENGTHS, lengths)
    fwhm, _ = beside.vector(WIDTHS, lengths)
    quality, _ = beside.vector(QUALITY, lengths)
    axis = spectral_axis([BandFacts(wavelengths, fwhm, quality, units)], bands, options, where)
    dark = _dark_windows(beside.cube)
    if axis.good_bands or not axis.wavelengths_nm or not dark:
        return axis
    good = tuple(not any(low <= nm <= high for low, high in dark) for nm in axis.wavelengths_nm)
    return replace(axis, good_bands=good)


def _dark_windows(cube: h5py.Dataset) -> list[tuple[float, float]]:
    """Find the windows, nm, in which the air lets no light through, as the groups around say."""
    found = []
    group = cube.parent
    while group.name != "/":
        for name, value in group.attrs.items():
            if WINDOW_OF_ABSORPTION.fullmatch(name) and np.size(value) == 2:
                low, high = _numbers(value)
                found.append((low, high))
        group = group.parent
    return found


def _no_data(cube: h5py.Dataset, where: str) -> float | None:
    """Read the no-data value from the attributes of a cube, else what it was filled with."""
    found, made = no_data_value(cube.attrs, where), cube.id.get_create_plist()
    if found is None and made.fill_value_defined() == h5py.h5d.FILL_VALUE_USER_DEFINED:
        filled = float(cube.fillvalue)
        return filled if filled != 0 and np.isfinite(filled) else None
    return found


def _place(beside: _Beside, axes: str, where: str) -> Georeference | None:
    """Read the place from a CF grid mapping or an ENVI map info, and from coordinates."""
    facts = _grid_mapping(beside.cube)
    info, code = beside.word(MAP_INFO), beside.word(EPSG)
    stated = None if info is None else _of_map_info(info, code)
    if "GeoTransform" in facts:
        stated = Georeference.from_grid_mapping(facts)
    y, x = (_centres(beside.cube, axes.index(axis)) for axis in "yx")
    return settled_place(stated, (y, x), facts, where)


def _centres(cube: h5py.Dataset, axis: int) -> Vector:
    """Read the coordinates along an axis of a cube; empty where there are none."""
    for scale in cube.dims[axis].values():
        if scale.shape == (cube.shape[axis],) and scale.dtype.kind in "iuf":
            return tuple(float(value) for value in scale[:])
    return ()


def _grid_mapping(cube: h5py.Dataset) -> dict[str, Any]:
    """Find the attributes of the grid mapping of a cube, in its group or in one around it."""
    name, group = plain(cube.attrs.get("grid_mapping")), cube.parent
    while name is not None:
        item = group.get(str(name))
        if item is not None:
            return dict(item.attrs)
        if group.name == "/":
            break
        group = group.parent
    return {}


def _of_map_info(info: str, code: str | None) -> Georeference | None:
    """Read an ENVI map info: name, reference pixel (from 1), its coordinates, pixel size.

    Turned grids are left out: a wrong place is worse than none.
    """
    words = [word.strip() for word in info.strip("{} ").split(",")]
    turned = re.search(r"rotation\s*=\s*([-+.\deE]+)", info, re.IGNORECASE)
    if turned and not re.fullmatch(r"[-+]?[0.]+([eE].*)?", turned[1]):
        log.warning(
            "A map info with a rotation is not understood: %s. The place is left out.", info
        )
        return None
    try:
        column, row, x, y, width, height = map(float, words[1:7])
        wkt = CRS.from_epsg(int(float(code))).to_wkt() if code else ""
    except ValueError:
        log.warning("The map info %r is not understood. The place is left out.", info)
        return None
    left, top = x - (column - 1) * width, y + (row - 1) * height
    return Georeference((width, 0.0, left, 0.0, -height, top), wkt)


def _numbers(value: Any) -> Vector:
    """Turn a vector into floats; empty if it is none."""
    try:
        return tuple(float(each) for each in np.ravel(value))
    except (TypeError, ValueError):
        return ()
