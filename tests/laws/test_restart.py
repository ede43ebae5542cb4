"""A run that was killed and repeated ends as if nothing had happened."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hsistream.config import RunConfig
from hsistream.events import Event, Noted, Progress, StageStarted
from hsistream.execution import Execution
from hsistream.methods import watching
from hsistream.pipeline import run, status
from hsistream.runs import RunDirectory
from hsistream.scene.ingest import ingest
from hsistream.scene.scene import Scene
from hsistream.scene.synthetic import synthetic_frames
from hsistream.stages.table import stream
from tests.integration.commands import command, start
from tests.laws.requests import TinyRun, made_once, tiny, tiny_options
from tests.laws.results import differing, pixel_bytes, result_bytes

EXECUTION = Execution(tile_px=32, threads=2)

WIDE_TILE_PX = 16
WAIT_S = 120

STEPS = (("training.steps", 8), ("training.check_every", 3))
"""Of trainings that are killed between their steps."""


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
def uninterrupted(tiny_run: TinyRun) -> TinyRun:
    return tiny_run


@pytest.fixture
def place(scene: Scene, tmp_path: Path, trained_only: Path) -> Callable[[str, str], Path]:
    """Give the directory of a new run, or of one that is trained, where a stage needs that."""

    def of(method: str, stage: str) -> Path:
        if method != "dgc" or stage == "train":
            return tmp_path / "run"
        return shutil.copytree(trained_only, tmp_path / "run")

    return of


@pytest.fixture(scope="module")
def trained_only(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of dgc that was stopped after its training."""
    folder = tmp_path_factory.mktemp("trained-only") / "run"
    with pytest.raises(KilledError):
        run(scene, tiny("dgc"), folder, execution=EXECUTION, notify=Killer(0, "encode"))
    return folder


def killed_until_it_ends(
    scene: Scene, config: RunConfig, target: Path, killer: Callable[[], Callable[[Event], None]]
) -> int:
    """Begin a run again and again, each time with a new killer; count the kills."""
    kills = 0
    while True:
        try:
            run(scene, config, target, execution=EXECUTION, notify=killer())
        except KilledError:
            kills += 1
            assert not all(stage.done for stage in status(target))
        else:
            return kills


@pytest.mark.parametrize(
    ("method", "after"),
    [("consensus", 1), ("consensus", 4), ("consensus", 7), ("dgc", 3), ("dgc", 7)],
)
def test_a_run_killed_after_every_few_tiles_ends_the_same(
    uninterrupted: TinyRun, scene: Scene, tmp_path: Path, method: str, after: int
) -> None:
    kills = killed_until_it_ends(scene, tiny(method), tmp_path, lambda: Killer(after))
    assert kills >= 32 // after - 3
    assert differing(RunDirectory(tmp_path), uninterrupted(method)) == []


@pytest.mark.parametrize(
    ("method", "stage", "after"),
    [
        ("consensus", "statistics", 3),
        ("consensus", "views", 1),
        ("consensus", "codebooks", 0),
        ("consensus", "codebooks", 5),
        ("consensus", "count", 1),
        ("consensus", "count", 9),
        ("consensus", "cluster", 0),
        ("consensus", "label", 4),
        ("consensus", "label", 10),
        ("consensus", "report", 0),
        ("dgc", "train", 0),
        ("dgc", "train", 2),
        ("dgc", "train", 4),
        ("dgc", "encode", 1),
        ("dgc", "encode", 10),
        ("dgc", "assign", 6),
        ("dgc", "cluster", 0),
        ("dgc", "label", 4),
        ("dgc", "report", 0),
        ("consensus-dgc", "encode", 4),
        ("consensus-dgc", "views", 1),
        pytest.param("dgc-paper", "train", 3, marks=pytest.mark.slow),
    ],
)
def test_a_run_killed_in_any_stage_ends_the_same(
    uninterrupted: TinyRun,
    scene: Scene,
    place: Callable[[str, str], Path],
    method: str,
    stage: str,
    after: int,
) -> None:
    target = place(method, stage)
    with pytest.raises(KilledError):
        run(scene, tiny(method), target, execution=EXECUTION, notify=Killer(after, stage))
    assert {each.stage: each.done for each in status(target)}[stage] is False
    ended = run(scene, tiny(method), target, execution=EXECUTION)
    assert differing(ended, uninterrupted(method)) == []


