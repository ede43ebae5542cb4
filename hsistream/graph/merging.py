"""From many prototypes to few clusters: the merge tree, and two ways to measure likeness.

A network is trained with more prototypes than clusters. The tree merges them,
heaviest groups last, and is cut at any number of clusters; nothing is encoded
again. Likeness is measured either by the prototypes themselves (``ward``), or by
where and how they meet in the scene (``diffusion``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import linalg
from scipy.cluster import hierarchy

from hsistream.graph.kernels import ward_joins

HYSTERESIS = 0.95
"""A new cut replaces the old one only if its cost is below this part of the old one's."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class MergeTree:
    """Binary tree over the prototypes in use.

    ``used`` (leaf,) are their numbers; ``linkage`` (leaf - 1, 4) is in the
    format of :func:`scipy.cluster.hierarchy.linkage`: the two nodes, the cost
    of joining them, the number of leaves below.
    """

    used: NDArray[np.int64]
    linkage: Floats

    def cut(self, clusters: int) -> NDArray[np.int64]:
        """Group the leaves, (leaf,) from 0; as many groups as there are leaves at most."""
        if not len(self.linkage):
            return np.zeros(len(self.used), np.int64)
        order = self.linkage.copy()
        order[:, 2] = np.arange(len(order))  # fcluster makes joins of one cost together
        return np.asarray(hierarchy.fcluster(order, clusters, "maxclust"), np.int64) - 1


@dataclass(frozen=True, slots=True)
class Moment:
    """Prototypes (prototype, latent) and their masses (prototype,) at one moment of training."""

    prototypes: Floats
    masses: Floats


def ward_tree(points: Floats, masses: Floats) -> MergeTree:
    """Join weighted points two by two, always the pair that costs least.

    Parameters
    ----------
    points : (prototype, coordinate) float64
        Places of the prototypes.
    masses : (prototype,) float64
        Their masses; those without mass take no part.

    Returns
    -------
    MergeTree
        Joining masses m and n at distance d costs ``m n / (m + n) d^2``: what
        the sum of squares within groups grows by.

    References
    ----------
    .. [1] J. H. Ward, "Hierarchical grouping to optimize an objective function",
       JASA 58, 236-244, 1963. doi:10.1080/01621459.1963.10500845
    """
    used = np.flatnonzero(masses > 0)
    place, mass = points[used].astype(np.float64), masses[used].astype(np.float64)
    node, leaves = np.arange(len(used)), np.ones(len(used))
    rows = []
    for step in range(len(used) - 1):
        first, second, cost = _cheapest_pair(place, mass)
        rows.append([node[first], node[second], cost, leaves[first] + leaves[second]])
        total = mass[first] + mass[second]
        place[first] = (mass[first] * place[first] + mass[second] * place[second]) / total
        mass[first], leaves[first], node[first] = total, rows[-1][3], len(used) + step
        kept = np.arange(len(place)) != second
        place, mass, node, leaves = place[kept], mass[kept], node[kept], leaves[kept]
    return MergeTree(used, _monotone(np.asarray(rows, np.float64).reshape(-1, 4)))


def ward_tree_of_many(points: Floats, masses: Floats) -> MergeTree:
    """Do the same as :func:`ward_tree` in quadratic time, for thousands of points.

    Follows nearest neighbours until two are each other's [1]_. Of joins at one
    cost it may make another one first.

    References
    ----------
    .. [1] F. Murtagh, "A survey of recent advances in hierarchical clustering
       algorithms", The Computer Journal 26, 354-359, 1983.
       doi:10.1093/comjnl/26.4.354
    """
    used = np.flatnonzero(masses > 0)
    joins = max(0, len(used) - 1)
    firsts, seconds, costs = np.empty(joins, np.int64), np.empty(joins, np.int64), np.empty(joins)
    place, mass = points[used].astype(np.float64), masses[used].astype(np.float64)
    ward_joins(place, mass, firsts, seconds, costs)
    order = np.argsort(costs, kind="stable")
    node, leaves = np.arange(len(used)), np.ones(len(used))
    linkage = np.empty((joins, 4))
    for row, join in enumerate(order):
        first, second = firsts[join], seconds[join]
        leaves[first] += leaves[second]
        linkage[row] = node[first], node[second], costs[join], leaves[first]
        node[first] = len(used) + row
    return MergeTree(used, _monotone(linkage))


def cut_cost(points: Floats, masses: Floats, groups: NDArray[np.int64]) -> float:
    """Sum of squared distances of weighted points (point, k) to the mean of their group."""
    total = np.bincount(groups, masses)
    means = np.stack([np.bincount(groups, masses * column) for column in points.T], axis=1)
    gaps = points - (means / np.maximum(total, np.finfo(float).tiny)[:, None])[groups]
    return float((masses[:, None] * gaps**2).sum())


