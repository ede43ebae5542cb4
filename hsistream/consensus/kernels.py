"""Compiled inner loops: spatial filters, nearest centroids, counts.

They release the interpreter lock and use one thread each, because parallel
numba kernels abort a worker that calls two of them at once. Compiled code is
cached beside the package.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray


@njit(cache=True, nogil=True)
def edge_step(
    scores: NDArray[np.float32], valid: NDArray[np.bool_], inverse: float, out: NDArray[np.float32]
) -> None:
    """Move every valid pixel of (component, y, x) towards its similar 4-neighbours.

    ``f <- (f + sum w g) / (1 + sum w)`` over valid neighbours g, all at once,
    with ``w = exp(-|f - g|^2 inverse)``.
    """
    components, height, width = scores.shape
    down = np.zeros((2, width), np.float32)  # weights to the row above and below
    right = np.zeros(width + 1, np.float32)  # right[x]: weight between x - 1 and x
    total = np.empty(width, np.float32)
    for y in range(height):
        above, below = y % 2, (y + 1) % 2
        for x in range(width):
            down[below, x] = 0.0
        for x in range(width + 1):
            right[x] = 0.0
        for c in range(components):
            if y + 1 < height:
                for x in range(width):
                    step = scores[c, y, x] - scores[c, y + 1, x]
                    down[below, x] += step * step
            for x in range(1, width):
                step = scores[c, y, x] - scores[c, y, x - 1]
                right[x] += step * step
        for x in range(width):
            joined = y + 1 < height and valid[y, x] and valid[y + 1, x]
            down[below, x] = math.exp(-down[below, x] * inverse) if joined else 0.0
        for x in range(1, width):
            joined = valid[y, x] and valid[y, x - 1]
            right[x] = math.exp(-right[x] * inverse) if joined else 0.0
        right[0] = 0.0
        right[width] = 0.0
        for x in range(width):
            total[x] = 1.0 / (1.0 + down[above, x] + down[below, x] + right[x] + right[x + 1])
        for c in range(components):
            for x in range(width):
                out[c, y, x] = scores[c, y, x]
            if y > 0:
                for x in range(width):
                    out[c, y, x] += down[above, x] * scores[c, y - 1, x]
            if y + 1 < height:
                for x in range(width):
                    out[c, y, x] += down[below, x] * scores[c, y + 1, x]
            for x in range(1, width):
                out[c, y, x] += right[x] * scores[c, y, x - 1]
            for x in range(width - 1):
                out[c, y, x] += right[x + 1] * scores[c, y, x + 1]
            for x in range(width):
                out[c, y, x] *= total[x]


@njit(cache=True, nogil=True)
def blur(
    scores: NDArray[np.float32], weights: NDArray[np.float32], out: NDArray[np.float32]
) -> None:
    """Filter each component (component, y, x) with symmetric ``weights``, zero outside."""
    components, height, width = scores.shape
    radius = len(weights) // 2
    line = np.zeros(width + 2 * radius, np.float32)
    for c in range(components):
        for y in range(height):
            for x in range(width):
                line[radius + x] = weights[radius] * scores[c, y, x]
            for k in range(1, radius + 1):
                if y >= k:
                    for x in range(width):
                        line[radius + x] += weights[radius + k] * scores[c, y - k, x]
                if y + k < height:
                    for x in range(width):
                        line[radius + x] += weights[radius + k] * scores[c, y + k, x]
            for x in range(width):
                out[c, y, x] = weights[radius] * line[radius + x]
            for k in range(1, radius + 1):
                for x in range(width):
                    out[c, y, x] += weights[radius + k] * (
                        line[radius + x - k] + line[radius + x + k]
                    )


@njit(cache=True, nogil=True)
def best_rows(
    affinity: NDArray[np.float32], starts: NDArray[np.int64], out: NDArray[np.unsignedinteger]
) -> None:
    """Find the row of largest affinity (row, pixel) in each group of rows.

    Group j holds rows ``starts[j]`` to ``starts[j + 1]``; ``out`` (group, pixel)
    receives row numbers counted from the start of the group. The first of
    equal rows wins.
    """
    pixels = affinity.shape[1]
    best = np.empty(pixels, np.float32)
    winner = np.empty(pixels, np.int32)
    for j in range(len(starts) - 1):
        first = starts[j]
        for p in range(pixels):
            best[p] = affinity[first, p]
            winner[p] = 0
        for row in range(first + 1, starts[j + 1]):
            number = np.int32(row - first)
            for p in range(pixels):
                better = affinity[row, p] > best[p]
                best[p] = affinity[row, p] if better else best[p]
                winner[p] = number if better else winner[p]
        for p in range(pixels):
            out[j, p] = winner[p]


@njit(cache=True, nogil=True)
def count_pairs(
    codes: NDArray[np.unsignedinteger], starts: NDArray[np.int64], counts: NDArray[np.int64]
) -> None:
    """Add to ``counts`` (landmark, landmark), above the diagonal, how often landmarks share a pixel.

    ``codes`` is (codebook, pixel), landmark ``starts[j] + codes[j, p]``.
    """
    books, pixels = codes.shape
    landmark = np.empty(books, np.int64)
    for p in range(pixels):
        for j in range(books):
            landmark[j] = starts[j] + codes[j, p]
        for j in range(books):
            row = counts[landmark[j]]
            for k in range(j, books):
                row[landmark[k]] += 1


@njit(cache=True, nogil=True)
def nearest_two(
    codes: NDArray[np.unsignedinteger],
    starts: NDArray[np.int64],
    coordinates: NDArray[np.float64],
    centres: NDArray[np.float64],
    label: NDArray[np.int64],
    margin: NDArray[np.float64],
) -> None:
    """Sum landmark coordinates of each pixel, scale to unit length, find the nearest centre.

    ``margin`` receives ``1 - nearest / second`` of the distances, from 0 (a
    tie) to 1; it is 1 where there is one centre.
    """
    books, pixels = codes.shape
    clusters, size = centres.shape
    place = np.empty(size, np.float64)
    for p in range(pixels):
        place[:] = 0.0
        for j in range(books):
            place += coordinates[starts[j] + codes[j, p]]
        length = math.sqrt((place * place).sum())
        if length > 0.0:
            place /= length
        first, second, winner = np.inf, np.inf, 0
        for k in range(clusters):
            distance = 0.0
            for i in range(size):
                step = place[i] - centres[k, i]
                distance += step * step
            if distance < first:
                first, second, winner = distance, first, k
            elif distance < second:
                second = distance
        label[p] = winner
        margin[p] = (
            1.0 if clusters == 1 else (1.0 - math.sqrt(first / second) if second > 0.0 else 0.0)
        )