def test_finished_tiles_are_not_repeated(scene: Scene, tmp_path: Path) -> None:
    with pytest.raises(KilledError):
        run(scene, tiny("consensus"), tmp_path, execution=EXECUTION, notify=Killer(6, "count"))
    events: list[Event] = []
    run(scene, tiny("consensus"), tmp_path, execution=EXECUTION, notify=events.append)
    resumed = {event.stage: event.resumed for event in events if isinstance(event, StageStarted)}
    pieces = Counter(event.stage for event in events if isinstance(event, Progress))
    assert resumed["count"] == 6
    assert pieces["count"] == 10 - 6
    assert pieces["label"] == 10
    assert "statistics" not in pieces


@pytest.mark.parametrize(
    ("method", "stage"), [("consensus", "count"), ("consensus", "label"), ("dgc", "label")]
)
def test_the_tile_may_change_between_a_kill_and_the_resumption(
    uninterrupted: TinyRun, scene: Scene, tmp_path: Path, method: str, stage: str
) -> None:
    with pytest.raises(KilledError):
        run(scene, tiny(method), tmp_path, execution=EXECUTION, notify=Killer(5, stage))
    ended = run(scene, tiny(method), tmp_path, execution=Execution(tile_px=24, threads=2))
    assert pixel_bytes(ended, scene) == pixel_bytes(uninterrupted(method), scene)


# Trainings