def steady_cut(history: Sequence[Moment], clusters: int) -> NDArray[np.int64]:
    """Cut the tree at every moment of training, and change the cut only if that pays.

    The cut is the most fragile part of over-clustering: a small move of the
    prototypes can change the last merge. So the cut before is kept unless the
    new one lowers :func:`cut_cost` to below ``HYSTERESIS`` of it, both measured
    on the prototypes of that moment, or has more groups with mass.

    Parameters
    ----------
    history : sequence of Moment
        From the start to the end of training. At least one has masses; those
        without count for nothing.
    clusters : int
        Number of groups.

    Returns
    -------
    (prototype,) int64
        Group of every prototype, from 0; none is without mass at the end.
    """
    moments = [moment for moment in history if moment.masses.any()]
    kept: NDArray[np.int64] | None = None
    for moment in moments:
        found = lookup(ward_tree(moment.prototypes, moment.masses), moment.prototypes, clusters)
        costs = [
            cut_cost(moment.prototypes, moment.masses, groups)
            for groups in (found, found if kept is None else kept)
        ]
        if kept is None or costs[0] < HYSTERESIS * costs[1] or _loses_groups(kept, found, moment):
            kept = found
    assert kept is not None, "a history has at least one moment with masses"
    used = np.flatnonzero(moments[-1].masses)
    spread = _spread(kept[used], used, moments[-1].prototypes)
    return np.asarray(np.unique(spread, return_inverse=True)[1], np.int64)


def lookup(tree: MergeTree, points: Floats, clusters: int) -> NDArray[np.int64]:
    """Give every prototype its group, (prototype,); one that is not used that of its nearest."""
    return _spread(tree.cut(clusters), tree.used, points)


def meeting_affinity(
    neighbours: NDArray[np.int64], usage: NDArray[np.int64], confusion: Floats
) -> Floats:
    """Measure how much two prototypes belong together, (prototype, prototype).

    Parameters
    ----------
    neighbours : (prototype, prototype) int64
        Pairs of adjacent pixels, symmetric: how often two prototypes meet.
    usage : (prototype,) int64
        Pixels of each prototype; a pixel is its own neighbour.
    confusion : (prototype, prototype) float64
        Sum over pixels of ``p p^T``, p the shares of a pixel: how alike two
        prototypes are, in the unit that training used.

    Returns
    -------
    (prototype, prototype) float64
        The product: materials that lie side by side but differ are as far
        apart as those that are alike but never meet.
    """
    return (neighbours + np.diag(usage)) * (confusion + confusion.T) / 2


def diffusion_spectrum(affinity: Floats) -> tuple[Floats, Floats]:
    """Find all eigenpairs of the random walk on an affinity, eigenvalues from 1 downwards.

    Returns
    -------
    (node,) float64 and (node, node) float64
        Eigenvalues, and in columns the right eigenvectors of the walk. A node
        without affinity, even to itself, has an eigenvalue 0 of its own.

    References
    ----------
    .. [1] R. R. Coifman and S. Lafon, "Diffusion maps", ACHA 21, 5-30, 2006.
       doi:10.1016/j.acha.2006.04.006
    """
    degree = affinity.sum(axis=1)
    root = np.sqrt(np.where(degree > 0, degree, 1))
    values, vectors = linalg.eigh(affinity / root[:, None] / root[None, :])
    return values[::-1].copy(), vectors[:, ::-1] / root[:, None]


def unit_coordinates(vectors: Floats, size: int) -> Floats:
    """Take the leading ``size`` eigenvectors and give every node a place on the unit sphere."""
    places = vectors[:, :size]
    length = np.sqrt(np.einsum("nk,nk->n", places, places))
    return places / np.where(length > 0, length, 1)[:, None]


def by_mass(groups: NDArray[np.int64], usage: NDArray[np.int64]) -> NDArray[np.int64]:
    """Renumber groups (prototype,), from the heaviest to the lightest.

    Examples
    --------
    >>> by_mass(np.array([0, 0, 1]), np.array([3, 4, 9]))
    array([1, 1, 0])
    """
    order = np.argsort(-np.bincount(groups, usage), kind="stable")
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return np.asarray(rank[groups])


def _spread(
    groups: NDArray[np.int64], used: NDArray[np.int64], points: Floats
) -> NDArray[np.int64]:
    """Give all points the groups (used,) of those in use: their own, or that of the nearest."""
    offset = np.einsum("pc,pc->p", points[used], points[used])
    nearest = (offset[None] - 2 * points @ points[used].T).argmin(axis=1)
    nearest[used] = np.arange(len(used))
    return np.asarray(groups[nearest])


def _loses_groups(kept: NDArray[np.int64], found: NDArray[np.int64], moment: Moment) -> bool:
    """Tell whether a kept cut has fewer groups with mass than a new one."""
    used = moment.masses > 0
    return len(np.unique(kept[used])) < len(np.unique(found[used]))


def _cheapest_pair(place: Floats, mass: Floats) -> tuple[int, int, float]:
    """Find the pair of points whose join costs least; of equals, the first."""
    gaps = place[:, None] - place[None]
    cost = np.einsum("abk,abk->ab", gaps, gaps)
    cost *= mass[:, None] * mass[None] / (mass[:, None] + mass[None])
    cost[np.tril_indices(len(cost))] = np.inf
    first, second = divmod(int(cost.argmin()), len(cost))
    return first, second, float(cost[first, second])


def _monotone(linkage: Floats) -> Floats:
    """Undo steps back by rounding: scipy wants heights that never fall."""
    linkage[:, 2] = np.maximum.accumulate(linkage[:, 2])
    return linkage
