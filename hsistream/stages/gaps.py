"""What the second part of a network sees where a frame has no spectra."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from hsistream.methods.base import Encoder, Gaps
from hsistream.scene.patches import Indices, fill_gaps, filling_reach, mirrored, repeated
from hsistream.tiles import Window

BEYOND: Mapping[Gaps, Callable[[Indices, int], Indices]] = MappingProxyType(
    {"blank": repeated, "filled": mirrored}
)
"""What lies at places beyond the edges of a frame."""


def reading_halo(encoder: Encoder) -> int:
    """Pixels around a tile that are read: more than the network sees, where gaps are filled."""
    return filling_reach(encoder.halo) if encoder.gaps == "filled" else encoder.halo


def close_gaps(
    whole: NDArray[np.float32], inside: Window, valid: NDArray[np.bool_], encoder: Encoder
) -> None:
    """Close the gaps of embedded pixels, in place, as their encoder wants it.

    Parameters
    ----------
    whole : (embedding, y, x) float32
        Embedded pixels with room around them.
    inside : Window
        Place of the pixels; beyond it the frame is taken to end.
    valid : (y, x) bool
        Pixels of the inside with data.
    encoder : Encoder
        Network that is to see them.
    """
    rows, columns = inside
    embedded = whole[:, rows, columns]
    embedded[:, ~valid] = 0
    if encoder.gaps == "filled":
        fill_gaps(embedded, valid, encoder.halo)
    _go_on(whole[:, rows], columns, encoder.gaps)
    _go_on(whole.swapaxes(1, 2), rows, encoder.gaps)


def _go_on(values: NDArray[np.float32], inside: slice, gaps: Gaps) -> None:
    """Go on along the last axis, before and behind the inside."""
    places = np.arange(values.shape[2])
    beyond = places[(places < inside.start) | (places >= inside.stop)]
    source = BEYOND[gaps](beyond - inside.start, inside.stop - inside.start)
    values[:, :, beyond] = values[:, :, source + inside.start]
