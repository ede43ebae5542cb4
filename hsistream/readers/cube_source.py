"""A frame whose pixels are an array, whatever its library and its order of axes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hsistream.errors import SceneError
from hsistream.georeference import Georeference
from hsistream.readers.spectral_axis import SpectralAxis
from hsistream.readers.unpacking import readable
from hsistream.scene.source import FrameHeader
from hsistream.tiles import Window

AXIS_NAMES = {
    "b": ("b", "band", "bands", "wavelength", "wavelengths", "channel", "channels", "spectral"),
    "y": ("y", "row", "rows", "line", "lines", "lat", "latitude", "northing", "downtrack"),
    "x": ("x", "col", "cols", "column", "columns", "sample", "lon", "longitude", "easting",
          "crosstrack"),
}  # fmt: skip
"""Names of dimensions, in lower case, and the axis that they mean."""


class WindowedArray(Protocol):
    """Anything that has a shape and a type and can be sliced."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of the axes."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""

    def __getitem__(self, index: Any, /) -> Any:  # each library has its own types of index
        """Return the values of a box of slices."""


@dataclass(frozen=True, slots=True, eq=False)
class CubeSource:
    """One frame inside an array-like file.

    Parameters
    ----------
    header : FrameHeader
        Its description.
    path : Path
        Its file, for messages.
    array : WindowedArray
        Its values; read window by window.
    axes : str
        Order of the axes of ``array``, letters y, x and b (b may be missing).
    mask : WindowedArray, optional
        The file's own mask, (y, x), True = data.
    """

    header: FrameHeader
    path: Path
    array: WindowedArray
    axes: str
    mask: WindowedArray | None = None

    def read(self, window: Window) -> NDArray[Any]:
        """Return the values of a window, (band, y, x), in native byte order."""
        along = {"y": window[0], "x": window[1], "b": slice(None)}
        with readable(self.path):
            block = np.asarray(self.array[tuple(along[letter] for letter in self.axes)])
        if "b" not in self.axes:
            block = block[None]
        axes = self.axes if "b" in self.axes else "b" + self.axes
        return native(block.transpose([axes.index(letter) for letter in "byx"]))

    def valid(self, window: Window) -> NDArray[np.bool_] | None:
        """Return the file's own mask of a window, (y, x); None without one."""
        if self.mask is None:
            return None
        with readable(self.path):
            return np.asarray(self.mask[window]).astype(np.bool_)


def cube_header(
    path: Path,
    array: WindowedArray,
    axes: str,
    *,
    axis: SpectralAxis,
    no_data: float | None = None,
    georeference: Georeference | None = None,
    attributes: Mapping[str, str] | None = None,
) -> FrameHeader:
    """Describe an array with known axes as a frame named after its file.

    Raises
    ------
    SceneError
        If the array is empty.
    """
    sizes = dict(zip(axes, array.shape, strict=True))
    if min(array.shape) < 1:
        raise SceneError(f"A frame needs pixels and bands, but {path} has the shape {array.shape}.")
    return FrameHeader(
        name=path.stem,
        shape=(int(sizes["y"]), int(sizes["x"])),
        bands=int(sizes.get("b", 1)),
        dtype=array.dtype.newbyteorder("="),
        wavelengths_nm=axis.wavelengths_nm,
        fwhm_nm=axis.fwhm_nm,
        good_bands=axis.good_bands,
        no_data=no_data,
        georeference=georeference,
        attributes={"file": path.name, **(attributes or {})},
    )


def check_axes(axes: str, shape: tuple[int, ...], where: str) -> str:
    """Check that axes name every axis of an array, and return them.

    Raises
    ------
    SceneError
        If their counts differ.
    """
    if len(axes) != len(shape):
        raise SceneError(
            f"--axes {axes} names {len(axes)} axes, but {where} has the shape {shape}. "
            f"Name every axis once."
        )
    return axes


def named_axes(dimensions: Sequence[str], shape: tuple[int, ...]) -> str | None:
    """Turn the names of dimensions into letters; None where they do not name every axis.

    Examples
    --------
    >>> named_axes(("downtrack", "crosstrack", "bands"), (4, 3, 2))
    'yxb'
    """
    letters = [
        letter
        for name in dimensions
        for letter, names in AXIS_NAMES.items()
        if name.lower() in names
    ]
    known = sorted(letters) in (["b", "x", "y"], ["x", "y"]) and len(letters) == len(shape)
    return "".join(letters) if known else None


def native(block: NDArray[Any]) -> NDArray[Any]:
    """Bring values to the byte order of this machine."""
    return block.astype(block.dtype.newbyteorder("="), copy=False)
