from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hsistream.graph.clustering import cluster_often
from hsistream.graph.new_frames import learn_walk
from hsistream.graph.nodes import Assignment
from hsistream.sections import GraphSection
from hsistream.stages.walk_table import from_table, kept, to_table
from hsistream.stores.tables import read_table, write_table
from tests.unit.graph.made_frames import JUMPING, exactly, field_nodes
from tests.unit.graph.made_nodes import made_superpixels


@pytest.mark.parametrize(("assignment", "joined"), [("ward", [2, 2, 2]), ("kmeans", [1] * 6)])
def test_what_was_written_is_read(
    assignment: Assignment, joined: list[int], tmp_path: Path
) -> None:
    nodes, _ = field_nodes(2, side=10)
    settings = exactly(JUMPING, assignment=assignment)
    clusterings = cluster_often(nodes, made_superpixels(nodes), settings, [3, 5])
    path = tmp_path / "walk.npz"
    write_table(path, to_table(clusterings.walk, clusterings.placements, settings))
    learnt, placements = from_table(read_table(path))
    expected = learn_walk(clusterings.walk, settings)
    for field in fields(expected):
        found, wanted = getattr(learnt, field.name), getattr(expected, field.name)
        assert type(found) is type(wanted)
        np.testing.assert_array_equal(found, wanted)
    assert [len(each.kinds) for each in placements] == joined
    for read, written in zip(placements, clusterings.placements, strict=True):
        assert read.time == written.time
        np.testing.assert_array_equal(read.places, written.places)
        for mine, its in ((read.kinds, written.kinds), (read.numbers, written.numbers)):
            for one, other in zip(mine, its, strict=True):
                np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, True),
        ({"assignment": "kmeans"}, True),
        ({"assignment": "modes"}, False),
        ({"assignment": "merge"}, False),
        ({"alpha": 0.0}, False),
        ({"distant_neighbours": 3}, False),
    ],
    ids=str,
)
def test_walks_are_kept_that_lead_to_new_frames_over_landmarks(
    change: dict[str, Any], expected: bool
) -> None:
    assert kept(GraphSection(**change)) == expected
