from __future__ import annotations

import numpy as np
import pytest

from hsistream.graph.affinity import Places
from hsistream.graph.bridge import (
    build_bridge,
    choose_landmarks,
    node_keys,
    returning_shares,
    share_landmarks,
)
from tests.unit.graph.made_frames import field_nodes, frames_of, twice


def test_shares_are_those_of_the_nearest_landmarks_and_sum_to_one() -> None:
    landmarks = np.array([[0.0], [1.0], [4.0], [50.0]])
    shares = share_landmarks(np.array([[1.0], [2.0]]), landmarks, 3)
    np.testing.assert_array_equal(shares.landmarks, [[1, 0, 2], [1, 0, 2]])
    expected = np.exp(-(np.array([[0.0, 1, 3], [1, 2, 2]]) ** 2) / np.array([[9.0], [4]]))
    expected /= expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(shares.weights, expected, rtol=1e-12)
    np.testing.assert_allclose(shares.weights.sum(axis=1), 1, rtol=1e-12)


def test_a_node_on_its_only_landmark_has_all_of_it() -> None:
    shares = share_landmarks(np.zeros((2, 1)), np.zeros((1, 1)), 5)
    np.testing.assert_array_equal(shares.weights, [[1.0], [1.0]])


def test_landmarks_without_nodes_are_left_out_and_masses_are_degrees() -> None:
    features = np.array([[0.0], [1.0], [2.0]])
    landmarks = np.array([[0.5], [1.5], [99.0]])
    bridge = build_bridge(features, landmarks, np.array([2.0, 3.0, 5.0]), 2)
    np.testing.assert_array_equal(bridge.landmarks, landmarks[:2])
    assert bridge.mass.sum() == pytest.approx(10)
    assert bridge.shares.landmarks.max() == 1


def test_sums_do_not_depend_on_threads() -> None:
    nodes, _ = field_nodes(3)
    landmarks = choose_landmarks(
        nodes.features, nodes.places.frame, node_keys(nodes.features, nodes.places), 30
    )
    degree = np.random.default_rng(0).random(len(nodes.order))
    one, two = (build_bridge(nodes.features, landmarks, degree, 4, threads) for threads in (1, 3))
    np.testing.assert_array_equal(one.mass, two.mass)
    np.testing.assert_array_equal(one.shares.weights, two.shares.weights)


@pytest.mark.parametrize("order", [[2, 0, 1], [1, 2, 0]])
def test_landmarks_do_not_depend_on_the_order_of_frames(order: list[int]) -> None:
    nodes, _ = field_nodes(3)
    turned, came = frames_of(nodes, order)
    keys = node_keys(nodes.features, nodes.places)
    np.testing.assert_array_equal(node_keys(turned.features, turned.places), keys[came])
    first, second = (
        choose_landmarks(
            each.features, each.places.frame, node_keys(each.features, each.places), 30, seed=3
        )
        for each in (nodes, turned)
    )
    np.testing.assert_array_equal(first, second)


def test_all_frames_give_to_landmarks() -> None:
    """A frame of ten nodes beside one of a thousand has landmarks of its own."""
    random = np.random.default_rng(0)
    features = np.concatenate([random.normal(0, 1, (1000, 3)), random.normal(50, 1, (10, 3))])
    frame = np.repeat([0, 1], [1000, 10])
    places = Places(frame, np.stack([np.arange(1010), np.zeros(1010, np.int64)], axis=1))
    found = choose_landmarks(features, frame, node_keys(features, places), 20)
    assert len(found) == 20
    assert (found[:, 0] > 25).any()


def test_few_different_nodes_are_landmarks_themselves() -> None:
    features = np.repeat([[1.0], [2.0]], 30, axis=0)
    places = Places(
        np.zeros(60, np.int64), np.stack([np.arange(60), np.zeros(60, np.int64)], axis=1)
    )
    found = choose_landmarks(features, places.frame, node_keys(features, places), 20)
    np.testing.assert_array_equal(found, [[1.0], [2.0]])


def test_identical_frames_get_back_half() -> None:
    nodes = twice(field_nodes(1)[0])
    keys = node_keys(nodes.features, nodes.places)
    landmarks = choose_landmarks(nodes.features, nodes.places.frame, keys, 40)
    degree = np.tile(np.random.default_rng(0).integers(1, 9, 400).astype(float), 2)
    bridge = build_bridge(nodes.features, landmarks, degree, 5)
    found = returning_shares(bridge, degree, nodes.places.frame)
    np.testing.assert_allclose(found, 0.5, atol=1e-9)


def test_frames_without_a_common_landmark_get_back_all() -> None:
    features = np.concatenate([np.zeros((50, 1)), np.full((50, 1), 9.0)])
    features += np.random.default_rng(0).normal(0, 0.1, (100, 1))
    frame = np.repeat([0, 1], 50)
    landmarks = np.concatenate([np.linspace(-0.3, 0.3, 5), np.linspace(8.7, 9.3, 5)])[:, None]
    bridge = build_bridge(features, landmarks, np.ones(100), 3)
    np.testing.assert_allclose(returning_shares(bridge, np.ones(100), frame), 1, atol=1e-12)
