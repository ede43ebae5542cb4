from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsistream.report.folding import LONG, Fold

SIDES = st.integers(1, 300)


@given(SIDES, SIDES)
def test_every_pixel_is_once_where_it_is_said_to_be(height: int, width: int) -> None:
    picture = np.arange(1, height * width + 1).reshape(height, width)
    fold = Fold.of(picture.shape)
    folded = fold.apply(picture, 0)
    assert folded.shape == fold.shape
    pixels = np.argwhere(picture)
    rows, columns = fold.place(pixels).T
    assert (folded[rows, columns] == picture.ravel()).all()
    assert np.count_nonzero(folded) == picture.size


@given(SIDES, st.integers(1, 20))
def test_a_long_picture_becomes_about_as_wide_as_it_is_high(longer: int, width: int) -> None:
    fold = Fold.of((longer, width))
    if max(longer, width) < LONG * min(longer, width):
        assert fold.pieces == 1
        return
    height, across = fold.shape
    assert 1 / 3 < height / across < 3


def test_wide_pictures_are_folded_as_tall_ones() -> None:
    picture = np.random.default_rng(0).integers(0, 255, (700, 30, 3), dtype=np.uint8)
    tall = Fold.of(picture.shape).apply(picture, (1, 2, 3))
    wide = Fold.of((30, 700)).apply(picture.swapaxes(0, 1), (1, 2, 3))
    np.testing.assert_array_equal(tall.swapaxes(0, 1), wide)


@pytest.mark.parametrize("shape", [(30, 40), (100, 30), (1, 1), (1, 3)])
def test_other_pictures_stay_as_they_are(shape: tuple[int, int]) -> None:
    picture = np.ones(shape)
    assert Fold.of(shape).apply(picture, 0) is picture
    assert Fold.of(shape).words == ""
