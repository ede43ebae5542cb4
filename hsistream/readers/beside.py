"""What lies beside a cube in self-describing files: the names that it has, and plain values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

WAVELENGTHS = ("wavelength", "wavelengths", "wavelength_nm", "wavelengths_nm")
WIDTHS = ("fwhm", "fwhm_nm")
QUALITY = ("good_wavelengths", "good_bands", "bbl")
NO_DATA = ("_fillvalue", "missing_value", "data_ignore_value", "nodata")
UNITS = ("units", "unit")
"""Names of datasets and attributes, in lower case."""


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
    """Read the first attribute of one of the names, whatever its case, that is one value."""
    found = {name.lower(): plain(value) for name, value in attributes.items()}
    return next((found[name] for name in names if found.get(name) is not None), None)


def no_data_value(attributes: Mapping[str, Any]) -> float | None:
    """Read the no-data value from the attributes of a cube."""
    value = one_of(attributes, NO_DATA)
    return None if value is None or isinstance(value, str | bool) else float(value)


def texts(attributes: Mapping[str, Any]) -> dict[str, str]:
    """Keep attributes that are a text or a number."""
    found = {name: plain(value) for name, value in attributes.items()}
    return {name: str(value) for name, value in found.items() if value is not None}
