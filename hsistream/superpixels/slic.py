"""SLIC superpixels: nearest of many centres in place and colour; compact, quick, not exact."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage
from skimage import measure, segmentation

from hsistream.superpixels.base_image import check_image, ranges


def slic(
    image: NDArray[np.generic],
    count: int,
    *,
    valid: NDArray[np.bool_] | None = None,
    low: ArrayLike = 0.0,
    high: ArrayLike = 255.0,
    compactness: float = 0.1,
) -> NDArray[np.int32]:
    """Cut an image into compact superpixels around a regular grid of centres.

    Every pixel belongs to the nearest centre in place and colour, and centres
    move to the mean of their pixels, ten times. Colours are measured on the
    scale of the whole scene, so that the contrast of a tile does not matter.

    Parameters
    ----------
    image : (channel, y, x) uint8 or float
        Usually the 8-bit image of ``eight_bit``. Values without data are not
        looked at.
    count : int
        Superpixels wanted, from 1. Roughly as many are made; no data cut some
        of them into several.
    valid : (y, x) bool, optional
        False where there is no data; no superpixel holds or crosses such a
        pixel. All are valid by default.
    low, high : float or (channel,) float
        The range of each channel in the whole scene; it becomes 0 to 1, and
        values outside of it are clipped.
    compactness : float
        The difference in colour, 0 to 1 in each channel, that weighs as much as
        the distance to the next centre. The larger, the squarer.

    Returns
    -------
    (y, x) int32
        Number of the superpixel, from 0 in the order of their first pixels in
        rows; -1 where there is no data. Each superpixel is connected by its
        4-neighbours.

    Raises
    ------
    ValueError
        If the image has another number of axes, no channel, or values that are
        not finite in valid pixels; if ``valid`` has another shape; if a range
        is not finite or ends below its start; if ``count`` or ``compactness``
        is outside of its range.

    Notes
    -----
    Changed against the implementation of scikit-image that is used: its scale
    is the range of the image that it is given, here that of the scene; and no
    data is filled from the nearest valid pixel first and cut out afterwards,
    because its own way of leaving pixels out needs memory by the square of
    ``count``.

    References
    ----------
    .. [1] R. Achanta, A. Shaji, K. Smith, A. Lucchi, P. Fua, S. Süsstrunk, "SLIC
       superpixels compared to state-of-the-art superpixel methods", IEEE
       Transactions on Pattern Analysis and Machine Intelligence 34, 2274-2282,
       2012. doi:10.1109/TPAMI.2012.120

    Examples
    --------
    >>> image = np.array([[[0, 0, 200, 200], [0, 0, 200, 200]]], np.uint8)
    >>> slic(image, 2)
    array([[0, 0, 1, 1],
           [0, 0, 1, 1]], dtype=int32)
    """
    check_image(image, valid)
    _check_settings(count, compactness)
    if valid is None:
        valid = np.ones(image.shape[1:], np.bool_)
    pixels = int(np.count_nonzero(valid))
    if not pixels:
        return np.full(valid.shape, -1, np.int32)
    colours = _colours(image, low, high)
    if pixels < valid.size:
        nearest = ndimage.distance_transform_edt(
            ~valid, return_distances=False, return_indices=True
        )
        colours = colours[nearest[0], nearest[1]]
    centres = segmentation.slic(
        colours,
        n_segments=round(min(count, pixels) * (valid.size / pixels)),
        compactness=compactness,
        convert2lab=False,
        channel_axis=-1,
    )
    return _numbered(np.where(valid, centres, 0))


def _colours(image: NDArray[np.generic], low: ArrayLike, high: ArrayLike) -> NDArray[np.float32]:
    """Scale an image by the range of its scene, channels last, between a channel of 0 and one of 1.

    The two are equal everywhere and change no distance, but the library finds
    in them that its own scaling, by the smallest and largest value, is done.
    """
    channels, height, width = image.shape
    lows, extents = ranges(channels, low, high)
    colours = np.zeros((height, width, channels + 2), np.float32)
    colours[..., -1] = 1.0
    for c in range(channels):
        if extents[c] > 0.0:
            scaled = (image[c].astype(np.float64) - lows[c]) / extents[c]
            colours[..., c + 1] = np.nan_to_num(np.clip(scaled, 0.0, 1.0))
    return colours


def _numbered(parts: NDArray[np.integer]) -> NDArray[np.int32]:
    """Tell connected areas of one positive value apart, by first pixels; -1 where it is 0."""
    areas = measure.label(parts, background=0, connectivity=1)
    _, first, area = np.unique(areas[areas > 0], return_index=True, return_inverse=True)
    places = np.empty(len(first), np.int32)
    places[np.argsort(first)] = np.arange(len(first))
    numbers = np.full(parts.shape, -1, np.int32)
    numbers[areas > 0] = places[area]
    return numbers


def _check_settings(count: int, compactness: float) -> None:
    if count < 1:
        raise ValueError(f"At least one superpixel must be asked for, not count={count}.")
    if not compactness > 0.0:
        raise ValueError(f"compactness must be above 0, not {compactness}.")
