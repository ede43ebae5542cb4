"""What is kept of a walk between nodes, so that new frames can be labelled by it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hsistream.graph.new_frames import LearntWalk, Placement, learn_walk
from hsistream.graph.nodes import NodeSettings
from hsistream.graph.walk import Walk
from hsistream.sections import GraphSection
from hsistream.stores.tables import Table

TABLE = "walk"

NUMBERS = ("alpha", "nearest_landmarks", "neighbours", "radius_px")
ARRAYS = ("eigenvalues", "landmarks", "images")


def to_table(walk: Walk, placements: Sequence[Placement], settings: NodeSettings) -> Table:
    """Write a walk as arrays; ``placements`` are of one or several times."""
    learnt = learn_walk(walk, settings)
    table: Table = {name: np.asarray(getattr(learnt, name)) for name in (*ARRAYS, *NUMBERS)}
    table["cuts"] = np.asarray([len(each.kinds) for each in placements])
    for number, each in enumerate(placements):
        table |= {f"{number}.time": np.asarray(each.time), f"{number}.places": each.places}
        for cut, (kinds, numbers) in enumerate(zip(each.kinds, each.numbers, strict=True)):
            table |= {f"{number}.{cut}.kinds": kinds, f"{number}.{cut}.numbers": numbers}
    return table


def from_table(table: Table) -> tuple[LearntWalk, list[Placement]]:
    """Read what :func:`to_table` wrote."""
    learnt = LearntWalk(
        eigenvalues=table["eigenvalues"],
        landmarks=table["landmarks"],
        images=table["images"],
        alpha=float(table["alpha"]),
        nearest_landmarks=int(table["nearest_landmarks"]),
        neighbours=int(table["neighbours"]),
        radius_px=int(table["radius_px"]),
    )
    placements = [
        Placement(
            int(table[f"{number}.time"]),
            table[f"{number}.places"],
            tuple(table[f"{number}.{cut}.kinds"] for cut in range(cuts)),
            tuple(table[f"{number}.{cut}.numbers"] for cut in range(cuts)),
        )
        for number, cuts in enumerate(table["cuts"].tolist())
    ]
    return learnt, placements


def kept(settings: GraphSection) -> bool:
    """Tell whether a walk can be carried on to new frames: over landmarks alone, by its map."""
    return (
        settings.alpha > 0
        and not settings.distant_neighbours
        and settings.assignment in ("ward", "kmeans")
    )
