from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.datasets import make_moons
from sklearn.metrics import adjusted_rand_score
from threadpoolctl import threadpool_limits

from hsistream.consensus.landmarks import (
    LandmarkSpectrum,
    count_landmarks,
    find_centres,
    label_pixels,
    landmark_spectrum,
    pixel_coordinates,
    suggest_clusters,
    unit_rows,
)

Codes = NDArray[np.unsignedinteger]
Labels = NDArray[np.int64]


def starts_of(sizes: Sequence[int]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)


def random_codes(sizes: Sequence[int], pixels: int, seed: int) -> Codes:
    """Codes without structure, (codebook, pixel)."""
    rng = np.random.default_rng(seed)
    return np.stack([rng.integers(0, size, pixels) for size in sizes]).astype(np.uint8)


def blurred_codes(truth: Labels, sizes: Sequence[int], seed: int) -> Codes:
    """Codebooks that split the classes of a truth, with a tenth of the pixels astray."""
    rng = np.random.default_rng(seed)
    classes = truth.max() + 1
    books = []
    for size in sizes:
        split = rng.integers(0, size // classes, len(truth))
        astray = rng.random(len(truth)) < 0.1
        books.append(np.where(astray, rng.integers(0, size, len(truth)), truth + classes * split))
    return np.stack(books).astype(np.uint8)


def spectrum_of(
    codes: Codes, sizes: Sequence[int], weights: Sequence[float] | None = None, size: int = 40
) -> LandmarkSpectrum:
    starts = starts_of(sizes)
    counts = count_landmarks(codes, starts)
    return landmark_spectrum(counts, starts, weights or [1.0] * len(sizes), size)


def cluster(
    codes: Codes, sizes: Sequence[int], clusters: int, weights: Sequence[float] | None = None
) -> Labels:
    """All of the head: counts, eigenpairs, centres, labels."""
    starts, spectrum = starts_of(sizes), spectrum_of(codes, sizes, weights)
    coordinates = np.ascontiguousarray(spectrum.coordinates[:, : clusters + 1])
    partition = find_centres(codes, starts, coordinates, clusters=clusters, tries=10, seed=(0, 2))
    return label_pixels(codes, starts, partition)[0]


book_sizes = st.lists(st.integers(1, 6), min_size=1, max_size=5)

SIZES = (3, 6, 9, 6)
TRUTH: Labels = np.random.default_rng(7).permutation(np.repeat(np.arange(3), (250, 160, 90)))


# --- counts --------------------------------------------------------------------------------


@given(book_sizes, st.integers(0, 60), st.integers(0, 99))
def test_counts_are_those_of_all_pairs_of_every_pixel(
    sizes: list[int], pixels: int, seed: int
) -> None:
    codes, starts = random_codes(sizes, pixels, seed), starts_of(sizes)
    expected = np.zeros((starts[-1], starts[-1]), np.int64)
    for pixel in codes.T.astype(np.int64) + starts[:-1]:
        for first in pixel:
            for second in pixel:
                expected[first, second] += 1
    np.testing.assert_array_equal(count_landmarks(codes, starts), expected)


def test_counts_of_fields_of_equal_codes_are_right_too() -> None:
    codes = random_codes(SIZES, 12, 0).repeat([1, 1, 30, 2, 1, 400, 5, 1, 1, 9, 3, 1], axis=1)
    starts = starts_of(SIZES)
    landmarks = codes + starts[:-1, None]
    expected = np.zeros((starts[-1], starts[-1]), np.int64)
    for first in landmarks:
        for second in landmarks:
            np.add.at(expected, (first, second), 1)
    np.testing.assert_array_equal(count_landmarks(codes, starts), expected)


@given(book_sizes, st.integers(1, 60), st.integers(0, 99))
def test_the_blocks_of_the_counts_are_contingency_tables(
    sizes: list[int], pixels: int, seed: int
) -> None:
    codes, starts = random_codes(sizes, pixels, seed), starts_of(sizes)
    counts = count_landmarks(codes, starts)
    masses = [np.bincount(book, minlength=size) for book, size in zip(codes, sizes, strict=True)]
    np.testing.assert_array_equal(counts.diagonal(), np.concatenate(masses))
    blocks = list(pairwise(starts))
    for (a, b), mass in zip(blocks, masses, strict=True):
        np.testing.assert_array_equal(counts[a:b, a:b], np.diag(mass))
        for c, d in blocks:
            np.testing.assert_array_equal(counts[a:b, c:d].sum(axis=1), mass)


@given(book_sizes, st.lists(st.integers(0, 60), max_size=5), st.randoms(use_true_random=False))
def test_counts_of_parts_in_any_order_add_up_to_the_same_bytes(
    sizes: list[int], cuts: list[int], random: st.DataObject
) -> None:
    codes, starts = random_codes(sizes, 60, 3), starts_of(sizes)
    edges = [0, *sorted(cuts), 60]
    parts = [codes[:, a:b] for a, b in pairwise(edges)]
    random.shuffle(parts)  # type: ignore[attr-defined]
    total = sum(count_landmarks(part, starts) for part in parts)
    assert total.tobytes() == count_landmarks(codes, starts).tobytes()  # type: ignore[union-attr]


def test_codes_of_two_bytes_count_as_those_of_one() -> None:
    codes, starts = random_codes(SIZES, 100, 0), starts_of(SIZES)
    np.testing.assert_array_equal(
        count_landmarks(codes.astype(np.uint16), starts), count_landmarks(codes, starts)
    )


# --- spectrum ------------------------------------------------------------------------------


@given(book_sizes, st.integers(1, 80), st.integers(0, 99))
def test_eigenvalues_lie_between_0_and_1_and_the_first_is_1(
    sizes: list[int], pixels: int, seed: int
) -> None:
    values = spectrum_of(random_codes(sizes, pixels, seed), sizes).eigenvalues
    assert values[0] == pytest.approx(1)
    assert values.min() > -1e-9
    assert (np.diff(values) <= 1e-12).all()


def test_all_but_one_codebook_add_a_zero_eigenvalue() -> None:
    values = spectrum_of(blurred_codes(TRUTH, SIZES, 0), SIZES).eigenvalues
    assert len(values) == sum(SIZES)
    assert (values < 1e-9).sum() >= len(SIZES) - 1


def test_eigenvalues_are_those_of_the_operator_between_pixels() -> None:
    codes, starts = blurred_codes(TRUTH[:120], SIZES, 0), starts_of(SIZES)
    members = np.zeros((120, starts[-1]))
    for book, start in zip(codes, starts, strict=False):
        members[np.arange(120), start + book] = 1
    mass = members.sum(axis=0)
    walk = (members / np.where(mass > 0, mass, 1)) @ members.T / len(SIZES)
    np.testing.assert_allclose(walk.sum(axis=1), 1)
    np.testing.assert_allclose(walk, walk.T, atol=1e-12)
    found = spectrum_of(codes, SIZES).eigenvalues
    expected = np.linalg.eigvalsh(walk)[::-1][: len(found)]
    np.testing.assert_allclose(found, expected[: len(found)], atol=1e-9)


def test_the_mean_coordinate_of_pixels_has_the_stated_length() -> None:
    codes, books = blurred_codes(TRUTH, SIZES, 1), len(SIZES)
    spectrum = spectrum_of(codes, SIZES, size=8)
    # the coordinates hold the root of each weight 1 / r, and pixels add them up
    mean = pixel_coordinates(codes, starts_of(SIZES), spectrum.coordinates) / np.sqrt(books)
    np.testing.assert_allclose((mean**2).sum(axis=0), spectrum.eigenvalues / books, rtol=1e-9)


@pytest.mark.parametrize("weights", [(1, 1, 1, 1), (5, 1, 0.2, 3), (0, 1, 1, 0)])
def test_weighted_coordinates_of_pixels_are_orthogonal_with_the_eigenvalues_as_lengths(
    weights: tuple[float, ...],
) -> None:
    codes = blurred_codes(TRUTH, SIZES, 1)
    spectrum = spectrum_of(codes, SIZES, weights, size=6)
    places = pixel_coordinates(codes, starts_of(SIZES), spectrum.coordinates)
    np.testing.assert_allclose(places.T @ places, np.diag(spectrum.eigenvalues), atol=1e-9)
    assert np.ptp(places[:, 0]) < 1e-9  # the constant one


def test_landmarks_without_pixels_or_weight_have_no_coordinate() -> None:
    codes = blurred_codes(TRUTH, SIZES, 0)
    codes[1] = np.where(codes[1] == 4, 3, codes[1])
    spectrum = spectrum_of(codes, SIZES, (1, 1, 0, 1), size=5)
    nothing = np.zeros(sum(SIZES), bool)
    nothing[[SIZES[0] + 4, *range(9, 18)]] = True
    assert (spectrum.coordinates[nothing] == 0).all()
    assert (abs(spectrum.coordinates[~nothing]).sum(axis=1) > 0).all()


def test_no_more_eigenpairs_are_given_than_there_are() -> None:
    spectrum = spectrum_of(random_codes((2, 2), 50, 0), (2, 2), size=40)
    assert spectrum.eigenvalues.shape == (4,)
    assert spectrum.coordinates.shape == (4, 4)


# --- labels --------------------------------------------------------------------------------


def test_codebooks_that_agree_on_the_classes_find_them() -> None:
    labels = cluster(blurred_codes(TRUTH, SIZES, 0), SIZES, 3)
    assert adjusted_rand_score(TRUTH, labels) > 0.95


def test_equal_codebooks_of_exactly_k_cells_give_their_partition() -> None:
    codes = np.repeat(TRUTH[None], 5, axis=0).astype(np.uint8)
    labels = cluster(codes, (3,) * 5, 3)
    np.testing.assert_array_equal(labels, TRUTH)  # both are numbered from the largest down


def test_one_cluster_is_one_label_with_full_confidence() -> None:
    codes, starts = blurred_codes(TRUTH, SIZES, 0), starts_of(SIZES)
    coordinates = np.ascontiguousarray(spectrum_of(codes, SIZES).coordinates[:, :2])
    partition = find_centres(codes, starts, coordinates, clusters=1, tries=2, seed=(0,))
    labels, margin = label_pixels(codes, starts, partition)
    assert (labels == 0).all()
    assert (margin == 1).all()


@pytest.mark.parametrize("clusters", [2, 3, 5])
def test_duplicating_every_view_changes_nothing(clusters: int) -> None:
    codes = blurred_codes(TRUTH, SIZES, 2)
    twice = np.concatenate([codes, codes])
    labels = cluster(codes, SIZES, clusters)
    np.testing.assert_array_equal(cluster(twice, SIZES * 2, clusters), labels)


@pytest.mark.parametrize("clusters", [2, 3, 5])
def test_sharing_the_weight_of_a_view_between_copies_changes_nothing(clusters: int) -> None:
    codes = blurred_codes(TRUTH, SIZES, 2)
    more = np.concatenate([codes, codes[1:2], codes[1:2]])
    sizes = (*SIZES, SIZES[1], SIZES[1])
    labels = cluster(codes, SIZES, clusters, (1, 1.5, 1, 1))
    shared = cluster(more, sizes, clusters, (1, 0.5, 1, 1, 0.5, 0.5))
    np.testing.assert_array_equal(shared, labels)


def test_only_the_ratios_of_weights_count() -> None:
    codes = blurred_codes(TRUTH, SIZES, 2)
    first, second = (spectrum_of(codes, SIZES, w) for w in ((1, 2, 1, 3), (10, 20, 10, 30)))
    np.testing.assert_allclose(first.eigenvalues, second.eigenvalues, atol=1e-12)


def test_the_order_of_pixels_does_not_change_counts_or_labels_of_pixels() -> None:
    codes, starts = blurred_codes(TRUTH, SIZES, 0), starts_of(SIZES)
    order = np.random.default_rng(0).permutation(len(TRUTH))
    coordinates = np.ascontiguousarray(spectrum_of(codes, SIZES).coordinates[:, :4])
    again = np.ascontiguousarray(spectrum_of(codes[:, order], SIZES).coordinates[:, :4])
    assert coordinates.tobytes() == again.tobytes()
    partition = find_centres(codes, starts, coordinates, clusters=3, tries=3, seed=(0,))
    labels, margin = label_pixels(codes, starts, partition)
    shuffled = label_pixels(np.ascontiguousarray(codes[:, order]), starts, partition)
    np.testing.assert_array_equal(shuffled[0], labels[order])
    np.testing.assert_array_equal(shuffled[1], margin[order])


def test_clusters_are_numbered_from_the_largest_down() -> None:
    labels = cluster(blurred_codes(TRUTH, SIZES, 0), SIZES, 3)
    assert (np.diff(np.bincount(labels)) <= 0).all()


def test_margins_lie_between_0_and_1_and_are_low_for_pixels_astray() -> None:
    codes, starts = blurred_codes(TRUTH, SIZES, 0), starts_of(SIZES)
    coordinates = np.ascontiguousarray(spectrum_of(codes, SIZES).coordinates[:, :4])
    partition = find_centres(codes, starts, coordinates, clusters=3, tries=3, seed=(0,))
    _, margin = label_pixels(codes, starts, partition)
    assert margin.min() >= 0
    assert margin.max() <= 1
    astray = (codes % 3 != TRUTH).any(axis=0)
    assert margin[astray].mean() < margin[~astray].mean()


def test_fewer_kinds_of_pixels_than_clusters_give_as_many_clusters_as_kinds() -> None:
    codes = np.stack([np.arange(40) % 2, np.arange(40) % 2]).astype(np.uint8)
    labels = cluster(codes, (2, 2), 7)
    assert np.unique(labels).tolist() == [0, 1]


def test_labels_of_the_reservoir_are_those_of_the_direct_search() -> None:
    codes, starts = blurred_codes(TRUTH, SIZES, 0), starts_of(SIZES)
    coordinates = np.ascontiguousarray(spectrum_of(codes, SIZES).coordinates[:, :4])
    partition = find_centres(codes, starts, coordinates, clusters=3, tries=3, seed=(0,))
    places = unit_rows(pixel_coordinates(codes, starts, coordinates))
    distance = np.linalg.norm(places[:, None] - partition.centres[None], axis=2)
    np.testing.assert_array_equal(
        label_pixels(codes, starts, partition)[0], distance.argmin(axis=1)
    )


def test_rows_get_unit_length_and_zero_stays() -> None:
    found = unit_rows(np.array([[3.0, 4.0], [0.0, 0.0]]))
    np.testing.assert_allclose(found, [[0.6, 0.8], [0.0, 0.0]])


# --- weights -------------------------------------------------------------------------------

MOON_SIZES = (10, 20, 30)


@cache
def moons(seed: int) -> tuple[Labels, Codes]:
    """Two moons in one view and noise in the other: truth and (6, 2000) codes."""
    places, truth = make_moons(2000, noise=0.06, random_state=seed)
    noise = np.random.default_rng(seed).standard_normal((2000, 2))
    with threadpool_limits(1):
        books = [
            KMeans(size, n_init=1, random_state=seed).fit(view).labels_
            for view in (places, noise)
            for size in MOON_SIZES
        ]
    return truth, np.stack(books).astype(np.uint8)


@pytest.mark.parametrize("seed", [0, 1])
def test_a_view_of_noise_does_no_harm_at_a_fifth_of_the_weight(seed: int) -> None:
    truth, codes = moons(seed)
    labels = cluster(codes, MOON_SIZES * 2, 2, (1, 1, 1, 0.2, 0.2, 0.2))
    assert adjusted_rand_score(truth, labels) >= 0.99


def test_a_view_without_weight_changes_no_label() -> None:
    _, codes = moons(0)
    without = cluster(codes[:3], MOON_SIZES, 2)
    np.testing.assert_array_equal(cluster(codes, MOON_SIZES * 2, 2, (1, 1, 1, 0, 0, 0)), without)


# --- number of clusters --------------------------------------------------------------------


@pytest.mark.parametrize("planted", [2, 3, 4, 7, 12])
def test_a_planted_gap_is_suggested(planted: int) -> None:
    high, low = np.linspace(1, 0.8, planted), np.linspace(0.2, 0.0, 40 - planted)
    assert suggest_clusters(np.concatenate([high, low]), 12) == planted


def test_the_step_from_the_constant_eigenvector_does_not_win() -> None:
    assert suggest_clusters(np.array([1.0, 0.5, 0.48, 0.46, 0.1, 0.09, 0.0]), 12) == 4


@given(st.lists(st.floats(-1e-12, 1 + 1e-12), min_size=3, max_size=45), st.integers(2, 100))
def test_a_suggestion_lies_between_2_and_the_most(values: list[float], most: int) -> None:
    eigenvalues = np.sort(np.array(values))[::-1]
    assert 2 <= suggest_clusters(eigenvalues, most) <= min(most, len(values) - 1)


def test_the_number_of_equal_partitions_cells_is_suggested() -> None:
    codes = np.repeat(TRUTH[None], 4, axis=0).astype(np.uint8)
    assert suggest_clusters(spectrum_of(codes, (3,) * 4).eigenvalues, 12) == 3


@pytest.mark.parametrize("count", [1, 2])
def test_a_spectrum_of_one_or_two_values_suggests_as_many(count: int) -> None:
    assert suggest_clusters(np.ones(count), 12) == count
