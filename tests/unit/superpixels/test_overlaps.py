"""One set of superpixels from windows that overlap."""

from __future__ import annotations

import numpy as np

from hsistream.superpixels.overlaps import NONE, kept_superpixels, settle


def test_a_superpixel_is_kept_by_the_tile_that_has_most_of_it() -> None:
    index = np.array([[0, 0, 0, 1, 1], [2, 2, -1, 3, 3]], np.int32)
    tiles = np.broadcast_to([0, 0, 1, 1, 1], index.shape)
    left = kept_superpixels(index, tiles, own=0)
    right = kept_superpixels(index, tiles, own=1)
    np.testing.assert_array_equal(left, [[0, 0, 0, -1, -1], [1, 1, -1, -1, -1]])
    np.testing.assert_array_equal(right, [[-1, -1, -1, 0, 0], [-1, -1, -1, 1, 1]])


def test_of_equal_shares_the_first_tile_keeps() -> None:
    index, tiles = np.zeros((1, 4), np.int32), np.array([[7, 7, 3, 3]])
    assert (kept_superpixels(index, tiles, own=3) == 0).all()
    assert (kept_superpixels(index, tiles, own=7) == NONE).all()


def test_a_window_without_data_keeps_nothing() -> None:
    nothing = np.full((2, 3), NONE, np.int32)
    np.testing.assert_array_equal(
        kept_superpixels(nothing, np.zeros((2, 3), np.int64), own=0), nothing
    )


def test_the_own_window_comes_before_others_and_gaps_go_to_the_nearest() -> None:
    valid = np.array([[True, True, True, True, False, True]])
    own = np.array([[5, 5, NONE, NONE, NONE, NONE]])
    other = np.array([[8, 8, 8, NONE, NONE, NONE]])
    np.testing.assert_array_equal(settle(valid, [own, other], spare=6), [[5, 5, 8, 8, NONE, 8]])


def test_what_no_window_offers_is_one_superpixel_of_its_own() -> None:
    valid = np.array([[True, False, True]])
    nothing = np.full(valid.shape, NONE, np.int64)
    np.testing.assert_array_equal(settle(valid, [nothing], spare=64), [[64, NONE, 64]])
