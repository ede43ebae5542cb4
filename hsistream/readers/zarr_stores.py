"""zarr stores: scenes of hsistream, and arrays of any other writer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from hsistream.errors import SceneError, StoreError
from hsistream.georeference import Georeference
from hsistream.readers.arrays import Member, choose_cube
from hsistream.readers.beside import (
    QUALITY,
    UNITS,
    WAVELENGTHS,
    WIDTHS,
    no_data_value,
    one_of,
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
from hsistream.scene.scene import ROOT_KEY, Scene
from hsistream.scene.source import FrameHeader, check_type
from hsistream.tiles import Window

ROOT_FILES = ("zarr.json", ".zgroup", ".zarray")


@dataclass(frozen=True, slots=True, eq=False)
class SceneSource:
    """One frame of a scene store."""

    header: FrameHeader
    path: Path
    scene: Scene
    frame: int

    def read(self, window: Window) -> NDArray[Any]:
        """Return the values of a window, (band, y, x)."""
        return self.scene.read(self.frame, window)

    def valid(self, window: Window) -> NDArray[np.bool_]:
        """Return which pixels of a window have data, (y, x)."""
        return self.scene.valid(self.frame, window)


@dataclass(frozen=True, slots=True, eq=False)
class StoredArray:
    """An array of another writer; ``witness`` is the file that describes it.

    zarr reads what is not there as fill value, a whole store that went away included.
    """

    array: zarr.Array[Any]
    witness: Path

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of the axes."""
        return tuple(self.array.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""
        return np.dtype(self.array.dtype)

    def __getitem__(self, index: Any, /) -> NDArray[Any]:
        values = np.asarray(self.array[index])
        if not self.witness.is_file():  # asked afterwards: it may go away during the read
            raise StoreError(
                f"{self.witness} is needed as long as pixels are read, but it is not there any "
                f"more: the store was moved or deleted since it was opened. Put it back, or open "
                f"the store where it lies now."
            )
        return values


def is_zarr(path: Path) -> bool:
    """Tell whether a folder is a zarr store, of version 2 or 3."""
    return path.is_dir() and any((path / name).is_file() for name in ROOT_FILES)


def open_zarr(path: Path, options: ReadOptions) -> list[CubeSource | SceneSource]:
    """Open a zarr store: every frame of a scene of hsistream, or the cube of another writer.

    In a foreign group the cube is ``--key``, else the only array of three axes.
    Its axes come from the names of its dimensions, else from ``--axes``;
    wavelengths, widths and bad bands from vectors beside it; the place from CF
    or ``spatial:`` attributes.

    Parameters
    ----------
    path : Path
        The folder of the store.
    options : ReadOptions
        ``key``, ``axes`` and ``wavelength_units``.

    Returns
    -------
    list of CubeSource or SceneSource
        One per frame.

    Raises
    ------
    SceneError
        If no cube or no axes can be told, or the store is damaged.
    DamagedError
        If a scene of hsistream lacks storage files.
    """
    with readable(path):
        node = zarr.open(str(path), mode="r")
    if isinstance(node, zarr.Array):
        return [_open_array(path, node, _group_around(path), options)]
    if ROOT_KEY in node.attrs:
        return list(_open_scene(path, options))
    members = zarr_members(path, node)
    key = choose_cube(members, options, path)
    array = node[key]
    assert isinstance(array, zarr.Array)
    parent = node[key.rpartition("/")[0]] if "/" in key else node
    assert isinstance(parent, zarr.Group)
    return [_open_array(path, array, parent, options)]


def zarr_members(path: Path, group: zarr.Group) -> dict[str, Member]:
    """List the arrays of a group and of its groups, by their paths."""
    with readable(path):
        return {
            name: Member(tuple(item.shape), np.dtype(item.dtype))
            for name, item in sorted(group.members(max_depth=None))
            if isinstance(item, zarr.Array)
        }


def _group_around(path: Path) -> zarr.Group | None:
    """Open the group that an array lies in, if it lies in one."""
    if not is_zarr(path.parent):
        return None
    with readable(path.parent):
        return zarr.open_group(str(path.parent), mode="r")


def _open_scene(path: Path, options: ReadOptions) -> list[SceneSource]:
    """Open all frames of a scene store, or the one that is asked for."""
    scene = Scene.open(path)
    scene.check_complete()
    if options.key is not None:
        scene.frame_number(options.key)
    sources = []
    for number, frame in enumerate(scene.frames):
        header = FrameHeader(
            name=frame.name,
            shape=frame.shape,
            bands=scene.bands,
            dtype=np.dtype(scene.dtype),
            wavelengths_nm=scene.wavelengths_nm,
            fwhm_nm=scene.fwhm_nm,
            good_bands=scene.good_bands,
            no_data=None,  # of the first frame only; the mask of each says more
            georeference=frame.georeference,
            attributes={"file": path.name, "frame": frame.name},
        )
        if options.key in (None, frame.name):
            sources.append(SceneSource(header, path, scene, number))
    return sources


def _open_array(
    path: Path, array: zarr.Array[Any], parent: zarr.Group | None, options: ReadOptions
) -> CubeSource:
    """Describe an array of another writer."""
    where = f"{array.path} in {path}" if array.path else str(path)
    check_type(array.dtype, where)
    dimensions = dimension_names(array)
    axes = check_axes(options.axes or _axes_of(dimensions, array, where), array.shape, where)
    bands = dict(zip(axes, array.shape, strict=True)).get("b", 1)
    header = cube_header(
        path,
        array,
        axes,
        axis=_axis_beside(parent, bands, options, where),
        no_data=_no_data(array, where),
        georeference=None if parent is None else _place(parent, array, axes),
        attributes={"variable": array.path, **texts(array.attrs)},
    )
    mask = _mask(parent, header.shape)
    folder = path / array.path
    around = None if mask is None else StoredArray(mask, _witness(folder.parent / "valid", path))
    return CubeSource(header, path, StoredArray(array, _witness(folder, path)), axes, around)


def _witness(folder: Path, store: Path) -> Path:
    """Find the file that describes an array: in its folder, else that of the whole store."""
    files = [place / name for place in (folder, store) for name in ROOT_FILES]
    return next(file for file in files if file.is_file())


def dimension_names(array: zarr.Array[Any]) -> tuple[str, ...]:
    """Read the names of the dimensions of an array; empty where it has none."""
    names = getattr(array.metadata, "dimension_names", None) or array.attrs.get("_ARRAY_DIMENSIONS")
    return tuple(str(name) for name in names) if isinstance(names, list | tuple) else ()


def _axes_of(dimensions: tuple[str, ...], array: zarr.Array[Any], where: str) -> str:
    """Turn the names of dimensions into letters."""
    letters = named_axes(dimensions, array.shape)
    if letters is not None:
        return letters
    said = f"its dimensions are {dimensions}" if dimensions else "it does not name its dimensions"
    raise SceneError(
        f"The axes y, x and band of {where} must be known, but {said}; its shape is "
        f"{array.shape}. Tell them, such as --axes byx or --axes yxb."
    )


def _axis_beside(
    parent: zarr.Group | None, bands: int, options: ReadOptions, where: str
) -> SpectralAxis:
    """Read the spectral axis from the vectors beside an array."""
    if parent is None:
        return SpectralAxis()
    wavelengths, attributes = _vector(parent, WAVELENGTHS)
    fwhm, _ = _vector(parent, WIDTHS)
    quality, _ = _vector(parent, QUALITY)
    units = str(one_of(attributes, UNITS) or "")
    return spectral_axis([BandFacts(wavelengths, fwhm, quality, units)], bands, options, where)


def _vector(
    parent: zarr.Group, names: tuple[str, ...]
) -> tuple[tuple[float, ...], Mapping[str, Any]]:
    """Read the first vector of numbers that has one of the names."""
    for name in names:
        item = parent.get(name)
        if isinstance(item, zarr.Array) and item.ndim == 1 and item.dtype.kind in "iufb":
            return tuple(float(value) for value in np.asarray(item[:])), item.attrs
    return (), {}


def _mask(parent: zarr.Group | None, shape: tuple[int, int]) -> zarr.Array[Any] | None:
    """Find a mask of truth values beside an array."""
    item = None if parent is None else parent.get("valid")
    fits = isinstance(item, zarr.Array) and item.shape == shape and item.dtype.kind == "b"
    return item if fits and isinstance(item, zarr.Array) else None


def _no_data(array: zarr.Array[Any], where: str) -> float | None:
    """Read the no-data value from attributes; xarray keeps it as fill value in version 2."""
    found = no_data_value(array.attrs, where)
    if found is None and array.metadata.zarr_format == 2 and "_ARRAY_DIMENSIONS" in array.attrs:
        return no_data_value({"_FillValue": array.metadata.fill_value}, where)
    return found


def _place(parent: zarr.Group, array: zarr.Array[Any], axes: str) -> Georeference | None:
    """Read the place from a CF grid mapping or ``spatial:`` attributes, and from coordinates."""
    mapping = parent.get(str(array.attrs.get("grid_mapping", "spatial_ref")))
    facts: Mapping[str, Any] = mapping.attrs if isinstance(mapping, zarr.Array) else {}
    names = dict(zip(axes, dimension_names(array), strict=False))
    y, x = (_vector(parent, (names.get(axis, axis),))[0] for axis in "yx")
    stated, code = _stated(facts, parent.attrs), parent.attrs.get("proj:code")
    return settled_place(stated, (y, x), facts, array.path, code)


def _stated(facts: Mapping[str, Any], around: Mapping[str, Any]) -> Georeference | None:
    """Read the place that attributes of a grid mapping, or of a group, state."""
    if "GeoTransform" in facts:
        return Georeference.from_grid_mapping(facts)
    transform = around.get("spatial:transform")
    if isinstance(transform, list) and len(transform) >= 6:
        system = around.get("proj:wkt2") or around.get("proj:code")
        return Georeference.parsed(transform[:6], system)
    return None
