from __future__ import annotations

import pickle
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from distributed import Client, LocalCluster  # noqa: TID253 real workers, in this process

from hsistream.errors import ConfigError, DamagedError, IncompleteError, StoreError
from hsistream.events import Event, Noted, ignore
from hsistream.runtime import workers
from hsistream.runtime.map_tiles import map_tiles
from hsistream.runtime.workers import TASKS_PER_THREAD, on_workers, tasks_at_once, work
from hsistream.stores.tables import Table
from hsistream.tiles import Tile, TileGrid
from hsistream.version import __version__

GRID = TileGrid((60, 50), 10)


def pixels(tile: Tile) -> Table:
    return {"pixels": np.asarray(tile.pixels)}


@pytest.fixture
def client(request: pytest.FixtureRequest) -> Iterator[Any]:
    """A client of as many workers of this process as the parameter says."""
    with (
        LocalCluster(
            n_workers=request.param,
            threads_per_worker=2,
            processes=False,
            memory_limit=0,
            dashboard_address=":0",
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


@pytest.mark.parametrize("client", [1, 2], indirect=True)
def test_every_tile_is_done_once_on_workers_and_comes_with_its_own_result(client: Any) -> None:
    assert tasks_at_once(client) == 2 * len(client.nthreads())
    found = list(map_tiles(pixels, GRID, client=client))
    assert sorted(tile for tile, _ in found) == list(GRID)
    assert all(table["pixels"] == tile.pixels for tile, table in found)


@pytest.mark.parametrize("client", [0], indirect=True)
def test_work_waits_for_workers_says_so_once_and_goes_on(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "PATIENCE_S", 0.2)
    heard: list[Event] = []

    def notify(event: Event) -> None:
        heard.append(event)
        threading.Timer(0.7, client.cluster.scale, [1]).start()

    found = list(map_tiles(pixels, GRID, client=client, notify=notify))
    assert len(found) == len(GRID)
    [note] = heard
    assert isinstance(note, Noted)
    assert "Waiting for workers" in note.message
    assert "has 0." in note.message


@pytest.mark.parametrize("client", [1], indirect=True)
def test_a_task_that_takes_long_is_no_want_of_workers(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "PATIENCE_S", 1.0)
    heard: list[Event] = []

    def slow(tile: Tile) -> Table:
        time.sleep(2.5)
        return pixels(tile)

    assert len(list(map_tiles(slow, [GRID[0, 0]], client=client, notify=heard.append))) == 1
    assert heard == []


@pytest.mark.parametrize("client", [1], indirect=True)
def test_the_queue_is_short_and_grows_with_the_cluster(client: Any) -> None:
    taken: list[Tile] = []

    def tiles() -> Iterator[Tile]:
        for tile in GRID:
            taken.append(tile)
            yield tile

    results = on_workers(pixels, tiles(), client, ignore)
    next(results)
    assert len(taken) <= 2 * TASKS_PER_THREAD
    client.cluster.scale(3)
    client.wait_for_workers(3)
    before, done = len(taken), 0
    while len(taken) == before:
        next(results)
        done += 1
    assert len(taken) - 1 - done <= 6 * TASKS_PER_THREAD
    assert len(taken) - 1 - done > 2 * TASKS_PER_THREAD
    results.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize("client", [1], indirect=True)
def test_an_error_of_a_task_stops_the_work_and_says_what_it_said(client: Any) -> None:
    with pytest.raises(DamagedError, match="tile 0 is damaged"):
        list(map_tiles(damaged, GRID, client=client))


def damaged(tile: Tile) -> Table:
    raise DamagedError(f"tile {tile.row} is damaged") from KeyError(tile)


def test_an_error_of_a_task_is_sent_without_its_cause() -> None:
    with pytest.raises(DamagedError, match="tile 0 is damaged") as caught:
        work(damaged, GRID[0, 0], __version__)
    assert caught.value.__cause__ is None
    assert str(pickle.loads(pickle.dumps(caught.value))) == "tile 0 is damaged"


def lost(tile: Tile) -> Table:
    raise StoreError("/data/scene.zarr is needed, but there is no such file, store or array.")


def test_a_worker_without_the_disk_of_the_command_says_where_it_is() -> None:
    with pytest.raises(StoreError, match=r"no such file.* a worker on \S+ found: .* same path"):
        work(lost, GRID[0, 0], __version__)


def test_a_worker_of_another_version_refuses_tasks() -> None:
    with pytest.raises(ConfigError, match=r"version of hsistream that asks them, 0\.0\.0"):
        work(pixels, GRID[0, 0], "0.0.0")


def test_a_scheduler_that_went_away_is_an_interrupted_run() -> None:
    with pytest.raises(IncompleteError, match="scheduler went away"):
        list(map_tiles(pixels, GRID, client=SimpleNamespace(status="closed")))


def test_a_scheduler_without_the_package_is_named() -> None:
    def result() -> Any:
        raise RuntimeError("Error during deserialization of the task graph. This frequently ...")

    with pytest.raises(ConfigError, match="scheduler needs the version of hsistream"):
        workers._result(SimpleNamespace(result=result))
