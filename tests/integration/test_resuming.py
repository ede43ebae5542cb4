"""What a second command on the same run directory does."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hsistream import pipeline
from hsistream.config import RunConfig
from hsistream.events import Event, Progress
from hsistream.execution import Execution
from hsistream.pipeline import run
from hsistream.runs import RunDirectory
from hsistream.scene.ingest import IngestOptions, ingest
from hsistream.scene.scene import Scene
from hsistream.scene.synthetic import synthetic_frames
from hsistream.stages.table import stream
from tests.integration.commands import command
from tests.laws.results import pixel_bytes, stored_bytes

CONFIG = RunConfig.make(settings=[("cluster.clusters", 3)])

STAGES = stream(RunConfig())


class StoppedError(Exception):
    """Stands for an interruption."""


def _stop_at(stage: str, done: int) -> Callable[[Event], None]:
    def listen(event: Event) -> None:
        if isinstance(event, Progress) and (event.stage, event.done) == (stage, done):
            raise StoppedError

    return listen


@pytest.fixture
def interrupted(scene: Scene, tmp_path: Path) -> RunDirectory:
    """A run that was stopped after half of its codes."""
    execution = Execution(tile_px=32, threads=1)
    with pytest.raises(StoppedError):
        run(scene, CONFIG, tmp_path / "run", execution=execution, notify=_stop_at("count", 5))
    return RunDirectory(tmp_path / "run")


def _cluster(scene: Scene, target: RunDirectory, *options: object) -> tuple[object, ...]:
    return ("cluster", scene.uri, "--run", target.path, "--progress", "log", *options)


def test_the_same_command_finishes_an_interrupted_run(
    interrupted: RunDirectory, finished: RunDirectory, scene: Scene
) -> None:
    outcome = command(*_cluster(scene, interrupted, "--clusters", 3, "--tile", 32))
    assert outcome.code == 0
    assert "statistics: done before" in outcome.err
    assert "count: started, 5 of 10 done before" in outcome.err
    assert stored_bytes(interrupted) == stored_bytes(finished)


def test_another_tile_size_finishes_an_interrupted_run(
    interrupted: RunDirectory, finished: RunDirectory, scene: Scene
) -> None:
    outcome = command(*_cluster(scene, interrupted, "--clusters", 3, "--tile", 48))
    assert outcome.code == 0
    assert "count: started\n" in outcome.err
    assert pixel_bytes(interrupted, scene) == pixel_bytes(finished, scene)


def test_a_finished_run_is_only_looked_at(own_run: RunDirectory, scene: Scene) -> None:
    before = {path: path.stat().st_mtime_ns for path in Path(own_run.labels_uri).rglob("*")}
    page = own_run.page_path.read_bytes()
    outcome = command(*_cluster(scene, own_run, "--clusters", 3, "--tile", 64))
    assert outcome.code == 0
    assert [f"{stage.name}: done before" in outcome.err for stage in STAGES] == [True] * 7
    assert "started" not in outcome.err
    assert before == {path: path.stat().st_mtime_ns for path in Path(own_run.labels_uri).rglob("*")}
    assert own_run.page_path.read_bytes() == page


OTHERS = [
    (("--clusters", 4), "cluster.clusters = 3 there, 4 here"),
    ((), "cluster.clusters = 3 there, None here"),
    (("--clusters", 3, "--seed", 1), "seed = 0 there, 1 here"),
    (("--clusters", 3, "--statistics", "frame"), "statistics.by = 'scene' there, 'frame' here"),
    (("--clusters", 3, "--method", "kmeans"), "method = 'consensus' there, 'kmeans' here"),
    (("--clusters", 3, "--set", "cluster.starts=4"), "cluster.starts = 10 there, 4 here"),
]


@pytest.mark.parametrize(("options", "named"), OTHERS, ids=lambda value: str(value))
@pytest.mark.parametrize("state", ["interrupted", "own_run"])
def test_another_configuration_is_refused_by_name(
    request: pytest.FixtureRequest,
    scene: Scene,
    state: str,
    options: tuple[object, ...],
    named: str,
) -> None:
    target: RunDirectory = request.getfixturevalue(state)
    manifest = target.manifest_path.read_bytes()
    assert named in command(*_cluster(scene, target, *options)).refusal(2)
    assert target.manifest_path.read_bytes() == manifest


def test_another_scene_is_refused(own_run: RunDirectory, scene: Scene, tmp_path: Path) -> None:
    other = ingest(synthetic_frames(1, (20, 20), bands=4), tmp_path / "other.zarr")
    sentence = command(*_cluster(other, own_run, "--clusters", 3)).refusal(2)
    assert scene.identity[:8] in sentence
    assert other.identity[:8] in sentence


def test_a_scene_ingested_with_another_mask_is_another_scene(tmp_path: Path) -> None:
    frame = synthetic_frames(1, (20, 20), bands=4)[0]
    identities = set()
    for name, no_data in (("a", None), ("b", 4000.0), ("c", None)):
        made = ingest([frame], tmp_path / f"{name}.zarr", IngestOptions(no_data=no_data))
        identities.add(made.identity)
    assert len(identities) == 2


def test_a_scene_may_be_moved(
    interrupted: RunDirectory, finished: RunDirectory, scene: Scene, tmp_path: Path
) -> None:
    moved = Scene.open(shutil.copytree(scene.uri, tmp_path / "moved.zarr"))
    assert moved.identity == scene.identity
    outcome = command(*_cluster(moved, interrupted, "--clusters", 3, "--tile", 32, "--json"))
    assert outcome.code == 0
    assert outcome.json["scene"] == moved.uri
    assert stored_bytes(interrupted) == stored_bytes(finished)


def test_status_ends_with_3_until_the_run_is_done(
    interrupted: RunDirectory, own_run: RunDirectory
) -> None:
    outcome = command("status", interrupted.path, "--json")
    assert outcome.code == 3
    assert outcome.json["done"] is False
    stages = {stage["stage"]: stage for stage in outcome.json["stages"]}
    assert [stages[name]["done"] for name in ("codebooks", "count", "label")] == [
        True,
        False,
        False,
    ]
    assert stages["count"]["finished_tiles"] == 5
    assert "repeat the command" in command("status", interrupted.path).out
    assert command("status", own_run.path).code == 0


@pytest.mark.parametrize("name", ["evaluate", "report", "export"])
def test_results_of_an_unfinished_run_are_refused(
    interrupted: RunDirectory, scene: Scene, tmp_path: Path, name: str
) -> None:
    np.savez(tmp_path / "truth.npz", frame0=np.ones((50, 70), int))
    further: dict[str, list[object]] = {
        "export": [tmp_path / "maps"],
        "evaluate": ["--truth", tmp_path / "truth.npz"],
    }
    sentence = command(name, interrupted.path, *further.get(name, [])).refusal(3)
    assert "hsistream status" in sentence


def test_a_stage_is_repeated_if_its_code_has_changed(
    own_run: RunDirectory, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = tuple(replace(s, version=9) if s.name == "cluster" else s for s in STAGES)
    monkeypatch.setattr(pipeline, "stream", lambda config: changed)
    outcome = command(*_cluster(scene, own_run, "--clusters", 3, "--tile", 32))
    assert outcome.code == 0
    started = [line.split(":")[0] for line in outcome.err.splitlines() if "started" in line]
    assert started == ["cluster", "label", "report"]


def test_the_log_has_one_object_per_event(finished: RunDirectory) -> None:
    events = [json.loads(line) for line in finished.log_path.read_text().splitlines()]
    ended = [event["stage"] for event in events if event["event"] == "StageFinished"]
    assert ended[: len(STAGES)] == [stage.name for stage in STAGES]  # others may look again


@pytest.mark.parametrize(("stage", "store"), [("count", "codes.zarr"), ("label", "labels.zarr")])
def test_a_store_deleted_in_the_middle_of_its_stage_is_written_again(
    scene: Scene, finished: RunDirectory, tmp_path: Path, stage: str, store: str
) -> None:
    execution = Execution(tile_px=32, threads=1)
    with pytest.raises(StoppedError):
        run(scene, CONFIG, tmp_path / "run", execution=execution, notify=_stop_at(stage, 5))
    shutil.rmtree(tmp_path / "run" / store)
    done = run(scene, CONFIG, tmp_path / "run", execution=execution)
    assert stored_bytes(done) == stored_bytes(finished)


CHUNKS = ("labels.zarr/frame0/labels/c/0/1", "codes.zarr/frame1/codes/c/0/0/0")


@pytest.mark.parametrize("store", ["codes.zarr", "labels.zarr", "clusters.npz", "report", *CHUNKS])
def test_a_result_that_was_deleted_is_made_again(
    own_run: RunDirectory, scene: Scene, finished: RunDirectory, store: str
) -> None:
    path = own_run.path / store
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert command("status", own_run.path).code == 3
    outcome = command(*_cluster(scene, own_run, "--clusters", 3, "--tile", 32))
    assert outcome.code == 0, outcome.err
    assert "statistics: done before" in outcome.err
    assert path.exists()
    assert stored_bytes(own_run) == stored_bytes(finished)
