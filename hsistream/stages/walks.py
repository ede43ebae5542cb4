"""Clusterings of the superpixels, which are codebooks of the consensus as they are.

One walk is looked at at three times, and its nodes are divided into as many groups as
the codebooks of views have centroids. What a superpixel belongs to is its code.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hsistream.config import RunConfig
from hsistream.events import StageStarted
from hsistream.graph.clustering import TIME_FACTORS, cluster_often
from hsistream.runtime.memory import kept
from hsistream.stages import Address, Context, walk_table
from hsistream.stages import describe as describe_stage
from hsistream.stages.nodes import (
    mode_places,
    node_settings,
    read_nodes,
    read_superpixels,
)
from hsistream.stages.walk_warnings import tell_of_walk
from hsistream.stores.tables import Table, read_table, write_table

TABLE = "walks"


@dataclass(frozen=True, slots=True)
class Walks:
    """Codes (codebook, region) uint16 of all superpixels, and their ids (region,), increasing.

    ``sizes`` (codebook,) are the numbers of codes that there can be.
    """

    codes: NDArray[np.uint16]
    ids: NDArray[np.int64]
    sizes: NDArray[np.int64]

    def of_pixels(self, ids: NDArray[np.int64]) -> NDArray[np.uint16]:
        """Look up the codes (codebook, pixel) of pixels by the ids (pixel,) of superpixels."""
        return self.codes[:, np.searchsorted(self.ids, ids)]


def run(context: Context) -> None:
    """Divide the superpixels again and again."""
    context.notify(StageStarted("walks", 1))
    config, table = context.config, read_table(context.run.table(describe_stage.TABLE))
    nodes, superpixels = read_nodes(table), read_superpixels(table)
    settings = node_settings(context.config, context.scene, len(nodes.order), context.threads)
    settings = replace(settings, clusters=config.cluster.largest)
    found = cluster_often(nodes, superpixels, settings, book_sizes(config))
    returns = tell_of_walk(
        nodes, found.walk, found.time, config.cluster.largest, context.scene, context.notify
    )
    write_table(
        context.run.table(TABLE),
        {
            "codes": found.labels.astype(np.uint16),
            "ids": table["ids"],
            "reservoir_region": table["reservoir_region"],
            "time": np.asarray(found.time),
            "frame_returns": returns,
            "sizes": found.labels.max(axis=1) + 1,
            "modes": mode_places(nodes, found.walk, found.time, settings),
        },
    )
    learnt: Table = {}
    if walk_table.kept(config.graph):
        learnt = walk_table.to_table(found.walk, found.placements, settings)
        learnt["sizes"] = found.labels.max(axis=1) + 1
    write_table(context.run.table(walk_table.TABLE), learnt)


def book_sizes(config: RunConfig) -> list[int]:
    """List the numbers of groups at one time: multiples of the number of clusters."""
    return [multiple * config.cluster.largest for multiple in config.codebooks.multiples]


def landmark_sizes(config: RunConfig) -> list[int]:
    """Codes of every codebook, at most; empty where the head has none of them."""
    if config.cluster.head != "joint":
        return []
    return len(TIME_FACTORS) * book_sizes(config)


@kept(results=4)
def load_walks(address: Address) -> Walks:
    """Read the codes of superpixels once for many tiles."""
    table = read_table(address.run.table(TABLE))
    return Walks(table["codes"], table["ids"], table["sizes"])
