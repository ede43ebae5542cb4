from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

import hsistream.graph.exemplars as exemplars
from hsistream.graph.clustering import cluster_nodes
from hsistream.graph.exemplars import choose_exemplars, nearest_centres, nearest_exemplars
from tests.unit.graph.made_frames import JUMPING, field_nodes, frames_of
from tests.unit.graph.made_nodes import made_superpixels


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let 60 places stand for more than 100 nodes."""
    monkeypatch.setattr(exemplars, "ALONE", 100)
    monkeypatch.setattr(exemplars, "EXEMPLARS", 60)
    monkeypatch.setattr(exemplars, "SAMPLE", 300)


def test_few_nodes_stand_for_themselves() -> None:
    nodes, _ = field_nodes(1)
    found = choose_exemplars(nodes.features, nodes, JUMPING)
    np.testing.assert_array_equal(found.places, nodes.features)
    np.testing.assert_array_equal(found.of_node, np.arange(len(nodes.order)))


@pytest.mark.usefixtures("few")
def test_every_node_has_the_nearest_of_few_places() -> None:
    nodes, _ = field_nodes(2)
    found = choose_exemplars(nodes.features, nodes, JUMPING)
    assert 30 < len(found.places) <= 60
    gaps = np.linalg.norm(nodes.features[:, None] - found.places[None], axis=2)
    own = gaps[np.arange(len(gaps)), found.of_node]
    np.testing.assert_allclose(own, gaps.min(axis=1), atol=1e-9)
    np.testing.assert_allclose(found.masses, np.bincount(found.of_node, nodes.masses))
    assert (found.masses > 0).all()


@pytest.mark.usefixtures("few")
def test_places_do_not_depend_on_the_order_of_frames_or_on_threads() -> None:
    nodes, _ = field_nodes(3)
    turned, came = frames_of(nodes, [2, 0, 1])
    first = choose_exemplars(nodes.features, nodes, JUMPING)
    second = choose_exemplars(turned.features, turned, JUMPING)
    np.testing.assert_array_equal(first.places, second.places)
    np.testing.assert_array_equal(first.of_node[came], second.of_node)
    np.testing.assert_array_equal(
        nearest_exemplars(nodes.features, first.places, threads=3), first.of_node
    )


def test_joining_places_is_about_joining_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes, _ = field_nodes(4, side=28, seed=3)
    exact = cluster_nodes(nodes, made_superpixels(nodes), JUMPING)
    monkeypatch.setattr(exemplars, "ALONE", 1000)
    monkeypatch.setattr(exemplars, "EXEMPLARS", 500)
    rough = cluster_nodes(nodes, made_superpixels(nodes), JUMPING)
    assert len(np.unique(rough.grouping.groups)) <= 500
    assert adjusted_rand_score(exact.labels, rough.labels) >= 0.98


def test_a_map_without_places_is_one_cluster() -> None:
    nodes, _ = field_nodes(1)
    found = choose_exemplars(np.zeros((400, 2)), nodes, JUMPING)
    np.testing.assert_array_equal(nearest_centres(found, 3, 2, 0), 0)
