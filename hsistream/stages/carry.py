"""Labels of the superpixels of new frames, by a walk that is known already."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hsistream.events import StageStarted
from hsistream.graph.new_frames import carry_on, label_regions
from hsistream.stages import Context, walk_table
from hsistream.stages import describe as describe_stage
from hsistream.stages import walks as walks_stage
from hsistream.stages.cluster import TABLE as CLUSTERS
from hsistream.stages.diffuse import CENTRES, margins
from hsistream.stages.nodes import read_nodes, read_superpixels
from hsistream.stores.tables import Table, read_table, write_table

NO_MODES = np.zeros((0, 3), np.int64)
"""Modes of new frames: they have none of their own."""


def run_codes(context: Context) -> None:
    """Give superpixels their codes in all clusterings of the walk."""
    context.notify(StageStarted("walks", 1))
    described = read_table(context.run.table(describe_stage.TABLE))
    write_table(
        context.run.table(walks_stage.TABLE),
        {
            "codes": _labels(context, described).astype(np.uint16),
            "ids": described["ids"],
            "sizes": read_table(context.run.table(walk_table.TABLE))["sizes"],
            "modes": NO_MODES,
        },
    )


def run_labels(context: Context) -> None:
    """Give superpixels their clusters, and margins by the means that these have had."""
    context.notify(StageStarted("cluster", 1))
    described = read_table(context.run.table(describe_stage.TABLE))
    centres = read_table(context.run.table(walk_table.TABLE))[CENTRES]
    labels = _labels(context, described)[0]
    write_table(
        context.run.table(CLUSTERS),
        {
            "clusters": np.asarray(len(centres)),
            "labels": labels.astype(np.uint16),
            "margins": margins(read_superpixels(described).means, labels, centres),
            "modes": NO_MODES,
        },
    )


def _labels(context: Context, described: Table) -> NDArray[np.int64]:
    """Label all superpixels by all cuts, (cut, region)."""
    learnt, placements = walk_table.from_table(read_table(context.run.table(walk_table.TABLE)))
    nodes, threads = read_nodes(described), context.threads
    vectors = carry_on(learnt, nodes.features, nodes.places, threads)
    count = len(described["count"])
    found = [
        label_regions(learnt, each, vectors, nodes.regions, count, threads) for each in placements
    ]
    return np.concatenate(found)
