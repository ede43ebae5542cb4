"""numpy files: ``.npz`` and ``.npy``, and the choice of the cube among named arrays."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from hsistream.errors import SceneError
from hsistream.readers.cube_source import (
    CubeSource,
    WindowedArray,
    check_axes,
    cube_header,
)
from hsistream.readers.options import ReadOptions
from hsistream.readers.spectral_axis import BandFacts, SpectralAxis, spectral_axis
from hsistream.readers.unpacking import UnpackedArray, readable
from hsistream.scene.source import check_type, is_number

CUBE_KEY = "cube"
MASK_KEY = "valid"
WAVELENGTH_KEYS = {
    "wavelength_nm": "nm", "wavelengths_nm": "nm", "wavelength": "", "wavelengths": "",
}  # fmt: skip
"""Names of wavelengths beside a cube, and the unit that the name gives."""

FWHM_KEYS = ("fwhm_nm", "fwhm")
NO_DATA_KEYS = ("nodata", "no_data")
LISTED = 12
"""Arrays that a message names at most."""


@dataclass(frozen=True, slots=True)
class Member:
    """Shape and type of a named array inside a file."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def is_number(self) -> bool:
        """Whether the values can be spectra or labels."""
        return is_number(self.dtype)

    @property
    def is_label_map(self) -> bool:
        """Whether this is a raster of integers without a band axis."""
        return len(self.shape) == 2 and self.dtype.kind in "iu" and min(self.shape) > 1

    def __str__(self) -> str:
        return f"{' x '.join(map(str, self.shape)) or 'scalar'} {self.dtype}"


def open_npz(path: Path, options: ReadOptions) -> list[CubeSource]:
    """Open the cube of a ``.npz`` file.

    The cube is ``--key``, else ``cube``, else the only array of three axes; its
    axes are (y, x, band) unless ``--axes`` says otherwise. ``valid`` (y, x)
    masks pixels, ``wavelength_nm`` and ``bbl`` describe the bands, and
    ``bad_bands`` (numbers from 0) may stand for ``bbl``.

    Parameters
    ----------
    path : Path
        The file.
    options : ReadOptions
        ``key``, ``axes`` and ``shape``.

    Returns
    -------
    list of CubeSource
        One frame.

    Raises
    ------
    SceneError
        If no cube can be told, or the file is damaged.

    Notes
    -----
    Members of an npz are compressed as a whole. At the first read the cube is
    decompressed, as a stream, to a temporary file and mapped from there:
    memory stays that of a window, ``TMPDIR`` needs room for one cube.
    """
    with readable(path):
        members = npz_members(path)
    key = choose_cube(members, options, path, CUBE_KEY)
    member = members[key]
    check_type(member.dtype, f"{key} in {path}")
    array = UnpackedArray(path, member.shape, member.dtype, partial(unpack_member, path, key))
    if options.shape is not None and len(member.shape) == 2:
        cube, axes = _unfolded(array, path, key, options.shape, "C")
    else:
        cube, axes = array, resolve_axes(options, member.shape, f"{key} in {path}")
    with readable(path), np.load(path, allow_pickle=False) as file:
        beside = {name: file[name] for name in members if _is_beside(name, members[name])}
    axis = axis_beside(beside, dict(zip(axes, cube.shape, strict=True)).get("b", 1), options, path)
    header = cube_header(path, cube, axes, axis=axis, no_data=no_data_beside(beside))
    mask = _mask(path, members, header.shape)
    return [CubeSource(header, path, cube, axes, mask)]


def open_npy(path: Path, options: ReadOptions) -> list[CubeSource]:
    """Open the cube of a ``.npy`` file, mapped: pixels are read window by window.

    Parameters
    ----------
    path : Path
        The file.
    options : ReadOptions
        ``axes``, or ``shape`` for a cube stored as (band, pixel) row by row.

    Returns
    -------
    list of CubeSource
        One frame.

    Raises
    ------
    SceneError
        If the axes are not given, or the file is damaged or holds objects.
    """
    with readable(path):
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    check_type(array.dtype, str(path))
    if options.shape is not None and array.ndim == 2:
        array, axes = unfold(array, options.shape, "C", str(path))
    elif options.axes is None:
        raise SceneError(_axes_needed(path, Member(array.shape, array.dtype)))
    else:
        axes = check_axes(options.axes, array.shape, str(path))
    return [CubeSource(cube_header(path, array, axes, axis=SpectralAxis()), path, array, axes)]


