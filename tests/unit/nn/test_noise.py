"""Noise is a function of the place: test vectors, windows, and what a normal field has."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsistream.nn.noise import absorb, field_noise, field_words, mix

SEED, KEY = 1234, 5


def test_the_mixing_is_that_of_splitmix() -> None:
    assert mix(np.uint64(1)) == 0x5692161D100B05E5
    assert absorb(np.uint64(0), np.uint64(1234)) == 0xBB0CF61B2F181CDB


@pytest.mark.parametrize(
    ("place", "pair", "word"),
    [
        ((0, 0), 0, 0x7BE8908C7DB91FC0),
        ((20, 7), 1, 0xC544105CB686DD5F),
        ((-1, -3), 0, 0x1336C1027120C233),
    ],
)
def test_words_are_exact(place: tuple[int, int], pair: int, word: int) -> None:
    assert int(field_words(place, pair + 1, SEED, key=KEY)[pair]) == word


@pytest.mark.parametrize(
    ("place", "values"),
    [
        ((0, 0), [-1.2028056, 0.06728588, -0.8065342, -0.08270616]),
        ((20, 7), [0.2520586, 0.8761609, -0.16635618, -0.7025494]),
        ((-1, -3), [-2.1258307, 0.81236255]),
    ],
)
def test_values_are_those_of_the_test_vectors(place: tuple[int, int], values: list[float]) -> None:
    found = field_noise(place, (1, 1), len(values), SEED, key=KEY)
    np.testing.assert_allclose(found.ravel(), values, atol=1e-6)


@given(st.integers(-9, 9), st.integers(-9, 9), st.integers(1, 11), st.integers(1, 9))
def test_any_window_is_a_part_of_the_field(row: int, column: int, height: int, bands: int) -> None:
    whole = field_noise((-9, -9), (30, 28), 9, seed=3)
    part = field_noise((row, column), (height, 8), bands, seed=3)
    top, left = row + 9, column + 9
    np.testing.assert_array_equal(part, whole[:bands, top : top + height, left : left + 8])


def test_the_field_is_normal_and_its_neighbours_know_nothing_of_each_other() -> None:
    noise = field_noise((0, 0), (200, 190), 12, seed=8).astype(np.float64)
    near = 4 / np.sqrt(noise.size)
    assert abs(noise.mean()) < near
    assert abs(noise.var() - 1) < near * np.sqrt(2)
    for axis in range(3):
        one, other = np.delete(noise, 0, axis), np.delete(noise, -1, axis)
        assert abs((one * other).mean()) < 4 / np.sqrt(one.size), axis


@pytest.mark.parametrize("others", [{"stream": 1}, {"key": 6}])
def test_other_fields_are_others(others: dict[str, int]) -> None:
    one, other = (field_noise((0, 0), (64, 64), 8, seed=1, **each) for each in ({}, others))
    assert abs((one * other).mean()) < 4 / np.sqrt(one.size)
    assert not (one == other).any()
