from __future__ import annotations

import math
import re
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsistream.superpixels.base_image import eight_bit


@given(st.lists(st.integers(-9, 140), min_size=1, max_size=30))
def test_values_are_rounded_half_away_from_zero(steps: list[int]) -> None:
    scores = np.array(steps) / 128.0
    expected = [math.floor(step * Fraction(255, 128) + Fraction(1, 2)) for step in steps]
    found = eight_bit(scores.reshape(1, 1, -1), 0.0, 1.0).ravel().tolist()
    assert found == [min(max(value, 0), 255) for value in expected]


def test_halves_are_not_rounded_to_even() -> None:
    halves = np.array([[[0.5, 1.5, 2.5, 3.5]]]) / 255.0
    assert eight_bit(halves * 2.0**10, 0.0, 2.0**10).ravel().tolist() == [1, 2, 3, 4]


def test_each_channel_has_its_own_range() -> None:
    scores = np.array([[[-4.0, -2.0, 0.0]], [[10.0, 20.0, 30.0]]])
    image = eight_bit(scores, [-4.0, 10.0], [0.0, 20.0])
    assert image.dtype == np.uint8
    assert image.tolist() == [[[0, 128, 255]], [[0, 255, 255]]]


def test_a_constant_channel_and_no_data_become_0() -> None:
    scores = np.array([[[7.0, 7.0, 7.0]], [[1.0, np.nan, np.inf]]], np.float32)
    assert eight_bit(scores, [7.0, 0.0], [7.0, 1.0]).tolist() == [[[0, 0, 0]], [[255, 0, 255]]]


def test_a_tile_has_the_values_of_its_scene() -> None:
    scores = np.random.default_rng(0).standard_normal((3, 20, 30))
    low, high = scores.min(axis=(1, 2)), scores.max(axis=(1, 2))
    image = eight_bit(scores, low, high)
    assert np.array_equal(eight_bit(scores[:, 5:9, 7:15], low, high), image[:, 5:9, 7:15])
    assert (image.min(), image.max()) == (0, 255)


@pytest.mark.parametrize(
    ("low", "high", "message"),
    [
        ([0.0, 0.0], [1.0, 1.0, 1.0], "for each of 3 channels, but their shapes are (2,) and (3,)"),
        (0.0, np.inf, "must be finite"),
        (1.0, 0.0, "not end below their start, but low is [1.0, 1.0, 1.0]"),
    ],
)
def test_refusals(low: Any, high: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        eight_bit(np.zeros((3, 2, 2)), low, high)
