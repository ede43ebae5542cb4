from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from hsistream.consensus import codebooks
from hsistream.consensus.codebooks import (
    Codebooks,
    assign,
    code_dtype,
    fit_codebook,
    stack_codebooks,
)


def blobs(pixels: int = 300, centres: int = 4, seed: int = 0) -> NDArray[np.float32]:
    """Well separated groups of pixels, (pixel, component)."""
    rng = np.random.default_rng(seed)
    middle = np.eye(centres, 5) * 10
    return (middle[np.arange(pixels) % centres] + rng.normal(0, 0.1, (pixels, 5))).astype(
        np.float32
    )


def book(*sizes: int, seed: int = 0) -> Codebooks:
    rng = np.random.default_rng(seed)
    parts = [rng.standard_normal((size, 3)).astype(np.float32) for size in sizes]
    return stack_codebooks("z.plain", parts)


def test_separated_groups_are_found() -> None:
    values = blobs()
    found = fit_codebook(values, 4, starts=1, seed=(0, 1))
    assert found.dtype == np.float32
    means = np.stack([values[group::4].mean(axis=0) for group in range(4)])
    distance = np.linalg.norm(found[:, None] - means[None], axis=2)
    assert sorted(distance.argmin(axis=1)) == [0, 1, 2, 3]
    assert distance.min(axis=1).max() < 1e-3


def test_centroids_are_the_means_of_their_pixels() -> None:
    values = np.random.default_rng(0).standard_normal((500, 3)).astype(np.float32)
    found = fit_codebook(values, 7, starts=1, seed=(0,))
    nearest = np.linalg.norm(values[:, None] - found[None], axis=2).argmin(axis=1)
    means = np.stack([values[nearest == code].mean(axis=0) for code in range(7)])
    np.testing.assert_allclose(found, means, atol=0.02)


def test_the_seed_names_the_codebook() -> None:
    values = np.random.default_rng(0).standard_normal((400, 3)).astype(np.float32)
    first, again, other = (
        fit_codebook(values, 6, starts=1, seed=seed) for seed in ((0, 1), (0, 1), (0, 2))
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_more_starts_never_give_more_inertia() -> None:
    values = np.random.default_rng(1).standard_normal((300, 4)).astype(np.float32)

    def inertia(starts: int) -> float:
        found = fit_codebook(values, 8, starts=starts, seed=(3,))
        return float((np.linalg.norm(values[:, None] - found[None], axis=2).min(1) ** 2).sum())

    assert inertia(10) <= inertia(1) * (1 + 1e-6)


@pytest.mark.parametrize("pixels", [6, 300])
def test_fewer_kinds_of_pixels_than_centroids_give_as_many_as_kinds(pixels: int) -> None:
    values = np.arange(3, dtype=np.float32)[np.arange(pixels) % 3][:, None] * 5
    found = fit_codebook(values, 8, starts=1, seed=(0,))
    np.testing.assert_allclose(np.sort(found[:, 0]), [0, 5, 10])


def test_few_kinds_among_many_pixels_give_no_empty_centroid_and_no_warning() -> None:
    values = np.arange(3, dtype=np.float32)[np.arange(10_500) % 3][:, None] * 5
    found = fit_codebook(values, 8, starts=1, seed=(0,))
    np.testing.assert_allclose(np.sort(found[:, 0]), [0, 5, 10])


def test_one_pixel_is_its_own_centroid() -> None:
    values = np.array([[1.0, 2.0]], np.float32)
    np.testing.assert_array_equal(fit_codebook(values, 5, starts=3, seed=(0,)), values)


def test_stacked_codebooks_keep_their_order() -> None:
    books = book(2, 5, 1)
    assert (books.view, books.count) == ("z.plain", 3)
    assert books.starts.tolist() == [0, 2, 7, 8]
    assert books.centroids.shape == (8, 3)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=4), st.integers(1, 60), st.integers(0, 99))
def test_every_pixel_gets_its_nearest_centroid(sizes: list[int], pixels: int, seed: int) -> None:
    books = book(*sizes, seed=seed)
    values = np.random.default_rng(seed + 1).standard_normal((3, pixels)).astype(np.float32)
    found = np.full((len(sizes), pixels), 255, np.uint8)
    assign(values, books, found)
    for number, (first, last) in enumerate(pairwise(books.starts)):
        part = books.centroids[first:last].astype(float)
        distance = np.linalg.norm(part[:, :, None] - values[None], axis=1)
        chosen = np.take_along_axis(distance, found[number][None].astype(int), 0)[0]
        np.testing.assert_allclose(chosen, distance.min(axis=0), rtol=1e-4, atol=1e-5)


def test_codes_do_not_depend_on_how_many_pixels_are_taken_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    books, values = (
        book(4, 8),
        np.random.default_rng(1).standard_normal((3, 500)).astype(np.float32),
    )
    together, apart = np.empty((2, 500), np.uint8), np.empty((2, 500), np.uint8)
    assign(values, books, together)
    monkeypatch.setattr(codebooks, "PIXELS_AT_ONCE", 37)
    assign(values, books, apart)
    np.testing.assert_array_equal(apart, together)


@pytest.mark.parametrize(
    ("largest", "expected"), [(1, np.uint8), (255, np.uint8), (256, np.uint16), (999, np.uint16)]
)
def test_codes_have_room_for_one_value_more(
    largest: int, expected: type[np.unsignedinteger]
) -> None:
    found = code_dtype(largest)
    assert found is expected
    assert np.iinfo(found).max > largest - 1
