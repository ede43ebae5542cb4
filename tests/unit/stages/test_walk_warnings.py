from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import hsistream.graph.approximate as approximate
from hsistream.events import Event, Warned
from hsistream.graph.nodes import NodeSettings
from hsistream.graph.walk import start_walk
from hsistream.neighbours import nearest_rows
from hsistream.scene.scene import Scene
from hsistream.stages.walk_warnings import tell_of_walk
from tests.unit.graph.made_frames import JUMPING, field_nodes, nodes_of


def told(
    scene: Scene, *, shift: float = 0.0, time: int = 5, clusters: int = 4
) -> tuple[list[str], list[float]]:
    """Give what is warned of two frames, the second moved away from the first, and returns."""
    nodes, _ = field_nodes(2, seed=1)
    moved = nodes_of(nodes.features + shift * nodes.places.frame[:, None], nodes.places)
    heard: list[Event] = []
    walk = start_walk(moved, replace(JUMPING, clusters=clusters))
    returns = tell_of_walk(moved, walk, time, clusters, scene, heard.append)
    return [each.message for each in heard if isinstance(each, Warned)], returns.tolist()


def test_frames_that_are_alike_are_not_spoken_of(scene: Scene) -> None:
    messages, returns = told(scene)
    assert messages == []
    assert all(0.3 < share < 0.8 for share in returns)


def test_frames_without_a_common_landmark_are_named(scene: Scene) -> None:
    messages, returns = told(scene, shift=1000.0)
    assert f"shared by {scene.frames[0].name}, {scene.frames[1].name}" in messages[0]
    np.testing.assert_allclose(returns, 1, atol=1e-9)


@pytest.mark.parametrize(
    ("clusters", "time", "expected"),
    [(1, 5, "falls into 2 groups"), (60, 5, "in common, fewer than the 60"), (4, 2000, "2,000")],
)
def test_other_groups_than_clusters_are_told(
    scene: Scene, clusters: int, time: int, expected: str
) -> None:
    shift = 1000.0 if clusters == 1 else 0.0
    messages, _ = told(scene, shift=shift, time=time, clusters=clusters)
    assert expected in messages[-1]


def test_walks_without_jumps_tell_nothing(scene: Scene) -> None:
    nodes, _ = field_nodes(2)
    settings: NodeSettings = replace(JUMPING, alpha=0.0)
    heard: list[Event] = []
    found = tell_of_walk(nodes, start_walk(nodes, settings), 10**6, 99, scene, heard.append)
    assert not heard
    assert not len(found)


@pytest.mark.parametrize("alpha", [0.0, JUMPING.alpha])
def test_links_that_were_found_approximately_are_told(
    scene: Scene, alpha: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes, _ = field_nodes(2)
    monkeypatch.setattr(approximate, "EXACT_NODES", 100)
    monkeypatch.setattr(
        approximate,
        "_descend",
        lambda features, count, _: nearest_rows(features, features, count + 1).rows,
    )
    walk = start_walk(nodes, replace(JUMPING, alpha=alpha, distant_neighbours=2))
    heard: list[Event] = []
    tell_of_walk(nodes, walk, 5, 4, scene, heard.append)
    assert "100.0% lead to the nearest" in str(heard[0])
