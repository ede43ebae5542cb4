"""Landmarks: what nodes of all frames have in common, so that a walk can change the frame.

A graph of windows has no link between frames. A bridge gives every node a share in a
few landmarks, points of feature space that are the same for all frames; a jump leads
from a node to a landmark, and from there to any node that has a share in it.

References
----------
.. [1] C. Shen and H.-T. Wu, "Scalability and robustness of spectral embedding: landmark
   diffusion is all you need", Information and Inference 11, 1527-1595, 2022.
   arXiv:2001.00801
.. [2] X. Chen and D. Cai, "Large scale spectral clustering with landmark-based
   representation", AAAI 2011.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from hsistream.graph.affinity import Places
from hsistream.graph.kernels import add_shares
from hsistream.graph.parts import Part, on_threads
from hsistream.neighbours import nearest_rows

SAMPLE_PER_LANDMARK = 10
"""Nodes from which landmarks are learnt, for each of them."""

ROUNDS = 10
"""Rounds of k-means; landmarks need not be exact."""

LEAST_RADIUS = 1e-9
"""Radius of a node whose nearest landmarks all lie upon it, in the unit of the features."""

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]
Keys = NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Shares:
    """Shares of nodes in landmarks: which (node, rank) int32, and how much (node, rank).

    The shares of a node sum to 1; ranks go from the nearest landmark on.
    """

    landmarks: NDArray[np.int32]
    weights: NDArray[np.floating]

    def gathered(self, values: NDArray[np.floating], count: int, threads: int = 1) -> Floats:
        """Sum values (node, column) over nodes by their shares, (landmark, column) float64."""

        def summed(part: Part) -> Floats:
            total = np.zeros((count, values.shape[1]))
            add_shares(self.landmarks, self.weights, values, part, total)
            return total

        return np.asarray(sum(on_threads(summed, len(values), threads)))


@dataclass(frozen=True, slots=True)
class Bridge:
    """Landmarks (landmark, feature), the shares of nodes in them, and their masses (landmark,).

    The mass is the sum of the degrees of nodes by their shares; no landmark is without.
    """

    landmarks: Floats
    shares: Shares
    mass: Floats


def node_keys(features: NDArray[np.floating], places: Places) -> Keys:
    """Hash where nodes lie, (node,): the frame, by what it shows, and the place in it.

    Frames are told apart by their mean features, so that keys depend neither on their
    order nor on small changes of what they show. Those that show the same have the same.
    """
    number = np.unique(places.frame, return_inverse=True)[1]
    nodes = np.bincount(number)
    means = np.stack([np.bincount(number, column) / nodes for column in features.T], axis=1)
    frame = np.unique(means, axis=0, return_inverse=True)[1].reshape(-1)
    key = np.zeros(len(features), np.uint64)
    with np.errstate(over="ignore"):
        for column in (frame[number], *places.pixels.T):
            key = (key ^ column.astype(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
            key ^= key >> np.uint64(29)
    return key


def choose_landmarks(
    features: Floats, frame: Rows, keys: Keys, count: int, seed: int = 0
) -> Floats:
    """Choose landmarks by k-means on a sample of nodes of all frames.

    Parameters
    ----------
    features : (node, feature) float64
        Features of the nodes.
    frame : (node,) int64
        Frames of the nodes; each gives as many to the sample as the others, if it has them.
    keys : (node,) uint64
        Of :func:`node_keys`: they choose and sort the sample, so that it does not
        depend on the order of nodes or frames.
    count : int
        Landmarks that are wanted.
    seed : int
        Another one gives another sample and another start of k-means.

    Returns
    -------
    (landmark, feature) float64
        Different from each other; at most one for each different node of the sample.
    """
    with np.errstate(over="ignore"):
        keys = (keys + np.uint64(seed)) * np.uint64(0xBF58476D1CE4E5B9)
        keys ^= keys >> np.uint64(31)
    sample = _sample(frame, keys, count * SAMPLE_PER_LANDMARK)
    chosen = np.ascontiguousarray(features[sample])
    kinds, first = np.unique(chosen, axis=0, return_index=True)
    if len(kinds) <= count:
        return np.asarray(kinds)
    from sklearn.cluster import KMeans

    # the first by their keys, so that other nodes elsewhere change little of the start
    model = KMeans(count, init=chosen[np.sort(first)[:count]], n_init=1, max_iter=ROUNDS)
    with threadpool_limits(1):
        return np.unique(model.fit(chosen).cluster_centers_, axis=0)


def share_landmarks(features: Floats, landmarks: Floats, nearest: int, threads: int = 1) -> Shares:
    """Share every node among its nearest landmarks.

    Parameters
    ----------
    features : (node, feature) float64
        Features of the nodes, finite.
    landmarks : (landmark, feature) float64
        Landmarks.
    nearest : int
        Landmarks of a node; all of them, if there are fewer.
    threads : int
        Threads that share the nodes.

    Returns
    -------
    Shares
        In proportion to ``exp(-(d / r)^2)``, d the distance of a landmark and r that of
        the last that counts.
    """
    count = min(nearest, len(landmarks))
    found = on_threads(
        lambda part: nearest_rows(features[slice(*part)], landmarks, count), len(features), threads
    )
    rows = np.concatenate([each.rows for each in found]).astype(np.int32)
    distances = np.concatenate([each.distances for each in found])
    radius = np.maximum(distances[:, -1:], LEAST_RADIUS)
    weights = np.exp(-((distances / radius) ** 2))
    return Shares(rows, weights / weights.sum(axis=1, keepdims=True))


def build_bridge(
    features: Floats, landmarks: Floats, degree: Floats, nearest: int, threads: int = 1
) -> Bridge:
    """Bridge nodes by landmarks; those that no node has a share in are left out.

    Parameters
    ----------
    features : (node, feature) float64
        Features of the nodes.
    landmarks : (landmark, feature) float64
        Different points.
    degree : (node,) float64
        Links of every node.
    nearest : int
        Landmarks of a node.
    threads : int
        Threads that share the nodes.
    """
    shares = share_landmarks(features, landmarks, nearest, threads)
    used = np.bincount(shares.landmarks.ravel(), minlength=len(landmarks)) > 0
    number = np.cumsum(used) - 1
    kept = Shares(number[shares.landmarks].astype(np.int32), shares.weights)
    mass = kept.gathered(degree[:, None], int(used.sum()), threads)[:, 0]
    return Bridge(landmarks[used], kept, mass)


def returning_shares(bridge: Bridge, degree: Floats, frame: Rows) -> Floats:
    """Tell how much of the mass that each frame gives to landmarks returns to it, (frame,).

    Fully mixed frames get back their share of all mass, and a frame that shares no
    landmark with others gets back 1. Frames are in the order of their numbers, and those
    without a node are left out.
    """
    found, shares = [], bridge.shares
    counts = np.unique(frame, return_counts=True)[1]
    for own in np.split(np.argsort(frame, kind="stable"), np.cumsum(counts)[:-1]):
        part = Shares(shares.landmarks[own], shares.weights[own])
        given = part.gathered(degree[own, None], len(bridge.mass))[:, 0]
        found.append((given**2 / bridge.mass).sum() / given.sum())
    return np.asarray(found)


def _sample(frame: Rows, keys: Keys, wanted: int) -> Rows:
    """Choose nodes (sampled,) of all frames by their keys, in the order of the keys."""
    frames, number = np.unique(frame, return_inverse=True)
    order = np.lexsort((keys, number))
    sizes = np.bincount(number)
    rank = np.arange(len(order)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    chosen = order[rank < -(-wanted // len(frames))]
    return np.asarray(chosen[np.argsort(keys[chosen], kind="stable")])
