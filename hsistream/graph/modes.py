"""From density peaks in a diffusion map to labels: learning by unsupervised nonlinear diffusion.

A mode is a node that is dense and far, by diffusion distance, from all denser
ones [1]_. Every other node takes the label of its nearest denser node, after
the neighbourhood of every mode was labelled [2]_.

References
----------
.. [1] M. Maggioni and J. M. Murphy, "Learning by unsupervised nonlinear
   diffusion", JMLR 20, 160, 2019.
.. [2] K. Cui et al., "Superpixel-based and spatially-regularized diffusion
   learning for unsupervised hyperspectral image clustering", arXiv:2312.15447.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from hsistream.graph.kernels import denser_nodes, spread_labels
from hsistream.neighbours import nearest_rows

MANY_NODES = 6000
"""From here on the donors of nodes are looked for among their nearest first."""

NEAREST_COUNTS = (16, 128, 1024)
"""How many nearest nodes are looked at, one after the other."""

QUERIES_AT_ONCE = 4_000_000
"""Nodes times their nearest that are looked at together."""

ROUNDING = 1e-12
"""Relative difference of distances that counts as none."""

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Peaks:
    """How nodes rise above denser ones.

    ``order`` (node,) are the nodes from the densest down; ``donors`` (node,)
    the nearest denser node of each, the densest node's is itself; ``scores``
    (node,) density times the distance to it, or to the farthest node for the
    densest.
    """

    order: Rows
    donors: Rows
    scores: Floats


def density_peaks(places: Floats, density: Floats, order: Rows, threads: int = 1) -> Peaks:
    """Find for every node the nearest denser one.

    Parameters
    ----------
    places : (node, coordinate) float64
        Diffusion map.
    density : (node,) float64
        Density of the nodes.
    order : (node,) int64
        Nodes from the densest down, without equals.
    threads : int
        Threads that share the work.

    Returns
    -------
    Peaks
        Of donors at one distance, the first node.

    Notes
    -----
    Of nodes at one place all but the densest have a donor there: separate materials may
    make a map of a few places. Most others have a denser one among their nearest; these
    are looked for in a tree, more and more of them. Only the few that are left are compared
    with all that are denser, so that time grows about as that of the tree. Memory is that
    of the map twice more.
    """
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    gaps, donors = np.zeros(len(order)), _donors_in_place(places, rank)
    left = np.flatnonzero(donors < 0)
    for count in NEAREST_COUNTS if places.size and len(order) > MANY_NODES else ():
        left = _near_donors(places, rank, (left, count), (gaps, donors), threads)
    denser_nodes(np.ascontiguousarray(places[order].T), order, rank[left], gaps, donors)
    return Peaks(order, donors, density * np.sqrt(gaps))


def choose_modes(peaks: Peaks, regions: Rows, count: int) -> Rows:
    """Choose the nodes of largest score, one per superpixel at most.

    Parameters
    ----------
    peaks : Peaks
        Scores of the nodes.
    regions : (node,) int64
        Superpixel of every node.
    count : int
        Number of modes; as many as there are superpixels, if fewer.

    Returns
    -------
    (mode,) int64
        Nodes, from the largest score down; of equals, the first. The densest
        node always comes first: no score exceeds its own, and all labels come
        from a mode.
    """
    ranking = np.argsort(-peaks.scores, kind="stable")
    densest = peaks.order[:1]
    ranking = np.concatenate([densest, ranking[ranking != densest]])
    best = np.sort(np.unique(regions[ranking], return_index=True)[1])
    return np.asarray(ranking[best[:count]])


def label_nodes(peaks: Peaks, places: Floats, modes: Rows, neighbours: int) -> Rows:
    """Label the modes, the nodes around them, and then all others from the densest down.

    Parameters
    ----------
    peaks : Peaks
        Donors of the nodes.
    places : (node, coordinate) float64
        Diffusion map.
    modes : (mode,) int64
        Of :func:`choose_modes`; label k is that of mode k.
    neighbours : int
        Size of the local backbone around a mode, itself included.

    Returns
    -------
    (node,) int64
        Labels from 0.
    """
    labels = _local_backbones(places, modes, neighbours)
    spread_labels(peaks.order, peaks.donors, labels)
    return labels


def vote(regions: Rows, labels: Rows, count: int) -> Rows:
    """Give every superpixel the most frequent label of its nodes; of equals, the smallest.

    Parameters
    ----------
    regions, labels : (node,) int64
        Superpixel and label of every node.
    count : int
        Number of superpixels, each with a node.

    Returns
    -------
    (region,) int64
        Labels.

    Examples
    --------
    >>> vote(np.array([0, 0, 1, 1, 1]), np.array([2, 1, 0, 3, 3]), 2)
    array([1, 3])
    """
    kinds = int(labels.max(initial=0)) + 1
    cells, votes = np.unique(regions * kinds + labels, return_counts=True)
    order = np.lexsort((cells, -votes, cells // kinds))
    voting, first = np.unique(cells[order] // kinds, return_index=True)
    elected = np.full(count, -1, np.int64)
    elected[voting] = cells[order][first] % kinds
    return elected


def suggest_modes(scores: Floats) -> int:
    """Suggest a number of clusters: where the sorted scores fall by the largest factor.

    Parameters
    ----------
    scores : (node,) float64
        Of :func:`density_peaks`.

    Returns
    -------
    int
        From 2 to below half of the nodes; 1 for one node, 2 for two to four.

    Examples
    --------
    >>> suggest_modes(np.array([9.0, 0.1, 8, 7, 0.1, 0.1, 0.1, 0.1, 0.1]))
    3
    """
    most = ceil(len(scores) / 2) - 1
    if most < 2:
        return min(2, len(scores))
    falling = np.sort(scores)[::-1][: most + 1]
    above, below = falling[1:-1], falling[2:]
    smallest = np.finfo(float).tiny
    return 2 + int((np.maximum(above, smallest) / np.maximum(below, smallest)).argmax())


def _donors_in_place(places: Floats, rank: Rows) -> Rows:
    """Find the first denser node at the very place of each, (node,); -1 where there is none."""
    count = len(places)
    weights = np.random.default_rng(0).random(places.shape[1])
    key = (places * weights).sum(axis=1)  # places of one key are neighbours in the order below
    by = np.lexsort((rank, key))
    same = np.zeros(count, np.bool_)
    same[1:] = (places[by[1:]] == places[by[:-1]]).all(axis=1)
    place = np.cumsum(~same)
    # numbers of later places are smaller by more than a node: the least is always of one's own
    least = np.minimum.accumulate(by - place * count) + place * count
    donors = np.full(count, -1, np.int64)
    donors[by[1:][same[1:]]] = least[:-1][same[1:]]
    return donors


def _near_donors(
    places: Floats, rank: Rows, asked: tuple[Rows, int], out: tuple[Floats, Rows], threads: int
) -> Rows:
    """Find donors among the nearest nodes, and give the nodes (left,) that have none there.

    ``rank`` (node,) counts denser nodes; ``asked`` are nodes and how many are near; ``out``
    takes squared distances and donors. A donor as far as the last that is near does not
    count: there may be others beside it.
    """
    nodes, count = asked[0], min(asked[1], len(places))
    tree = cKDTree(places, balanced_tree=False, compact_nodes=False)
    found = np.zeros(len(nodes), np.bool_)
    for first in range(0, len(nodes), QUERIES_AT_ONCE // count):
        part = slice(first, first + QUERIES_AT_ONCE // count)
        own = nodes[part]
        distances, near = tree.query(places[own], count, workers=threads)
        denser = rank[near] < rank[own][:, None]
        best = np.where(denser, distances, np.inf).min(axis=1)
        equal = denser & (distances <= best[:, None])
        donor = np.where(equal, near, len(places)).min(axis=1)
        found[part] = best < distances[:, -1] * (1 - ROUNDING)
        out[0][own], out[1][own] = best**2, donor
    return nodes[~found]


def _local_backbones(places: Floats, modes: Rows, neighbours: int) -> Rows:
    """Label modes and the nodes nearest to them, rank by rank; the first mode that asks wins."""
    own = np.arange(len(places))
    ranks = max(0, min(neighbours, len(places)) - 1)
    near = nearest_rows(places[modes], places, ranks, apart=(modes, own)).rows
    asked = np.concatenate([modes, near.T.ravel()])
    nodes, first = np.unique(asked, return_index=True)
    labels = np.full(len(places), -1, np.int64)
    labels[nodes] = first % len(modes)
    return labels
