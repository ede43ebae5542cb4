from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from hsistream.consensus.kernels import best_rows, blur, count_pairs, edge_step, nearest_two
from tests.strategies import Shape, shapes

Image = NDArray[np.float32]


def image(shape: Shape, seed: int, components: int = 3) -> Image:
    return np.random.default_rng(seed).standard_normal((components, *shape)).astype(np.float32)


def numpy_edge_step(scores: Image, valid: NDArray[np.bool_], inverse: float) -> NDArray[np.float64]:
    """The formula of one step, neighbour by neighbour, in float64."""
    wide = np.pad(scores.astype(float), ((0, 0), (1, 1), (1, 1)))
    there = np.pad(valid, 1)
    height, width = valid.shape
    total, mass = scores.astype(float), np.ones(valid.shape)
    for down, right in ((0, 1), (2, 1), (1, 0), (1, 2)):
        part = slice(down, down + height), slice(right, right + width)
        weight = np.exp(-((scores - wide[:, *part]) ** 2).sum(axis=0) * inverse)
        weight *= there[part] & valid
        total = total + weight * wide[:, *part]
        mass = mass + weight
    return np.asarray(total / mass)


@given(shapes(12), st.integers(0, 99), st.sampled_from([0.0, 0.05, 0.5, 50.0]))
def test_an_edge_step_is_its_formula(shape: Shape, seed: int, inverse: float) -> None:
    scores = image(shape, seed)
    valid = np.random.default_rng(seed).random(shape) < 0.7
    scores[:, ~valid] = 0
    found = np.full_like(scores, np.nan)
    edge_step(scores, valid, inverse, found)
    expected = numpy_edge_step(scores, valid, inverse)
    np.testing.assert_allclose(found[:, valid], expected[:, valid], rtol=1e-4, atol=1e-5)


@given(shapes(14), st.integers(0, 99))
def test_blur_is_a_separable_filter_with_zeros_outside(shape: Shape, seed: int) -> None:
    scores = image(shape, seed)
    half = np.random.default_rng(seed).random(5).astype(np.float32)
    found = np.full_like(scores, np.nan)
    blur(scores, half, found)
    full = np.concatenate([half[:0:-1], half]).astype(float)
    expected = scores.astype(float)
    for axis in (1, 2):
        expected = ndimage.correlate1d(expected, full, axis=axis, mode="constant")
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@given(st.lists(st.integers(1, 5), min_size=1, max_size=4), st.integers(1, 40), st.integers(0, 99))
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_best_rows_are_the_first_largest_of_each_group(
    dtype: type[np.unsignedinteger], sizes: list[int], pixels: int, seed: int
) -> None:
    starts = np.concatenate([[0], np.cumsum(sizes)])
    rng = np.random.default_rng(seed)
    affinity = rng.integers(0, 4, (starts[-1], pixels)).astype(np.float32)  # with many ties
    found = np.full((len(sizes), pixels), 99, dtype)
    best_rows(affinity, starts, found)
    expected = [affinity[a:b].argmax(axis=0) for a, b in pairwise(starts)]
    np.testing.assert_array_equal(found, expected)


@given(st.integers(1, 4), st.integers(1, 50), st.integers(0, 99))
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_counted_pairs_of_two_codebooks_are_all_pairs(
    dtype: type[np.unsignedinteger], books: int, pixels: int, seed: int
) -> None:
    starts = np.arange(books + 1) * 3
    codes = np.random.default_rng(seed).integers(0, 3, (books, pixels)).astype(dtype)
    counts = np.zeros((starts[-1], starts[-1]), np.int64)
    count_pairs(codes, starts, counts)
    expected = np.zeros_like(counts)
    landmarks = codes + starts[:-1, None]
    for first in landmarks:
        for second in landmarks:
            np.add.at(expected, (first, second), 1)
    both = counts + counts.T
    off = ~np.eye(len(counts), dtype=bool)
    np.testing.assert_array_equal(both[off], expected[off])
    np.testing.assert_array_equal(counts.diagonal(), expected.diagonal())


@given(st.integers(1, 5), st.integers(1, 30), st.integers(0, 99))
def test_the_nearest_two_centres_are_found(clusters: int, pixels: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    starts = np.array([0, 4, 7])
    codes = np.stack([rng.integers(0, 4, pixels), rng.integers(0, 3, pixels)]).astype(np.uint8)
    coordinates, centres = rng.standard_normal((7, 3)), rng.standard_normal((clusters, 3))
    label, margin = np.empty(pixels, np.int64), np.empty(pixels)
    nearest_two(codes, starts, coordinates, centres, label, margin)
    places = coordinates[codes[0]] + coordinates[4 + codes[1]]
    places /= np.linalg.norm(places, axis=1, keepdims=True)
    distance = np.linalg.norm(places[:, None] - centres[None], axis=2)
    np.testing.assert_array_equal(label, distance.argmin(axis=1))
    ordered = np.sort(distance, axis=1)
    expected = 1 - ordered[:, 0] / ordered[:, 1] if clusters > 1 else np.ones(pixels)
    np.testing.assert_allclose(margin, expected, atol=1e-9)


def test_a_pixel_between_two_centres_has_no_margin() -> None:
    codes, starts = np.zeros((1, 1), np.uint8), np.array([0, 1])
    label, margin = np.empty(1, np.int64), np.empty(1)
    coordinates = np.array([[2.0, 0.0]])
    nearest_two(codes, starts, coordinates, np.array([[1.0, 1.0], [1.0, -1.0]]), label, margin)
    assert (label[0], margin[0]) == (0, 0)
    nearest_two(codes, starts, coordinates, np.array([[1.0, 0.0], [1.0, 0.0]]), label, margin)
    assert (label[0], margin[0]) == (0, 0)


def test_a_pixel_at_the_origin_gets_a_finite_margin() -> None:
    label, margin = np.empty(1, np.int64), np.empty(1)
    centres = np.array([[1.0, 0.0], [3.0, 0.0]])
    nearest_two(
        np.zeros((1, 1), np.uint8), np.array([0, 1]), np.zeros((1, 2)), centres, label, margin
    )
    assert (label[0], margin[0]) == (0, pytest.approx(2 / 3))
