"""The network of DiffCRN in use: windows of a frame, each encoded by itself.

A window and what becomes of its middle depend on where it lies in the frame, and not on
the tile that asks for it: windows begin at multiples of the side of their middle, less
the rim around it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hsistream.methods.base import ORIGIN, Gaps, Place, Standard
from hsistream.methods.denoising import embed_spectra, shown
from hsistream.methods.diffcrn_model import Model, latent_count
from hsistream.nn.exact import as_array, encoding

SQUARE_PX = 120
"""Side of the squares that are encoded: some windows."""

WINDOWS_AT_ONCE = 8
"""Windows that are encoded together; always as many, so that sums are the same."""


class WindowEncoder:
    """A trained network; see :class:`hsistream.methods.base.Encoder`."""

    gaps: Gaps = "filled"
    square_px = SQUARE_PX

    def __init__(self, model: Model, standard: Standard, device: str) -> None:
        self._model, self._settings = model.eval(), model.settings
        self._standard, self._device = standard, device
        self.halo, self._rim = self._settings.halo_px, self._settings.rim_px
        self.embedding_size = self._settings.band_means(standard.feature_count)
        self.latent_size = latent_count(self._settings)

    def embed(self, raw: NDArray[Any], frame: int) -> NDArray[np.float32]:
        """Embed spectra (band, ...) as stored, (mean of bands, pixel)."""
        found = embed_spectra(self._settings, self._standard, raw, frame)
        return np.ascontiguousarray(found.reshape(len(found), -1))

    @torch.inference_mode()
    def refine(
        self,
        embedded: NDArray[np.float32],
        place: Place = ORIGIN,
        dtype: type[np.floating[Any]] = np.float32,
    ) -> NDArray[Any]:
        """Turn (mean of bands, y + 2 halo, x + 2 halo) into latents (latent, y, x)."""
        known = shown(torch.from_numpy(embedded))  # not on a GPU, which would be asked for each
        height, width = (extent - 2 * self.halo for extent in embedded.shape[1:])
        first = Place(place.row - self.halo, place.column - self.halo)
        cells = self._cells(place, (height, width))
        corners = [
            (c.row - self._rim - first.row, c.column - self._rim - first.column) for c in cells
        ]
        seen = [each for each in corners if known[self._middle(each)].any()]
        with encoding(self._device):
            latents = self._latents(torch.from_numpy(embedded).to(self._device), seen, first)
            inner = latents[:, self.halo : self.halo + height, self.halo : self.halo + width]
            return as_array(inner, dtype)

    def _latents(self, clean: Tensor, seen: Sequence[tuple[int, int]], first: Place) -> Tensor:
        """Encode the windows that begin at some corners, (latent, y, x); 0 elsewhere."""
        latents = clean.new_zeros(self.latent_size, *clean.shape[1:])
        for at in range(0, len(seen), WINDOWS_AT_ONCE):
            part = seen[at : at + WINDOWS_AT_ONCE]
            found = self._windows(clean, part, first)
            for (top, left), each in zip(part, found, strict=False):
                latents[:, *self._middle((top, left))] = each
        return latents

    def _cells(self, place: Place, shape: tuple[int, int]) -> list[Place]:
        """List the middles, by their first pixels, that hold pixels of a part of a frame."""
        side = self._settings.centre_px
        rows, columns = (
            range(start // side * side, start + extent, side)
            for start, extent in zip((place.row, place.column), shape, strict=True)
        )
        return [Place(row, column) for row in rows for column in columns]

    def _middle(self, corner: tuple[int, int]) -> tuple[slice, slice]:
        """Part of a square in which the middle of a window lies that begins at a corner."""
        top, left = (start + self._rim for start in corner)
        side = self._settings.centre_px
        return slice(top, top + side), slice(left, left + side)

    def _windows(self, clean: Tensor, corners: Sequence[tuple[int, int]], first: Place) -> Tensor:
        """Encode windows that begin at corners of a square, (window, latent, y, x) of middles."""
        side = self._settings.window_px
        windows = clean.new_zeros(WINDOWS_AT_ONCE, len(clean), side, side)
        places = [first] * WINDOWS_AT_ONCE
        for number, (top, left) in enumerate(corners):
            windows[number] = clean[:, top : top + side, left : left + side]
            places[number] = Place(first.row + top, first.column + left)
        features = self._model.features(windows, places)
        middle = slice(self._rim, self._rim + self._settings.centre_px)
        inner = features[:, middle, middle]
        latents = self._model.latents(inner.flatten(0, 2).T)
        return latents.reshape(-1, *inner.shape[:3]).swapaxes(0, 1)
