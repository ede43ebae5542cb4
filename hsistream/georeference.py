"""Where a frame lies on the Earth, and how stores say so."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.errors import CRSError
from rasterio.transform import Affine

Floats = NDArray[np.float64]

log = logging.getLogger(__name__)

CONVENTIONS = ("spatial:", "proj:")
"""Zarr attribute conventions that :func:`Georeference.group_attributes` follows."""


EVEN = 0.01
"""Share of a step by which steps between coordinates may differ."""


@dataclass(frozen=True, slots=True)
class Georeference:
    """An affine transform from pixel corners to map coordinates, and their system.

    ``transform`` holds (a, b, c, d, e, f) of ``x = a column + b row + c`` and
    ``y = d column + e row + f``; ``crs_wkt`` may be empty (local coordinates).
    """

    transform: tuple[float, float, float, float, float, float]
    crs_wkt: str = ""

    @classmethod
    def from_grid_mapping(cls, mapping: Mapping[str, Any]) -> Georeference | None:
        """Read the attributes of a CF grid-mapping variable that has a ``GeoTransform``.

        It is a text of six numbers, or six numbers; None where it is anything else.
        """
        given, order = mapping["GeoTransform"], (1, 2, 0, 4, 5, 3)
        words = given.split() if isinstance(given, str) else list(np.ravel(given))
        system = mapping.get("crs_wkt") or mapping.get("spatial_ref")
        return cls.parsed([words[at] for at in order] if len(words) == len(order) else [], system)

    @classmethod
    def parsed(cls, transform: Sequence[Any], system: Any) -> Georeference | None:
        """Read six numbers and a coordinate system, whatever they were written as.

        None, with a logged warning, where they are not understood.
        """
        try:
            a, b, c, d, e, f = (float(value) for value in transform)
            return cls((a, b, c, d, e, f), _wkt_of(system))
        except (ValueError, TypeError, CRSError) as error:
            log.warning("A georeference is not understood (%s). The place is left out.", error)
            return None

    @classmethod
    def of_centres(cls, y: Sequence[float], x: Sequence[float], system: Any) -> Georeference | None:
        """Read the map coordinates of pixel centres along both axes.

        None where they are no even steps, or only count pixels, from 0 or where a cut begins.
        """
        if min(len(y), len(x)) < 2:
            return None
        down, right = ((axis[-1] - axis[0]) / (len(axis) - 1) for axis in (y, x))
        if down == right == 1 and y[0] % 1 == x[0] % 1 == 0:
            return None
        for axis, step in ((y, down), (x, right)):
            if not step or np.abs(np.diff(axis) - step).max() > EVEN * abs(step):
                return None
        return cls.parsed((right, 0, x[0] - right / 2, 0, down, y[0] - down / 2), system)

    @property
    def is_turned(self) -> bool:
        """Whether rows do not run along a map axis."""
        return bool(self.transform[1] or self.transform[3])

    def shifted(self, row: int, column: int) -> Georeference:
        """Move the origin to another pixel of the same grid."""
        a, b, c, d, e, f = self.transform
        moved = (a, b, c + a * column + b * row, d, e, f + d * column + e * row)
        return Georeference(moved, self.crs_wkt)

    def agrees(self, other: Georeference, shape: tuple[int, int]) -> bool:
        """Tell whether two grids of a shape (y, x) differ by less than half a pixel.

        Coordinate systems are compared where both name one.
        """
        if self.has_other_system(other):
            return False
        row, column = np.array([(0, 0), (0, shape[1]), (shape[0], 0), shape], np.float64).T
        rows, columns = other.pixels_at(*self.places_of(row, column))
        return bool(max(np.abs(rows - row).max(), np.abs(columns - column).max()) < 1 / 2)

    def has_other_system(self, other: Georeference) -> bool:
        """Tell whether both name a coordinate system, and not the same."""
        systems = [CRS.from_wkt(each.crs_wkt) for each in (self, other) if each.crs_wkt]
        return len(systems) > 1 and systems[0] != systems[1]

    def places_of(self, row: Floats, column: Floats) -> tuple[Floats, Floats]:
        """Give map coordinates x and y (place,) of rows and columns; whole ones are corners."""
        a, b, c, d, e, f = self.transform
        return a * column + b * row + c, d * column + e * row + f

    def pixels_at(self, x: Floats, y: Floats) -> tuple[Floats, Floats]:
        """Give rows and columns (place,) of map coordinates; whole ones are corners of pixels."""
        back = ~Affine(*self.transform)
        return back.d * x + back.e * y + back.f, back.a * x + back.b * y + back.c

    def pixel_area_m2(self) -> float | None:
        """Area of one pixel in square metres, or None where the system is not metric."""
        if not self.crs_wkt:
            return None
        crs = CRS.from_wkt(self.crs_wkt)
        if not crs.is_projected:
            return None
        a, b, _, d, e, _ = self.transform
        metres = crs.linear_units_factor[1]
        return float(abs(a * e - b * d) * metres**2)

    def coordinates(
        self, shape: tuple[int, int]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Map coordinates (y, x) of the pixel centres along the first column and row."""
        a, b, c, d, e, f = self.transform
        rows, columns = np.arange(shape[0]) + 0.5, np.arange(shape[1]) + 0.5
        y, x = d * 0.5 + e * rows + f, a * columns + b * 0.5 + c
        return y.astype(np.float64), x.astype(np.float64)

    def group_attributes(self, shape: tuple[int, int]) -> dict[str, Any]:
        """Attributes of a zarr group by the ``spatial:`` and ``proj:`` conventions."""
        attributes: dict[str, Any] = {
            "zarr_conventions": [{"name": name} for name in CONVENTIONS],
            "spatial:dimensions": ["y", "x"],
            "spatial:transform": list(self.transform),
            "spatial:shape": list(shape),
            "spatial:registration": "pixel",
        }
        if self.crs_wkt:
            attributes["proj:wkt2"] = self.crs_wkt
            authority = CRS.from_wkt(self.crs_wkt).to_authority()
            if authority:
                attributes["proj:code"] = ":".join(authority)
        return attributes

    def grid_mapping(self) -> dict[str, str]:
        """Attributes of the CF grid-mapping variable, as GDAL and rioxarray read them."""
        a, b, c, d, e, f = self.transform
        mapping = {"GeoTransform": " ".join(repr(float(v)) for v in (c, a, b, f, d, e))}
        if self.crs_wkt:
            mapping |= {"crs_wkt": self.crs_wkt, "spatial_ref": self.crs_wkt}
        return mapping


def _wkt_of(system: Any) -> str:
    """Write a coordinate system as WKT, and one that is already WKT as it is; "" for none."""
    text = "" if system is None else system.decode() if isinstance(system, bytes) else str(system)
    if not text:
        return ""
    if "[" in text:  # else GDAL complains on standard error
        with suppress(CRSError):
            CRS.from_wkt(text)
            return text
    return str(CRS.from_user_input(text).to_wkt())