@pytest.fixture(scope="module")
def trained(roomy_scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """A run whose training nobody stopped."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    return run(roomy_scene, tiny("dgc", *STEPS), folder, execution=EXECUTION)


@pytest.fixture
def checkpoint_at_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else only the best moments are kept before two minutes have passed."""
    usual = watching.schedule_of

    def often(*arguments: Any) -> Any:
        return replace(usual(*arguments), save_every_s=0.0)

    monkeypatch.setattr(watching, "schedule_of", often)


@pytest.mark.parametrize("after", [1, 3, 5])
@pytest.mark.usefixtures("checkpoint_at_every_step")
def test_a_training_killed_after_every_few_steps_ends_the_same(
    trained: RunDirectory, roomy_scene: Scene, tmp_path: Path, after: int
) -> None:
    config = tiny("dgc", *STEPS)
    kills = killed_until_it_ends(roomy_scene, config, tmp_path, lambda: Killer(after, "train"))
    assert kills == 8 // after
    assert differing(RunDirectory(tmp_path), trained) == []


def test_a_training_goes_on_from_its_best_moment(
    trained: RunDirectory, roomy_scene: Scene, tmp_path: Path
) -> None:
    config = tiny("dgc", *STEPS)
    with pytest.raises(KilledError):
        run(roomy_scene, config, tmp_path, execution=EXECUTION, notify=Killer(7, "train"))
    kept = sorted(path.name for path in (tmp_path / "checkpoint" / "checkpoints").iterdir())
    events: list[Event] = []
    ended = run(roomy_scene, config, tmp_path, execution=EXECUTION, notify=events.append)
    (started,) = (e for e in events if isinstance(e, StageStarted) and e.stage == "train")
    assert f"step-{started.resumed:08d}" == kept[-1]
    assert (
        sum(isinstance(e, Progress) and e.stage == "train" for e in events) == 8 - started.resumed
    )
    assert differing(ended, trained) == []


def test_a_run_killed_after_its_training_does_not_train_again(
    trained: RunDirectory, roomy_scene: Scene, tmp_path: Path
) -> None:
    def at_the_end(event: Event) -> None:
        if isinstance(event, Noted) and "MiB read" in event.message:
            raise KilledError

    config = tiny("dgc", *STEPS)
    with pytest.raises(KilledError):
        run(roomy_scene, config, tmp_path, execution=EXECUTION, notify=at_the_end)
    events: list[Event] = []
    ended = run(roomy_scene, config, tmp_path, execution=EXECUTION, notify=events.append)
    assert not any(isinstance(e, Progress) and e.stage == "train" for e in events)
    assert differing(ended, trained) == []


def test_a_training_killed_by_the_system_ends_the_same_when_repeated(
    roomy_scene: Scene, tmp_path: Path
) -> None:
    steps = (("training.steps", 30), ("training.check_every", 10), ("training.pairs", 1))
    config, asked = tiny("dgc", *steps), tiny_options("dgc", *steps)
    whole = run(roomy_scene, config, tmp_path / "whole", execution=EXECUTION)
    target = RunDirectory(tmp_path / "killed")
    asked = ("cluster", roomy_scene.uri, "--run", str(target.path), "--tile", "32", *asked)
    process = start(*asked, "--progress", "log")
    _wait_until(lambda: any(target.path.glob("checkpoint/checkpoints/step-*")), process)
    time.sleep(0.2)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert {each.stage: each.done for each in status(target.path)}["train"] is False
    assert not target.table("training").exists()

    again = command(*asked, "--progress", "log")
    assert again.code == 0, again.err
    assert "statistics: done before" in again.err
    found = {place: content for place, content in result_bytes(target).items() if "step-" in place}
    assert len(found) >= 4
    assert differing(target, whole) == []


# Processes


@pytest.fixture(scope="module")
def wide_scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """A scene of many small tiles, so that there is time to kill a run."""
    frames = synthetic_frames(1, (110, 120), bands=8, classes=3)
    return ingest(frames, tmp_path_factory.mktemp("wide") / "scene.zarr")


@pytest.fixture(scope="module")
def wide_run(wide_scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> TinyRun:
    execution = Execution(tile_px=WIDE_TILE_PX, threads=2)
    return made_once(wide_scene, tmp_path_factory.mktemp("wide-runs"), execution)


@pytest.mark.parametrize(
    ("method", "stage", "scheduler"),
    [
        ("consensus", "codebooks", "none"),
        ("consensus", "count", "none"),
        ("consensus", "label", "none"),
        ("dgc", "encode", "none"),
        pytest.param("consensus", "count", "local:2", marks=pytest.mark.slow),
        pytest.param("dgc", "encode", "local:2", marks=pytest.mark.slow),
        pytest.param("dgc", "assign", "none", marks=pytest.mark.slow),
        pytest.param("dgc", "label", "none", marks=pytest.mark.slow),
    ],
)
def test_a_process_killed_by_the_system_ends_the_same_when_repeated(
    wide_scene: Scene, wide_run: TinyRun, tmp_path: Path, method: str, stage: str, scheduler: str
) -> None:
    target = RunDirectory(tmp_path / "run")
    options = (*tiny_options(method), "--tile", WIDE_TILE_PX, "--scheduler", scheduler)
    asked = ("cluster", wide_scene.uri, "--run", target.path, *options, "--progress", "log")
    process = start(*asked)
    _wait_until(lambda: _begun(stage, target), process)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    done = {each.stage: each.done for each in status(target.path)}
    assert not done["label"]
    assert command("status", target.path).code == 3

    again = command(*asked)
    assert again.code == 0, again.err
    assert differing(target, wide_run(method)) == []
    assert command("status", target.path).code == 0
    resumed = [
        event["resumed"]
        for event in map(json.loads, target.log_path.read_text().splitlines())
        if event["event"] == "StageStarted"
    ]
    skipped = again.err.count("done before\n")
    assert any(resumed) or skipped == sum(done.values()) > 0
    assert {each.name for each in stream(target.config())} == set(target.manifest().stages)


def _begun(stage: str, target: RunDirectory) -> bool:
    """Tell whether a stage has its first finished tile, or has begun if it has no tiles."""
    if any(target.ledger(stage).glob("[!.]*.npz")):
        return True
    known = target.log_path.read_text() if target.log_path.exists() else ""
    return stage == "codebooks" and f'"stage": "{stage}"' in known


def _wait_until(happened: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Wait for what a process should do."""
    end = time.monotonic() + WAIT_S
    while time.monotonic() < end and process.poll() is None:
        if happened():
            return
        time.sleep(0.002)
    process.kill()
    pytest.fail(f"it was not seen to happen: {process.communicate()[1]}")
