"""From nodes to a label for every superpixel; reads tables only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hsistream.config import RunConfig
from hsistream.events import StageStarted
from hsistream.graph.affinity import Places, window_radius_px
from hsistream.graph.clustering import (
    NodeClustering,
    Nodes,
    NodeSettings,
    Superpixels,
    cluster_nodes,
    peaks_at,
)
from hsistream.graph.modes import choose_modes
from hsistream.regions.density import density_order, density_shares
from hsistream.scene.scene import Scene
from hsistream.stages import Context, Needs
from hsistream.stages import describe as describe_stage
from hsistream.stages.cluster import SHOWN_EIGENVALUES, TABLE, warn_of_few
from hsistream.stores.tables import Table, read_table, write_table


def run(context: Context) -> None:
    """Cluster the superpixels by a walk between their densest pixels."""
    context.notify(StageStarted("cluster", 1))
    config, table = context.config, read_table(context.run.table(describe_stage.TABLE))
    superpixels = Superpixels(
        table["count"], table["feature_sum"] / np.maximum(table["count"], 1)[:, None]
    )
    nodes = _nodes(table)
    settings = _settings(config, context.scene, len(nodes.order))
    found = cluster_nodes(nodes, superpixels, settings)
    warn_of_few(len(np.unique(found.labels)), found.clusters, context.notify)
    kept = _to_table(found, superpixels, table) | {"modes": _modes(nodes, found, settings)}
    write_table(context.run.table(TABLE), kept)


def estimate(scene: Scene, config: RunConfig, tile_px: int) -> Needs:
    """Estimate what the stage needs."""
    regions = config.segment.count(scene.valid_pixels)
    nodes = regions * config.graph.representatives
    links = 2 * (config.graph.neighbours + config.graph.distant_neighbours)
    return Needs(
        tiles=0,
        task={},
        driver={
            "nodes and superpixels": 16 * (nodes + regions) * (scene.bands + 1),
            "links": 24 * nodes * links,
            "eigenvectors": 8 * 4 * nodes * (config.cluster.largest + 20),
            "distances": 256 * 2**20,
        },
    )


def margins(superpixels: Superpixels, labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Tell how clearly the mean of a superpixel is nearest to its own cluster, (region,), 0 to 1.

    It is 1 less the ratio of the distances to the mean of its own cluster and to
    the nearest mean of another; 1 where there is one cluster.
    """
    clusters = int(labels.max()) + 1
    weights = superpixels.pixels.astype(np.float64)
    total = np.zeros((clusters, superpixels.means.shape[1]))
    np.add.at(total, labels, superpixels.means * weights[:, None])
    centres = total / np.bincount(labels, weights, minlength=clusters)[:, None]
    if clusters == 1:
        return np.ones(len(labels))
    apart = np.linalg.norm(superpixels.means[:, None] - centres[None], axis=2)
    own = apart[np.arange(len(labels)), labels]
    apart[np.arange(len(labels)), labels] = np.inf
    other = apart.min(axis=1)
    return np.asarray(np.clip(1 - own / np.where(other > 0, other, np.inf), 0, 1))


def _nodes(table: Table) -> Nodes:
    """Read the nodes, and sort them by their density."""
    density = density_shares(table["density"])
    return Nodes(
        Places(
            table["frame"].astype(np.int64),
            np.stack([table["row"], table["column"]], axis=1).astype(np.int64),
        ),
        table["features"].astype(np.float64),
        density,
        density_order(density),
        table["region"].astype(np.int64),
        table["mass"],
    )


def _settings(config: RunConfig, scene: Scene, nodes: int) -> NodeSettings:
    """Take what the graph is to be from the configuration."""
    asked = config.graph
    return NodeSettings(
        clusters=config.cluster.clusters,
        radius_px=asked.radius_px or window_radius_px(scene.valid_pixels, nodes, asked.neighbours),
        neighbours=asked.neighbours,
        distant_neighbours=asked.distant_neighbours,
        norm=asked.norm,
        time=asked.time,
        assignment=asked.assignment,
        modes_per_cluster=asked.modes,
        tries=config.cluster.starts,
        seed=config.seed,
    )


def _modes(nodes: Nodes, found: NodeClustering, settings: NodeSettings) -> NDArray[np.int64]:
    """Find the pixels from which clusters grew: frame, row and column, (mode, 3)."""
    per_cluster = {"merge": settings.modes_per_cluster, "modes": 1}.get(settings.assignment, 0)
    _, peaks = peaks_at(nodes, found.walk, found.time)
    modes = choose_modes(peaks, nodes.regions, found.clusters * per_cluster)
    return np.column_stack([nodes.places.frame, nodes.places.pixels])[modes]


def _to_table(found: NodeClustering, superpixels: Superpixels, described: Table) -> Table:
    """Keep what the map and the page need."""
    labels = np.unique(found.labels, return_inverse=True)[1]
    return {
        "clusters": np.asarray(int(labels.max()) + 1),
        "suggested": np.asarray(found.clusters),
        "eigenvalues": found.walk.spectrum.eigenvalues[:SHOWN_EIGENVALUES],
        "time": np.asarray(found.time),
        "labels": labels.astype(np.uint16),
        "margins": margins(superpixels, labels),
        "reservoir_label": labels[described["reservoir_region"]].astype(np.uint16),
    }
