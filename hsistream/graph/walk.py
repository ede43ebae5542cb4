"""The walk between nodes: its links, its jumps between frames, and its eigenpairs."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from hsistream.graph.affinity import (
    NodeGraph,
    connect,
    distant_neighbours,
    link_degrees,
    link_nodes,
    window_neighbours,
)
from hsistream.graph.bridge import (
    Bridge,
    build_bridge,
    choose_landmarks,
    node_keys,
    returning_shares,
)
from hsistream.graph.diffusion import (
    WalkSpectrum,
    diffusion_times,
    faded_time,
    right_eigenvectors,
    settled_time,
    walk_spectrum,
)
from hsistream.graph.nodes import Nodes, NodeSettings
from hsistream.graph.spectrum import EXACT_NODES, JumpingWalk, joint_components, leading_pairs

FEWEST_PAIRS = 10
"""Eigenpairs that are found at least."""

MOST_PAIRS = 80
"""Eigenpairs that are found at most, if not more clusters are asked for."""

FORGOTTEN = 1e-3
"""Weight at the time of the walk below which an eigenpair makes no difference."""

TOLERANCE, TOLERANCE_OF_MANY = 1e-6, 1e-3
"""Of eigenpairs; the other one in float32, for very many nodes."""

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Walk:
    """The walk on a graph of nodes, and the times at which it is looked at, (time,).

    Without jumps there is no ``bridge`` and one component; with jumps ``component`` (node,)
    numbers the parts of the scene that no step leads between. ``threads`` share what is
    looked for in it. ``recall`` is the part of the links across the scene that lead to the
    nearest nodes; None if all do.
    """

    graph: NodeGraph
    spectrum: WalkSpectrum
    times: Labels
    bridge: Bridge | None
    component: Labels
    threads: int = 1
    recall: float | None = None

    @property
    def components(self) -> int:
        """Number of components."""
        return int(self.component.max()) + 1

    def time(self, clusters: int) -> int:
        """Choose the time at which only as many eigenpairs as clusters are left."""
        if self.bridge is None:
            return settled_time(self.spectrum, clusters, self.times)
        return faded_time(self.spectrum, clusters)


def start_walk(nodes: Nodes, settings: NodeSettings) -> Walk:
    """Link nodes, and find the eigenpairs and times of the walk.

    Without jumps, components of the graph are joined by their closest nodes.
    """
    lists = [
        window_neighbours(
            nodes.places,
            nodes.features,
            settings.radius_px,
            settings.neighbours,
            settings.threads,
        )
    ]
    recall = None
    if settings.distant_neighbours:
        distant = distant_neighbours(
            nodes.features, lists[0], settings.distant_neighbours, settings.seed
        )
        lists.append(distant.rows.astype(np.int32))
        recall = distant.recall
    links = link_nodes(lists)
    if settings.alpha:
        return replace(_jumping(nodes, NodeGraph(links, 0), settings), recall=recall)
    graph = connect(links, nodes.features)
    size = max(FEWEST_PAIRS, (settings.clusters or 0) + 1)
    spectrum = walk_spectrum(graph.affinity, size, settings.norm)
    none = np.zeros(len(nodes.order), np.int64)
    times = diffusion_times(spectrum)
    return Walk(graph, spectrum, times, None, none, settings.threads, recall)


def frame_returns(nodes: Nodes, walk: Walk) -> Floats:
    """Tell how much of a frame's mass at landmarks returns to it, (frame,); none without jumps."""
    if walk.bridge is None:
        return np.zeros(0)
    return returning_shares(walk.bridge, link_degrees(walk.graph.affinity), nodes.places.frame)


def jumping_spectrum(
    walk: JumpingWalk, component: Labels, start: NDArray[np.uint64], settings: NodeSettings
) -> WalkSpectrum:
    """Find the eigenpairs of a walk with jumps that do not live inside single frames.

    Parameters
    ----------
    walk : JumpingWalk
        The walk.
    component : (node,) int64
        Of :func:`joint_components`; each gives an eigenvalue 1, exactly.
    start : (node,) uint64
        Keys for the start of the solver.
    settings : NodeSettings
        The number of clusters tells which pairs make a difference.

    Returns
    -------
    WalkSpectrum
        All pairs above its floor that weigh ``FORGOTTEN`` at the time of the clusters.
    """
    exact = walk.nodes <= EXACT_NODES
    tolerance = TOLERANCE if exact else TOLERANCE_OF_MANY
    known, clusters = _component_vectors(walk.degree, component), settings.clusters or settings.most
    size, most = max(FEWEST_PAIRS, 2 * clusters), max(MOST_PAIRS, clusters + 1)
    while True:
        values, vectors = leading_pairs(walk, known, size, start, tolerance)
        kept = values > walk.margin(tolerance)
        spectrum = WalkSpectrum(
            np.concatenate([np.ones(known.shape[1]), values[kept]]),
            right_eigenvectors(
                np.concatenate([known, vectors[:, kept]], axis=1), walk.degree, settings.norm
            ),
            walk.degree / walk.degree.sum(),
            walk.margin(tolerance),
        )
        left = (
            float(values[-1]) ** faded_time(spectrum, clusters)
            if len(values) and kept.all()
            else 0.0
        )
        if left < FORGOTTEN or len(values) < size or size >= most:
            spectrum.vectors[:, 0] = 1
            return spectrum
        size = min(2 * size, most)


def _jumping(nodes: Nodes, graph: NodeGraph, settings: NodeSettings) -> Walk:
    """Bridge the frames of a graph, and find the eigenpairs of the walk."""
    keys = node_keys(nodes.features, nodes.places)
    landmarks = choose_landmarks(
        nodes.features, nodes.places.frame, keys, settings.landmarks, settings.seed
    )
    degree = link_degrees(graph.affinity)
    bridge = build_bridge(
        nodes.features, landmarks, degree, settings.nearest_landmarks, settings.threads
    )
    walk = JumpingWalk(graph.affinity, bridge, settings.alpha, settings.threads)
    _, component = joint_components(walk)
    spectrum = jumping_spectrum(walk, component, keys, settings)
    times = diffusion_times(spectrum)
    return Walk(graph, spectrum, times, bridge, component, settings.threads)


def _component_vectors(degree: Floats, component: Labels) -> Floats:
    """Give orthonormal eigenvectors of components (node, component), the stationary one first."""
    count = int(component.max()) + 1
    mass = np.sqrt(np.bincount(component, degree))
    turned = linalg.qr(np.column_stack([mass, np.eye(count)[:, : count - 1]]))[0]
    turned[:, 0] = mass / np.linalg.norm(mass)
    return np.asarray(np.sqrt(degree)[:, None] * (turned / mass[:, None])[component])
