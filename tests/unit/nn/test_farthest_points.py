from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from hsistream.nn.farthest_points import farthest_points, first_point


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        (7138, 6071),
        (9025, 7676),
        (10_000, 8506),
        (21_025, 17_884),
        (314_368, 267_409),
        (377_856, 321_413),
    ],
)
def test_the_choice_begins_where_numpy_says(points: int, expected: int) -> None:
    assert first_point(points, seed=0) == expected


@pytest.mark.parametrize(
    ("line", "first", "expected"),
    [
        (range(11), 0, [0, 10, 5, 2, 7, 1, 3, 4, 6, 8, 9]),
        ([0, 1, 2, 10], 1, [1, 3, 0, 2]),
        ([3], 0, [0]),
        ([2, 2, 2], 1, [1, 0, 2]),
    ],
)
def test_points_of_a_line(line: list[int], first: int, expected: list[int]) -> None:
    found, _ = farthest_points(np.asarray([line], np.float64), 99, first)
    assert found.tolist() == expected


def plainly(points: NDArray[np.float64], wanted: int, first: int) -> list[int]:
    distances, chosen = cdist(points.T, points.T), [first]
    while len(chosen) < min(wanted, points.shape[1]):
        nearest = distances[chosen].min(axis=0)
        nearest[chosen] = -1
        chosen.append(int(nearest.argmax()))
    return chosen


@given(st.integers(1, 60), st.integers(1, 70), st.integers(0, 2**20))
def test_each_point_is_the_farthest_from_those_before_it(
    count: int, wanted: int, seed: int
) -> None:
    points = np.random.default_rng(seed).standard_normal((3, count))
    found, distances = farthest_points(points, wanted, seed % count)
    assert found.tolist() == plainly(points, wanted, seed % count)
    assert len(set(found.tolist())) == len(found) == min(wanted, count)
    assert (np.diff(distances) <= 0).all()


@given(st.integers(2, 30), st.integers(0, 2**20))
def test_no_point_is_farther_from_the_chosen_than_the_last_of_them(count: int, seed: int) -> None:
    points = np.random.default_rng(seed).standard_normal((2, count))
    found, distances = farthest_points(points, count // 2 + 1, 0)
    rest = cdist(points.T, points[:, found].T).min(axis=1)
    assert rest.max() <= distances[-1] + 1e-12
