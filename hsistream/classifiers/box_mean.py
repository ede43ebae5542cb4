"""The mean of the pixels around each pixel, of those with data."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def box_mean(
    values: NDArray[np.float32], valid: NDArray[np.bool_], reach: int
) -> NDArray[np.float32]:
    """Take the mean over squares.

    Parameters
    ----------
    values : (component, y, x) float32
        0 where there are no data.
    valid : (y, x) bool
        Pixels with data.
    reach : int
        Pixels around each, in rows and columns, that its square has.

    Returns
    -------
    (component, y, x) float32
        Means of the pixels of the square that have data and lie in the array; 0
        where there are none.

    Notes
    -----
    Values are added in one order wherever a pixel lies: running sums would depend on
    where an array begins.
    """
    count = _box_sum(valid[None].astype(np.float32), reach)
    return np.asarray(_box_sum(values, reach) / np.maximum(count, 1), np.float32)


def _box_sum(values: NDArray[np.float32], reach: int) -> NDArray[np.float32]:
    """Add up squares of (component, y, x): along rows, then along columns."""
    padded = np.pad(values, ((0, 0), (reach, reach), (reach, reach)))
    (height, width), side = values.shape[1:], 2 * reach + 1
    rows = np.zeros((len(values), height, padded.shape[2]), np.float32)
    for down in range(side):
        rows += padded[:, down : down + height]
    found = np.zeros_like(values)
    for right in range(side):
        found += rows[:, :, right : right + width]
    return found
