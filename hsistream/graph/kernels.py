"""Loops over pixels that numpy cannot do at once, compiled; they release the interpreter lock."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray


@njit(nogil=True, cache=True)
def group_margins(
    values: NDArray[np.float32], groups: NDArray[np.int64], out: NDArray[np.float32]
) -> None:
    """Write by how much the best value of a column exceeds the best of another group.

    ``values`` is (row, column), ``groups`` (row,), ``out`` (column,); infinite
    where there is one group.
    """
    for column in range(values.shape[1]):
        best, second, group = -np.inf, -np.inf, -1
        for row in range(values.shape[0]):
            value = values[row, column]
            if groups[row] == group:
                best = max(best, value)
            elif value > best:
                second, best, group = best, value, groups[row]
            else:
                second = max(second, value)
        out[column] = best - second
