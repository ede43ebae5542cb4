"""Loops over pixels that numpy cannot do at once, compiled; they release the interpreter lock."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray


@njit(nogil=True, cache=True)
def group_margins(
    values: NDArray[np.float32], starts: NDArray[np.int64], out: NDArray[np.float32]
) -> None:
    """Write by how much the best value of a column exceeds the best of another group.

    ``values`` is (row, column), ``out`` (column,); group j holds rows ``starts[j]``
    to ``starts[j + 1]`` and is never empty. Infinite where there is one group.
    """
    columns = values.shape[1]
    best = np.full(columns, -np.inf, np.float32)
    second = np.full(columns, -np.inf, np.float32)
    own = np.empty(columns, np.float32)
    for j in range(len(starts) - 1):
        for c in range(columns):
            own[c] = values[starts[j], c]
        for row in range(starts[j] + 1, starts[j + 1]):
            for c in range(columns):
                own[c] = max(own[c], values[row, c])
        for c in range(columns):
            second[c] = max(second[c], min(best[c], own[c]))
            best[c] = max(best[c], own[c])
    for c in range(columns):
        out[c] = best[c] - second[c]
