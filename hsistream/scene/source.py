"""What a reader tells of one frame in its producer's format.

A :class:`Source` is the contract between readers and ingest: a header and a
``read`` of windows in the order (band, y, x). The synthetic scene is one too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hsistream.errors import SceneError
from hsistream.georeference import Georeference
from hsistream.tiles import Window


@dataclass(frozen=True, slots=True)
class FrameHeader:
    """The shape, spectral axis and place of one frame.

    ``wavelengths_nm``, ``fwhm_nm`` and ``good_bands`` are empty where the file
    does not say. ``attributes`` keeps the rest of the producer's header as text.
    """

    name: str
    shape: tuple[int, int]
    bands: int
    dtype: np.dtype[Any]
    wavelengths_nm: tuple[float, ...] = ()
    fwhm_nm: tuple[float, ...] = ()
    good_bands: tuple[bool, ...] = ()
    no_data: float | None = None
    georeference: Georeference | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)


LARGEST_ITEM = 8
"""Bytes of the widest number that is read."""


def check_type(dtype: np.dtype[Any], where: str) -> None:
    """Refuse values that are not real numbers of at most 8 bytes.

    Raises
    ------
    SceneError
        If they are complex, objects, text, truth values or too wide.
    """
    if dtype.kind == "c":
        raise SceneError(
            f"Spectra are real numbers, but those of {where} are complex ({dtype}). "
            f"Store their magnitude instead."
        )
    if not is_number(dtype):
        raise SceneError(
            f"Spectra are integers or floats of at most {8 * LARGEST_ITEM} bits, but those of "
            f"{where} are {dtype}. Convert them, for example to float32."
        )


def is_number(dtype: np.dtype[Any]) -> bool:
    """Tell whether a type is one of the integers and floats that are read."""
    return dtype.kind in "iuf" and dtype.itemsize <= LARGEST_ITEM


SCALES: Mapping[str, str] = MappingProxyType({"scale_factor": "1", "add_offset": "0"})
"""Attributes that say how stored values become units, and what they are where nobody says."""


def check_scales(first: FrameHeader, other: FrameHeader) -> None:
    """Refuse frames whose stored values mean other units: they are kept as stored.

    Raises
    ------
    SceneError
        If the scales or offsets of their attributes differ.
    """
    for name, usual in SCALES.items():
        ours, theirs = (each.attributes.get(name, usual) for each in (first, other))
        if _numbers(ours) != _numbers(theirs):
            raise SceneError(
                f"Values are kept as stored, so the frames of a scene need one scale, but the "
                f"{name} of {first.name} is {ours} and that of {other.name} is {theirs}. Apply "
                f"them first, for example: gdal_translate -unscale -ot Float32. If both mean the "
                f"same and one file does not say so, write it there."
            )


def _numbers(text: str) -> list[float] | str:
    """Read numbers, so that ways to write them do not count; a text that is none stays one."""
    try:
        return [float(word) for word in text.strip("[]() ").replace(",", " ").split()]
    except ValueError:
        return text


class Source(Protocol):
    """One frame that can be read window by window."""

    @property
    def header(self) -> FrameHeader:
        """Describe the frame without reading its pixels."""

    def read(self, window: Window) -> NDArray[Any]:
        """Return the values of a window, (band, y, x), in the file's own type."""

    def valid(self, window: Window) -> NDArray[np.bool_] | None:
        """Return the file's own mask of a window, (y, x), True = data; None without one."""
