"""Small squares of a scene as sources of another: its own pixels, whatever they came from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsistream.errors import SceneError
from hsistream.scene.scene import Scene
from hsistream.scene.source import FrameHeader
from hsistream.tiles import Tile, TileGrid, Window, area, size

PLACES = 64
"""Places at which a scene is looked at for its densest squares."""

SPARSE = 0.25
"""Squares with less than this share of the data of the densest are left out: slivers, and rims."""


@dataclass(frozen=True, slots=True)
class Cut:
    """A window of a frame, as a source for ingest; ``number`` tells cuts of a scene apart."""

    scene: Scene
    frame: int
    window: Window
    number: int

    @property
    def header(self) -> FrameHeader:
        """Describe the cut, with the bands of its scene."""
        scene = self.scene
        return FrameHeader(
            name=f"cut{self.number}",
            shape=size(self.window),
            bands=scene.bands,
            dtype=np.dtype(scene.dtype),
            wavelengths_nm=scene.wavelengths_nm,
            fwhm_nm=scene.fwhm_nm,
            good_bands=scene.good_bands,
            no_data=scene.no_data,
        )

    def read(self, window: Window) -> NDArray[Any]:
        """Return the values of a window of the cut as stored, (band, y, x)."""
        return self.scene.read(self.frame, self._place(window))

    def valid(self, window: Window) -> NDArray[np.bool_]:
        """Return which pixels of a window of the cut have data, (y, x)."""
        return self.scene.valid(self.frame, self._place(window))

    def _place(self, window: Window) -> Window:
        """Find a window of the cut in its frame."""
        rows, columns = (
            slice(inner.start + outer.start, inner.stop + outer.start)
            for inner, outer in zip(window, self.window, strict=True)
        )
        return rows, columns


def densest_cuts(scene: Scene, side_px: int, pixels: int) -> list[Cut]:
    """Cut squares that have as many pixels with data as there are, from all over a scene.

    Parameters
    ----------
    scene : Scene
        What to cut; only its masks are read, at a few places.
    side_px : int
        Side of a square; a frame that is smaller is taken as wide as it is.
    pixels : int
        Pixels of all cuts together, about: squares are added until they have as many.

    Returns
    -------
    list of Cut
        At least one, none without data; always the same.

    Raises
    ------
    SceneError
        If there are no data at any of the places.
    """
    places = _places(scene, side_px)
    known = [int(scene.valid(place.frame, place.core).sum()) for place in places]
    shuffled = np.random.default_rng(0).permutation(len(places))  # of equals, some from everywhere
    chosen: list[Cut] = []
    for number in sorted(shuffled.tolist(), key=lambda place: -known[place]):
        enough = sum(area(cut.window) for cut in chosen) >= pixels
        if enough or known[number] <= SPARSE * max(known):
            break
        chosen.append(Cut(scene, places[number].frame, places[number].core, len(chosen)))
    if not chosen:
        raise SceneError(
            f"A square with data is needed, but none of {len(places)} places of {scene.uri} has "
            f"any."
        )
    return chosen


def _places(scene: Scene, side_px: int) -> list[Tile]:
    """List some of the squares of all frames with data, evenly."""
    grids = [
        TileGrid(frame.shape, side_px, frame=number)
        for number, frame in enumerate(scene.frames)
        if frame.valid_pixels
    ]
    ends = np.cumsum([len(grid) for grid in grids])
    total, found = int(ends[-1]), []
    for at in np.linspace(0, total - 1, min(total, PLACES)).round().astype(np.int64):
        which = int(np.searchsorted(ends, at, side="right"))
        before = int(ends[which]) - len(grids[which])
        found.append(grids[which][divmod(int(at) - before, grids[which].columns)])
    return found
