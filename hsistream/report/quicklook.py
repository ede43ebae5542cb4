"""Small pictures of large frames: arrays in, arrays out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsistream.report.palette import NO_DATA_RGB
from hsistream.runs import NO_LABEL

FALSE_COLOUR_NM = (860.0, 650.0, 550.0)
"""Near infrared, red and green, shown as red, green and blue."""
TOLERANCE_NM = 50.0
"""How far from its wanted wavelength a band may lie."""
SPREAD = (0.8, 0.5, 0.2)
"""Where in the good bands to look if the wavelengths do not help."""
STRETCH_PERCENT = (2.0, 98.0)
SAMPLE_PIXELS = 2_000_000
"""At most about so many pixels of all frames settle the stretch."""
OUTLINE_RGB, MARK_RGB, MARK_RIM_RGB = (255, 236, 120), (232, 0, 120), (255, 255, 255)
"""Colours of outlines, of marks and of the rims of marks."""

MARK_SHARE = 150
"""A mark reaches at least so small a part of the larger side of the picture to each side."""
SHOWN_STEPS = 51
"""Steps of a confidence image: 0.02 each."""


def stride_for(shape: tuple[int, int], limit_px: int) -> int:
    """Choose the smallest step at which a frame is at most ``limit_px`` long and wide.

    Examples
    --------
    >>> stride_for((2000, 900), 1000), stride_for((2001, 900), 1000), stride_for((10, 10), 1000)
    (2, 3, 1)
    """
    return max(1, -(-max(shape) // limit_px))


def false_colour_bands(
    wavelengths_nm: Sequence[float], good_bands: Sequence[bool]
) -> tuple[int, int, int]:
    """Choose the bands to show as red, green and blue.

    Parameters
    ----------
    wavelengths_nm : sequence of float
        Centre of each band, nm; may be empty.
    good_bands : sequence of bool
        Which bands may be shown. If none is good, all are.

    Returns
    -------
    (int, int, int)
        The good bands nearest to 860, 650 and 550 nm; if one of these is more
        than 50 nm away, the good bands at 80, 50 and 20 % of their number.

    Examples
    --------
    >>> false_colour_bands([450, 550, 650, 750, 860], [True] * 5)
    (4, 2, 1)
    >>> false_colour_bands([], [True] * 10)
    (7, 4, 1)
    """
    good = np.flatnonzero(good_bands)
    good = good if good.size else np.arange(len(good_bands))
    if len(wavelengths_nm) == len(good_bands):
        distances = np.abs(
            np.asarray(wavelengths_nm, np.float64)[good] - np.array(FALSE_COLOUR_NM)[:, None]
        )
        distances[np.isnan(distances)] = np.inf
        if (distances.min(axis=1) <= TOLERANCE_NM).all():
            red, green, blue = good[distances.argmin(axis=1)].tolist()
            return red, green, blue
    red, green, blue = (int(good[int(share * (good.size - 1))]) for share in SPREAD)
    return red, green, blue


def false_colour(
    frames: Sequence[NDArray[Any]], valid: Sequence[NDArray[np.bool_]]
) -> list[NDArray[np.uint8]]:
    """Stretch three bands to a picture, alike for all frames.

    Parameters
    ----------
    frames : sequence of (3, y, x) arrays
        The bands to show as red, green and blue, in any unit.
    valid : sequence of (y, x) bool
        Pixels with data.

    Returns
    -------
    list of (y, x, 3) uint8
        One picture per frame, each band stretched from its 2nd to its 98th
        percentile over the valid pixels of all frames together. Pixels
        without data, or with a value that is not finite, are light grey.
    """
    shown = [
        mask & np.isfinite(bands).all(axis=0) for bands, mask in zip(frames, valid, strict=True)
    ]
    step = 1 + sum(int(mask.sum()) for mask in shown) // SAMPLE_PIXELS
    samples = [bands[:, mask][:, ::step] for bands, mask in zip(frames, shown, strict=True)]
    sample = np.concatenate([np.zeros((3, 0), np.float32), *samples], axis=1)
    if not sample.shape[1]:
        return [_grey(mask.shape) for mask in shown]
    low, high = np.percentile(sample, STRETCH_PERCENT, axis=1).astype(np.float32)
    return [_stretched(bands, mask, low, high) for bands, mask in zip(frames, shown, strict=True)]


def label_image(labels: NDArray[np.integer[Any]], colours: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Colour a map.

    Parameters
    ----------
    labels : (y, x) uint16
        Label of each pixel; 65535 where there is no data.
    colours : (label, 3) uint8
        Colour of each label, as :func:`~hsistream.report.palette.palette` gives.

    Returns
    -------
    (y, x, 4) uint8
        Red, green, blue, opacity; transparent where there is no data.
    """
    known = labels != NO_LABEL
    image = np.zeros((*labels.shape, 4), np.uint8)
    image[known, :3] = colours[labels[known]]
    image[known, 3] = 255
    return image


def confidence_levels(confidence: NDArray[np.floating[Any]]) -> NDArray[np.uint8]:
    """Round to steps, (y, x) uint8 from 0; ``SHOWN_STEPS`` where there is no data."""
    known = np.isfinite(confidence)
    levels = np.full(confidence.shape, SHOWN_STEPS, np.uint8)
    levels[known] = np.round(np.clip(confidence[known], 0, 1) * (SHOWN_STEPS - 1))
    return levels


def _grey(shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Make a picture of a frame without data."""
    return np.broadcast_to(np.array(NO_DATA_RGB, np.uint8), (*shape, 3)).copy()


def _stretched(
    bands: NDArray[Any],
    shown: NDArray[np.bool_],
    low: NDArray[np.float32],
    high: NDArray[np.float32],
) -> NDArray[np.uint8]:
    """Map ``low`` to black and ``high`` to white."""
    image = _grey(shown.shape)
    span = np.where(high > low, high - low, 1)
    values = (bands[:, shown].T.astype(np.float32) - low) / span
    image[shown] = np.round(255 * np.clip(values, 0, 1))
    return image


def outlined(
    image: NDArray[np.uint8],
    regions: NDArray[np.integer[Any]],
    marks: NDArray[np.integer[Any]],
    scale: int,
) -> NDArray[np.uint8]:
    """Draw the outlines of regions, and marked pixels, on a picture that is enlarged for it.

    Parameters
    ----------
    image : (y, x, 3) uint8
        The picture below.
    regions : (y, x) int
        Region of every pixel; an outline is drawn where it changes.
    marks : (mark, 2) int
        Rows and columns of the pixels to mark.
    scale : int
        Pixels of the result per pixel of the picture, and along each axis.

    Returns
    -------
    (y * scale, x * scale, 3) uint8
        With thin outlines, and a square on marked pixels that is large enough to be seen.
    """
    large = np.repeat(np.repeat(image, scale, axis=0), scale, axis=1)
    index = np.repeat(np.repeat(regions, scale, axis=0), scale, axis=1)
    edges = np.zeros(index.shape, np.bool_)
    edges[:, 1:] |= index[:, 1:] != index[:, :-1]
    edges[1:] |= index[1:] != index[:-1]
    large[edges] = OUTLINE_RGB
    half = max(scale // 2, max(edges.shape) // MARK_SHARE)
    for row, column in marks * scale + scale // 2:
        for reach, colour in ((half + 1, MARK_RIM_RGB), (half, MARK_RGB)):
            top, left = max(row - reach, 0), max(column - reach, 0)
            large[top : row + reach + 1, left : column + reach + 1] = colour
    return large
