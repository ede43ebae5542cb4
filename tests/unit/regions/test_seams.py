from __future__ import annotations

import math
from itertools import product
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from hsistream.regions.seams import LabelChanges
from hsistream.tiles import TileGrid
from tests.strategies import Shape, shapes, whole

NO_DATA = 9

seeds = st.integers(0, 2**31)


def labels_of(shape: Shape, seed: int) -> NDArray[np.uint16]:
    drawn = np.random.default_rng(seed).integers(0, 4, shape)
    return np.where(drawn == 3, NO_DATA, drawn).astype(np.uint16)


def counted(labels: NDArray[Any], tile_px: int, core_px: int) -> LabelChanges:
    """Add up the counts of cores, each of a window with a halo of one pixel."""
    found = LabelChanges()
    for tile in TileGrid(labels.shape, core_px, halo=1):
        window = tile.window(labels.shape)
        found += LabelChanges.from_window(
            labels[window], window, tile.core, tile_px=tile_px, no_data=NO_DATA
        )
    return found


def test_an_example_counted_by_hand() -> None:
    labels = np.array([[0, 0, 1, 1], [0, 0, 1, NO_DATA], [0, 2, 1, 1]])
    # columns 1 | 2 and rows 1 | 2 are seams: 3 pairs of 3 changed, and 3 pairs of which 1
    expected = LabelChanges(seam_pairs=6, seam_changes=4, inner_pairs=8, inner_changes=1)
    assert counted(labels, tile_px=2, core_px=4) == expected
    assert expected.ratio == (4 / 6) / (1 / 8)


@given(shapes(12), st.integers(1, 13), seeds)
def test_pairs_are_those_of_a_plain_loop(shape: Shape, tile_px: int, seed: int) -> None:
    labels = labels_of(shape, seed)
    counts = np.zeros((2, 2), int)
    for y, x in product(*map(range, shape)):
        for down, right in ((y + 1, x), (y, x + 1)):
            if down < shape[0] and right < shape[1]:
                one, other = labels[y, x], labels[down, right]
                if NO_DATA not in (one, other):
                    inside = (y // tile_px, x // tile_px) == (down // tile_px, right // tile_px)
                    counts[int(inside)] += 1, int(one != other)
    assert counted(labels, tile_px, 99) == LabelChanges(*counts.ravel().tolist())


@given(shapes(), st.integers(1, 45), st.integers(1, 45), seeds)
def test_any_windows_give_the_counts_of_the_whole(
    shape: Shape, tile_px: int, core_px: int, seed: int
) -> None:
    labels, every = labels_of(shape, seed), whole(shape)
    expected = LabelChanges.from_window(labels, every, every, tile_px=tile_px, no_data=NO_DATA)
    assert counted(labels, tile_px, core_px) == expected


def test_a_frame_within_one_tile_has_no_seam() -> None:
    found = counted(labels_of((8, 6), 0), tile_px=8, core_px=3)
    assert found.seam_pairs == 0
    assert found.inner_changes > 0


def test_no_data_are_never_counted() -> None:
    assert counted(np.full((5, 7), NO_DATA), tile_px=2, core_px=3) == LabelChanges()


def test_the_ratio_of_rates_has_a_value_where_no_label_changes() -> None:
    assert LabelChanges(4, 0, 9, 0).ratio == 1
    assert LabelChanges(4, 1, 9, 0).ratio == math.inf
    assert LabelChanges(4, 0, 9, 3).ratio == 0
