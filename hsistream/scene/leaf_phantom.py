"""Close-range frames of leaves on a conveyor belt, made by formulas, with known truth.

Four materials: a flat dark belt, a ridged brighter one, healthy lamina, and
lesions, which are about 3 % of the pixels. Every pixel has its own chlorophyll
and its own light: a field over the frame, the slope of the leaf, gloss; frames
differ in exposure; materials mix at their borders, and the sensor adds noise.
Harder than :mod:`hsistream.scene.synthetic`, and small: a frame is made whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from hsistream.scene.source import FrameHeader
from hsistream.tiles import Window

FLAT, RIDGED, LAMINA, LESION = range(4)
MATERIALS = ("flat belt", "ridged belt", "lamina", "lesion")

LEAVES, LESIONS = 3, 10
HEALTHY_EVERY = 4
"""The last of so many frames has no lesions."""

NOISE = 0.006
LOW_NM, HIGH_NM = 400.0, 1000.0

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class LeafFrame:
    """One frame of the phantom, as a source for ingest.

    Parameters
    ----------
    number : int
        Number of the frame, and its seed.
    size_px : int
        Height and width.
    bands : int
        Bands from 400 to 1000 nm.
    """

    number: int = 0
    size_px: int = 256
    bands: int = 301

    @property
    def header(self) -> FrameHeader:
        """Describe the frame."""
        return FrameHeader(
            name=f"leaf{self.number}",
            shape=(self.size_px, self.size_px),
            bands=self.bands,
            dtype=np.dtype(np.float32),
            wavelengths_nm=tuple(_wavelengths_nm(self.bands)),
            attributes={"description": "leaf phantom"},
        )

    def read(self, window: Window) -> NDArray[np.float32]:
        """Give reflectance, (band, y, x)."""
        return _make(self)[0][:, *window]

    def valid(self, window: Window) -> None:
        """Mask nothing: every pixel has data."""

    def truth(self) -> NDArray[np.uint8]:
        """Material of every pixel, (y, x), from 1, in the order of ``MATERIALS``."""
        return (_make(self)[1] + 1).astype(np.uint8)


def leaf_frames(count: int = 8, size_px: int = 256, bands: int = 301) -> list[LeafFrame]:
    """Make the sources of a scene of several frames; every fourth is healthy.

    Examples
    --------
    >>> [frame.header.name for frame in leaf_frames(2, size_px=32, bands=8)]
    ['leaf0', 'leaf1']
    """
    return [LeafFrame(number, size_px, bands) for number in range(count)]


@lru_cache(maxsize=2)
def _make(frame: LeafFrame) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Draw a frame: reflectance (band, y, x) and material (y, x)."""
    rng = np.random.default_rng(frame.number)
    shape = (frame.size_px, frame.size_px)
    material = _layout(rng, frame)
    shares = np.stack(
        [gaussian_filter((material == each).astype(float), 0.8) for each in range(len(MATERIALS))],
        axis=-1,
    )
    shares /= shares.sum(axis=-1, keepdims=True)
    spectra = shares @ _endmembers(_wavelengths_nm(frame.bands))
    _vary(spectra, shares, rng, frame)
    on_leaf = np.isin(material, (LAMINA, LESION))
    light = np.exp(
        0.18 * _field(rng, shape, frame.size_px / 4) + 0.12 * _field(rng, shape, 8) * on_leaf
    )
    light *= rng.uniform(0.8, 1.2)
    gloss = 0.015 * np.maximum(_field(rng, shape, 5) - 1.2, 0) * on_leaf
    spectra = spectra * light[..., None] + gloss[..., None]
    spectra += rng.standard_normal(spectra.shape) * _deviation(_wavelengths_nm(frame.bands))
    return np.ascontiguousarray(spectra.transpose(2, 0, 1), np.float32), material


