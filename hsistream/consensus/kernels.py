"""Compiled inner loops: spatial filters, nearest centroids, counts.

They release the interpreter lock and use one thread each, because parallel
numba kernels abort a worker that calls two of them at once. Compiled code is
cached beside the package.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from hsistream.compiled import compiled


@compiled()
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
        upper, lower = max(y - 1, 0), min(y + 1, height - 1)  # beyond the edge the weight is 0
        for c in range(components):
            own = scores[c, y]
            up, low, target = scores[c, upper], scores[c, lower], out[c, y]
            for x in range(1, width - 1):
                moved = own[x] + down[above, x] * up[x] + down[below, x] * low[x]
                moved += right[x] * own[x - 1] + right[x + 1] * own[x + 1]
                target[x] = moved * total[x]
            for x in (0, width - 1):
                moved = own[x] + down[above, x] * up[x] + down[below, x] * low[x]
                moved += right[x] * own[max(x - 1, 0)] + right[x + 1] * own[min(x + 1, width - 1)]
                target[x] = moved * total[x]


@compiled()
def blur(
    scores: NDArray[np.float32], weights: NDArray[np.float32], out: NDArray[np.float32]
) -> None:
    """Filter each component (component, y, x) with ``weights`` along both axes, zero outside.

    ``weights`` holds the centre and the 4 on one side of a symmetric filter of
    radius 4; the radius is written out because the compiler then keeps the
    whole sum in registers.
    """
    components, height, width = scores.shape
    w0, w1, w2, w3, w4 = weights[0], weights[1], weights[2], weights[3], weights[4]
    line = np.zeros(width + 8, np.float32)
    none = np.zeros(width, np.float32)
    for c in range(components):
        image = scores[c]
        for y in range(height):
            a1 = image[y - 1] if y >= 1 else none
            a2 = image[y - 2] if y >= 2 else none
            a3 = image[y - 3] if y >= 3 else none
            a4 = image[y - 4] if y >= 4 else none
            b1 = image[y + 1] if y + 1 < height else none
            b2 = image[y + 2] if y + 2 < height else none
            b3 = image[y + 3] if y + 3 < height else none
            b4 = image[y + 4] if y + 4 < height else none
            own, target = image[y], out[c, y]
            for x in range(width):
                near = w0 * own[x] + w1 * (a1[x] + b1[x]) + w2 * (a2[x] + b2[x])
                line[x + 4] = near + w3 * (a3[x] + b3[x]) + w4 * (a4[x] + b4[x])
            for x in range(width):
                near = w0 * line[x + 4] + w1 * (line[x + 3] + line[x + 5])
                near += w2 * (line[x + 2] + line[x + 6])
                target[x] = near + w3 * (line[x + 1] + line[x + 7]) + w4 * (line[x] + line[x + 8])


@compiled()
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


@compiled()
def count_pairs(
    codes: NDArray[np.unsignedinteger], starts: NDArray[np.int64], counts: NDArray[np.int64]
) -> None:
    """Count how often two landmarks share a pixel; the sum of both orders is the count.

    ``codes`` is (codebook, pixel), landmark ``starts[j] + codes[j, p]``. Codes
    of neighbours are mostly equal, so a pair is not counted pixel by pixel but
    when one of its two landmarks gives way: it has then been together since
    the later of the two came.
    """
    books, pixels = codes.shape
    landmark = np.empty(books, np.int64)
    since = np.zeros(books, np.int64)
    for j in range(books):
        landmark[j] = starts[j] + codes[j, 0]
    for p in range(1, pixels + 1):
        for j in range(books):
            if p < pixels and starts[j] + codes[j, p] == landmark[j]:
                continue
            row, came = counts[landmark[j]], since[j]
            for k in range(books):
                row[landmark[k]] += p - max(came, since[k])
            since[j] = p
            if p < pixels:
                landmark[j] = starts[j] + codes[j, p]


@compiled()
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
        for i in range(size):
            place[i] = 0.0
        for j in range(books):
            landmark = starts[j] + codes[j, p]
            for i in range(size):
                place[i] += coordinates[landmark, i]
        length = 0.0
        for i in range(size):
            length += place[i] * place[i]
        scale = 1.0 / math.sqrt(length) if length > 0.0 else 0.0
        for i in range(size):
            place[i] *= scale
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
