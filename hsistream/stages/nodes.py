"""The nodes of the graph as the tables have them, for the stages that walk between them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hsistream.config import RunConfig
from hsistream.graph.affinity import Places, window_radius_px
from hsistream.graph.clustering import peaks_at
from hsistream.graph.modes import choose_modes
from hsistream.graph.nodes import Nodes, NodeSettings, Superpixels
from hsistream.graph.walk import Walk
from hsistream.regions.density import density_shares
from hsistream.regions.sums import RegionSums
from hsistream.scene.scene import Scene
from hsistream.stages import Needs
from hsistream.stages.reference import feature_size
from hsistream.stores.tables import Table


def read_nodes(table: Table) -> Nodes:
    """Read the nodes, and sort them by their density."""
    density = density_shares(table["density"])
    places = Places(
        table["frame"].astype(np.int64),
        np.stack([table["row"], table["column"]], axis=1).astype(np.int64),
    )
    # of equals, the first in its frame is denser, whatever the order of the frames
    return Nodes(
        places,
        table["features"].astype(np.float64),
        density,
        np.lexsort((places.frame, *places.pixels.T[::-1], -density)),
        table["region"].astype(np.int64),
        table["mass"],
    )


def read_superpixels(table: Table) -> Superpixels:
    """Read the superpixels, in order of their numbers."""
    sums = RegionSums(table["count"], table["feature_sum"])
    return Superpixels(sums.count, sums.means())


def node_settings(config: RunConfig, scene: Scene, nodes: int, threads: int = 1) -> NodeSettings:
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
        most=config.cluster.most,
        alpha=asked.alpha,
        landmarks=asked.landmark_count(nodes),
        nearest_landmarks=asked.nearest_landmarks,
        threads=threads,
    )


def mode_places(nodes: Nodes, walk: Walk, time: int, settings: NodeSettings) -> NDArray[np.int64]:
    """Find the pixels from which clusters grow: frame, row and column, (mode, 3).

    Where clusters are made otherwise, one for each of them, as one would grow.
    """
    per_cluster = settings.modes_per_cluster if settings.assignment == "merge" else 1
    _, peaks = peaks_at(nodes, walk, time)
    modes = choose_modes(peaks, nodes.regions, (settings.clusters or 1) * per_cluster)
    return np.column_stack([nodes.places.frame, nodes.places.pixels])[modes]


def estimate(scene: Scene, config: RunConfig, tile_px: int) -> Needs:
    """Estimate what a stage needs that walks between nodes, and all that is found with the walk."""
    regions = config.segment.count(scene.valid_pixels)
    nodes = regions * config.graph.representatives
    asked, features = config.graph, feature_size(scene, config)
    listed = asked.neighbours + asked.distant_neighbours
    driver = {
        "nodes": nodes * (12 * features + 56),
        "superpixels": 16 * regions * features,
        "links, listed and both ways": 14 * nodes * listed,
        "shares of landmarks": 28 * nodes * asked.nearest_landmarks,
        "eigenvectors and maps": 8 * 5 * nodes * (2 * config.cluster.largest + 16),
        "distances": 256 * 2**20,
    }
    return Needs(tiles=0, task={}, driver=driver)
