"""Few places that stand for many nodes, so that joining them two by two stays cheap."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from hsistream.graph.bridge import node_keys
from hsistream.graph.nodes import Nodes, NodeSettings
from hsistream.graph.parts import on_threads
from hsistream.neighbours import nearest_rows

ALONE = 6000
"""Up to this many nodes each stands for itself."""

EXEMPLARS = 2000
"""Places that stand for more nodes than that."""

SAMPLE = 20_000
"""Nodes from which these are learnt."""

ROUNDS = 10
"""Rounds of k-means; places need not be exact."""

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Exemplars:
    """Places (exemplar, coordinate) and masses (exemplar,), and that of each node, (node,).

    ``order`` (exemplar,) sorts them by where their nodes lie, whatever the order of these.
    """

    places: Floats
    masses: Floats
    of_node: Labels
    order: Labels


def choose_exemplars(places: Floats, nodes: Nodes, settings: NodeSettings) -> Exemplars:
    """Let few places stand for the nodes of a diffusion map: the means of k-means on a sample.

    Parameters
    ----------
    places : (node, coordinate) float64
        Diffusion map.
    nodes : Nodes
        The nodes; the sample is chosen by where they lie, whatever their order.
    settings : NodeSettings
        Threads.

    Returns
    -------
    Exemplars
        The nodes themselves, if they are no more than ``ALONE``. None is without mass.
    """
    order = np.argsort(node_keys(nodes.features, nodes.places), kind="stable")
    if len(places) <= ALONE:
        return Exemplars(places, nodes.masses, np.arange(len(places)), order)
    sample = np.ascontiguousarray(places[order[:SAMPLE]])
    kinds = np.unique(sample, axis=0)
    centres = kinds if len(kinds) <= EXEMPLARS else _means(sample)
    own = nearest_exemplars(places, centres, settings.threads)
    mass = np.bincount(own, nodes.masses, minlength=len(centres)).astype(np.float64)
    used = mass > 0
    number = np.cumsum(used) - 1
    return Exemplars(centres[used], mass[used], number[own], np.arange(used.sum()))


def nearest_exemplars(places: Floats, exemplars: Floats, threads: int = 1) -> Labels:
    """Find the exemplar nearest to each node, (node,); of equals, the first."""

    def nearest(part: tuple[int, int]) -> Labels:
        return nearest_rows(places[slice(*part)], exemplars, 1).rows[:, 0]

    return np.concatenate(on_threads(nearest, len(places), threads))


def nearest_centres(found: Exemplars, clusters: int, tries: int, seed: int) -> Labels:
    """Divide exemplars (exemplar,) by k-means, weighted by their masses."""
    from sklearn.cluster import KMeans

    if not found.places.any():  # one node, or a walk that has settled everywhere
        return np.zeros(len(found.places), np.int64)
    kinds = np.unique((found.places / np.abs(found.places).max()).round(9), axis=0)
    model = KMeans(min(clusters, len(kinds)), n_init=tries, random_state=seed)
    labels = np.empty(len(found.places), np.int64)
    with threadpool_limits(1):
        fitted = model.fit(found.places[found.order], sample_weight=found.masses[found.order])
    labels[found.order] = fitted.labels_
    return labels


def _means(sample: Floats) -> Floats:
    """Find the means of k-means on a sample, from its first places on."""
    from sklearn.cluster import KMeans

    model = KMeans(EXEMPLARS, init=sample[:EXEMPLARS], n_init=1, max_iter=ROUNDS)
    with threadpool_limits(1):
        return np.asarray(np.unique(model.fit(sample).cluster_centers_, axis=0))
