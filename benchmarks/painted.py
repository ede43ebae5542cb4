"""Frames of any number and size, painted from the label maps of real scenes.

All frames share ten materials, three of which are close to others. Every frame
takes one layout, turned, mirrored and zoomed, repeats it in mirrored copies,
and has its own exposure and light. Pixels vary within a material and mix at
borders, the sensor adds noise. Truth is known for every pixel, and a block is
computed from its place alone.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from hsistream.readers.labels import read_labels
from hsistream.scene.leaf_phantom import LeafFrame
from hsistream.scene.source import FrameHeader
from hsistream.scene.synthetic import SCALE, SyntheticFrame, smooth_spectra
from hsistream.tiles import TileGrid, Window, overlap, size, within

MATERIALS, CLOSE = 10, 3
"""How many materials there are; how many of them resemble another one."""

APART = 0.12
"""Share of a spectrum of its own in a material that is close to another."""

LEAVES = "leaves"
ZOOMS = {"Salinas": (1, 2), "PaviaU": (1, 2), "Indian_pines": (2, 3, 4), LEAVES: (1, 2, 3)}
"""Layouts, which frames take in turn, and their zooms; all but the leaves are label maps."""

LAYOUTS = tuple(ZOOMS)

LAYOUT_PX = 256
"""Side of a layout that is drawn by a formula."""

ROUNDING = 0.7
"""Borders of a zoomed layout are smoothed by this much of the zoom, so that no steps show."""

TILE_PX = 128
"""Noise is drawn in squares of this size; small ones stay in the cache of a processor."""

BANDS_AT_ONCE = 10

LIGHT, PIXEL_LIGHT = 0.04, 0.03
"""Deviation of the brightness, smooth over a frame and from pixel to pixel."""

VARIATION = 0.015
"""Deviation within a material, reflectance, along a spectrum of its own."""

NOISE = 0.012
"""Deviation of the noise of the sensor, reflectance."""


@dataclass(frozen=True, slots=True)
class PaintedFrame:
    """One painted frame, as a source for ingest.

    Parameters
    ----------
    number : int
        Number of the frame; it chooses the layout and what is done to it.
    shape : (int, int)
        Size (y, x), px.
    bands : int
        Number of bands, from 420 to 2450 nm.
    labels : Path, optional
        Folder of the label maps; without one, layouts are synthetic mosaics.
    gain : float
        Exposures of frames differ from 1 by up to this much.
    seed : int
        Same seed, same scene.
    threads : int
        Threads that paint; the values do not depend on them.
    """

    number: int = 0
    shape: tuple[int, int] = (1000, 1000)
    bands: int = 100
    labels: Path | None = None
    gain: float = 0.1
    seed: int = 0
    threads: int = 1

    @property
    def header(self) -> FrameHeader:
        """Describe the frame."""
        return FrameHeader(
            name=f"frame{self.number}",
            shape=self.shape,
            bands=self.bands,
            dtype=np.dtype(np.uint16),
            wavelengths_nm=tuple(np.linspace(420, 2450, self.bands).round(2)),
            attributes={"description": "painted scene", "layout": self.layout},
        )

    @property
    def layout(self) -> str:
        """Name of the layout of this frame."""
        return LAYOUTS[self.number % len(LAYOUTS)]

    def read(self, window: Window) -> NDArray[np.uint16]:
        """Paint a window, (band, y, x) uint16, reflectance times 10,000."""
        values = np.empty((self.bands, *size(window)), np.uint16)
        grid = TileGrid(self.shape, TILE_PX)

        def paint(index: tuple[int, int]) -> None:
            core = grid[index].core
            shared = overlap(core, window)
            assert shared is not None
            painted = self._paint(index, core)[:, *within(shared, core)]
            values[:, *within(shared, window)] = painted

        rows, columns = (range(s.start // TILE_PX, -(-s.stop // TILE_PX)) for s in window)
        with ThreadPoolExecutor(self.threads) as pool:
            list(pool.map(paint, [(row, column) for row in rows for column in columns]))
        return values

    def valid(self, window: Window) -> None:
        """Mask nothing: every pixel has data."""

    def truth(self) -> NDArray[np.uint8]:
        """Material of every pixel, (y, x), from 1."""
        return self.materials((slice(0, self.shape[0]), slice(0, self.shape[1]))) + np.uint8(1)

    def materials(self, window: Window) -> NDArray[np.uint8]:
        """Material of every pixel of a window, which may reach beyond the frame, from 0."""
        sheet = _sheet(self)
        rows, columns = (
            _mirrored(np.arange(span.start, span.stop) + start, extent)
            for span, start, extent in zip(window, sheet.start, sheet.materials.shape, strict=True)
        )
        return sheet.materials[np.ix_(rows, columns)]

    def _paint(self, index: tuple[int, int], core: Window) -> NDArray[np.uint16]:
        """Paint one square of the noise, (band, y, x)."""
        sheet = _sheet(self)
        rng = np.random.default_rng((self.seed, self.number, *index))
        own = rng.standard_normal((2, *size(core)), np.float32)
        light = sheet.exposure * (1 + LIGHT * _field(sheet.light, core) + PIXEL_LIGHT * own[0])
        variation = np.sqrt(0.5) * (_field(sheet.variation, core) + own[1])
        shares = self._shares(core) * light.astype(np.float32)
        weights = np.concatenate([shares, shares * variation.astype(np.float32)])
        spectra = _endmembers(self.bands, self.seed).T
        painted = np.empty((self.bands, *size(core)), np.uint16)
        for first in range(0, self.bands, BANDS_AT_ONCE):
            part = slice(first, first + BANDS_AT_ONCE)
            values = (spectra[part] @ weights.reshape(len(weights), -1)).reshape(-1, *size(core))
            noise = rng.standard_normal(values.shape, np.float32)
            values += np.multiply(noise, NOISE * SCALE, out=noise)
            painted[part] = np.clip(values, 1, 65_534, out=values)
        return painted

    def _shares(self, core: Window) -> NDArray[np.float32]:
        """Share of each material in each pixel, (material, y, x): what lies in 3 x 3 pixels."""
        rows, columns = core
        outer = slice(rows.start - 1, rows.stop + 1), slice(columns.start - 1, columns.stop + 1)
        pure = self.materials(outer) == np.arange(MATERIALS)[:, None, None]
        ninths = pure.astype(np.float32) / 9
        ninths = ninths[:, :-2] + ninths[:, 1:-1] + ninths[:, 2:]
        return np.asarray(ninths[..., :-2] + ninths[..., 1:-1] + ninths[..., 2:])


@dataclass(frozen=True, eq=False, slots=True)
class _Sheet:
    """What a frame is painted from.

    ``materials`` (y, x) is the turned and zoomed layout, and ``start`` its place
    at pixel (0, 0); ``light`` and ``variation`` are waves (wave, 3).
    """

    materials: NDArray[np.uint8]
    start: tuple[int, int]
    exposure: float
    light: NDArray[np.float64]
    variation: NDArray[np.float64]


@lru_cache(maxsize=2)
def _sheet(frame: PaintedFrame) -> _Sheet:
    """Choose layout, place and light of a frame."""
    rng = np.random.default_rng((frame.seed, frame.number, 1))
    variant = frame.number // len(LAYOUTS) if frame.layout == LEAVES else 0
    layout = _zoomed(frame.layout, frame.labels, variant, int(rng.choice(ZOOMS[frame.layout])))
    turned = np.rot90(layout, int(rng.integers(4)))
    turned = turned[:, ::-1] if rng.random() < 0.5 else turned
    order = rng.permutation(MATERIALS).astype(np.uint8)
    start = rng.integers(0, turned.shape)
    return _Sheet(
        order[turned % MATERIALS],
        (int(start[0]), int(start[1])),
        float(1 + frame.gain * rng.uniform(-1, 1)),
        _waves(rng, 400, 1500),
        _waves(rng, 20, 100),
    )


@lru_cache(maxsize=12)
def _zoomed(name: str, labels: Path | None, variant: int, zoom: int) -> NDArray[np.uint8]:
    """Enlarge a layout, with round borders; classes from 0."""
    layout = _classes(name, labels, variant)
    best = np.full([zoom * extent for extent in layout.shape], -1, np.float32)
    found = np.zeros(best.shape, np.uint8)
    for each in range(int(layout.max()) + 1):
        share = np.kron(layout == each, np.ones((zoom, zoom), np.float32))
        share = ndimage.gaussian_filter(share, ROUNDING * zoom, truncate=2, mode="mirror")
        found[share > best] = each
        np.maximum(best, share, out=best)
    return found


def _classes(name: str, labels: Path | None, variant: int) -> NDArray[np.uint8]:
    """Read or draw a layout; unlabelled pixels belong to the nearest class. From 0."""
    if name == LEAVES:
        return LeafFrame(variant, LAYOUT_PX, bands=2).truth() - np.uint8(1)
    if labels is None:
        number = LAYOUTS.index(name)
        mosaic = SyntheticFrame(number, (LAYOUT_PX, LAYOUT_PX), classes=MATERIALS, field_px=16)
        return mosaic.materials((slice(0, LAYOUT_PX), slice(0, LAYOUT_PX))).astype(np.uint8)
    known = next(iter(read_labels(labels / f"{name}_gt.mat").values()))
    nearest = ndimage.distance_transform_edt(
        known == 0, return_distances=False, return_indices=True
    )
    return np.unique(known[tuple(nearest)], return_inverse=True)[1].astype(np.uint8)


@lru_cache(maxsize=1)
def _endmembers(bands: int, seed: int) -> NDArray[np.float32]:
    """Spectra of the materials, then how each varies, (2 * material, band), as stored."""
    drawn = smooth_spectra(bands, 2 * MATERIALS, seed)
    spectra, own = drawn[:MATERIALS].copy(), drawn[MATERIALS:]
    spectra[-CLOSE:] = (1 - APART) * spectra[:CLOSE] + APART * spectra[-CLOSE:]
    own -= own.mean(axis=1, keepdims=True)
    own *= VARIATION / own.std(axis=1, keepdims=True)
    return np.concatenate([spectra, own]) * np.float32(SCALE)


def _waves(rng: np.random.Generator, shortest_px: float, longest_px: float) -> NDArray[np.float64]:
    """Draw six waves in any direction: steps of the phase along y and x, and a phase."""
    angle, phase = rng.uniform(0, 2 * np.pi, (2, 6))
    step = 2 * np.pi / np.exp(rng.uniform(np.log(shortest_px), np.log(longest_px), 6))
    return np.stack([step * np.sin(angle), step * np.cos(angle), phase], axis=1)


def _field(waves: NDArray[np.float64], window: Window) -> NDArray[np.float64]:
    """Add waves up to a field of deviation 1, (y, x)."""
    rows, columns = (np.arange(span.start, span.stop)[:, None] for span in window)
    down = np.exp(1j * (rows * waves[:, 0] + waves[:, 2]))
    field = (down @ np.exp(1j * columns * waves[:, 1]).T).real
    return np.asarray(field * np.sqrt(2 / len(waves)))


def _mirrored(place: NDArray[np.int64], extent: int) -> NDArray[np.int64]:
    """Fold places into a sheet that goes on in mirrored copies."""
    place = place % (2 * extent)
    return np.minimum(place, 2 * extent - 1 - place)


def labels_folder() -> Path | None:
    """Find the label maps of real scenes, if HSISTREAM_DATA names their folder."""
    data = os.environ.get("HSISTREAM_DATA")
    return None if data is None else Path(data) / "native" / "gt_only"


def painted_frames(
    frames: int, shape: tuple[int, int], *, bands: int, gain: float, seed: int, threads: int
) -> list[PaintedFrame]:
    """Make the sources of a scene; those of fewer frames are the first of more."""
    labels = labels_folder()
    return [
        PaintedFrame(number, shape, bands, labels, gain, seed, threads) for number in range(frames)
    ]
