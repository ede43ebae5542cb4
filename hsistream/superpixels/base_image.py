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
    low, high : float or (channel,) float
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
    lows, extents = ranges(len(scores), low, high)
    image = np.zeros(scores.shape, np.uint8)
    for channel, values in enumerate(scores):
        if extents[channel] == 0.0:
            continue
        scaled = (values.astype(np.float64) - lows[channel]) / extents[channel] * 255.0
        scaled = np.clip(np.nan_to_num(scaled, nan=0.0, posinf=255.0, neginf=0.0), 0.0, 255.0)
        image[channel] = np.floor(scaled + 0.5)  # numpy itself rounds halves to even
    return image


def check_image(image: NDArray[np.generic], valid: NDArray[np.bool_] | None) -> None:
    """Refuse what is no image (channel, y, x) of finite values where valid (y, x)."""
    if image.ndim != 3 or not image.shape[0]:
        raise ValueError(
            f"An image of axes (channel, y, x) with at least one channel is needed, but its shape "
            f"is {image.shape}. Give one axis for channels, even if there is one only."
        )
    shape = image.shape[1:]
    if valid is not None and valid.shape != shape:
        raise ValueError(
            f"valid must have one value for each pixel, {shape}, but its shape is {valid.shape}."
        )
    if np.issubdtype(image.dtype, np.integer):
        return
    for channel, values in enumerate(image):
        finite = np.isfinite(values)
        if not (finite.all() if valid is None else finite[valid].all()):
            raise ValueError(
                f"Channel {channel} of the image has values that are not finite in valid pixels. "
                "Mark these pixels as not valid."
            )


def ranges(
    channels: int, low: ArrayLike, high: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Check the range of each channel; return their lower ends and their extents."""
    lows, highs = np.atleast_1d(low, high)
    if {lows.shape, highs.shape} - {(1,), (channels,)}:
        raise ValueError(
            f"low and high must have one value for all or for each of {channels} channels, but "
            f"their shapes are {lows.shape} and {highs.shape}."
        )
    lows = np.broadcast_to(lows, channels).astype(np.float64)
    highs = np.broadcast_to(highs, channels).astype(np.float64)
    if not (np.isfinite(lows).all() and np.isfinite(highs).all() and (lows <= highs).all()):
        raise ValueError(
            f"Ranges must be finite and not end below their start, but low is {lows.tolist()} and "
            f"high is {highs.tolist()}."
        )
    return lows, highs - lows
