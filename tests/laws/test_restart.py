"""A run that was killed and repeated ends as if nothing had happened."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest

from hsistream.config import Execution, RunConfig
from hsistream.events import Event, Progress, StageStarted
from hsistream.pipeline import run, status
from hsistream.runs import RunDirectory
from hsistream.scene.ingest import ingest
from hsistream.scene.scene import Scene
from hsistream.scene.synthetic import synthetic_frames
from hsistream.stages.table import stream
from tests.integration.commands import command, start
from tests.laws.results import pixel_bytes, stored_bytes

CONFIG = RunConfig.make(settings=[("cluster.clusters", 3)])
EXECUTION = Execution(tile_px=32, threads=2)

WIDE_TILE_PX = 16
WAIT_S = 120


class KilledError(Exception):
    """Stands for the end of the process."""


class Killer:
    """Stop a run after some pieces of a stage, or of any stage that works on tiles."""

    def __init__(self, after: int, stage: str | None = None) -> None:
        self.after, self.stage, self.heard = after, stage, 0

    def __call__(self, event: Event) -> None:
        if isinstance(event, Progress):
            here = event.unit == "tiles" if self.stage is None else event.stage == self.stage
            self.heard += here
        elif isinstance(event, StageStarted) and event.stage == self.stage and not self.after:
            raise KilledError
        if self.after and self.heard >= self.after:
            raise KilledError


@pytest.fixture(scope="module")
def uninterrupted(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    return run(scene, CONFIG, tmp_path_factory.mktemp("whole") / "run", execution=EXECUTION)


@pytest.mark.parametrize("after", [1, 4, 7])
def test_a_run_killed_after_every_few_tiles_ends_the_same(
    uninterrupted: RunDirectory, scene: Scene, tmp_path: Path, after: int
) -> None:
    kills = 0
    while True:
        try:
            ended = run(scene, CONFIG, tmp_path, execution=EXECUTION, notify=Killer(after))
        except KilledError:
            kills += 1
            assert not all(stage.done for stage in status(tmp_path))
        else:
            break
    assert kills >= 32 // after - 3
    assert stored_bytes(ended) == stored_bytes(uninterrupted)


@pytest.mark.parametrize(
    ("stage", "after"),
    [
        ("statistics", 3),
        ("views", 1),
        ("codebooks", 0),
        ("codebooks", 5),
        ("count", 1),
        ("count", 9),
        ("cluster", 0),
        ("label", 4),
        ("label", 10),
        ("report", 0),
    ],
)
def test_a_run_killed_in_any_stage_ends_the_same(
    uninterrupted: RunDirectory, scene: Scene, tmp_path: Path, stage: str, after: int
) -> None:
    with pytest.raises(KilledError):
        run(scene, CONFIG, tmp_path, execution=EXECUTION, notify=Killer(after, stage))
    assert {each.stage: each.done for each in status(tmp_path)}[stage] is False
    ended = run(scene, CONFIG, tmp_path, execution=EXECUTION)
    assert stored_bytes(ended) == stored_bytes(uninterrupted)


def test_finished_tiles_are_not_repeated(scene: Scene, tmp_path: Path) -> None:
    with pytest.raises(KilledError):
        run(scene, CONFIG, tmp_path, execution=EXECUTION, notify=Killer(6, "count"))
    events: list[Event] = []
    run(scene, CONFIG, tmp_path, execution=EXECUTION, notify=events.append)
    resumed = {event.stage: event.resumed for event in events if isinstance(event, StageStarted)}
    pieces = Counter(event.stage for event in events if isinstance(event, Progress))
    assert resumed["count"] == 6
    assert pieces["count"] == 10 - 6
    assert pieces["label"] == 10
    assert "statistics" not in pieces


@pytest.mark.parametrize("stage", ["count", "label"])
def test_the_tile_may_change_between_a_kill_and_the_resumption(
    uninterrupted: RunDirectory, scene: Scene, tmp_path: Path, stage: str
) -> None:
    with pytest.raises(KilledError):
        run(scene, CONFIG, tmp_path, execution=EXECUTION, notify=Killer(5, stage))
    ended = run(scene, CONFIG, tmp_path, execution=Execution(tile_px=24, threads=2))
    assert pixel_bytes(ended, scene) == pixel_bytes(uninterrupted, scene)


@pytest.fixture(scope="module")
def wide_scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """A scene of many small tiles, so that there is time to kill a run."""
    frames = synthetic_frames(1, (110, 120), bands=8, classes=3)
    return ingest(frames, tmp_path_factory.mktemp("wide") / "scene.zarr")


@pytest.fixture(scope="module")
def wide_run(wide_scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    execution = Execution(tile_px=WIDE_TILE_PX, threads=2)
    folder = tmp_path_factory.mktemp("wide-run") / "run"
    return run(wide_scene, CONFIG, folder, execution=execution)


@pytest.mark.parametrize(
    ("stage", "scheduler"),
    [
        ("codebooks", "none"),
        ("count", "none"),
        ("label", "none"),
        pytest.param("count", "local:2", marks=pytest.mark.slow),
    ],
)
def test_a_process_killed_by_the_system_ends_the_same_when_repeated(
    wide_scene: Scene, wide_run: RunDirectory, tmp_path: Path, stage: str, scheduler: str
) -> None:
    target = RunDirectory(tmp_path / "run")
    options = ("--clusters", 3, "--tile", WIDE_TILE_PX, "--scheduler", scheduler)
    asked = ("cluster", wide_scene.uri, "--run", target.path, *options, "--progress", "log")
    process = start(*asked)
    _wait_for(stage, target, process)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    done = {each.stage: each.done for each in status(target.path)}
    assert not done["label"]
    assert command("status", target.path).code == 3

    again = command(*asked)
    assert again.code == 0, again.err
    assert stored_bytes(target) == stored_bytes(wide_run)
    assert command("status", target.path).code == 0
    resumed = [
        event["resumed"]
        for event in map(json.loads, target.log_path.read_text().splitlines())
        if event["event"] == "StageStarted"
    ]
    skipped = again.err.count("done before\n")
    assert any(resumed) or skipped == sum(done.values()) > 0
    assert {stage.name for stage in stream(target.config())} == set(target.manifest().stages)


def _wait_for(stage: str, target: RunDirectory, process: subprocess.Popen[str]) -> None:
    """Wait until a stage has its first finished tile, or has begun if it has no tiles."""
    started = f'"stage": "{stage}"'
    end = time.monotonic() + WAIT_S
    while time.monotonic() < end and process.poll() is None:
        if any(target.ledger(stage).glob("[!.]*.npz")):
            return
        known = target.log_path.read_text() if target.log_path.exists() else ""
        if stage == "codebooks" and started in known:
            return
        time.sleep(0.002)
    process.kill()
    pytest.fail(f"stage {stage} was not seen: {process.communicate()[1]}")
