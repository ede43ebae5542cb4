"""A seeded synthetic scene with known truth, of any size.

Fields of a few materials lie in a jittered mosaic; every material has a smooth
spectrum, every pixel its own brightness, neighbours mix at the borders, the
sensor adds noise, two bands are blind and one corner has no data. A block is
computed from its position alone, so a scene of 10 GB is written as easily as
the one of a doctest.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from hsistream.georeference import Georeference
from hsistream.scene.source import FrameHeader
from hsistream.tiles import TileGrid, Window, grow, overlap, size, within

UTM_33_NORTH = "EPSG:32633"
ORIGIN_M = (370_000.0, 5_810_000.0)
PIXEL_M = 5.0
SCALE = 10_000
"""Stored value of reflectance 1."""

NOISE_TILE_PX = 256
BLIND_BANDS = 2


@dataclass(frozen=True, slots=True)
class SyntheticFrame:
    """One frame of a synthetic scene, as a source for ingest.

    Parameters
    ----------
    number : int
        Number of the frame; frames differ in layout and lie side by side.
    shape : (int, int)
        Size (y, x), px.
    bands, classes : int
        Number of bands, from 420 to 2450 nm, and of materials.
    seed : int
        Same seed, same scene.
    field_px : int
        Typical width of a field.
    noise : float
        Standard deviation of the sensor noise, reflectance.
    gain : float
        Exposure of this frame.
    """

    number: int = 0
    shape: tuple[int, int] = (120, 160)
    bands: int = 60
    classes: int = 5
    seed: int = 0
    field_px: int = 24
    noise: float = 0.012
    gain: float = 1.0

    @property
    def header(self) -> FrameHeader:
        """Describe the frame."""
        easting = ORIGIN_M[0] + self.number * self.shape[1] * PIXEL_M
        place = Georeference((PIXEL_M, 0.0, easting, 0.0, -PIXEL_M, ORIGIN_M[1]), _utm_wkt())
        return FrameHeader(
            name=f"frame{self.number}",
            shape=self.shape,
            bands=self.bands,
            dtype=np.dtype(np.uint16),
            wavelengths_nm=tuple(np.linspace(420, 2450, self.bands).round(2)),
            good_bands=tuple(band not in self._blind() for band in range(self.bands)),
            georeference=place,
            attributes={"description": "synthetic scene", "seed": str(self.seed)},
        )

    def read(self, window: Window) -> NDArray[np.uint16]:
        """Make the values of a window, (band, y, x) uint16, reflectance times 10,000."""
        outer = grow(window, 1, self.shape)
        shares = np.eye(self.classes, dtype=np.float32)[self.materials(outer)]
        mixed = ndimage.uniform_filter(shares, (3, 3, 1), mode="nearest")[within(window, outer)]
        spectra = np.tensordot(
            smooth_spectra(self.bands, self.classes, self.seed), mixed, ([0], [2])
        )
        noise = self._noise(window)
        brightness = 1 + 0.08 * noise[-1]
        values = self.gain * spectra * brightness + self.noise * noise[:-1]
        values[self._blind()] = 0.5 + 0.2 * noise[: len(self._blind())]
        return np.asarray(np.clip(values * SCALE, 1, 65_534), np.uint16)

    def valid(self, window: Window) -> NDArray[np.bool_]:
        """Mask the corner that the sensor did not see."""
        rows, columns = np.ogrid[window]
        height, width = self.shape
        return np.asarray(rows / height + columns / width > 0.15)

    def truth(self) -> NDArray[np.uint8]:
        """Material of every pixel, (y, x), 1 to classes; 0 where there is no data."""
        whole = (slice(0, self.shape[0]), slice(0, self.shape[1]))
        labels = np.zeros(self.shape, np.uint8)
        for tile in TileGrid(self.shape, 1024):
            labels[tile.core] = self.materials(tile.core) + 1
        return labels * self.valid(whole)

    def materials(self, window: Window) -> NDArray[np.intp]:
        """Material of every pixel of a window: that of the nearest site of a jittered grid."""
        rows, columns = np.ogrid[window]
        cell_rows, cell_columns = rows // self.field_px, columns // self.field_px
        nearest = np.full(size(window), np.inf)
        material = np.zeros(size(window), np.intp)
        for down in (-1, 0, 1):
            for right in (-1, 0, 1):
                y, x, of_site = self._site(cell_rows + down, cell_columns + right)
                distance = (rows - y) ** 2 + (columns - x) ** 2
                closer = distance < nearest
                nearest[closer] = distance[closer]
                material[closer] = np.broadcast_to(of_site, closer.shape)[closer]
        return material

    def _site(
        self, row: NDArray[np.intp], column: NDArray[np.intp]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.intp]]:
        """Position and material of the site of a cell of the jittered grid."""
        stream = self.seed * 1009 + self.number
        y = (row + _hash_unit(row, column, 3 * stream)) * self.field_px
        x = (column + _hash_unit(row, column, 3 * stream + 1)) * self.field_px
        draw = _hash_unit(row, column, 3 * stream + 2)
        return y, x, (draw**1.3 * self.classes).astype(np.intp)

    def _noise(self, window: Window) -> NDArray[np.float32]:
        """Draw unit noise, (band + 1, y, x), tied to its place and not to the window."""
        noise = np.empty((self.bands + 1, *size(window)), np.float32)
        for tile in TileGrid(self.shape, NOISE_TILE_PX):
            shared = overlap(tile.core, window)
            if shared is None:
                continue
            key = (self.seed, self.number, tile.row, tile.column)
            drawn = np.random.default_rng(key).standard_normal(
                (self.bands + 1, *size(tile.core)), np.float32
            )
            noise[:, *within(shared, window)] = drawn[:, *within(shared, tile.core)]
        return noise

    def _blind(self) -> list[int]:
        """Bands in which the sensor sees nothing but noise."""
        return list(range(self.bands // 2, self.bands // 2 + min(BLIND_BANDS, self.bands - 1)))


def synthetic_frames(
    frames: int = 3,
    shape: tuple[int, int] = (120, 160),
    *,
    bands: int = 60,
    classes: int = 5,
    seed: int = 0,
) -> list[SyntheticFrame]:
    """Make the sources of a synthetic scene of several frames.

    Examples
    --------
    >>> [frame.header.name for frame in synthetic_frames(2)]
    ['frame0', 'frame1']
    """
    return [
        SyntheticFrame(number, shape, bands=bands, classes=classes, seed=seed)
        for number in range(frames)
    ]


def smooth_spectra(bands: int, classes: int, seed: int) -> NDArray[np.float32]:
    """Draw smooth reflectance spectra.

    Parameters
    ----------
    bands, classes : int
        Number of bands and of spectra.
    seed : int
        Same seed, same spectra.

    Returns
    -------
    (class, band) float32
        Reflectance, from 0.05 to 0.7.
    """
    rng = np.random.default_rng((seed, 7))
    walks = rng.standard_normal((classes, bands)).cumsum(axis=1)
    smooth = ndimage.gaussian_filter1d(walks, max(1.0, bands / 20), axis=1, mode="nearest")
    low, high = smooth.min(axis=1, keepdims=True), smooth.max(axis=1, keepdims=True)
    level = rng.uniform(0.15, 0.6, (classes, 1))
    unit = (smooth - low) / np.maximum(high - low, 1e-9)
    return np.asarray(0.05 + level * (0.25 + 0.75 * unit), np.float32)


def _hash_unit(row: NDArray[np.intp], column: NDArray[np.intp], stream: int) -> NDArray[np.float64]:
    """Hash cell numbers to numbers in [0, 1)."""
    with np.errstate(over="ignore"):
        mixed = row.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        mixed = mixed + column.astype(np.uint64) * np.uint64(0xC2B2AE3D27D4EB4F)
        mixed = mixed + np.uint64((stream + 1) * 0x165667B19E3779F9 % 2**64)
        mixed ^= mixed >> np.uint64(31)
        mixed *= np.uint64(0xBF58476D1CE4E5B9)
        mixed ^= mixed >> np.uint64(29)
    return (mixed >> np.uint64(11)).astype(np.float64) / 2.0**53


def _utm_wkt() -> str:
    """Write the coordinate system of the synthetic scene as WKT."""
    from rasterio.crs import CRS

    return str(CRS.from_string(UTM_33_NORTH).to_wkt())
