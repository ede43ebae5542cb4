"""From nodes to a label for every superpixel; reads tables only."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from hsistream.events import StageStarted
from hsistream.graph.clustering import NodeClustering, cluster_nodes
from hsistream.graph.nodes import Superpixels
from hsistream.stages import Context, walk_table
from hsistream.stages import describe as describe_stage
from hsistream.stages.cluster import SHOWN_EIGENVALUES, TABLE, warn_of_few
from hsistream.stages.nodes import (
    mode_places,
    node_settings,
    read_nodes,
    read_superpixels,
)
from hsistream.stages.walk_warnings import tell_of_walk
from hsistream.stores.tables import Table, read_table, write_table

CENTRES = "centres"
"""Column of the learnt walk with the mean features of clusters."""


def run(context: Context) -> None:
    """Cluster the superpixels by a walk between their densest pixels."""
    context.notify(StageStarted("cluster", 1))
    table = read_table(context.run.table(describe_stage.TABLE))
    nodes, superpixels = read_nodes(table), read_superpixels(table)
    settings = node_settings(context.config, context.scene, len(nodes.order), context.threads)
    found = cluster_nodes(nodes, superpixels, settings)
    warn_of_few(len(np.unique(found.labels)), found.clusters, context.notify)
    settings = replace(settings, clusters=found.clusters)
    modes = mode_places(nodes, found.walk, found.time, settings)
    returns = tell_of_walk(
        nodes, found.walk, found.time, found.clusters, context.scene, context.notify
    )
    kept = _to_table(found, superpixels, table) | {"modes": modes, "frame_returns": returns}
    write_table(context.run.table(TABLE), kept)
    learnt: Table = {}
    if walk_table.kept(context.config.graph):
        centres = cluster_means(superpixels, found.labels)
        learnt = walk_table.to_table(found.walk, found.placements, settings) | {CENTRES: centres}
    write_table(context.run.table(walk_table.TABLE), learnt)


def cluster_means(superpixels: Superpixels, labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Average the pixels of all clusters (cluster, feature); none is empty."""
    weights = superpixels.pixels.astype(np.float64)
    total = np.zeros((int(labels.max()) + 1, superpixels.means.shape[1]))
    np.add.at(total, labels, superpixels.means * weights[:, None])
    return np.asarray(total / np.bincount(labels, weights)[:, None])


def margins(
    means: NDArray[np.float64], labels: NDArray[np.int64], centres: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Tell how clearly the mean of a superpixel is nearest to its own cluster, (region,), 0 to 1.

    It is 1 less the ratio of the distances to the mean of its own cluster and to
    the nearest mean of another; 1 where there is one cluster.
    """
    if len(centres) == 1:
        return np.ones(len(labels))
    apart = np.stack([np.linalg.norm(means - centre, axis=1) for centre in centres], axis=1)
    own = apart[np.arange(len(labels)), labels]
    apart[np.arange(len(labels)), labels] = np.inf
    other = apart.min(axis=1)
    return np.asarray(np.clip(1 - own / np.where(other > 0, other, np.inf), 0, 1))


def _to_table(found: NodeClustering, superpixels: Superpixels, described: Table) -> Table:
    """Keep what the map and the page need."""
    labels = np.unique(found.labels, return_inverse=True)[1]
    return {
        "clusters": np.asarray(int(labels.max()) + 1),
        "suggested": np.asarray(found.clusters),
        "eigenvalues": found.walk.spectrum.eigenvalues[:SHOWN_EIGENVALUES],
        "time": np.asarray(found.time),
        "labels": labels.astype(np.uint16),
        "margins": margins(superpixels.means, labels, cluster_means(superpixels, labels)),
        "reservoir_label": labels[described["reservoir_region"]].astype(np.uint16),
    }
