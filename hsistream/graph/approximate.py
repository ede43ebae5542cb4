"""Nearest nodes among very many, approximately, and how far they can be trusted."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from hsistream.neighbours import Nearest, nearest_rows

EXACT_NODES = 80_000
"""Up to this many nodes neighbours are found exactly; there both ways take as long."""

JOBS = 1
"""Threads of the approximate search; its result depends on them, and every machine has one."""

ROUNDING = 1e-9
"""Relative error up to which distances that are summed in another order are equal."""

SAMPLED = 500
"""Nodes whose neighbours are found exactly, too, to measure the recall."""

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Near:
    """Nearest other nodes (node, rank), -1 for none; which part is right, None if all are."""

    rows: Rows
    recall: float | None = None


def near_nodes(features: Floats, count: int, seed: int = 0) -> Near:
    """Find the nearest other nodes of every node: all pairs of few nodes, a descent of many.

    Parameters
    ----------
    features : (node, feature) float64
        Features of the nodes, finite.
    count : int
        Neighbours of a node.
    seed : int
        Of the descent [1]_, and of the sample on which its recall is measured.

    References
    ----------
    .. [1] W. Dong et al., "Efficient k-nearest neighbor graph construction for generic
       similarity measures", WWW 2011. doi:10.1145/1963405.1963487
    """
    own = np.arange(len(features))
    if len(features) <= EXACT_NODES:
        return Near(nearest_rows(features, features, count, apart=(own, own)).rows)
    rows = _without_own(_descend(features, count, seed), count)
    asked = np.sort(np.random.default_rng((seed, 13)).choice(own, SAMPLED, replace=False))
    exact = nearest_rows(features[asked], features, count, apart=(asked, own))
    return Near(rows, _recall(features, asked, rows[asked], exact))


def _recall(features: Floats, asked: Rows, found: Rows, exact: Nearest) -> float:
    """Tell which part of what was found (node, rank) is no farther than the nearest.

    Distances are compared, not nodes: of nodes at one place, any is as near.
    """
    apart = np.linalg.norm(features[asked][:, None] - features[found], axis=2)
    near = apart <= exact.distances[:, -1:] * (1 + ROUNDING)
    return float((near & (found >= 0)).mean())


def _descend(features: Floats, count: int, seed: int) -> Rows:
    """List the nodes (node, rank) near to each, itself mostly among them."""
    from pynndescent import NNDescent  # it compiles for half a minute

    with _threads_kept(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the recall tells what is missing
        index = NNDescent(
            features.astype(np.float32), n_neighbors=count + 1, random_state=seed, n_jobs=JOBS
        )
        return np.asarray(index.neighbor_graph[0], np.int64)


@contextmanager
def _threads_kept() -> Iterator[None]:
    """Undo what a library does to the number of threads of compiled loops."""
    before = numba.get_num_threads()
    try:
        yield
    finally:
        numba.set_num_threads(before)


def _without_own(listed: Rows, count: int) -> Rows:
    """Leave nodes out of their own lists (node, rank), and keep so many of the others."""
    other = listed != np.arange(len(listed))[:, None]
    order = np.argsort(~other, axis=1, kind="stable")[:, :count]
    return np.asarray(np.take_along_axis(listed, order, axis=1))
