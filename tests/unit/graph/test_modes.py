from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from hsistream.graph.modes import (
    MANY_NODES,
    Peaks,
    choose_modes,
    density_peaks,
    label_nodes,
    suggest_modes,
    vote,
)

Floats = NDArray[np.float64]

seeds = st.integers(0, 2**31)
counts = st.integers(1, 40)


def drawn(count: int, seed: int) -> tuple[Floats, Floats, Peaks]:
    """Places on a small lattice and densities of few values, so that ties are everywhere."""
    random = np.random.default_rng(seed)
    places = random.integers(0, 4, (count, 2)).astype(float)
    density = random.integers(1, 5, count) / 4
    order = np.argsort(-density, kind="stable")
    return places, density, density_peaks(places, density, order)


@given(counts, seeds)
def test_a_donor_is_the_nearest_denser_node(count: int, seed: int) -> None:
    places, density, peaks = drawn(count, seed)
    rank = np.empty(count, np.int64)
    rank[peaks.order] = np.arange(count)
    gaps = np.linalg.norm(places[:, None] - places, axis=2)
    for node in range(count):
        denser = [other for other in range(count) if rank[other] < rank[node]]
        if not denser:
            assert peaks.donors[node] == node
            assert peaks.scores[node] == density[node] * gaps[node].max()
            continue
        donor = min(denser, key=lambda other: (gaps[node, other], other))
        assert peaks.donors[node] == donor
        np.testing.assert_allclose(peaks.scores[node], density[node] * gaps[node, donor])


def test_donors_are_found_across_many_blocks() -> None:
    places = np.random.default_rng(0).standard_normal((1700, 9))
    density = np.random.default_rng(1).random(1700)
    order = np.argsort(-density)
    peaks = density_peaks(places, density, order)
    for place in (1, 511, 512, 513, 1024, 1025, 1699):
        gaps = ((places[order[:place]] - places[order[place]]) ** 2).sum(axis=1)
        assert peaks.donors[order[place]] == order[gaps.argmin()]


@given(st.integers(0, 2), seeds)
def test_donors_of_many_nodes_at_a_few_places_are_found(coordinates: int, seed: int) -> None:
    """As where only components are told apart, or nothing at all."""
    random = np.random.default_rng(seed)
    places = random.integers(0, 2, (MANY_NODES + 1, coordinates)).astype(float)
    density = random.random(len(places))
    order = np.argsort(-density)
    peaks = density_peaks(places, density, order)
    seen: dict[tuple[float, ...], int] = {}
    for node in order.tolist():
        own = tuple(places[node].tolist())
        if own in seen:
            assert peaks.donors[node] == seen[own]
            assert peaks.scores[node] == 0
        seen[own] = min(node, seen.get(own, node))


@given(counts, st.integers(1, 8), st.integers(1, 12), seeds)
def test_modes_lie_in_superpixels_of_their_own(
    count: int, kinds: int, wanted: int, seed: int
) -> None:
    _, _, peaks = drawn(count, seed)
    regions = np.random.default_rng(seed).integers(0, kinds, count)
    modes = choose_modes(peaks, regions, wanted)
    assert peaks.scores.max() == peaks.scores[peaks.order[0]]
    taken = [int(peaks.order[0])]
    for node in sorted(range(count), key=lambda each: (-peaks.scores[each], each)):
        if len(taken) < wanted and regions[node] not in regions[taken]:
            taken.append(node)
    assert modes.tolist() == taken


@given(counts, st.integers(1, 6), st.integers(1, 9), seeds)
def test_labels_are_those_of_going_through_all_nodes(
    count: int, wanted: int, neighbours: int, seed: int
) -> None:
    places, _, peaks = drawn(count, seed)
    modes = choose_modes(peaks, np.arange(count), wanted)
    gaps = np.linalg.norm(places[:, None] - places, axis=2)
    labels = np.full(count, -1)
    labels[modes] = np.arange(len(modes))
    near = [
        sorted(set(range(count)) - {mode}, key=lambda other: (gaps[mode, other], other))
        for mode in modes.tolist()
    ]
    for rank in range(min(neighbours, count) - 1):
        for label, listed in enumerate(near):
            if labels[listed[rank]] < 0:
                labels[listed[rank]] = label
    for node in peaks.order:
        if labels[node] < 0:
            labels[node] = labels[peaks.donors[node]]
    np.testing.assert_array_equal(label_nodes(peaks, places, modes, neighbours), labels)
    assert labels.min() == 0


@given(st.integers(1, 40), st.integers(1, 8), seeds)
def test_a_superpixel_takes_the_most_frequent_label(count: int, kinds: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    regions = np.unique(random.integers(0, 9, count), return_inverse=True)[1]
    labels = random.integers(0, kinds, count)
    found = vote(regions, labels, int(regions.max()) + 1)
    expected = [np.bincount(labels[regions == each]).argmax() for each in np.unique(regions)]
    assert found.tolist() == expected


def test_clusters_are_suggested_where_scores_fall_most() -> None:
    assert suggest_modes(np.array([5.0, 4, 3, 2.9, 0.1, 0.09, 0.08, 0.07, 0.06, 0.05])) == 4
    assert suggest_modes(np.array([1.0, 1, 0, 0, 0, 0, 0])) == 2
    assert suggest_modes(np.zeros(9)) == 2
    assert [suggest_modes(np.ones(count)) for count in (1, 2, 4, 5)] == [1, 2, 2, 2]
