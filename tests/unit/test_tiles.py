from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsistream.errors import TileError
from hsistream.tiles import Tile, TileGrid, Window, area, grow, size, strips, within
from tests.strategies import Shape, framed_windows, grids


@given(grids())
def test_cores_cover_a_frame_exactly_once(grid: TileGrid) -> None:
    seen = np.zeros(grid.shape, int)
    for tile in grid:
        seen[tile.core] += 1
    np.testing.assert_array_equal(seen, 1)


@given(grids())
def test_a_grid_has_as_many_tiles_as_it_says_in_sorted_order(grid: TileGrid) -> None:
    tiles = list(grid)
    assert len(tiles) == len(grid) == grid.rows * grid.columns
    assert tiles == sorted(tiles)
    assert len({tile.key for tile in tiles}) == len(tiles)
    assert sum(tile.pixels for tile in tiles) == grid.shape[0] * grid.shape[1]


@given(grids())
def test_cores_begin_on_multiples_of_the_tile(grid: TileGrid) -> None:
    for tile in grid:
        assert tile.core[0].start == tile.row * grid.tile
        assert tile.core[1].start == tile.column * grid.tile
        assert max(size(tile.core)) <= grid.tile


@given(grids())
def test_a_window_holds_the_core_and_every_pixel_within_the_halo(grid: TileGrid) -> None:
    rows, columns = np.indices(grid.shape)
    for tile in grid:
        inside = (rows >= tile.core[0].start - grid.halo) & (rows < tile.core[0].stop + grid.halo)
        inside &= columns >= tile.core[1].start - grid.halo
        inside &= columns < tile.core[1].stop + grid.halo
        found = np.zeros(grid.shape, bool)
        found[tile.window(grid.shape)] = True
        np.testing.assert_array_equal(found, inside)


@given(framed_windows(), st.integers(0, 8))
def test_within_finds_a_window_in_an_array_of_the_grown_window(
    framed: tuple[Shape, Window], margin: int
) -> None:
    shape, window = framed
    image = np.arange(shape[0] * shape[1]).reshape(shape)
    outer = grow(window, margin, shape)
    np.testing.assert_array_equal(image[outer][within(window, outer)], image[window])


@given(framed_windows())
def test_area_and_size_are_those_of_the_pixels(framed: tuple[Shape, Window]) -> None:
    shape, window = framed
    pixels = np.zeros(shape)[window]
    assert size(window) == pixels.shape
    assert area(window) == pixels.size


@given(framed_windows(), st.integers(1, 45))
def test_strips_cover_a_window_in_order(framed: tuple[Shape, Window], height: int) -> None:
    shape, window = framed
    rows = [row for strip in strips(window, height) for row in range(shape[0])[strip[0]]]
    assert rows == list(range(shape[0]))[window[0]]
    assert all(strip[1] == window[1] for strip in strips(window, height))


@given(framed_windows(), st.integers(1, 45))
def test_no_strip_reaches_into_two_rows_of_chunks(
    framed: tuple[Shape, Window], height: int
) -> None:
    for rows, _ in strips(framed[1], height):
        assert rows.start // height == (rows.stop - 1) // height


def test_tiles_of_several_frames_sort_by_frame_first() -> None:
    first, second = TileGrid((20, 20), 10, frame=0), TileGrid((20, 20), 10, frame=1)
    assert sorted([*second, *first]) == [*first, *second]
    assert first[1, 0].key == "0-1-0"


@dataclass(frozen=True)
class Refused:
    id: str
    shape: Shape
    tile: int
    halo: int


REFUSED = [
    Refused("no tile", (4, 4), 0, 0),
    Refused("negative halo", (4, 4), 2, -1),
    Refused("frame without rows", (0, 4), 2, 0),
    Refused("frame without columns", (4, 0), 2, 0),
]


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.id)
def test_impossible_grids_are_refused(case: Refused) -> None:
    with pytest.raises(TileError, match="at least"):
        TileGrid(case.shape, case.tile, case.halo)


@pytest.mark.parametrize("index", [(2, 0), (0, 3), (-1, 0)])
def test_a_tile_outside_its_grid_is_an_error(index: tuple[int, int]) -> None:
    with pytest.raises(IndexError, match="2 x 3"):
        TileGrid((20, 25), 10)[index]


def test_a_tile_is_a_value() -> None:
    tile = TileGrid((20, 25), 10, halo=2)[1, 2]
    assert tile == Tile(0, 1, 2, (slice(10, 20), slice(20, 25)), 2)
    assert tile.window((20, 25)) == (slice(8, 20), slice(18, 25))
