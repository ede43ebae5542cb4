from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from hsistream import neighbours
from hsistream.neighbours import nearest_rows

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]

seeds = st.integers(0, 2**31)


def lattice(count: int, seed: int, features: int = 3) -> Floats:
    """Points on a small lattice: many are equal, and many are as far as others."""
    return np.random.default_rng(seed).integers(0, 3, (count, features)).astype(float)


def by_sorting(queries: Floats, sample: Floats, count: int, outside: NDArray[np.bool_]) -> Rows:
    """Sort all rows of the sample by distance and number."""
    gaps = ((queries[:, None] - sample[None]) ** 2).sum(axis=2)
    gaps[~outside] = np.inf
    rows = np.argsort(gaps, axis=1, kind="stable")
    rows = np.where(np.isfinite(np.take_along_axis(gaps, rows, axis=1)), rows, -1)
    missing = max(0, count - len(sample))
    return np.pad(rows[:, :count], ((0, 0), (0, missing)), constant_values=-1)


@given(st.integers(0, 20), st.integers(1, 30), st.integers(0, 8), seeds)
def test_they_are_those_of_sorting_all(queries: int, rows: int, count: int, seed: int) -> None:
    asked, sample = lattice(queries, seed), lattice(rows, seed + 1)
    found = nearest_rows(asked, sample, count)
    expected = by_sorting(asked, sample, count, np.ones((queries, rows), bool))
    np.testing.assert_array_equal(found.rows, expected)
    assert np.isinf(found.distances[found.rows < 0]).all()
    q, r = np.nonzero(found.rows >= 0)
    gaps = np.linalg.norm(asked[q] - sample[found.rows[q, r]], axis=1)
    np.testing.assert_allclose(found.distances[q, r], gaps, rtol=1e-14)


@given(st.integers(1, 25), st.integers(1, 6), seeds)
def test_neighbours_lie_outside_the_own_group(count: int, ranks: int, seed: int) -> None:
    points = lattice(count, seed)
    groups = np.random.default_rng(seed).integers(0, 4, count)
    found = nearest_rows(points, points, ranks, apart=(groups, groups))
    expected = by_sorting(points, points, ranks, groups[:, None] != groups)
    np.testing.assert_array_equal(found.rows, expected)


@pytest.mark.parametrize("block_bytes", [1, 8 * 60 * 7, 2**30])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_blocks_leave_no_trace(
    block_bytes: int, dtype: type[np.floating], monkeypatch: pytest.MonkeyPatch
) -> None:
    points = np.random.default_rng(0).normal(50, 1e-3, (60, 37)).astype(dtype)
    points[30:] = points[:30]
    whole = nearest_rows(points, points, 9)
    monkeypatch.setattr(neighbours, "BLOCK_BYTES", block_bytes)
    parts = nearest_rows(points, points, 9)
    np.testing.assert_array_equal(parts.rows, whole.rows)
    np.testing.assert_array_equal(parts.distances, whole.distances)


def test_equal_rows_are_exactly_at_distance_0() -> None:
    points = np.random.default_rng(0).normal(1e4, 1, (20, 101))
    found = nearest_rows(points, np.concatenate([points[::-1], points]), 2)
    np.testing.assert_array_equal(found.distances, 0)
    np.testing.assert_array_equal(found.rows[:, 0], np.arange(20)[::-1])
    np.testing.assert_array_equal(found.rows[:, 1], np.arange(20, 40))


def test_a_small_gap_far_from_the_origin_is_found() -> None:
    sample = 1e6 + np.arange(50, dtype=float)[:, None] * 1e-4
    found = nearest_rows(sample + 2e-5, sample, 2)
    np.testing.assert_array_equal(found.rows[:, 0], np.arange(50))
