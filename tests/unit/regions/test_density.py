from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from hsistream.regions.density import (
    density_order,
    density_scale,
    density_shares,
    estimate_density,
    kernel_density,
    neighbour_distances,
)

Floats = NDArray[np.float64]

seeds = st.integers(0, 2**31)


@pytest.mark.parametrize(
    ("percentile", "expected"), [(0, 1), (10, 1), (30, 1.7), (50, 2.5), (70, 3.3), (90, 4)]
)
def test_percentiles_are_those_of_hazen(percentile: float, expected: float) -> None:
    distances = np.array([[0.0, 1, 2], [3, 4, np.inf]])
    assert density_scale(distances, percentile) == pytest.approx(expected, abs=1e-12)


def test_densities_of_four_points() -> None:
    points = np.array([[0.0], [1], [3], [7]])
    distances = neighbour_distances(points, points, 2, own=np.arange(4))
    assert density_scale(distances, 50) == 2.5
    found = estimate_density(points, neighbours=2, percentile=50)
    np.testing.assert_allclose(found, [0.328708, 0.416348, 0.230660, 0.024284], atol=5e-7)


@given(st.integers(1, 30), st.integers(1, 8), seeds)
def test_a_pixel_is_no_neighbour_of_its_own(count: int, ranks: int, seed: int) -> None:
    points = np.random.default_rng(seed).integers(0, 3, (count, 2)).astype(float)
    found = neighbour_distances(points, points, ranks, own=np.arange(count))
    gaps = np.linalg.norm(points[:, None] - points, axis=2)
    np.fill_diagonal(gaps, np.inf)
    expected = np.sort(np.pad(gaps, ((0, 0), (0, ranks)), constant_values=np.inf), axis=1)
    np.testing.assert_allclose(found, expected[:, :ranks], rtol=1e-14)


def test_a_tile_has_the_density_of_the_scene() -> None:
    points = np.random.default_rng(0).standard_normal((50, 4))
    sample = np.arange(0, 50, 3)
    own = np.full(50, -1)
    own[sample] = np.arange(len(sample))
    whole = neighbour_distances(points, points[sample], 5, own=own)
    parts = [
        neighbour_distances(points[part], points[sample], 5, own=own[part])
        for part in (slice(0, 7), slice(7, 31), slice(31, 50))
    ]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    assert (whole > 0).all()


@given(st.integers(2, 30), seeds)
def test_equal_pixels_have_equal_density_and_the_first_is_denser(count: int, seed: int) -> None:
    points = np.random.default_rng(seed).standard_normal((count, 3))
    density = estimate_density(np.concatenate([points, points]), neighbours=7, percentile=50)
    np.testing.assert_array_equal(density[:count], density[count:])
    order = density_order(density)
    rank = np.empty(2 * count, np.int64)
    rank[order] = np.arange(2 * count)
    assert (rank[:count] < rank[count:]).all()
    assert (np.diff(density[order]) <= 0).all()


@given(st.integers(1, 30), st.floats(0.1, 50), seeds)
def test_shares_are_positive_and_sum_to_1(count: int, spread: float, seed: int) -> None:
    points = np.random.default_rng(seed).standard_normal((count, 2)) * spread
    density = estimate_density(points, neighbours=4, percentile=30)
    assert (density > 0).all()
    assert density.sum() == pytest.approx(1, rel=1e-6)


def test_a_pixel_beyond_all_kernels_gets_the_smallest_density() -> None:
    shares = density_shares(kernel_density(np.array([[0.1], [0.5], [1e3]]), 1.0))
    assert shares[2] == shares[1] < shares[0]


@pytest.mark.parametrize("count", [1, 2, 9])
def test_a_constant_scene_has_one_density(count: int) -> None:
    density = estimate_density(np.ones((count, 5)), neighbours=3, percentile=50)
    np.testing.assert_allclose(density, 1 / count)
    own = np.arange(count)
    distances = neighbour_distances(np.ones((count, 5)), np.ones((count, 5)), 3, own=own)
    assert density_scale(distances, 50) == 1