def choose_cube(
    members: Mapping[str, Member], options: ReadOptions, path: Path, usual: str | None = None
) -> str:
    """Choose the array that is the cube: the asked one, the usual one, or the only one.

    Raises
    ------
    SceneError
        If the asked one is not there, or none or several could be meant; the
        message lists them.
    """
    if options.key is not None:
        if options.key not in members:
            raise SceneError(f"{path} has no array {options.key!r}. It holds {listing(members)}.")
        return options.key
    if usual in members:
        return str(usual)
    flat = options.shape is not None or options.axes in ("yx", "xy")
    cubes = [
        name
        for name, member in members.items()
        if len(member.shape) == (2 if flat else 3) and member.dtype.kind in "iufc"
    ]
    if len(cubes) == 1:
        return cubes[0]
    if cubes:
        found = listing({name: members[name] for name in cubes})
        raise SceneError(
            f"{path} holds several arrays that could be the cube: {found}. "
            f"Name one with --key, such as --key {cubes[0]}."
        )
    raise SceneError(_no_cube(path, members))


def listing(members: Mapping[str, Member]) -> str:
    """List arrays with their shapes, the first few."""
    parts = [f"{name} ({member})" for name, member in list(members.items())[:LISTED]]
    more = len(members) - len(parts)
    return (", ".join(parts) or "no array") + (f" and {more} more" if more > 0 else "")


def unfold(
    array: NDArray[Any], shape: tuple[int, int], order: str, where: str
) -> tuple[NDArray[Any], str]:
    """View an array of (band, pixel) or (pixel, band) as a cube.

    Parameters
    ----------
    array : (band, pixel) or (pixel, band) array
        The values; where both fit, the band comes first.
    shape : (int, int)
        Size (y, x), px.
    order : str
        ``"F"`` where pixels run down the columns (MATLAB), ``"C"`` along rows.
    where : str
        Address, for messages.

    Returns
    -------
    array, str
        The cube and the letters of its axes.

    Raises
    ------
    SceneError
        If neither axis has as many pixels as the shape.
    """
    rows, columns = shape
    memory_order: Any = order  # numpy wants a literal type here
    if array.shape[1] == rows * columns:
        return array.reshape((array.shape[0], rows, columns), order=memory_order), "byx"
    if array.shape[0] == rows * columns:
        return array.reshape((rows, columns, array.shape[1]), order=memory_order), "yxb"
    raise SceneError(
        f"A size of {rows} x {columns} px makes {rows * columns} pixels, but {where} has the shape "
        f"{array.shape}, in which no axis is that long. Correct --shape."
    )


def resolve_axes(options: ReadOptions, shape: tuple[int, ...], where: str) -> str:
    """Take the axes that were asked for, or (y, x, band).

    Raises
    ------
    SceneError
        If they do not fit the shape.
    """
    if options.axes is None and len(shape) != 3:
        raise SceneError(
            f"A cube has three axes, but {where} has the shape {shape}. Use --shape YxX if it is "
            f"stored as (band, pixel), or --axes yx if it is an image of one band."
        )
    return check_axes(options.axes or "yxb", shape, where)


def axis_beside(
    beside: Mapping[str, NDArray[Any]], bands: int, options: ReadOptions, path: Path
) -> SpectralAxis:
    """Read the spectral axis from the small arrays beside a cube."""
    fwhm = next((_floats(beside[key]) for key in FWHM_KEYS if key in beside), ())
    places = [
        BandFacts(_floats(beside[key]), fwhm, units=unit)
        for key, unit in WAVELENGTH_KEYS.items()
        if key in beside
    ]
    if beside.get("bbl") is not None and beside["bbl"].size:
        places.append(BandFacts(quality=_floats(beside["bbl"])))
    elif "bad_bands" in beside:
        places.append(BandFacts(quality=_quality(beside["bad_bands"], bands, path)))
    return spectral_axis(places, bands, options, str(path))


def _quality(bad: NDArray[Any], bands: int, path: Path) -> tuple[float, ...]:
    """Turn numbers of bad bands, or a mask of them, into one number for each band: 1 = good."""
    if bad.dtype.kind == "b" and len(bad) == bands:
        return tuple(map(float, ~bad))
    numbers = _floats(bad)
    if bad.dtype.kind == "b" or len({*numbers}) < len(numbers) or {*numbers} - {*range(bands)}:
        raise SceneError(
            f"bad_bands holds different numbers of bands, from 0 to {bands - 1}, or a bool for "
            f"each of {bands} bands, but that of {path} has {len(bad)} values of type {bad.dtype}: "
            f"{', '.join(map(str, bad[:5].tolist()))}, ... Correct it, or save bbl (1 = good)."
        )
    return tuple(float(band not in numbers) for band in range(bands))


