"""Arrays that are there already, as frames: of numpy, xarray, or dask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hsistream.errors import SceneError
from hsistream.georeference import Georeference
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
from hsistream.readers.cube_source import AXIS_NAMES, WindowedArray, named_axes, native
from hsistream.readers.options import ReadOptions
from hsistream.readers.spectral_axis import BandFacts, SpectralAxis, spectral_axis
from hsistream.scene.checks import checked_header
from hsistream.scene.source import FrameHeader
from hsistream.tiles import Window


@dataclass(frozen=True, slots=True, eq=False)
class ArraySource:
    """One frame that is an array; ``axes`` is the order of its axes, ``mask`` is (y, x)."""

    header: FrameHeader
    array: WindowedArray
    axes: str
    mask: WindowedArray | None = None

    def read(self, window: Window) -> NDArray[Any]:
        """Return the values of a window, (band, y, x); a lazy array computes no more than that."""
        along = {"y": window[0], "x": window[1], "b": slice(None)}
        block = np.asarray(self.array[tuple(along[letter] for letter in self.axes)])
        return native(block.transpose([self.axes.index(letter) for letter in "byx"]))

    def valid(self, window: Window) -> NDArray[np.bool_] | None:
        """Return the given mask of a window, (y, x); None without one."""
        return None if self.mask is None else np.asarray(self.mask[window]).astype(np.bool_)


def source_from_array(
    values: WindowedArray,
    *,
    name: str,
    dims: str = "yxb",
    wavelengths_nm: Sequence[float] | ArrayLike | None = None,
    valid: WindowedArray | None = None,
    georeference: Georeference | None = None,
) -> ArraySource:
    """Make a frame of an array, for :func:`hsistream.ingest`.

    A ``DataArray`` of xarray tells more: the names of its dimensions count before
    ``dims``, and coordinates give wavelengths, widths, bad bands and the place
    where the arguments do not; a fill value among its attributes means no data.

    Parameters
    ----------
    values : array of numpy or dask, or DataArray
        Spectra of three axes. Lazy ones are computed window by window.
    name : str
        Name of the frame.
    dims : str
        Order of the axes: the letters y, x and b (band).
    wavelengths_nm : (band,) float, optional
        Wavelengths, nm.
    valid : (y, x) bool, optional
        Which pixels have data.
    georeference : Georeference, optional
        Where the frame lies.

    Returns
    -------
    ArraySource
        A source; it holds the array, not a copy.

    Raises
    ------
    SceneError
        If the array has not three axes of real numbers, or what is told of it
        does not fit its shape.

    Examples
    --------
    >>> cube = np.ones((4, 5, 3), np.float32)
    >>> source_from_array(cube, name="lab", wavelengths_nm=[450, 550, 650]).header.shape
    (4, 5)
    """
    _check_array(values, name)
    axes = _axes(values, dims, name)
    bands = values.shape[axes.index("b")]
    attrs: Mapping[str, Any] = getattr(values, "attrs", {})
    axis, place = SpectralAxis(), georeference
    if _is_labelled(values):
        axis = _axis_of(values, bands, name)
        place = place or _place_of(values, axes, name)
    header = FrameHeader(
        name=name,
        shape=(values.shape[axes.index("y")], values.shape[axes.index("x")]),
        bands=bands,
        dtype=values.dtype,
        wavelengths_nm=axis.wavelengths_nm if wavelengths_nm is None else wavelengths_nm,  # type: ignore[arg-type]  # checked next
        fwhm_nm=axis.fwhm_nm,
        good_bands=axis.good_bands,
        no_data=no_data_value(attrs, name),
        georeference=place,
        attributes=texts(attrs),
    )
    header = checked_header(header, "the array")
    mask = None if valid is None else _mask(valid, header)
    return ArraySource(header, _bare(values), axes, mask)


def _check_array(values: Any, name: str) -> None:
    """Refuse what cannot be cut into windows, or would lose its mask."""
    if isinstance(values, np.ma.MaskedArray):
        raise SceneError(
            f"Plain values are needed for {name}, but they are a masked array. Give its data, and "
            f"valid=, which pixels have some, such as ~values.mask.any(axis=-1)."
        )
    if not all(hasattr(values, each) for each in ("shape", "dtype", "__getitem__")):
        raise SceneError(
            f"An array is needed for {name}, but found a {type(values).__name__}. Give one of "
            f"numpy, dask or xarray; open files by hsistream.open_sources."
        )
    if len(values.shape) != len("yxb"):
        raise SceneError(
            f"An array of three axes, y, x and band, is needed for {name}, but its shape is "
            f"{tuple(values.shape)}. Give a single band an axis of its own: values[..., None]."
        )


def _axes(values: Any, dims: str, name: str) -> str:
    """Tell the axes by the names that an array has for them, else by what is said."""
    named = tuple(map(str, values.dims)) if _is_labelled(values) else ()
    axes = named_axes(named, values.shape) or dims
    if not isinstance(axes, str) or sorted(axes) != ["b", "x", "y"]:
        raise SceneError(
            f'dims of {name} must have the letters y, x and b once each, such as "yxb", but is '
            f"{dims!r}. Name the axes of the shape {tuple(values.shape)} in their order."
        )
    for said, letter in zip(named, axes, strict=False):
        if any(said.lower() in names for key, names in AXIS_NAMES.items() if key != letter):
            raise SceneError(
                f"The dimensions of {name} are {named}, but dims={dims!r} says otherwise. Name "
                f"the axes in their order by dims, or call the dimensions y, x and band."
            )
    return axes


def _is_labelled(values: Any) -> bool:
    """Tell whether an array is one of xarray."""
    return hasattr(values, "dims") and hasattr(values, "coords") and hasattr(values, "variable")


def _bare(values: Any) -> WindowedArray:
    """Leave out coordinates: they would be cut, and loaded, with every window."""
    found: WindowedArray = values.variable if _is_labelled(values) else values
    return found


def _axis_of(values: Any, bands: int, name: str) -> SpectralAxis:
    """Read the spectral axis from coordinates."""
    wavelengths, attributes = _vector(values, WAVELENGTHS)
    fwhm, _ = _vector(values, WIDTHS)
    quality, _ = _vector(values, QUALITY)
    units = str(one_of(attributes, UNITS) or "")
    facts = BandFacts(wavelengths, fwhm, quality, units)
    return spectral_axis([facts], bands, ReadOptions(), name)


def _place_of(values: Any, axes: str, name: str) -> Georeference | None:
    """Read the place from a CF grid mapping and from the coordinates of pixels."""
    said = {**values.encoding, **values.attrs}.get("grid_mapping", "spatial_ref")
    mapping = values.coords.get(str(said))
    facts: Mapping[str, Any] = {} if mapping is None else mapping.attrs
    stated = Georeference.from_grid_mapping(facts) if "GeoTransform" in facts else None
    y, x = (_vector(values, (str(values.dims[axes.index(axis)]),))[0] for axis in "yx")
    return settled_place(stated, (y, x), facts, name)


def _vector(values: Any, names: tuple[str, ...]) -> tuple[tuple[float, ...], Mapping[str, Any]]:
    """Read the first coordinate of numbers along one axis that has one of the names."""
    for name in names:
        found = values.coords.get(name)
        if found is not None and found.ndim == 1 and found.dtype.kind in "iufb":
            return tuple(float(value) for value in found.values), found.attrs
    return (), {}


def _mask(valid: Any, header: FrameHeader) -> WindowedArray:
    """Check the mask of pixels, and turn it as its own names say."""
    if _is_labelled(valid) and named_axes(tuple(map(str, valid.dims)), valid.shape) == "xy":
        valid = valid.transpose()
    shape = tuple(getattr(valid, "shape", ()))
    if shape != header.shape or np.dtype(valid.dtype).kind not in "biu":
        raise SceneError(
            f"valid of {header.name} must hold truth values (y, x) of the shape {header.shape}, "
            f"but has the shape {shape} and the type {getattr(valid, 'dtype', type(valid))}. "
            f"True means that a pixel has data."
        )
    return _bare(valid)
