"""Same request, same scene: same bytes, however the work is done."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hsistream import stages
from hsistream.config import Execution, RunConfig
from hsistream.pipeline import run
from hsistream.runs import RunDirectory
from hsistream.runtime.cluster import connect
from hsistream.scene.scene import Scene
from hsistream.stores.tables import Table
from hsistream.tiles import Tile
from tests.integration.commands import command
from tests.laws.results import stored_bytes

CONFIG = RunConfig.make(settings=[("cluster.clusters", 3)])
TILE_PX = 32


@pytest.fixture(scope="module")
def alone(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """A run on one thread."""
    folder = tmp_path_factory.mktemp("alone") / "run"
    return run(scene, CONFIG, folder, execution=Execution(tile_px=TILE_PX, threads=1))


@pytest.mark.parametrize("threads", [2, 5])
def test_threads_do_not_change_a_byte(
    alone: RunDirectory, scene: Scene, tmp_path: Path, threads: int
) -> None:
    other = run(scene, CONFIG, tmp_path, execution=Execution(tile_px=TILE_PX, threads=threads))
    assert stored_bytes(other) == stored_bytes(alone)


def test_worker_processes_do_not_change_a_byte(
    alone: RunDirectory, scene: Scene, tmp_path: Path
) -> None:
    execution = Execution(tile_px=TILE_PX, scheduler="local:2")
    with connect(execution.scheduler) as client:
        other = run(scene, CONFIG, tmp_path, execution=execution, client=client)
    assert stored_bytes(other) == stored_bytes(alone)


def test_the_order_of_completion_does_not_change_a_byte(
    alone: RunDirectory, scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    orders: list[list[Tile]] = []

    def backwards(
        function: Any, tiles: Iterable[Tile], **options: Any
    ) -> Iterator[tuple[Tile, Table]]:
        orders.append(list(tiles)[::-1])
        return ((tile, function(tile)) for tile in orders[-1])

    monkeypatch.setattr(stages, "map_tiles", backwards)
    other = run(scene, CONFIG, tmp_path, execution=Execution(tile_px=TILE_PX))
    assert max(map(len, orders)) > 2
    assert stored_bytes(other) == stored_bytes(alone)


@pytest.mark.parametrize("threads", [1, 2])
def test_the_command_line_and_the_library_give_the_same_bytes(
    alone: RunDirectory, scene: Scene, tmp_path: Path, threads: int
) -> None:
    options = ("--clusters", 3, "--tile", TILE_PX, "--threads", threads, "--run", tmp_path)
    assert command("cluster", scene.uri, *options).code == 0
    assert stored_bytes(RunDirectory(tmp_path)) == stored_bytes(alone)


def test_a_repeated_run_in_the_same_process_gives_the_same_bytes(
    alone: RunDirectory, scene: Scene, tmp_path: Path
) -> None:
    other = run(scene, CONFIG, tmp_path, execution=Execution(tile_px=TILE_PX, threads=1))
    assert stored_bytes(other) == stored_bytes(alone)