def no_data_beside(beside: Mapping[str, NDArray[Any]]) -> float | None:
    """Read the no-data value from a scalar beside a cube."""
    return next((float(beside[key].item()) for key in NO_DATA_KEYS if key in beside), None)


def npz_members(path: Path) -> dict[str, Member]:
    """Read shapes and types of the arrays of an npz without decompressing them."""
    with zipfile.ZipFile(path) as archive:
        members = {}
        for name in archive.namelist():
            if name.endswith(".npy"):
                with archive.open(name) as file:
                    members[name.removesuffix(".npy")] = _npy_member(file)
    return members


def unpack_member(path: Path, key: str, target: Path) -> None:
    """Copy one array of an npz to a ``.npy`` file, as a stream."""
    with (
        zipfile.ZipFile(path) as archive,
        archive.open(f"{key}.npy") as packed,
        target.open("wb") as file,
    ):
        shutil.copyfileobj(packed, file, 2**20)


def _npy_member(file: IO[bytes]) -> Member:
    """Read the header of one npy."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0
    if version != (1, 0):
        read = np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    return Member(tuple(shape), dtype)


def _unfolded(
    array: UnpackedArray, path: Path, key: str, shape: tuple[int, int], order: str
) -> tuple[UnpackedArray, str]:
    """Unpack a (band, pixel) array as a cube."""
    probe = np.broadcast_to(np.zeros((), array.dtype), array.shape)
    cube, axes = unfold(probe, shape, order, f"{key} in {path}")

    def unpack(target: Path) -> None:
        packed = target.with_name("packed.npy")
        array.unpack(packed)
        values = np.load(packed, mmap_mode="r", allow_pickle=False)
        np.save(target, unfold(values, shape, order, key)[0])

    return UnpackedArray(path, cube.shape, array.dtype, unpack), axes


def _is_beside(name: str, member: Member) -> bool:
    """Tell whether an array is one of the small ones that describe a cube."""
    if name in NO_DATA_KEYS:
        return int(np.prod(member.shape)) == 1 and member.dtype.kind in "iuf"
    if name == "bad_bands":
        return len(member.shape) == 1 and member.dtype.kind in "iufb"
    wanted = (*WAVELENGTH_KEYS, *FWHM_KEYS, "bbl")
    return name in wanted and member.dtype.kind in "iufb"


def _mask(
    path: Path, members: Mapping[str, Member], shape: tuple[int, int]
) -> WindowedArray | None:
    """Open the mask beside a cube."""
    member = members.get(MASK_KEY)
    if member is None:
        return None
    if member.shape != shape:
        raise SceneError(
            f"The array {MASK_KEY!r} masks pixels, so it needs the shape {shape} of the frame, but "
            f"{path} gives it {member.shape}."
        )
    unpack = partial(unpack_member, path, MASK_KEY)
    return UnpackedArray(path, member.shape, member.dtype, unpack)


def _no_cube(path: Path, members: Mapping[str, Member]) -> str:
    """Say what a file holds instead of a cube, and what would help."""
    found = listing(members)
    if any(member.is_label_map for member in members.values()):
        return (
            f"A cube with a band axis is needed, but {path} holds only {found}: a label map, not "
            f"spectra. Ingest the file of the cube, and give this one to evaluate --truth. If it "
            f"is an image of one band, use --axes yx; if a cube stored as (band, pixel), --shape."
        )
    return (
        f"A cube of three axes is needed, but {path} holds {found}. Use --shape YxX if the cube is "
        f"stored as (band, pixel), or --axes yx if it is an image of one band."
    )


def _axes_needed(path: Path, member: Member) -> str:
    """Suggest the axes of a npy, which does not say them."""
    if member.is_label_map:
        return _no_cube(path, {path.stem: member})
    if len(member.shape) == 2:
        return (
            f"The axes of {path} must be told; its shape is {member.shape}. Use --axes yx if it is "
            f"an image of one band, or --shape YxX if it is stored as (band, pixel)."
        )
    last = "y, x and band" if len(member.shape) == 3 else "three axes"
    return (
        f"The order of the axes of {path} must be told, since npy does not say it: its shape is "
        f"{member.shape}, and {last} are needed. Use --axes yxb if the band is last, or --axes byx "
        f"if it is first."
    )


def _floats(values: Sequence[Any] | NDArray[Any]) -> tuple[float, ...]:
    """Turn a small array into a tuple of floats."""
    return tuple(float(value) for value in np.asarray(values).ravel())
