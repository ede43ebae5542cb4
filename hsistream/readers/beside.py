"""What lies beside a cube in self-describing files: the names that it has, and plain values."""

from __future__ import annotations

import base64
import logging
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from hsistream.georeference import Georeference

log = logging.getLogger(__name__)

WAVELENGTHS = ("wavelength", "wavelengths", "wavelength_nm", "wavelengths_nm")
WIDTHS = ("fwhm", "fwhm_nm")
QUALITY = ("good_wavelengths", "good_bands", "bbl")
NO_DATA = ("_fillvalue", "missing_value", "data_ignore_value", "nodata")
UNITS = ("units", "unit")
"""Names of datasets and attributes, as :func:`said` writes them."""


def settled_place(
    stated: Georeference | None,
    centres: tuple[Sequence[float], Sequence[float]],
    facts: Mapping[str, Any],
    where: str,
    system: Any = None,
) -> Georeference | None:
    """Choose between the place that attributes state and that of the pixel centres (y, x).

    Who cuts a store takes the coordinates of pixels along, but not the attributes: where
    both are there and differ, the coordinates count. Without a system they are no place. It is
    that of a CF grid mapping, of which ``facts`` are the attributes, or else ``system``.
    """
    system = facts.get("crs_wkt") or facts.get("spatial_ref") or system
    centred = Georeference.of_centres(*centres, stated.crs_wkt if stated else system)
    if centred is None or (stated is not None and stated.is_turned):
        return stated
    if stated is None:
        if not centred.crs_wkt and "grid_mapping_name" in facts:
            log.warning(
                "The coordinate system of %s (%s) is given by parameters, which are not read, and "
                "not as crs_wkt. The place is left out; write crs_wkt to keep it.",
                where,
                plain(facts["grid_mapping_name"]),
            )
        return centred if centred.crs_wkt else None
    if stated.agrees(centred, (len(centres[0]), len(centres[1]))):
        return stated
    log.warning("The transform of %s is not that of its coordinates, which count.", where)
    return centred


def said(name: str) -> str:
    """Write a name as names are compared: in lower case, with underscores.

    Examples
    --------
    >>> said("Data Ignore-Value")
    'data_ignore_value'
    """
    return re.sub(r"[\s-]+", "_", name.strip().lower())


def plain(value: Any) -> str | float | None:
    """Turn a text or a number, also alone in an array, into Python's own; None for others.

    Examples
    --------
    >>> plain(np.array([7])), plain(b"nm"), plain([1, 2])
    (7, 'nm', None)
    """
    if isinstance(value, np.ndarray):
        value = value.item() if value.size == 1 else None
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, np.generic):
        value = value.item()
    return value if isinstance(value, str | int | float) else None


def one_of(attributes: Mapping[str, Any], names: tuple[str, ...]) -> str | float | None:
    """Read the first attribute of one of the names that is one value."""
    return next(values_of(attributes, names), None)


def values_of(attributes: Mapping[str, Any], names: tuple[str, ...]) -> Iterator[str | float]:
    """Yield the attributes of such names that are one value, in the order of the names."""
    found = {said(name): plain(value) for name, value in attributes.items()}
    for name in names:
        value = found.get(name)
        if value is not None:
            yield value


def no_data_value(attributes: Mapping[str, Any], where: str) -> float | None:
    """Read the no-data value from the attributes of a cube: a number, or a text that is one.

    NaN means no data anyway, so another value is preferred. What cannot be read is left
    out with a logged warning.
    """
    for value in values_of(attributes, NO_DATA):
        number = _as_number(value)
        if number is None:
            log.warning(
                "The no-data value %r of %s is no number; it is left out. Give it as --no-data.",
                value, where,
            )  # fmt: skip
        elif math.isfinite(number):
            return number
    return None


def _as_number(value: str | float) -> float | None:
    """Read a number, a text of digits, or the eight bytes as which xarray keeps one."""
    for read in (float, _from_bytes):
        try:
            return read(value)
        except (ValueError, TypeError):
            continue
    return None


def _from_bytes(value: Any) -> float:
    """Read a number of eight bytes, written in letters."""
    raw = base64.b64decode(value, validate=True)
    if len(raw) != len(bytes(8)):
        raise ValueError("not a number of eight bytes")
    return float(np.frombuffer(raw, "<f8")[0])


def texts(attributes: Mapping[str, Any]) -> dict[str, str]:
    """Keep attributes that are a text or a number."""
    found = {name: plain(value) for name, value in attributes.items()}
    return {name: str(value) for name, value in found.items() if value is not None}
