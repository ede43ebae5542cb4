"""Which nodes a step of the walk may lead to: neighbours around a node, and anywhere."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, sqrt

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from hsistream.graph.approximate import Near, near_nodes
from hsistream.graph.kernels import count_links, window_nearest, write_links
from hsistream.graph.parts import on_threads
from hsistream.neighbours import nearest_rows

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]
Ranks = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Places:
    """Where nodes lie: ``frame`` (node,) and ``pixels`` (node, 2), (y, x) in the frame.

    Nodes are sorted by frame, y and x, and no two share a pixel.
    """

    frame: Rows
    pixels: Rows


@dataclass(frozen=True, slots=True)
class NodeGraph:
    """Symmetric affinity of nodes, 0 or 1, connected; ``joined`` links were added for that."""

    affinity: sparse.csr_array
    joined: int


def window_radius_px(pixels: int, nodes: int, neighbours: int) -> int:
    """Suggest a radius whose window holds about twice as many nodes as neighbours are wanted.

    Examples
    --------
    >>> window_radius_px(pixels=21025, nodes=3000, neighbours=30)
    11
    """
    return max(1, ceil(sqrt(2 * neighbours * pixels / nodes) / 2))


def window_neighbours(
    places: Places, features: Floats, radius_px: int, count: int, threads: int = 1
) -> Ranks:
    """Find the nearest nodes of every node inside a square window of its own frame.

    Parameters
    ----------
    places : Places
        Frames and pixels of the nodes.
    features : (node, feature) float64
        Features of the nodes, finite.
    radius_px : int
        Nodes count whose y and x both differ by this much at most.
    count : int
        Neighbours of a node, itself included.
    threads : int
        Threads that share the nodes.

    Returns
    -------
    (node, count) int32
        Itself, then the nearest by Euclidean distance, of equals the first;
        -1 where the window holds fewer.

    Raises
    ------
    ValueError
        If the nodes are not sorted, or two share a pixel.
    """
    frame = np.unique(places.frame, return_inverse=True)[1]
    low = places.pixels.min(axis=0)
    height, width = (places.pixels.max(axis=0) - low + 1).tolist()
    y, x = (places.pixels - low).T.astype(np.int64)
    keys = (frame * height + y) * width + x
    if (np.diff(keys) <= 0).any():
        raise ValueError(
            "Nodes must be sorted by frame, y and x, each on a pixel of its own, but these are "
            "not. Sort them first."
        )
    rows = np.full((len(keys), count), -1, np.int32)
    points = np.ascontiguousarray(features, np.float64)
    window = height, width, radius_px
    on_threads(lambda part: window_nearest(points, keys, window, part, rows), len(keys), threads)
    return rows


def distant_neighbours(features: Floats, listed: Ranks, count: int, seed: int = 0) -> Near:
    """Find the nearest nodes of every node that are not yet listed, anywhere.

    Parameters
    ----------
    features : (node, feature) float64
        Features of the nodes, finite.
    listed : (node, rank) int32
        Neighbours that the nodes have, each node among its own; -1 for none.
    count : int
        Further neighbours per node.

    seed : int
        Of the search among very many nodes.

    Returns
    -------
    Near
        Rows (node, count). Of equal distances, the first; -1 where there are no more nodes.

    Notes
    -----
    Links across the scene join the parts of a class that lie apart; the window
    alone divides a class by place. Among very many nodes they are found approximately.
    """
    wanted = min(count + listed.shape[1], len(features)) - 1
    if not count or wanted < 1:
        return Near(np.full((len(features), count), -1))
    near = near_nodes(features, wanted, seed)
    found = near.rows
    known = _one_way(listed)
    fresh = ~np.asarray(_pairs_in(known, found), bool) & (found >= 0)
    rank = np.where(fresh, np.cumsum(fresh, axis=1) - 1, count)
    chosen = np.full((len(features), count + 1), -1, np.int64)
    np.put_along_axis(chosen, np.minimum(rank, count), found, axis=1)
    return Near(chosen[:, :count], near.recall)


def link_nodes(lists: list[Ranks]) -> sparse.csr_array:
    """Link two nodes if either has the other in a list.

    Parameters
    ----------
    lists : list of (node, rank) int32
        Neighbours; -1 for none.

    Returns
    -------
    (node, node) sparse int8
        Symmetric affinity of 0 and 1, sorted, with 5 bytes for a link.
    """
    table = np.ascontiguousarray(np.concatenate(lists, axis=1), np.int32)
    degree = np.zeros(len(table), np.int64)
    count_links(table, degree)
    starts = np.concatenate([[0], np.cumsum(degree)])
    ends = np.empty(starts[-1], np.int32)
    kept = write_links(table, starts, ends)
    if kept.sum() < len(ends):
        inside = np.arange(len(ends)) - np.repeat(starts[:-1], degree)
        ends = ends[inside < np.repeat(kept, degree)]
    starts = np.concatenate([[0], np.cumsum(kept)]).astype(np.int32)
    return sparse.csr_array((np.ones(len(ends), np.int8), ends, starts), shape=(len(table),) * 2)


def link_degrees(links: sparse.csr_array) -> Floats:
    """Count the links of every node of an affinity of 0 and 1, (node,) float64."""
    return np.asarray(np.diff(links.indptr), np.float64)


def connect(affinity: sparse.csr_array, features: Floats) -> NodeGraph:
    """Join the components of a graph, each to the rest by the closest pair of nodes.

    Parameters
    ----------
    affinity : (node, node) sparse
        Symmetric affinity of 0 and 1.
    features : (node, feature) float64
        Features of the nodes, in which pairs are close.

    Returns
    -------
    NodeGraph
        One component, and how many links it took: one less than there were
        components. On a graph in pieces, rounding would decide what eigenpairs
        are, and distances between pieces would mean nothing.
    """
    joined = 0
    while True:
        components, member = connected_components(affinity, directed=False)
        if components == 1:
            return NodeGraph(affinity, joined)
        pairs = _closest_pairs(features, member.astype(np.int64))
        cells = np.concatenate([pairs, pairs[:, ::-1]]).T
        ones = np.ones(len(cells[0]), affinity.dtype)
        bridges = sparse.csr_array((ones, tuple(cells)), shape=affinity.shape)
        affinity = sparse.csr_array(affinity + bridges)
        affinity.sort_indices()
        joined += len(pairs)


def _one_way(listed: Ranks) -> sparse.csr_array:
    """Link every node to those of its list (node, rank), in no other direction."""
    there = listed >= 0
    begins = np.repeat(np.arange(len(listed)), there.sum(axis=1))
    cells = begins, listed[there].astype(np.int64)
    links = sparse.csr_array((np.ones(len(begins), np.int8), cells), shape=(len(listed),) * 2)
    links.sort_indices()
    return links


def _pairs_in(links: sparse.csr_array, ends: Rows) -> NDArray[np.bool_]:
    """Tell for every node and end (node, rank) whether they are linked."""
    nodes = links.shape[0]
    known = np.repeat(np.arange(nodes), np.diff(links.indptr)) * nodes + links.indices
    asked = np.arange(nodes)[:, None] * nodes + ends
    place = np.minimum(np.searchsorted(known, asked), len(known) - 1)
    return np.asarray(known[place] == asked)


def _closest_pairs(features: Floats, member: Rows) -> Rows:
    """Find the pair that joins each component to the rest, (pair, 2), smaller node first.

    The largest component is joined by the others. Pairs are in a strict order,
    distance and then nodes, so that these are links of one shortest spanning
    tree of the components and never close a circle.
    """
    asked = np.flatnonzero(member != np.bincount(member).argmax())
    found = nearest_rows(features[asked], features, 1, apart=(member[asked], member))
    pairs = np.sort(np.stack([asked, found.rows[:, 0]], axis=1), axis=1)
    order = np.lexsort((pairs[:, 1], pairs[:, 0], found.distances[:, 0]))
    first = np.unique(member[asked][order], return_index=True)[1]
    return np.asarray(np.unique(pairs[order][first], axis=0))
