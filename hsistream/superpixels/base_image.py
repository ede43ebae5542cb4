"""The image that is cut into superpixels: scores on the 8-bit scale of their whole scene."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def eight_bit(scores: NDArray[np.floating], low: ArrayLike, high: ArrayLike) -> NDArray[np.uint8]:
    """Scale scores to 0 at the lower and 255 at the upper end of their range.

    The range is that of the whole scene, never that of the array itself, so
    that a pixel gets the same value whatever tile it is read in.

    Parameters
    ----------
    scores : (channel, y, x) float
        Scores of pixels.
    low, high : (channel,) float
        The range of each channel. Scores outside of it are clipped; a channel
        without extent becomes 0.

    Returns
    -------
    (channel, y, x) uint8
        Scaled scores, rounded to the nearest, halves up; 0 where a score is NaN.

    Raises
    ------
    ValueError
        If a range has another number of channels, is not finite, or ends below
        its start.

    Examples
    --------
    >>> eight_bit(np.array([[[-1.0, 0.0, 1.0, 2.0, 5.0]]]), [0.0], [2.0])
    array([[[  0,   0, 128, 255, 255]]], dtype=uint8)
    """
    lows, extents = _ranges(len(scores), low, high)
    image = np.zeros(scores.shape, np.uint8)
    for channel, values in enumerate(scores):
        if extents[channel] == 0.0:
            continue
        scaled = (values.astype(np.float64) - lows[channel]) / extents[channel] * 255.0
        scaled = np.clip(np.nan_to_num(scaled, nan=0.0, posinf=255.0, neginf=0.0), 0.0, 255.0)
        whole = np.floor(scaled)
        image[channel] = whole + (scaled - whole >= 0.5)  # 0.5 added first would round up 0.4999…
    return image


def _ranges(
    channels: int, low: ArrayLike, high: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Check the ranges of channels; return their lower ends and their extents."""
    lows, highs = np.asarray(low, np.float64), np.asarray(high, np.float64)
    if lows.shape != (channels,) or highs.shape != (channels,):
        raise ValueError(
            f"low and high must have one value for each of {channels} channels, but their shapes "
            f"are {lows.shape} and {highs.shape}."
        )
    if not (np.isfinite(lows).all() and np.isfinite(highs).all() and (lows <= highs).all()):
        raise ValueError(
            f"Ranges must be finite and not end below their start, but low is {lows.tolist()} and "
            f"high is {highs.tolist()}."
        )
    return lows, highs - lows