def _layout(rng: np.random.Generator, frame: LeafFrame) -> NDArray[np.int64]:
    """Lay out the materials: belts, leaves as rough ellipses, lesions as blobs on them."""
    side = frame.size_px
    rows, columns = np.mgrid[:side, :side].astype(float)
    material = np.where(_field(rng, (side, side), side / 24) > 0.35, RIDGED, FLAT).astype(np.int64)
    for _ in range(LEAVES):
        y, x = rng.uniform(0.2, 0.8, 2) * side
        long, short = rng.uniform(0.22, 0.34) * side, rng.uniform(0.08, 0.14) * side
        angle_rad = rng.uniform(0, np.pi)
        along = (columns - x) * np.cos(angle_rad) + (rows - y) * np.sin(angle_rad)
        across = -(columns - x) * np.sin(angle_rad) + (rows - y) * np.cos(angle_rad)
        rough = 1 + 0.08 * _field(rng, (side, side), 6)
        material[(along / long) ** 2 + (across / short) ** 2 < rough] = LAMINA
    leaf = material == LAMINA
    leaf_rows, leaf_columns = np.nonzero(leaf)
    for _ in range(0 if frame.number % HEALTHY_EVERY == HEALTHY_EVERY - 1 else LESIONS):
        centre = rng.integers(len(leaf_rows))
        radius = rng.uniform(3, 12) * side / 256
        squared = (rows - leaf_rows[centre]) ** 2 + (columns - leaf_columns[centre]) ** 2
        rough = radius * (1 + 0.25 * _field(rng, (side, side), 3))
        material[(squared < rough**2) & leaf] = LESION
    return material


def _vary(spectra: Floats, shares: Floats, rng: np.random.Generator, frame: LeafFrame) -> None:
    """Give every pixel (y, x, band) its own chlorophyll, plateau and ridge, in place."""
    wavelengths_nm, shape = _wavelengths_nm(frame.bands), (frame.size_px, frame.size_px)
    chlorophyll, plateau = _field(rng, shape, 10), _field(rng, shape, 14)
    spectra += shares[..., [LAMINA]] * (
        0.012 * chlorophyll[..., None] * _bump(wavelengths_nm, 555, 30)
        + 0.045 * plateau[..., None] * _step(wavelengths_nm, 718, 12)
    )
    decay = _field(rng, shape, 3)
    spectra += shares[..., [LESION]] * (0.030 * decay[..., None] * _step(wavelengths_nm, 690, 60))
    ridges = np.sin(2 * np.pi * np.arange(frame.size_px) / 7)[:, None, None]
    spectra += shares[..., [RIDGED]] * 0.015 * ridges


def _endmembers(wavelengths_nm: Floats) -> Floats:
    """Reflectance of the pure materials, (material, band)."""
    nm = wavelengths_nm
    flat = 0.045 + 0.010 * (nm - 400) / 600 + 0.004 * _bump(nm, 480, 60)
    ridged = 0.085 + 0.050 * (nm - 400) / 600 + 0.010 * _bump(nm, 560, 90)
    green, red = 0.075 * _bump(nm, 552, 26), 0.012 * _bump(nm, 676, 16)
    lamina = 0.035 + green - red + 0.47 * _step(nm, 718, 12) - 0.035 * _bump(nm, 968, 26)
    brown = 0.030 * _bump(nm, 590, 45) + 0.085 * _step(nm, 640, 38)
    lesion = 0.045 + brown + 0.20 * _step(nm, 730, 32) - 0.012 * _bump(nm, 968, 26)
    return np.stack([flat, ridged, lamina, lesion])


def _deviation(wavelengths_nm: Floats) -> Floats:
    """Deviation of the noise, (band,): larger at both ends of the sensor."""
    ends = _bump(wavelengths_nm, LOW_NM, 30) + _bump(wavelengths_nm, HIGH_NM, 40)
    return np.asarray(NOISE * (1 + 1.5 * ends))


def _field(rng: np.random.Generator, shape: tuple[int, int], width_px: float) -> Floats:
    """Smooth random field (y, x) of deviation 1."""
    smooth = gaussian_filter(rng.standard_normal(shape), width_px, mode="wrap")
    return np.asarray(smooth / (smooth.std() + 1e-12))


def _step(wavelengths_nm: Floats, middle_nm: float, width_nm: float) -> Floats:
    """Rise from 0 to 1 around a wavelength."""
    return np.asarray(1.0 / (1.0 + np.exp(-(wavelengths_nm - middle_nm) / width_nm)))


def _bump(wavelengths_nm: Floats, middle_nm: float, width_nm: float) -> Floats:
    """Gaussian around a wavelength."""
    return np.asarray(np.exp(-0.5 * ((wavelengths_nm - middle_nm) / width_nm) ** 2))


def _wavelengths_nm(bands: int) -> Floats:
    """Wavelengths of the bands."""
    return np.linspace(LOW_NM, HIGH_NM, bands)
