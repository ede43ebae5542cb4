"""A reference sample in groups, so that most of it need not be compared with a pixel.

A pixel is compared with the centres of the groups, and then with the rows of those groups
only that may hold one of its nearest; the triangle inequality tells which. Distances are
exactly those of :func:`hsistream.neighbours.nearest_rows`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from hsistream.compiled import compiled
from hsistream.neighbours import insert, nearest_rows, squared_gap

ROWS_PER_GROUP = 160
"""Rows of a group, about: as many as there are groups in a sample of 25,000."""

ROUNDS = 10
"""Rounds of k-means; groups need not be the best."""

QUERIES_AT_ONCE = 8192

SLACK = 1e-9
"""Relative error of distances by which bounds are widened."""

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class SampleIndex:
    """Rows of a sample (row, feature), group after group, from the middle of each outwards.

    ``starts`` (group + 1,) tell where groups begin, ``centres`` (group, feature) their middles
    and ``radii`` (row,) how far rows lie from the middle of their group.
    """

    points: Floats
    starts: Rows
    centres: Floats
    radii: Floats

    @classmethod
    def of(cls, sample: NDArray[np.floating]) -> SampleIndex:
        """Group a sample (row, feature), finite; the same groups for the same rows."""
        points = np.ascontiguousarray(sample, np.float64)
        centres = _centres(points)
        near = nearest_rows(points, centres, 1)
        own, radii = near.rows[:, 0], near.distances[:, 0]
        order = np.lexsort((radii, own))
        starts = np.searchsorted(own[order], np.arange(len(centres) + 1))
        return cls(points[order], starts.astype(np.int64), centres, radii[order])

    def distances(self, queries: NDArray[np.floating], count: int) -> Floats:
        """Measure how far the nearest rows are, (query, rank); infinite where there are too few."""
        gaps = np.full((len(queries), count), np.inf)
        for first in range(0, len(queries) if count else 0, QUERIES_AT_ONCE):
            part = slice(first, first + QUERIES_AT_ONCE)
            block = np.ascontiguousarray(queries[part], np.float64)
            _search(block, (self.points, self.starts, self.centres, self.radii), gaps[part])
        return np.asarray(np.sqrt(gaps))


def _centres(points: Floats) -> Floats:
    """Find the middles of groups, (group, feature)."""
    wanted = max(1, len(points) // ROWS_PER_GROUP)
    starts = points[np.random.default_rng(0).choice(len(points), wanted, replace=False)]
    kinds = np.unique(starts, axis=0)
    from sklearn.cluster import KMeans

    with threadpool_limits(1):
        model = KMeans(len(kinds), init=kinds, n_init=1, max_iter=ROUNDS).fit(points)
    return np.asarray(np.unique(model.cluster_centers_, axis=0))


@compiled()
def _search(queries: Floats, index: tuple[Floats, Rows, Floats, Floats], gaps: Floats) -> None:
    """Write the squared distances of the nearest rows of every query, (query, rank)."""
    points, starts, centres, radii = index
    groups = len(centres)
    apart, lowest = np.empty(groups), np.empty(groups)
    unused = np.empty(gaps.shape[1], np.int64)
    for q in range(len(queries)):
        found, query = gaps[q], queries[q]
        for g in range(groups):
            apart[g] = np.sqrt(squared_gap(query, centres[g]))
            outermost = radii[starts[g + 1] - 1] if starts[g + 1] > starts[g] else 0.0
            lowest[g] = apart[g] - outermost
        for g in np.argsort(lowest):
            reach = np.sqrt(found[-1]) * (1 + SLACK) + SLACK * apart[g]
            if lowest[g] > reach:
                break
            first = starts[g] + np.searchsorted(radii[starts[g] : starts[g + 1]], apart[g] - reach)
            for row in range(first, starts[g + 1]):
                if radii[row] > apart[g] + reach:
                    break
                gap = squared_gap(query, points[row])
                if gap < found[-1]:
                    insert(row, gap, unused, found)
                    reach = np.sqrt(found[-1]) * (1 + SLACK) + SLACK * apart[g]
