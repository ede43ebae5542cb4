"""What a source tells and returns, checked: anybody may write one.

A value that is harmless in another form, such as an array of wavelengths, is
brought to the form of :class:`FrameHeader`; what would spoil pixels is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from operator import index
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsistream.errors import SceneError
from hsistream.georeference import Georeference
from hsistream.scene.source import FrameHeader, Source, check_type
from hsistream.tiles import Window, size

RESERVED = ("zarr.json", ".", "..")
"""Names that a group of a store cannot have."""
NAME_BYTES = 240
"""A frame's name is at most so long: with what is put around it while a map is exported, disks
take no more."""


@dataclass(frozen=True, slots=True)
class CheckedSource:
    """A source whose header has been checked, and whose pixels are when they are read."""

    source: Source
    header: FrameHeader

    def read(self, window: Window) -> NDArray[Any]:
        """Return the values of a window, (band, y, x).

        Raises
        ------
        SceneError
            If they have another shape, or a type that does not fit that of the header.
        """
        values = self.source.read(window)
        name, dtype = self.header.name, self.header.dtype
        if isinstance(values, np.ma.MaskedArray):
            raise SceneError(
                f"read of {name} must return plain values, but returned a masked array. Return "
                f"its data, and the pixels that have some from valid."
            )
        block = np.asarray(values)
        wanted = (self.header.bands, *size(window))
        if block.shape != wanted:
            raise SceneError(
                f"read of {name} must return (band, y, x) of the window asked for, {wanted}, but "
                f"returned {block.shape}. Correct read, or bands and shape of the header."
            )
        if not np.can_cast(block.dtype, dtype, "same_kind") or _wraps(block, dtype):
            raise SceneError(
                f"The header of {name} says that its values are {dtype}, but read returned "
                f"{block.dtype}, which {dtype} cannot hold. Give the header the type of the values."
            )
        return block

    def valid(self, window: Window) -> NDArray[np.bool_] | None:
        """Return the mask of a window, (y, x), True = data; None without one.

        Raises
        ------
        SceneError
            If it has another shape, or holds neither truth values nor integers.
        """
        values = self.source.valid(window)
        if values is None:
            return None
        mask, wanted = np.asarray(values), size(window)
        if mask.shape != wanted or mask.dtype.kind not in "biu":
            raise SceneError(
                f"valid of {self.header.name} must return truth values (y, x) of the window asked "
                f"for, {wanted}, or None, but returned {mask.dtype} of the shape {mask.shape}. "
                f"Correct it; True means that a pixel has data."
            )
        return mask.astype(np.bool_)


def _wraps(block: NDArray[Any], dtype: np.dtype[Any]) -> bool:
    """Tell whether integers lie beyond the limits of a narrower type."""
    if dtype.kind not in "iu" or np.can_cast(block.dtype, dtype) or not block.size:
        return False
    limits = np.iinfo(dtype)
    return bool(block.min() < limits.min or block.max() > limits.max)


def listed_sources(sources: Iterable[Source]) -> list[Source]:
    """List what can be read, also that of a generator, and refuse all else.

    Raises
    ------
    SceneError
        If these are no sources, or a single one that is in no list.
    """
    if _is_source(sources):
        raise SceneError(
            f"Sources come in a list, one per frame, but found a {type(sources).__name__} alone. "
            f"Put it in a list: [source]."
        )
    if isinstance(sources, str | PathLike) or not isinstance(sources, Iterable):
        raise SceneError(_no_source(sources))
    listed = []
    for source in sources:
        if not _is_source(source):
            raise SceneError(_no_source(sources if hasattr(sources, "dtype") else source))
        listed.append(source)
    return listed


def _is_source(value: Any) -> bool:
    """Tell whether a value has what a source has; a header that is a property is not read yet."""
    reads = all(callable(getattr(value, name, None)) for name in ("read", "valid"))
    return reads and (hasattr(type(value), "header") or hasattr(value, "header"))


def _no_source(found: Any) -> str:
    """Say that a value is no source, and what makes one."""
    return (
        f"Sources are needed, which have a header, read and valid, but found a "
        f"{type(found).__name__}. Make them of files by hsistream.open_sources, or of an array by "
        f"hsistream.source_from_array."
    )


def checked_source(source: Source, number: int) -> CheckedSource:
    """Read the header of a source once, and check it.

    Raises
    ------
    SceneError
        If it cannot be the header of a frame; ``number`` names a source without a name.
    """
    where = f"source {number + 1} ({type(source).__name__})"
    return CheckedSource(source, checked_header(source.header, where))


def checked_header(header: FrameHeader, where: str) -> FrameHeader:
    """Check a header, and bring its values to their usual form.

    Parameters
    ----------
    header : FrameHeader
        Its vectors may be arrays, its numbers those of numpy.
    where : str
        What it is the header of, for messages; its frame once it has a name.

    Returns
    -------
    FrameHeader
        The same, of plain values.

    Raises
    ------
    SceneError
        If a value is not what a frame needs.
    """
    if not isinstance(header, FrameHeader):
        raise SceneError(
            f"The header of {where} must be a FrameHeader of hsistream.scene.source, but is a "
            f"{type(header).__name__}. Make one of it."
        )
    name = _name(header.name, where)
    given = {field.name: getattr(header, field.name) for field in fields(header)}
    known: dict[str, Any] = {"name": name, "dtype": _dtype(header.dtype, name)}
    for key, (needed, brought) in FORMS.items():
        try:
            known[key] = brought(given[key])
        except (TypeError, ValueError, OverflowError) as error:
            raise SceneError(
                f"{key} of {name} must be {needed}, but is {given[key]!r}. Correct its header."
            ) from error
    found = replace(header, **known)
    for key in ("wavelengths_nm", "fwhm_nm", "good_bands"):
        count = len(getattr(found, key))
        if count not in (0, found.bands):
            raise SceneError(
                f"{key} of {name} must have one value per band or none, but has {count} for "
                f"{found.bands} bands. Correct its header."
            )
    return found


def _name(name: Any, where: str) -> str:
    """Refuse a name that no group of a store can have."""
    unsafe = not isinstance(name, str) or not name or name in RESERVED or name.startswith(".")
    if unsafe or set(name) & set("/\\\0"):
        raise SceneError(
            f"A frame needs a name that a folder can have, without a slash and a dot at its "
            f"beginning, and not zarr.json, but {where} has {name!r}. Choose another one."
        )
    if len(name.encode(errors="surrogatepass")) > NAME_BYTES:
        raise SceneError(
            f"A frame needs a name of at most {NAME_BYTES} bytes, but {where} has {name!r}. Choose "
            f"a shorter one."
        )
    return str(name)


def _dtype(dtype: Any, name: str) -> np.dtype[Any]:
    """Refuse values that are no real numbers."""
    try:
        known: np.dtype[Any] = np.dtype(dtype)
    except TypeError as error:
        raise SceneError(
            f"dtype of {name} must be a numpy type, but is {dtype!r}. Correct its header."
        ) from error
    check_type(known, name)
    return known.newbyteorder("=")


def _refused(wrong: bool) -> None:
    """Refuse what cannot be brought to a form."""
    if wrong:
        raise ValueError


def _count(value: Any) -> int:
    """Read a whole number from 1."""
    count = index(value)
    _refused(count < 1)
    return count


def _shape(value: Any) -> tuple[int, int]:
    """Read height and width."""
    height, width = map(_count, value)
    return height, width


def _numbers(values: Any) -> tuple[float, ...]:
    """Read a vector of finite numbers; none is an empty one."""
    vector = np.asarray(() if values is None else values)
    _refused(vector.ndim != 1 or (vector.size > 0 and vector.dtype.kind not in "iuf"))
    numbers = tuple(float(value) for value in vector)
    _refused(not np.isfinite(numbers).all())
    return numbers


def _flags(values: Any) -> tuple[bool, ...]:
    """Read a vector of truth values, or of 0 and 1."""
    vector = np.asarray(() if values is None else values)
    _refused(vector.ndim != 1 or not np.isin(vector, (0, 1)).all())
    return tuple(bool(value) for value in vector)


def _number(value: Any) -> float | None:
    """Read a number, or none."""
    plain = value.item() if isinstance(value, np.generic | np.ndarray) else value
    _refused(plain is not None and not isinstance(plain, int | float))
    found: float | None = plain
    return found


def _place(value: Any) -> Georeference | None:
    """Take a georeference, or none."""
    _refused(value is not None and not isinstance(value, Georeference))
    found: Georeference | None = value
    return found


def _texts(values: Any) -> dict[str, str]:
    """Read a mapping of names to texts; other values are written as text."""
    _refused(values is not None and not isinstance(values, Mapping))
    return {str(name): _text(value) for name, value in (values or {}).items()}


def _text(value: Any) -> str:
    """Write a value as Python does, also one of numpy."""
    return str(value.tolist() if isinstance(value, np.generic | np.ndarray) else value)


FORMS: Mapping[str, tuple[str, Callable[[Any], Any]]] = {
    "shape": ("height and width, two whole numbers from 1", _shape),
    "bands": ("a whole number from 1", _count),
    "wavelengths_nm": ("a vector of finite numbers", _numbers),
    "fwhm_nm": ("a vector of finite numbers", _numbers),
    "good_bands": ("a vector of truth values", _flags),
    "no_data": ("a number or None", _number),
    "georeference": ("a Georeference or None", _place),
    "attributes": ("a mapping of names to texts", _texts),
}
"""What the values of a header must be, and how they are brought to that."""
