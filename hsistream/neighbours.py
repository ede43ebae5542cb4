"""Nearest rows of a table, exactly, whatever the blocks and threads."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hsistream.compiled import compiled

BLOCK_BYTES = 32 * 2**20
"""Memory for the products of a block of queries with the sample."""

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Nearest:
    """Rows of the sample (query, rank) and their distances (query, rank), nearest first.

    Row -1 at infinity where the sample has too few rows.
    """

    rows: Rows
    distances: Floats


@contextmanager
def few_kinds_allowed() -> Iterator[None]:
    """Silence k-means where pixels are of fewer kinds than it has centroids; those are dropped.

    Filters of warnings are shared by threads: one that fits codebooks on
    several threads enters this before it starts them.
    """
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield


def nearest_rows(
    queries: NDArray[np.floating],
    sample: NDArray[np.floating],
    count: int,
    *,
    apart: tuple[Rows, Rows] | None = None,
) -> Nearest:
    """Find the nearest rows of a sample for every query, by Euclidean distance.

    Parameters
    ----------
    queries : (query, feature) float
        Points, finite.
    sample : (row, feature) float
        Where neighbours are looked for, finite.
    count : int
        Neighbours per query.
    apart : pair of (query,) and (row,) int64, optional
        Groups of the queries and of the rows: neighbours of a query are looked
        for outside its own group. By default everywhere.

    Returns
    -------
    Nearest
        Of equal distances, that of the smaller row comes first.

    Notes
    -----
    Matrix products only narrow the choice down. Distances are summed up from
    differences, so that they are exactly 0 between equal rows, and do not
    depend on how a library groups a product. Memory is ``BLOCK_BYTES`` beside
    the result and float64 copies of the sample and of a block of queries.

    Examples
    --------
    >>> nearest_rows(np.array([[1.0]]), np.array([[0.0], [2], [1]]), 2).rows
    array([[2, 0]])
    """
    rows = np.full((len(queries), count), -1, np.int64)
    gaps = np.full((len(queries), count), np.inf)
    points = np.ascontiguousarray(sample, np.float64)
    own, others = apart or (np.full(len(queries), -1), np.zeros(len(points), np.int64))
    halves = np.einsum("sf,sf->s", points, points) / 2
    step = max(1, BLOCK_BYTES // (8 * max(1, len(points))))
    for first in range(0, len(queries) if count and len(points) else 0, step):
        part = slice(first, first + step)
        block = np.ascontiguousarray(queries[part], np.float64)
        products = block @ points.T
        slack = _rounding(block, float(halves.max()))
        _choose(
            (products, halves, slack), (block, points), (own[part], others), rows[part], gaps[part]
        )
    return Nearest(rows, np.sqrt(gaps))


@compiled()
def squared_gap(first: Floats, second: Floats) -> float:
    """Sum the squared differences of two points (feature,), in one order on every machine.

    Four sums side by side let the processor add them at once.
    """
    a = b = c = d = 0.0
    whole = len(first) - len(first) % 4
    for f in range(0, whole, 4):
        g, h = first[f] - second[f], first[f + 1] - second[f + 1]
        i, j = first[f + 2] - second[f + 2], first[f + 3] - second[f + 3]
        a, b, c, d = a + g * g, b + h * h, c + i * i, d + j * j
    for f in range(whole, len(first)):
        g = first[f] - second[f]
        a += g * g
    return float((a + b) + (c + d))


@compiled()
def insert(row: int, gap: float, rows: Rows, gaps: Floats) -> None:
    """Put a row at its place among those found (rank,); behind those at the same distance."""
    place = len(gaps) - 1
    while place > 0 and gaps[place - 1] > gap:
        gaps[place], rows[place] = gaps[place - 1], rows[place - 1]
        place -= 1
    gaps[place], rows[place] = gap, row


def _rounding(block: Floats, largest: float) -> float:
    """Bound the error of half a squared distance that is computed from products."""
    lengths = np.einsum("qf,qf->q", block, block)
    scale = float(lengths.max()) / 2 + largest
    return float(4 * (block.shape[1] + 4) * np.finfo(float).eps * scale)


@compiled()
def _choose(
    near: tuple[Floats, Floats, float],
    points: tuple[Floats, Floats],
    apart: tuple[Rows, Rows],
    rows: Rows,
    gaps: Floats,
) -> None:
    """Write the nearest rows of every query and their squared distances.

    A first look at the products finds how near a row must be; only rows that
    may be as near, by the error of the products, are measured.
    """
    products, halves, slack = near
    queries, sample = points
    own, others = apart
    count = rows.shape[1]
    keys, unused = np.empty(count), np.empty(count, np.int64)
    for q in range(len(queries)):
        keys[:] = np.inf
        for s in range(len(sample)):
            key = halves[s] - products[q, s]
            if key < keys[-1] and others[s] != own[q]:
                insert(s, key, unused, keys)
        limit = keys[-1] + 2 * slack
        for s in range(len(sample)):
            if halves[s] - products[q, s] <= limit and others[s] != own[q]:
                gap = squared_gap(queries[q], sample[s])
                if gap < gaps[q, -1]:
                    insert(s, gap, rows[q], gaps[q])
                if gaps[q, -1] == 0:
                    break
