from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hsistream.graph.clustering import cluster_often
from hsistream.graph.new_frames import learn_walk
from hsistream.sections import GraphSection
from hsistream.stages import walk_table
from hsistream.stores.tables import read_table, write_table
from tests.unit.graph.made_frames import JUMPING, field_nodes
from tests.unit.graph.made_nodes import made_superpixels


def test_a_walk_is_read_as_it_was_written(tmp_path: Path) -> None:
    nodes, _ = field_nodes(2)
    found = cluster_often(nodes, made_superpixels(nodes), JUMPING, [3, 6])
    path = tmp_path / "walk.npz"
    write_table(path, walk_table.to_table(found.walk, found.placements, JUMPING))
    learnt, placements = walk_table.from_table(read_table(path))
    expected = learn_walk(found.walk, JUMPING)
    for name in learnt.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(learnt, name), getattr(expected, name))
    assert len(placements) == len(found.placements) == 3
    for mine, theirs in zip(placements, found.placements, strict=True):
        assert mine.time == theirs.time
        np.testing.assert_array_equal(mine.places, theirs.places)
        np.testing.assert_equal(mine.kinds, theirs.kinds)
        np.testing.assert_equal(mine.numbers, theirs.numbers)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (GraphSection(), True),
        (GraphSection(assignment="kmeans"), True),
        (GraphSection(alpha=0.0), False),
        (GraphSection(distant_neighbours=3), False),
        (GraphSection(assignment="modes"), False),
    ],
)
def test_walks_are_kept_that_can_be_carried_on(settings: GraphSection, expected: bool) -> None:
    assert walk_table.kept(settings) == expected
