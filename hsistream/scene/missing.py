"""What lacks data at ingest: values, pixels, bands and frames.

A band that is empty in many pixels is given up, so that it does not cost them;
a pixel that lacks a value in a band that is kept has no data.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsistream.errors import SceneError
from hsistream.scene.source import FrameHeader
from hsistream.tiles import Tile

SINGLE_MAX = np.finfo(np.float32).max
"""The largest number of single precision."""

BAD_BAND_SHARE = 0.1
"""A band without a value in more than this share of the pixels is a bad band."""

DEAD_BAND_SHARE = 0.5
"""So is one without a value in more than this share of the pixels of any one frame, ..."""

BROKEN_FRAME_SHARE = 0.1
"""... unless more than this share of the frame's bands is: the frame then loses its pixels."""

FLAT_PIXELS = 10
"""So many pixels with one and the same value in all bands are no chance."""

FLAT_VALUES = 8
"""Values of such pixels that are counted, by block."""


@dataclass(slots=True)
class Tally:
    """What one pass over the blocks of a frame counts.

    ``missing`` are pixels without a value, and ``sums`` those of values, by band; ``lost`` are
    pixels with data that lack a value in a good band, in one of the ``patchy`` tiles. ``flat``
    counts pixels with the same value in all bands, by that value.
    """

    bands: int
    pixels: int = 0
    zeros: int = 0
    lost: int = 0
    missing: NDArray[np.int64] = field(init=False)
    sums: NDArray[np.float64] = field(init=False)
    patchy: list[Tile] = field(default_factory=list)
    flat: Counter[float] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.missing = np.zeros(self.bands, np.int64)
        self.sums = np.zeros(self.bands)


def find_missing(block: NDArray[Any], no_data: float | None) -> NDArray[np.bool_]:
    """Find values that are not finite or equal the no-data value, (band, y, x).

    What single precision cannot hold is not finite either, for stages compute in it.
    """
    missing = np.zeros(block.shape, np.bool_)
    if np.issubdtype(block.dtype, np.floating):
        np.logical_not(np.isfinite(block), out=missing)
    if block.dtype == np.float64:
        missing |= (block > SINGLE_MAX) | (block < -SINGLE_MAX)
    if no_data is not None and np.isfinite(no_data):
        missing |= block == block.dtype.type(no_data) if fits(no_data, block.dtype) else False
    return missing


def flat_pixels(block: NDArray[Any], valid: NDArray[np.bool_]) -> Counter[float]:
    """Count valid pixels (y, x) that have one value in all bands, (band, y, x), by the value.

    With three bands and less they are grey; with more they are hardly ever measured. Zeros
    are told elsewhere. Only the most frequent values are kept.
    """
    if len(block) < 4:
        return Counter()
    maybe = valid & (block[0] != 0) & (block[0] == block[-1]) & (block[0] == block[len(block) // 2])
    spectra = block[:, maybe]
    values, counts = np.unique(spectra[0, (spectra == spectra[:1]).all(axis=0)], return_counts=True)
    found: Counter[float] = Counter(dict(zip(values.tolist(), counts.tolist(), strict=True)))
    return Counter(dict(found.most_common(FLAT_VALUES)))


def undeclared(tallies: Sequence[Tally]) -> list[str]:
    """Say which value may be meant for no data: one that many pixels have in all bands."""
    flat = sum((tally.flat for tally in tallies), Counter[float]())
    [(value, count)] = flat.most_common(1) or [(0.0, 0)]
    if count < FLAT_PIXELS:
        return []
    return [
        f"{count:,} pixels are {value:g} in every band; if that means no data, ingest again with "
        f"--no-data {value:g}"
    ]


def fits(value: float, dtype: np.dtype[Any]) -> bool:
    """Tell whether a type can hold a no-data value."""
    if np.issubdtype(dtype, np.floating):
        return True
    limits = np.iinfo(dtype)
    return bool(limits.min <= value <= limits.max and value == int(value))


def good_bands(headers: Sequence[FrameHeader], tallies: Sequence[Tally]) -> tuple[bool, ...]:
    """Keep the bands that the files call good, and that have values in all frames.

    Raises
    ------
    SceneError
        If no band is left.
    """
    bands = headers[0].bands
    good = np.ones(bands, np.bool_)
    for header in headers:
        if header.good_bands:
            good &= np.asarray(header.good_bands)
    good &= ~_lacking(tallies) & ~_dead(tallies).any(axis=0)
    if not good.any():
        raise SceneError(
            f"A scene needs at least one good band, but all {bands} bands of "
            f"{', '.join(header.name for header in headers)} are marked bad or lack values in more "
            f"than {BAD_BAND_SHARE:.0%} of the pixels. Check --no-data."
        )
    return tuple(bool(value) for value in good)


def _lacking(tallies: Sequence[Tally]) -> NDArray[np.bool_]:
    """Tell which bands lack a value in too many pixels of all frames together."""
    pixels = sum(tally.pixels for tally in tallies)
    missing = np.sum([tally.missing for tally in tallies], axis=0)
    return np.asarray(missing > BAD_BAND_SHARE * pixels)


def _dead(tallies: Sequence[Tally]) -> NDArray[np.bool_]:
    """Tell which further bands are dead in which frames, (frame, band).

    Kept, such a band would cost all pixels of its frame. A frame that would take
    too many bands from the others has none here: it is the frame that is broken.
    """
    missing = np.array([tally.missing for tally in tallies])
    pixels = np.array([[tally.pixels] for tally in tallies])
    dead = (missing > DEAD_BAND_SHARE * pixels) & ~_lacking(tallies)
    dead[dead.sum(axis=1) > BROKEN_FRAME_SHARE * missing.shape[1]] = False
    return np.asarray(dead)


def dead_bands(names: Sequence[str], tallies: Sequence[Tally]) -> Iterator[str]:
    """Say which bands are given up in all frames because one frame lacks them."""
    dead = _dead(tallies)
    for band in np.flatnonzero(dead.any(axis=0)):
        where = [name for name, here in zip(names, dead[:, band], strict=True) if here]
        more = f" and {len(where) - 1} more" if len(where) > 1 else ""
        yield (
            f"band {band + 1} (counted from 1) is bad: it has no values in most of {where[0]}{more}"
        )


def lost_pixels(
    names: Sequence[str], tallies: Sequence[Tally], good: Sequence[bool]
) -> Iterator[str]:
    """Say which frames lose many pixels because good bands lack values there, and which bands."""
    for name, tally in zip(names, tallies, strict=True):
        if tally.lost > BAD_BAND_SHARE * tally.pixels:
            lacking = np.where(good, tally.missing, 0)
            worst = [int(band) + 1 for band in np.argsort(-lacking)[:3] if lacking[band]]
            yield (
                f"{tally.lost:,} of {tally.pixels:,} pixels of {name} lack a value in a good "
                f"band, most in {', '.join(map(str, worst))} (counted from 1), and count as no "
                f"data; bands that are named bad cost no pixel"
            )
