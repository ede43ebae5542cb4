"""The nodes of the graph, the superpixels that they stand for, and how both are clustered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from hsistream.graph.affinity import Places
from hsistream.graph.diffusion import Norm

Assignment = Literal["merge", "modes", "kmeans", "ward"]
"""How nodes of a diffusion map become clusters; see :class:`NodeSettings`."""

TimeRule = Literal["settled", "central"]
"""How a time is chosen: by the eigenvalues, or as the partition that others are nearest to."""

POSITIVE = (
    "clusters",
    "radius_px",
    "neighbours",
    "modes_per_cluster",
    "tries",
    "most",
    "landmarks",
    "nearest_landmarks",
    "threads",
)
"""Settings that are at least 1."""

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Nodes:
    """Representatives of superpixels, sorted by frame, y and x.

    ``places`` tell where they lie; ``features`` (node, feature) float64;
    ``density`` (node,); ``order`` (node,) from the densest down, without
    equals; ``regions`` (node,) their superpixel, from 0; ``masses`` (node,)
    pixels that each stands for.
    """

    places: Places
    features: Floats
    density: Floats
    order: Labels
    regions: Labels
    masses: Floats


@dataclass(frozen=True, slots=True)
class Superpixels:
    """Pixels (region,) and mean features (region, feature) of superpixels; each has a node."""

    pixels: Labels
    means: Floats


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """How nodes are clustered.

    Attributes
    ----------
    clusters : int or None
        Number of clusters; None takes it, and then also the time, from the
        scores of the modes.
    radius_px : int
        Half the edge of the window in which nodes are linked.
    neighbours : int
        Nodes linked to a node inside its window, itself included; also the
        size of the backbone around a mode.
    distant_neighbours : int
        Nodes linked to a node anywhere; 0 as published.
    norm : {"pi", "unit"}
        Length of the eigenvectors; see :func:`walk_spectrum`.
    time : int or {"settled", "central"}
        Steps of the walk, or how they are chosen: ``settled`` when only as many
        eigenpairs as clusters are left; ``central``, as published, where the
        labels are nearest to those at all other times.
    assignment : {"merge", "modes", "kmeans", "ward"}
        ``modes``, as published: one mode per cluster. ``merge``: more modes,
        then the regions are joined by Ward's criterion on their mean features.
        ``kmeans`` and ``ward`` divide the diffusion map itself.
    modes_per_cluster : int
        Modes that ``merge`` starts from.
    tries : int
        Starts of k-means.
    seed : int
        Of k-means, and of landmarks.
    most : int
        Largest number of clusters that may be suggested.
    alpha : float
        Chance that a step leads over a landmark to a node of any frame; 0 as
        published, where only links lead on.
    landmarks : int
        Landmarks that nodes share, if there are so many different nodes.
    nearest_landmarks : int
        Landmarks of a node.
    threads : int
        Threads that share the work; they change no result.
    """

    clusters: int | None
    radius_px: int
    neighbours: int = 30
    distant_neighbours: int = 3
    norm: Norm = "pi"
    time: int | TimeRule = "settled"
    assignment: Assignment = "ward"
    modes_per_cluster: int = 6
    tries: int = 10
    seed: int = 0
    most: int = 12
    alpha: float = 0.0
    landmarks: int = 500
    nearest_landmarks: int = 5
    threads: int = 1


def check_settings(nodes: Nodes, settings: NodeSettings) -> None:
    """Refuse settings without a meaning, and nodes that are none."""
    if not len(nodes.features):
        raise ValueError("At least one node is needed, but there are none.")
    if settings.assignment not in get_args(Assignment):
        raise ValueError(
            f"assignment must be one of {get_args(Assignment)}, not {settings.assignment!r}."
        )
    if isinstance(settings.time, str) and settings.time not in get_args(TimeRule):
        raise ValueError(
            f"time must be a number of steps or one of {get_args(TimeRule)}, not {settings.time!r}."
        )
    for name in POSITIVE:
        if getattr(settings, name) is not None and getattr(settings, name) < 1:
            raise ValueError(f"{name} must be 1 or more, not {getattr(settings, name)}.")
    if not 0 <= settings.alpha <= 1:
        raise ValueError(f"alpha must be from 0 to 1, not {settings.alpha}.")
    if settings.distant_neighbours < 0 or (
        not isinstance(settings.time, str) and settings.time < 0
    ):
        raise ValueError(
            f"distant_neighbours and time must be 0 or more, not {settings.distant_neighbours} and "
            f"{settings.time}."
        )
