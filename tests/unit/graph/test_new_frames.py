from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from hsistream.graph.affinity import Places
from hsistream.graph.bridge import share_landmarks
from hsistream.graph.clustering import cluster_nodes, cluster_often
from hsistream.graph.new_frames import (
    LearntWalk,
    Placement,
    carry_on,
    joined_placements,
    label_regions,
    learn_walk,
)
from hsistream.graph.nodes import Assignment, Nodes, NodeSettings
from hsistream.graph.walk import Walk, start_walk
from tests.unit.graph.made_frames import JUMPING, field_nodes, nodes_of
from tests.unit.graph.made_nodes import made_superpixels

Floats = NDArray[np.float64]


def learnt_from(nodes: Nodes, settings: NodeSettings = JUMPING) -> tuple[Walk, LearntWalk]:
    walk = start_walk(nodes, settings)
    return walk, learn_walk(walk, settings)


def frame_of(nodes: Nodes, frame: int) -> Nodes:
    own = nodes.places.frame == frame
    return nodes_of(nodes.features[own], Places(nodes.places.frame[own], nodes.places.pixels[own]))


@pytest.mark.parametrize("frames", [1, 3])
def test_frames_that_were_learnt_from_get_their_eigenvectors(frames: int) -> None:
    nodes, _ = field_nodes(frames, seed=1)
    walk, learnt = learnt_from(nodes)
    found = carry_on(learnt, nodes.features, nodes.places)
    expected = walk.spectrum.vectors[:, 1:]
    off = np.linalg.norm(found - expected, axis=0) / np.linalg.norm(expected, axis=0)
    assert expected.shape[1] >= 3
    assert (off < 1e-3).all()


def test_eigenvectors_of_components_are_carried_on_too() -> None:
    nodes, kind = field_nodes(2, kinds=2, noise=0.05, seed=3)
    far = nodes_of(nodes.features + 100.0 * kind[:, None], nodes.places)
    walk, learnt = learnt_from(far, replace(JUMPING, radius_px=1, neighbours=2))
    assert walk.components > 1
    found = carry_on(learnt, far.features, far.places)
    np.testing.assert_allclose(found, walk.spectrum.vectors[:, 1:], atol=1e-3)


def test_frames_do_not_depend_on_each_other() -> None:
    nodes, _ = field_nodes(3, seed=2)
    _, learnt = learnt_from(nodes)
    together = carry_on(learnt, nodes.features, nodes.places, threads=2)
    for frame in range(3):
        one = frame_of(nodes, frame)
        alone = carry_on(learnt, one.features, one.places)
        np.testing.assert_allclose(alone, together[nodes.places.frame == frame], atol=1e-6)


def test_the_solution_is_that_of_the_dense_equation() -> None:
    nodes, _ = field_nodes(2, side=12, seed=4)
    _, learnt = learnt_from(frame_of(nodes, 0))
    new = frame_of(nodes, 1)
    found = carry_on(learnt, new.features, new.places)
    links = start_walk(new, JUMPING).graph.affinity.toarray().astype(float)
    step = links / links.sum(axis=1, keepdims=True)
    shares = share_landmarks(new.features, learnt.landmarks, learnt.nearest_landmarks)
    laid_out = np.zeros((len(step), len(learnt.landmarks)))
    np.put_along_axis(laid_out, shares.landmarks.astype(np.int64), shares.weights, axis=1)
    for pair, value in enumerate(learnt.eigenvalues):
        left = value * np.eye(len(step)) - (1 - learnt.alpha) * step
        expected = np.linalg.solve(left, learnt.alpha * laid_out @ learnt.images[:, pair])
        np.testing.assert_allclose(found[:, pair], expected, atol=1e-6)


@pytest.mark.parametrize("assignment", ["ward", "kmeans"])
def test_frames_that_were_learnt_from_get_their_labels(assignment: Assignment) -> None:
    nodes, _ = field_nodes(3, seed=5)
    settings = replace(JUMPING, assignment=assignment)
    found = cluster_nodes(nodes, made_superpixels(nodes), settings)
    learnt = learn_walk(found.walk, settings)
    vectors = carry_on(learnt, nodes.features, nodes.places)
    (placement,) = found.placements
    (labels,) = label_regions(learnt, placement, vectors, nodes.regions, len(nodes.order))
    assert (labels == found.labels).mean() >= 0.995
    assert len(np.unique(found.labels)) == 4


def test_all_clusterings_are_carried_on() -> None:
    nodes, _ = field_nodes(2, seed=6)
    found = cluster_often(nodes, made_superpixels(nodes), JUMPING, [4, 8])
    learnt = learn_walk(found.walk, JUMPING)
    vectors = carry_on(learnt, nodes.features, nodes.places)
    labels = np.concatenate(
        [
            label_regions(learnt, each, vectors, nodes.regions, len(nodes.order))
            for each in found.placements
        ]
    )
    assert [len(each.kinds) for each in found.placements] == [2, 2, 2]
    assert labels.shape == found.labels.shape
    assert ((labels == found.labels).mean(axis=1) >= 0.995).all()


@pytest.mark.parametrize("changes", [{"alpha": 0.0}, {"distant_neighbours": 2}])
def test_walks_that_lead_nowhere_else_are_refused(changes: dict[str, float]) -> None:
    settings = replace(JUMPING, **changes)  # type: ignore[arg-type]  # names of settings
    walk = start_walk(field_nodes(1)[0], settings)
    with pytest.raises(ValueError, match="alpha must be above 0 and distant_neighbours 0"):
        learn_walk(walk, settings)


def test_cuts_of_one_map_are_kept_together() -> None:
    places, other = np.zeros((2, 1)), np.ones((2, 1))
    one = np.zeros(2, np.int64)
    cuts = [Placement(t, p, (one,), (one,)) for t, p in ((1, places), (1, places), (4, other))]
    found = joined_placements(cuts)
    assert [(each.time, len(each.kinds)) for each in found] == [(1, 2), (4, 1)]
