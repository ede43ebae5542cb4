"""Nodes of several frames: materials in fields, seen with the same light or another."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from hsistream.graph.affinity import Places
from hsistream.graph.nodes import Nodes, NodeSettings

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]


def field_nodes(
    frames: int = 2,
    side: int = 20,
    *,
    kinds: int = 4,
    noise: float = 0.5,
    shift: float = 0.0,
    seed: int = 0,
) -> tuple[Nodes, Labels]:
    """Make frames of square fields, every pixel a node, and the kind of every node."""
    random = np.random.default_rng(seed)
    centres = 2 * random.standard_normal((kinds, 8))
    y, x = np.divmod(np.arange(side * side), side)
    cell = max(2, side // 5)
    kind = np.concatenate(
        [random.integers(0, kinds, (side, side))[y // cell, x // cell] for _ in range(frames)]
    )
    frame = np.repeat(np.arange(frames), side * side)
    light = shift * random.standard_normal((frames, 8))
    features = centres[kind] + light[frame] + noise * random.standard_normal((len(kind), 8))
    pixels = np.tile(np.stack([y, x], axis=1), (frames, 1))
    return nodes_of(features, Places(frame, pixels)), kind


def nodes_of(features: Floats, places: Places) -> Nodes:
    """Make every node a superpixel of its own; its density depends on its features alone."""
    density = np.exp(-(features**2).sum(axis=1) / 50)
    order = np.lexsort((places.frame, *places.pixels.T[::-1], -density))
    count = len(features)
    return Nodes(places, features, density, order, np.arange(count), np.ones(count))


def twice(nodes: Nodes) -> Nodes:
    """Put the same frame beside itself."""
    places = Places(
        np.concatenate([nodes.places.frame, nodes.places.frame + 1]),
        np.tile(nodes.places.pixels, (2, 1)),
    )
    return nodes_of(np.tile(nodes.features, (2, 1)), places)


def frames_of(nodes: Nodes, order: list[int]) -> tuple[Nodes, Labels]:
    """Put the frames of nodes in another order; and tell which node each was before."""
    came = np.concatenate([np.flatnonzero(nodes.places.frame == frame) for frame in order])
    number = np.argsort(order)[nodes.places.frame[came]]
    return nodes_of(nodes.features[came], Places(number, nodes.places.pixels[came])), came


JUMPING = NodeSettings(
    4,
    radius_px=2,
    neighbours=10,
    distant_neighbours=0,
    alpha=0.4,
    landmarks=60,
    nearest_landmarks=4,
)


def exactly(settings: NodeSettings, **changes: object) -> NodeSettings:
    return replace(settings, **changes)  # type: ignore[arg-type]  # names are checked by replace
