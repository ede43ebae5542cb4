from __future__ import annotations

from math import sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import sparse

from hsistream.graph import diffusion
from hsistream.graph.affinity import connect
from hsistream.graph.diffusion import (
    WalkSpectrum,
    central_partition,
    diffusion_map,
    diffusion_times,
    faded_time,
    settled_time,
    suggest_pairs,
    variation_of_information,
    walk_spectrum,
)
from tests.unit.graph.made_nodes import chain

Floats = NDArray[np.float64]

seeds = st.integers(0, 2**31)


def random_graph(count: int, seed: int) -> sparse.csr_array:
    """Draw a connected graph whose nodes are linked to themselves."""
    random = np.random.default_rng(seed)
    links = sparse.random_array((count, count), density=min(1, 4 / count), rng=random) != 0
    affinity = sparse.csr_array((links + links.T + sparse.eye_array(count)) != 0, dtype=float)
    return connect(affinity, random.standard_normal((count, 2))).affinity


def squared_gaps(spectrum: WalkSpectrum, time: float) -> Floats:
    places = diffusion_map(spectrum, time)
    return np.asarray(((places[:, None] - places[None]) ** 2).sum(axis=2))


def test_the_walk_on_a_chain_has_its_eigenpairs() -> None:
    found = walk_spectrum(chain(), 10)
    expected = [1, 1 / 4 + sqrt(11 / 12) / 2, 1 / 4 - sqrt(11 / 12) / 2, 1 / 6]
    np.testing.assert_allclose(found.eigenvalues, expected, atol=1e-12)
    np.testing.assert_allclose(found.stationary, [0.2, 0.3, 0.3, 0.2], atol=1e-15)


@pytest.mark.parametrize(
    ("norm", "time", "expected"),
    [
        ("pi", 1, {(0, 1): 65 / 108, (0, 2): 245 / 108, (0, 3): 25 / 6, (1, 2): 10 / 9}),
        ("pi", 2, {(0, 1): 0.171039, (0, 2): 1.143261, (0, 3): 2.152778, (1, 2): 0.462963}),
        ("unit", 1, {(0, 1): 0.141905, (0, 2): 0.494847, (0, 3): 0.911765, (1, 2): 0.254902}),
    ],
)
def test_diffusion_distances_on_a_chain(
    norm: diffusion.Norm, time: int, expected: dict[tuple[int, int], float]
) -> None:
    found = squared_gaps(walk_spectrum(chain(), 4, norm), time)
    for pair, gap in expected.items():
        assert found[pair] == pytest.approx(gap, abs=5e-7)


def test_times_on_a_chain() -> None:
    assert diffusion_times(walk_spectrum(chain(), 4)).tolist() == [0, 1, 2, 4, 8, 16, 32, 64]


@given(st.integers(2, 30), seeds)
def test_distances_are_those_between_rows_of_the_walk(count: int, seed: int) -> None:
    affinity = random_graph(count, seed).toarray()
    spectrum = walk_spectrum(sparse.csr_array(affinity), count)
    walk = affinity / affinity.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(spectrum.stationary @ walk, spectrum.stationary, atol=1e-12)
    for time in (0, 1, 3):
        rows = np.linalg.matrix_power(walk, time)
        expected = ((rows[:, None] - rows[None]) ** 2 / spectrum.stationary).sum(axis=2)
        np.testing.assert_allclose(squared_gaps(spectrum, time), expected, atol=1e-8)


@given(st.integers(1, 30), seeds)
def test_eigenvalues_and_distances_are_in_order(count: int, seed: int) -> None:
    spectrum = walk_spectrum(random_graph(count, seed), 10)
    size = np.abs(spectrum.eigenvalues)
    assert size[0] == 1
    assert (size[1:] < 1).all()
    assert (np.diff(size) <= 1e-12).all()
    np.testing.assert_array_equal(spectrum.vectors[:, 0], 1)
    sooner, later = squared_gaps(spectrum, 1), squared_gaps(spectrum, 2)
    np.testing.assert_array_equal(sooner, sooner.T)
    assert (later <= sooner + 1e-12).all()


def test_few_pairs_of_many_nodes_are_those_of_all() -> None:
    graph = random_graph(diffusion.DENSE_NODES + 40, 3)
    few, every = walk_spectrum(graph, 10), walk_spectrum(graph, graph.shape[0])
    np.testing.assert_allclose(few.eigenvalues, every.eigenvalues[:10], atol=1e-10)
    np.testing.assert_allclose(few.vectors, every.vectors[:, :10], atol=1e-6)
    again = walk_spectrum(graph, 10)
    np.testing.assert_array_equal(again.vectors, few.vectors)


@pytest.mark.parametrize("norm", ["pi", "unit"])
def test_eigenvectors_have_length_1(norm: diffusion.Norm) -> None:
    spectrum = walk_spectrum(random_graph(20, 1), 6, norm)
    share = spectrum.stationary if norm == "pi" else np.ones(20)
    lengths = share @ spectrum.vectors[:, 1:] ** 2
    np.testing.assert_allclose(lengths, 1)
    peaks = np.abs(spectrum.vectors).argmax(axis=0)
    assert (spectrum.vectors[peaks, np.arange(6)] > 0).all()


