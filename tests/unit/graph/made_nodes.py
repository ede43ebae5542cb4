"""Small graphs of nodes with known properties."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from hsistream.graph.affinity import Places
from hsistream.graph.nodes import Nodes, Superpixels

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]

CHAIN_AFFINITY = np.array([[1.0, 1, 0, 0], [1, 1, 1, 0], [0, 1, 1, 1], [0, 0, 1, 1]])
"""Four nodes in a row, each linked to itself: eigenvalues 1, 1/6, 1/4 ± sqrt(11/12) / 2."""


def chain() -> sparse.csr_array:
    return sparse.csr_array(CHAIN_AFFINITY)


def scattered(count: int, seed: int, *, frames: int = 1, side: int = 12) -> Places:
    """Give nodes different random pixels, sorted by frame, y and x."""
    random = np.random.default_rng(seed)
    cells = np.sort(random.permutation(frames * side * side)[:count])
    frame, pixel = np.divmod(cells, side * side)
    return Places(frame.astype(np.int64), np.stack(np.divmod(pixel, side), axis=1))


def made_nodes(features: Floats, places: Places, *, density: Floats | None = None) -> Nodes:
    """Make every node a superpixel of its own, of one pixel."""
    count = len(features)
    found = np.ones(count) if density is None else density
    order = np.argsort(-found, kind="stable")
    return Nodes(places, features, found, order, np.arange(count), np.ones(count))


def made_superpixels(nodes: Nodes) -> Superpixels:
    return Superpixels(np.ones(len(nodes.order), np.int64), nodes.features)


def blobs(kinds: Labels, seed: int, *, gap: float = 10.0) -> Floats:
    """Points around as many far centres as there are kinds (node,)."""
    random = np.random.default_rng(seed)
    centres = gap * np.eye(int(kinds.max()) + 1)
    return np.asarray(centres[kinds] + random.normal(0, 0.3, (len(kinds), centres.shape[1])))


def same_partition(first: Labels, second: Labels) -> bool:
    return bool(((first[:, None] == first) == (second[:, None] == second)).all())
