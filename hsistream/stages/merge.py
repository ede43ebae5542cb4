"""From prototypes to clusters; nothing here grows with the scene, and nothing is encoded again."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hsistream.config import RunConfig
from hsistream.consensus.landmarks import suggest_clusters
from hsistream.events import StageStarted
from hsistream.graph.merging import (
    MergeTree,
    Moment,
    by_mass,
    diffusion_spectrum,
    lookup,
    meeting_affinity,
    steady_cut,
    unit_coordinates,
    ward_tree,
)
from hsistream.scene.scene import Scene
from hsistream.stages import Context, Needs, reservoir_pixels
from hsistream.stages import assign as assign_stage
from hsistream.stages import encode as encode_stage
from hsistream.stages import train as train_stage
from hsistream.stages.cluster import TABLE, warn_of_few, warn_of_limit
from hsistream.stores.tables import Table, read_table, write_table

PIXELS_AT_ONCE = 16_384


def run(context: Context) -> None:
    """Merge the prototypes into the clusters that are asked for, or that suggest themselves."""
    context.notify(StageStarted("cluster", 1))
    config = context.config
    assert config.encoder is not None, "the stream has this stage only with a network"
    assigned = read_table(context.run.table(assign_stage.TABLE))
    history = _history(read_table(context.run.table(train_stage.TABLE)), assigned["usage"])
    merge = _ward if config.cluster.merge == "ward" else _diffusion
    latents = read_table(context.run.table(encode_stage.TABLE))["reservoir"]
    cosines = history[-1].prototypes @ latents.T.astype(np.float64)
    found = merge(assigned, history, cosines / config.encoder.softness, config)
    suggested, groups = int(found["suggested"]), found.pop("groups")
    if config.cluster.clusters is None:
        warn_of_limit(suggested, config.cluster.most, context.notify)
    table = by_mass(groups, assigned["usage"])
    clusters = int(table.max()) + 1
    warn_of_few(clusters, config.cluster.clusters or suggested, context.notify)
    write_table(
        context.run.table(TABLE),
        {
            **found,
            "clusters": np.asarray(clusters),
            "lookup": table,
            "usage": assigned["usage"],
            "reservoir_label": table[cosines.argmax(axis=0)].astype(np.uint16),
        },
    )


def estimate(scene: Scene, config: RunConfig, tile_px: int) -> Needs:
    """Estimate what the stage needs."""
    assert config.encoder is not None, "the stream has this stage only with a network"
    prototypes, pixels = config.encoder.prototypes or 0, reservoir_pixels(scene, config)
    return Needs(tiles=0, task={}, driver={"cosines of the reservoir": 4 * 8 * pixels * prototypes})


def confusion(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum ``p p^T`` over pixels, p the softmax over prototypes of logits (prototype, pixel)."""
    total = np.zeros((len(logits), len(logits)))
    for first in range(0, logits.shape[1], PIXELS_AT_ONCE):
        part = logits[:, first : first + PIXELS_AT_ONCE]
        shares = np.exp(part - part.max(axis=0))
        shares /= shares.sum(axis=0)
        total += shares @ shares.T
    return total


def _history(training: Table, usage: NDArray[np.int64]) -> list[Moment]:
    """Read the prototypes of every check; the last ones have the masses of the whole scene."""
    kept = [*zip(training["prototypes"], training["masses"], strict=True)]
    return [Moment(*moment) for moment in kept] + [Moment(kept[-1][0], usage.astype(np.float64))]


def _diffusion(
    assigned: Table, history: list[Moment], logits: NDArray[np.float64], config: RunConfig
) -> Table:
    """Merge by where prototypes meet and how alike they are."""
    used = np.flatnonzero(assigned["usage"])
    among = np.ix_(used, used)
    affinity = meeting_affinity(
        assigned["neighbours"][among], assigned["usage"][used], confusion(logits)[among]
    )
    eigenvalues, vectors = diffusion_spectrum(affinity)
    suggested = suggest_clusters(eigenvalues, config.cluster.most)
    wanted = config.cluster.clusters or suggested
    places = unit_coordinates(vectors, wanted)
    tree = ward_tree(places, assigned["usage"][used].astype(np.float64))
    whole = MergeTree(used, tree.linkage)
    return {
        "groups": lookup(whole, history[-1].prototypes, wanted),
        "suggested": np.asarray(suggested),
        "eigenvalues": eigenvalues,
        "tree": tree.linkage,
        "used": used,
    }


def _ward(
    assigned: Table, history: list[Moment], logits: NDArray[np.float64], config: RunConfig
) -> Table:
    """Merge by the prototypes themselves, steadily over the checks of the training."""
    last = history[-1]
    tree = ward_tree(last.prototypes, last.masses)
    suggested = _largest_gap(tree, config.cluster.most)
    return {
        "groups": steady_cut(history, config.cluster.clusters or suggested),
        "suggested": np.asarray(suggested),
        "tree": tree.linkage,
        "used": tree.used,
    }


def _largest_gap(tree: MergeTree, most: int) -> int:
    """Suggest the number of clusters below which the next merge costs relatively most."""
    costs = tree.linkage[::-1, 2][:most]
    if len(costs) < 2 or costs[0] <= 0:
        return min(len(tree.used), 1)
    ratios = costs[:-1] / np.maximum(costs[1:], np.finfo(float).tiny)
    return int(ratios.argmax()) + 2