def test_another_norm_is_refused() -> None:
    with pytest.raises(ValueError, match="norm must be one of"):
        walk_spectrum(chain(), 2, "length")  # type: ignore[arg-type]  # that is the test


def test_one_node_has_times() -> None:
    spectrum = walk_spectrum(sparse.csr_array(np.ones((1, 1))), 10)
    assert spectrum.eigenvalues.tolist() == [1]
    assert diffusion_map(spectrum, 4).shape == (1, 0)
    assert diffusion_times(spectrum).tolist() == [0, 1]
    assert settled_time(spectrum, 1, diffusion_times(spectrum)) == 1


@pytest.mark.parametrize(("clusters", "expected"), [(1, 32), (2, 4), (3, 1), (4, 1)])
def test_time_settles_when_only_the_pairs_of_clusters_are_left(
    clusters: int, expected: int
) -> None:
    spectrum = WalkSpectrum(np.array([1, 0.9, -0.4, 0.01]), np.ones((5, 4)), np.full(5, 0.2))
    assert settled_time(spectrum, clusters, np.array([0, 1, 2, 4, 8, 16, 32])) == expected
    assert settled_time(spectrum, 1, np.array([0, 1, 2])) == 2


def spectrum_of(values: list[float], floor: float = 0.0) -> WalkSpectrum:
    return WalkSpectrum(np.array(values), np.ones((1, len(values))), np.ones(1), floor)


@given(
    st.lists(st.integers(0, 995), min_size=1, max_size=8),
    st.integers(1, 3),
    st.integers(1, 12),
    st.integers(0, 900),
)
def test_time_is_the_first_at_which_the_next_pair_has_faded(
    thousandths: list[int], ones: int, clusters: int, floor: int
) -> None:
    below = sorted((max(each, floor) / 1000 for each in thousandths), reverse=True)
    found = faded_time(spectrum_of([1.0] * ones + below, floor / 1000), clusters)
    following = [*below, *[floor / 1000] * 12][max(0, clusters - ones)]
    time = 1
    while following**time >= diffusion.FADED:
        time += 1
    assert found == time


@given(
    st.integers(1, 9),
    st.lists(st.floats(0.001, 0.01), min_size=9, max_size=9),
    st.integers(2, 12),
)
def test_the_suggestion_is_where_eigenvalues_fall_by_most(
    place: int, falls: list[float], most: int
) -> None:
    """The floor follows the last of ten pairs."""
    steps = np.array([*falls[:place], 0.5, *falls[place:-1], 0.0])
    values = 1 - np.concatenate([[0.0], np.cumsum(steps[:9])])
    found = suggest_pairs(spectrum_of(values.tolist(), max(0.0, values[-1] - 0.001)), most)
    assert 2 <= found <= most
    if 2 <= place + 1 <= most and place < 9:
        assert found == place + 1


@pytest.mark.parametrize(
    ("values", "floor", "expected"),
    [([1.0], 0.6, 1), ([1.0, 0.9], 0.6, 2), ([1.0, 0.9, 0.89], 0.6, 3), ([1.0, 1.0, 0.7], 0.6, 2)],
)
def test_few_pairs_suggest_no_more_clusters_than_there_are(
    values: list[float], floor: float, expected: int
) -> None:
    assert suggest_pairs(spectrum_of(values, floor), 12) == expected


@given(st.integers(1, 20), seeds)
def test_variation_of_information_is_a_distance(count: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    first, second, third = random.integers(0, 4, (3, count))
    weights = random.integers(1, 9, count).astype(float)
    between = variation_of_information(first, second, weights)
    assert between == pytest.approx(variation_of_information(second, first, weights), abs=1e-12)
    assert variation_of_information(first, 3 - first, weights) == pytest.approx(0, abs=1e-12)
    around = variation_of_information(first, third, weights) + variation_of_information(
        third, second, weights
    )
    assert -1e-12 <= between <= around + 1e-12


def test_weights_count_like_regions() -> None:
    first, second = np.array([0, 0, 1]), np.array([0, 1, 1])
    weights = np.array([1, 3, 2])
    heavy = variation_of_information(first, second, weights.astype(float))
    many = variation_of_information(first.repeat(weights), second.repeat(weights), np.ones(6))
    assert heavy == pytest.approx(many)


def test_the_central_partition_is_the_first_of_those_most_alike() -> None:
    one, other, trivial = [0, 0, 1, 1, 2], [0, 1, 1, 2, 2], [0, 0, 0, 0, 0]
    partitions = np.array([trivial, other, one, one, trivial])
    assert central_partition(partitions, np.ones(5), 20) == 2
    assert central_partition(partitions, np.ones(5), 6) == 0  # three of six nodes: all trivial
