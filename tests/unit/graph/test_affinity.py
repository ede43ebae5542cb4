from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import connected_components, minimum_spanning_tree

from hsistream.graph.affinity import (
    Places,
    connect,
    distant_neighbours,
    link_nodes,
    window_neighbours,
    window_radius_px,
)
from tests.unit.graph.made_nodes import scattered

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]

seeds = st.integers(0, 2**31)
counts = st.integers(1, 40)


def lattice(count: int, seed: int) -> Floats:
    """Features with many ties."""
    return np.random.default_rng(seed).integers(0, 3, (count, 2)).astype(float)


def gaps_of(features: Floats) -> Floats:
    return np.asarray(((features[:, None] - features[None]) ** 2).sum(axis=2))


def nearest_allowed(features: Floats, allowed: NDArray[np.bool_], count: int) -> Rows:
    """Sort the allowed nodes of every node by distance and number; -1 where there are fewer."""
    gaps = np.where(allowed, gaps_of(features), np.inf)
    rows = np.argsort(gaps, axis=1, kind="stable")
    rows = np.where(np.isfinite(np.take_along_axis(gaps, rows, axis=1)), rows, -1)
    return np.pad(rows, ((0, 0), (0, count)), constant_values=-1)[:, :count]


@given(counts, st.integers(1, 6), st.integers(1, 8), st.integers(1, 3), seeds)
def test_window_neighbours_are_those_of_sorting_all(
    count: int, radius: int, ranks: int, frames: int, seed: int
) -> None:
    places, features = scattered(count, seed, frames=frames), lattice(count, seed)
    found = window_neighbours(places, features, radius, ranks)
    steps = np.abs(places.pixels[:, None] - places.pixels[None]).max(axis=2)
    inside = (steps <= radius) & (places.frame[:, None] == places.frame)
    np.fill_diagonal(inside, val=False)
    np.testing.assert_array_equal(found[:, 0], np.arange(count))
    np.testing.assert_array_equal(found[:, 1:], nearest_allowed(features, inside, ranks - 1))


def test_numbers_of_frames_need_not_be_in_a_row() -> None:
    pixels = np.array([[5, 5], [5, 6], [5, 5]])
    found = window_neighbours(Places(np.array([3, 3, 90]), pixels), np.zeros((3, 1)), 4, 3)
    assert found.tolist() == [[0, 1, -1], [1, 0, -1], [2, -1, -1]]


@pytest.mark.parametrize(
    ("frame", "pixels"),
    [([0, 0], [[0, 1], [0, 0]]), ([0, 0], [[2, 2], [2, 2]]), ([1, 0], [[0, 0], [0, 0]])],
)
def test_nodes_out_of_order_are_refused(frame: list[int], pixels: list[list[int]]) -> None:
    places = Places(np.array(frame), np.array(pixels))
    with pytest.raises(ValueError, match="sorted by frame, y and x"):
        window_neighbours(places, np.zeros((2, 1)), 1, 1)


@given(counts, st.integers(1, 5), st.integers(0, 5), seeds)
def test_distant_neighbours_are_the_nearest_that_are_not_listed(
    count: int, ranks: int, more: int, seed: int
) -> None:
    features = lattice(count, seed)
    listed = window_neighbours(scattered(count, seed), features, 3, ranks)
    found = distant_neighbours(features, listed, more).rows
    fresh = np.ones((count, count), bool)
    for node, known in enumerate(listed):
        fresh[node, known[known >= 0]] = False
    np.testing.assert_array_equal(found, nearest_allowed(features, fresh, more))


@given(counts, st.integers(1, 6), seeds)
def test_links_go_both_ways(count: int, ranks: int, seed: int) -> None:
    listed = window_neighbours(scattered(count, seed), lattice(count, seed), 3, ranks)
    affinity = link_nodes([listed, listed[:, :1]]).toarray()
    expected = np.zeros((count, count))
    for node, known in enumerate(listed):
        expected[node, known[known >= 0]] = expected[known[known >= 0], node] = 1
    np.testing.assert_array_equal(affinity, expected)
    assert (affinity.diagonal() == 1).all()


@given(st.integers(1, 25), seeds)
def test_components_are_joined_by_a_shortest_tree(count: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    features = random.standard_normal((count, 2))
    links = sparse.random_array((count, count), density=0.8 / count, rng=random) != 0
    affinity = sparse.csr_array((links + links.T + sparse.eye_array(count)) != 0, dtype=float)
    components, member = connected_components(affinity, directed=False)
    joined = connect(affinity, features)
    assert joined.joined == components - 1
    assert connected_components(joined.affinity, directed=False)[0] == 1
    added = (joined.affinity - affinity).toarray()
    assert ((added == 0) | (added == 1)).all()
    np.testing.assert_array_equal(added, added.T)
    closest = np.full((components, components), np.inf)
    np.minimum.at(closest, (member[:, None], member[None]), np.sqrt(gaps_of(features)))
    np.fill_diagonal(closest, 0)
    length = (added * np.sqrt(gaps_of(features))).sum() / 2
    assert length == pytest.approx(minimum_spanning_tree(closest).sum())


def test_equal_components_are_joined_without_a_circle() -> None:
    joined = connect(sparse.csr_array(np.eye(6)), np.zeros((6, 2)))
    assert joined.joined == 5
    assert joined.affinity.nnz == 6 + 2 * 5


def test_a_connected_graph_stays_as_it_is() -> None:
    affinity = sparse.csr_array(np.ones((3, 3)))
    assert connect(affinity, np.zeros((3, 1))).joined == 0


def test_a_window_holds_twice_the_neighbours() -> None:
    radius = window_radius_px(pixels=100_000, nodes=3000, neighbours=30)
    assert (2 * radius + 1) ** 2 * 3000 / 100_000 >= 60
    assert window_radius_px(pixels=4, nodes=4, neighbours=1) == 1
