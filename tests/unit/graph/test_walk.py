from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score

import hsistream.graph.modes as modes_module
import hsistream.graph.walk as walk_module
from hsistream.graph.clustering import cluster_nodes, place_groups
from hsistream.graph.diffusion import (
    FADED,
    WalkSpectrum,
    diffusion_map,
    faded_time,
    suggest_pairs,
)
from hsistream.graph.modes import density_peaks
from hsistream.graph.nodes import Assignment
from hsistream.graph.spectrum import JumpingWalk
from hsistream.graph.walk import frame_returns, start_walk
from tests.unit.graph.made_frames import JUMPING, field_nodes, frames_of, nodes_of, twice
from tests.unit.graph.made_nodes import made_superpixels
from tests.unit.graph.test_spectrum import dense_walk

ASSIGNMENTS: tuple[Assignment, ...] = ("ward", "kmeans", "modes", "merge")


@pytest.mark.parametrize("assignment", ASSIGNMENTS)
def test_the_same_node_of_identical_frames_has_one_label(
    monkeypatch: pytest.MonkeyPatch, assignment: Assignment
) -> None:
    monkeypatch.setattr(walk_module, "TOLERANCE", 1e-10)
    nodes = twice(field_nodes(1, seed=1)[0])
    found = cluster_nodes(nodes, made_superpixels(nodes), replace(JUMPING, assignment=assignment))
    first, second = found.labels.reshape(2, -1)
    np.testing.assert_array_equal(first, second)
    vectors = found.walk.spectrum.vectors
    np.testing.assert_allclose(vectors[: len(first)], vectors[len(first) :], atol=1e-8)
    np.testing.assert_allclose(frame_returns(nodes, found.walk), 0.5, atol=1e-9)


@pytest.mark.parametrize("assignment", ASSIGNMENTS)
def test_labels_do_not_depend_on_the_order_of_frames(assignment: Assignment) -> None:
    nodes, _ = field_nodes(3, seed=2)
    turned, came = frames_of(nodes, [1, 2, 0])
    settings = replace(JUMPING, assignment=assignment)
    first, second = (
        cluster_nodes(each, made_superpixels(each), settings) for each in (nodes, turned)
    )
    np.testing.assert_array_equal(first.labels[came], second.labels)


def test_labels_do_not_depend_on_threads() -> None:
    nodes, _ = field_nodes(3, seed=2)
    first, second = (
        cluster_nodes(nodes, made_superpixels(nodes), replace(JUMPING, threads=threads))
        for threads in (1, 3)
    )
    np.testing.assert_array_equal(first.labels, second.labels)
    np.testing.assert_array_equal(first.walk.spectrum.vectors, second.walk.spectrum.vectors)


def test_frames_of_disjoint_spectra_share_no_label() -> None:
    nodes, _ = field_nodes(2, seed=3)
    far = nodes_of(nodes.features + 1000.0 * nodes.places.frame[:, None], nodes.places)
    found = cluster_nodes(far, made_superpixels(far), JUMPING)
    assert found.walk.components >= 2
    component_of = found.walk.component
    assert not set(component_of[:400]) & set(component_of[400:])
    assert found.walk.components <= 4
    np.testing.assert_allclose(frame_returns(far, found.walk), 1, atol=1e-12)
    assert not set(found.labels[:400]) & set(found.labels[400:])


def test_the_map_divides_as_exact_diffusion_does() -> None:
    """All eigenpairs at a time at which those left out have faded: distances of dense P^t."""
    nodes, kind = field_nodes(2, side=18, noise=0.3, seed=4)
    walk = start_walk(nodes, JUMPING)
    assert walk.bridge is not None
    time = walk.time(4)
    assert walk.spectrum.floor**time < FADED
    jumping = JumpingWalk(walk.graph.affinity, walk.bridge, JUMPING.alpha)
    power = np.linalg.matrix_power(dense_walk(jumping), time)
    exact = power / np.sqrt(jumping.degree / jumping.degree.sum())
    first, second = (
        KMeans(4, n_init=10, random_state=0).fit(places).labels_
        for places in (diffusion_map(walk.spectrum, time), exact)
    )
    assert adjusted_rand_score(first, second) == 1
    assert adjusted_rand_score(first, kind) > 0.5


@given(
    st.lists(st.floats(0.01, 0.999), min_size=1, max_size=6),
    st.integers(1, 8),
    st.floats(0.0, 0.6),
)
def test_the_walk_stops_at_the_first_time_at_which_the_next_pair_has_faded(
    below: list[float], clusters: int, floor: float
) -> None:
    values = np.array([1.0, *sorted((max(each, floor) for each in below), reverse=True)])
    spectrum = WalkSpectrum(values, np.ones((1, len(values))), np.ones(1), floor)
    time = faded_time(spectrum, clusters)
    following = values[clusters] if clusters < len(values) else floor
    assert time >= 1
    assert following**time < FADED
    assert time == 1 or following ** (time - 1) >= FADED


def test_components_never_fade_and_are_passed_over() -> None:
    spectrum = WalkSpectrum(np.array([1.0, 1, 1, 0.5]), np.ones((1, 4)), np.ones(1), 0.4)
    assert faded_time(spectrum, 2) == faded_time(spectrum, 3) == 5


@pytest.mark.parametrize(
    ("values", "floor", "expected"), [([1, 0.9, 0.5, 0.4], 0.3, 2), ([1, 0.9, 0.89], 0.2, 3)]
)
def test_the_largest_step_suggests_the_clusters(
    values: list[float], floor: float, expected: int
) -> None:
    spectrum = WalkSpectrum(np.array(values), np.ones((1, len(values))), np.ones(1), floor)
    assert suggest_pairs(spectrum, 12) == expected


def test_a_group_that_no_superpixel_is_labelled_by_takes_the_nearest_other() -> None:
    nodes, _ = field_nodes(1, seed=5)
    one = replace(nodes, regions=np.zeros(len(nodes.order), np.int64))
    superpixels = replace(made_superpixels(nodes), pixels=np.array([400]), means=nodes.features[:1])
    found = cluster_nodes(one, superpixels, JUMPING)
    np.testing.assert_array_equal(found.labels, [0])
    placement = place_groups(found.grouping, [4], found.labels[None], found.time)
    (kinds,), (numbers,) = placement.kinds, placement.numbers
    np.testing.assert_array_equal(numbers[kinds], 0)


@given(st.integers(2, 120), st.integers(0, 2**31))
def test_denser_nodes_are_those_of_all_pairs(count: int, seed: int) -> None:
    """On a lattice, so that distances and densities are often equal."""
    random = np.random.default_rng(seed)
    places = random.integers(0, 4, (count, 2)).astype(float)
    density = random.integers(1, 5, count).astype(float)
    order = np.lexsort((np.arange(count), -density))
    expected = density_peaks(places, density, order)
    patch = pytest.MonkeyPatch()
    with patch.context() as patched:
        patched.setattr(modes_module, "MANY_NODES", 0)
        patched.setattr(modes_module, "NEAREST_COUNTS", (2, 5))
        found = density_peaks(places, density, order)
    np.testing.assert_array_equal(found.donors, expected.donors)
    np.testing.assert_allclose(found.scores, expected.scores, rtol=1e-12)


@pytest.mark.parametrize("assignment", ASSIGNMENTS)
def test_a_node_alone_is_one_cluster(assignment: Assignment) -> None:
    nodes, _ = field_nodes(1, side=1)
    found = cluster_nodes(nodes, made_superpixels(nodes), replace(JUMPING, assignment=assignment))
    np.testing.assert_array_equal(found.labels, [0])
