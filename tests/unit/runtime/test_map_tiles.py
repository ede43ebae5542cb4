from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest

from hsistream.errors import DamagedError
from hsistream.runtime.cluster import connect
from hsistream.runtime.map_tiles import map_tiles
from hsistream.stores.tables import Table
from hsistream.tiles import Tile, TileGrid

GRID = TileGrid((60, 50), 10)


def pixels(tile: Tile) -> Table:
    return {"pixels": np.asarray(tile.pixels), "row": np.asarray(tile.row)}


class Counted:
    """Tiles that count how many have been taken."""

    def __init__(self) -> None:
        self.taken = 0

    def __iter__(self) -> Iterator[Tile]:
        for tile in GRID:
            self.taken += 1
            yield tile


@pytest.mark.parametrize("threads", [1, 2, 7, 99])
def test_every_tile_is_done_once_and_comes_with_its_own_result(threads: int) -> None:
    found = list(map_tiles(pixels, GRID, threads=threads))
    assert sorted(tile for tile, _ in found) == list(GRID)
    for tile, table in found:
        assert table["pixels"] == tile.pixels
        assert table["row"] == tile.row


def test_one_thread_keeps_the_order() -> None:
    assert [tile for tile, _ in map_tiles(pixels, GRID)] == list(GRID)


def test_no_tiles_give_no_results() -> None:
    assert list(map_tiles(pixels, [], threads=3)) == []


@pytest.mark.parametrize("threads", [1, 3])
def test_tiles_are_taken_only_as_they_are_worked_on(threads: int) -> None:
    tiles = Counted()
    for finished, _ in enumerate(map_tiles(pixels, tiles, threads=threads), 1):
        assert tiles.taken <= finished + 2 * threads
    assert tiles.taken == len(GRID)


def test_no_more_tiles_than_threads_are_in_work_at_once_and_all_threads_work() -> None:
    together, most, guard = 0, 0, threading.Lock()
    meeting = threading.Barrier(3, timeout=60)

    def work(tile: Tile) -> Table:
        nonlocal together, most
        with guard:
            together += 1
            most = max(most, together)
        meeting.wait()  # passes only if three tiles are in work at once
        with guard:
            together -= 1
        return {}

    assert len(list(map_tiles(work, list(GRID)[:27], threads=3))) == 27
    assert most <= 3


@pytest.mark.parametrize("threads", [1, 3])
def test_an_error_stops_the_work_and_propagates(threads: int) -> None:
    started: list[Tile] = []

    def fail_at_the_fifth(tile: Tile) -> Table:
        started.append(tile)
        if tile == GRID[1, 0]:
            raise DamagedError("tile 5")
        return {}

    finished = []
    with pytest.raises(DamagedError, match="tile 5"):  # noqa: PT012
        for tile, _ in map_tiles(fail_at_the_fifth, GRID, threads=threads):
            finished.append(tile)
    assert GRID[1, 0] not in finished
    assert len(started) <= len(finished) + 2 * threads + 1 < len(GRID)


def test_whoever_stops_listening_stops_the_work() -> None:
    started: list[Tile] = []

    def note(tile: Tile) -> Table:
        started.append(tile)
        return {}

    results = map_tiles(note, GRID, threads=2)
    next(results)
    results.close()  # type: ignore[attr-defined]
    assert len(started) <= 5
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("tile")]


def test_without_a_scheduler_there_is_no_client() -> None:
    with connect("none") as client:
        assert client is None
