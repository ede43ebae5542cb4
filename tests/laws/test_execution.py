"""Same request, same scene: same bytes, however the work is done."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hsistream import stages
from hsistream.execution import Execution
from hsistream.pipeline import run
from hsistream.presets import PRESETS
from hsistream.runs import RunDirectory
from hsistream.runtime.cluster import connect
from hsistream.scene.scene import Scene
from hsistream.stores.tables import Table
from hsistream.tiles import Tile
from tests.integration.commands import process
from tests.laws.requests import TinyRun, made_once, tiny, tiny_options
from tests.laws.results import differing

TILE_PX = 64

each_head = pytest.mark.parametrize("method", ["consensus", "dgc"])


@pytest.fixture(scope="module")
def alone(roomy_scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> TinyRun:
    """Runs on one thread."""
    folder = tmp_path_factory.mktemp("alone")
    return made_once(roomy_scene, folder, Execution(tile_px=TILE_PX, threads=1))


@pytest.mark.parametrize(
    ("method", "threads"),
    [
        *(("consensus", 5), ("dgc", 2), ("dgc", 5)),
        *(pytest.param(method, 3, marks=pytest.mark.slow) for method in PRESETS),
    ],
)
def test_threads_do_not_change_a_byte(
    alone: TinyRun, roomy_scene: Scene, tmp_path: Path, method: str, threads: int
) -> None:
    execution = Execution(tile_px=TILE_PX, threads=threads)
    other = run(roomy_scene, tiny(method), tmp_path, execution=execution)
    assert differing(other, alone(method)) == []


@each_head
def test_worker_processes_do_not_change_a_byte(
    alone: TinyRun, roomy_scene: Scene, tmp_path: Path, method: str
) -> None:
    execution = Execution(tile_px=TILE_PX, scheduler="local:2")
    with connect(execution.scheduler) as client:
        other = run(roomy_scene, tiny(method), tmp_path, execution=execution, client=client)
    assert differing(other, alone(method)) == []


@each_head
def test_the_order_of_completion_does_not_change_a_byte(
    alone: TinyRun,
    roomy_scene: Scene,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
) -> None:
    orders: list[list[Tile]] = []

    def backwards(
        function: Any, tiles: Iterable[Tile], **options: Any
    ) -> Iterator[tuple[Tile, Table]]:
        orders.append(list(tiles)[::-1])
        return ((tile, function(tile)) for tile in orders[-1])

    monkeypatch.setattr(stages, "map_tiles", backwards)
    other = run(roomy_scene, tiny(method), tmp_path, execution=Execution(tile_px=TILE_PX))
    assert max(map(len, orders)) > 2
    assert differing(other, alone(method)) == []


@pytest.mark.parametrize("method", ["dgc"])
def test_the_threads_of_libraries_do_not_change_a_byte(
    alone: TinyRun, roomy_scene: Scene, tmp_path: Path, method: str
) -> None:
    """Matrix products and convolutions have threads of their own, one per core of a machine."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
    cores = {**os.environ, **dict.fromkeys(names, "7")}
    options = (*tiny_options(method), "--tile", TILE_PX, "--threads", 3, "--run", tmp_path)
    outcome = process("cluster", roomy_scene.uri, *options, env=cores)
    assert outcome.code == 0, outcome.err
    assert differing(RunDirectory(tmp_path), alone(method)) == []


@each_head
def test_a_repeated_run_in_the_same_process_gives_the_same_bytes(
    alone: TinyRun, roomy_scene: Scene, tmp_path: Path, method: str
) -> None:
    execution = Execution(tile_px=TILE_PX, threads=1)
    other = run(roomy_scene, tiny(method), tmp_path, execution=execution)
    assert differing(other, alone(method)) == []
