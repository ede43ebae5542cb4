from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hsistream.config import Execution, RunConfig
from hsistream.errors import ConfigError, MemoryBudgetError, ResourceError, SceneError, StoreError
from hsistream.events import Event, StageFinished
from hsistream.pipeline import default_directory, fingerprints, run, status
from hsistream.planning import plan, refuse
from hsistream.runs import RunDirectory
from hsistream.scene.scene import Scene
from hsistream.stages.table import stream

STAGES = stream(RunConfig())
NAMES = [stage.name for stage in STAGES]
MARKS_IN_DIRECTORY = 6


def config_with(*settings: tuple[str, Any]) -> RunConfig:
    return RunConfig.make(settings=[("cluster.clusters", 3), *settings])


# --- plan ----------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
@pytest.mark.parametrize("spectral", [["z"], ["z", "l2", "mnf"]])
def test_every_stage_estimates_with_positive_named_terms(
    stage: Any, spectral: list[str], scene: Scene
) -> None:
    needs = stage.estimate(scene, config_with(("views.spectral", spectral)), 32)
    terms = {**needs.task, **needs.driver}
    assert all(amount > 0 for amount in terms.values())
    assert needs.disk_bytes >= 0
    assert terms or stage.name == "label"


def test_a_plan_counts_tiles_pixels_and_bytes(scene: Scene) -> None:
    found = plan(scene, config_with(), Execution(tile_px=32, threads=2, memory_bytes=2**40))
    assert found.pixels == 50 * 70 + 33 * 48
    assert found.valid_pixels == scene.valid_pixels
    assert [stage.stage for stage in found.stages] == NAMES
    tiles = {stage.stage: stage.tiles for stage in found.stages}
    assert tiles["count"] == tiles["label"] == 2 * 3 + 2 * 2
    assert found.peak_bytes == max(stage.peak_bytes for stage in found.stages)
    assert found.peak_bytes > found.reserved_bytes > 0
    assert found.disk_bytes == sum(stage.disk_bytes for stage in found.stages) > 0
    assert found.limit_bytes == 2**40


def test_a_plan_is_plain_values(scene: Scene) -> None:
    found = plan(scene, config_with())
    facts = json.loads(json.dumps(found.to_json()))
    assert facts["peak_bytes"] == found.peak_bytes
    assert facts["stages"][0]["stage"] == NAMES[0]


def test_more_workers_need_more_memory(scene: Scene) -> None:
    limit = 2**40
    one = plan(scene, config_with(), Execution(tile_px=32, threads=1, memory_bytes=limit))
    four = plan(scene, config_with(), Execution(tile_px=32, threads=4, memory_bytes=limit))
    tasks = {stage.stage: stage.task_bytes for stage in one.stages}
    more = (
        four.stages[NAMES.index("count")].peak_bytes - one.stages[NAMES.index("count")].peak_bytes
    )
    grown = four.reserved_bytes - one.reserved_bytes
    assert more == 3 * tasks["count"] + grown


def test_a_tile_is_cut_to_the_largest_frame(scene: Scene) -> None:
    assert plan(scene, config_with(), Execution(tile_px=4096)).tile_px == 80


def test_under_a_tight_limit_a_plan_takes_fewer_workers_and_smaller_tiles(scene: Scene) -> None:
    found = plan(scene, config_with(), Execution(threads=8, memory_bytes=1))
    assert found.workers == 1
    assert found.tile_px <= 128


def test_a_plan_over_the_memory_is_refused_by_the_name_of_its_stage(scene: Scene) -> None:
    execution = Execution(memory_bytes=2**20)
    found = plan(scene, config_with(), execution)
    worst = max(found.stages, key=lambda stage: stage.peak_bytes)
    with pytest.raises(MemoryBudgetError, match=f"Stage {worst.stage} needs"):
        refuse(found, execution)


def test_a_refused_run_leaves_nothing_behind(scene: Scene, tmp_path: Path) -> None:
    with pytest.raises(MemoryBudgetError):
        run(scene, config_with(), tmp_path / "run", execution=Execution(memory_bytes=2**20))
    assert not (tmp_path / "run").exists()


def test_a_plan_over_the_disk_is_refused(scene: Scene) -> None:
    execution = Execution(memory_bytes=2**40)
    found = replace(plan(scene, config_with(), execution), free_disk_bytes=1)
    with pytest.raises(ResourceError, match="disk"):
        refuse(found, execution)


def test_a_plan_within_its_limits_is_accepted(scene: Scene) -> None:
    execution = Execution(memory_bytes=2**40)
    found = replace(plan(scene, config_with(), execution), free_disk_bytes=2**40)
    refuse(found, execution)
    assert found.peak_bytes <= found.limit_bytes


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("statistics", {"by": "group", "groups": {"frame0": "a"}}), "frame1"),
        (("statistics", {"by": "group", "groups": dict.fromkeys(["frame0", "x"], "a")}), "x"),
    ],
)
def test_a_request_that_does_not_suit_the_scene_is_refused(
    scene: Scene, settings: tuple[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        plan(scene, config_with(settings))


def test_more_clusters_than_pixels_are_refused(scene: Scene) -> None:
    frame = replace(scene.frames[0], valid_pixels=5)
    tiny = replace(scene, frames=(frame,))
    with pytest.raises(ConfigError, match=r"--clusters is 6 and .* has 5 valid pixels"):
        plan(tiny, RunConfig.make(settings=[("cluster.clusters", 6)]))
    assert plan(tiny, RunConfig.make(settings=[("cluster.clusters", 5)])).valid_pixels == 5


def test_a_scene_without_data_is_refused(scene: Scene) -> None:
    frames = tuple(replace(frame, valid_pixels=0) for frame in scene.frames)
    with pytest.raises(SceneError, match="has none"):
        plan(replace(scene, frames=frames), RunConfig())


# --- fingerprints --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "first"),
    [
        (("cluster.clusters", 4), "codebooks"),
        (("codebooks.multiples", [1, 2]), "codebooks"),
        (("codebooks.starts", 2), "codebooks"),
        (("views.z_components", 5), "statistics"),
        (("reservoir.pixels", 500), "statistics"),
        (("statistics.by", "frame"), "statistics"),
        (("seed", 1), "statistics"),
    ],
    ids=lambda value: value if isinstance(value, str) else value[0],
)
def test_a_setting_changes_the_first_stage_that_uses_it_and_all_after(
    scene: Scene, setting: tuple[str, Any], first: str
) -> None:
    before = list(fingerprints(scene, config_with()))
    after = list(fingerprints(scene, config_with(setting)))
    changed = [name for name, a, b in zip(NAMES, before, after, strict=True) if a != b]
    assert changed == NAMES[NAMES.index(first) :]


def test_another_scene_changes_every_fingerprint(scene: Scene) -> None:
    before = set(fingerprints(scene, config_with()))
    after = set(fingerprints(replace(scene, identity="other"), config_with()))
    assert len(before) == len(NAMES)
    assert not before & after


def test_a_scene_that_moved_keeps_its_fingerprints(scene: Scene) -> None:
    moved = replace(scene, uri="elsewhere.zarr")
    assert list(fingerprints(moved, config_with())) == list(fingerprints(scene, config_with()))


# --- directories ---------------------------------------------------------------------------


def test_the_default_directory_lies_beside_the_scene_and_is_stable(scene: Scene) -> None:
    directory = default_directory(scene, config_with())
    assert directory == default_directory(scene, config_with())
    assert directory.parent == Path(scene.uri).with_name("scene.runs")
    assert directory.name.startswith("consensus-k3-")
    assert len(directory.name.rsplit("-", 1)[1]) == MARKS_IN_DIRECTORY
    assert "auto" in default_directory(scene, RunConfig()).name


def test_another_request_has_another_default_directory(scene: Scene) -> None:
    requests = [
        (scene, config_with()),
        (scene, config_with(("seed", 1))),
        (scene, config_with(("cluster.starts", 3))),
        (scene, RunConfig()),
        (replace(scene, identity="other"), config_with()),
    ]
    assert len({default_directory(*request) for request in requests}) == len(requests)


# --- a finished run ------------------------------------------------------------------------


def test_a_finished_run_is_not_done_again(scene: Scene, finished: RunDirectory) -> None:
    heard: list[Event] = []
    labels = {path: path.stat().st_mtime_ns for path in finished.path.glob("*.npz")}
    config = finished.config()
    run(scene, config, finished.path, execution=Execution(tile_px=64), notify=heard.append)
    assert [event.stage for event in heard if isinstance(event, StageFinished)] == NAMES
    assert all(event.skipped for event in heard if isinstance(event, StageFinished))
    assert labels == {path: path.stat().st_mtime_ns for path in finished.path.glob("*.npz")}


def test_the_status_of_a_finished_run(finished: RunDirectory) -> None:
    found = {stage.stage: stage for stage in status(finished.path)}
    assert list(found) == NAMES
    assert all(stage.done and stage.peak_bytes > 0 for stage in found.values())
    assert found["count"].finished_tiles == 2 * 3 + 2 * 2


def test_a_folder_without_run_has_no_status(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="run directory is needed"):
        status(tmp_path)


def test_a_run_logs_one_json_object_per_event(finished: RunDirectory) -> None:
    lines = [json.loads(line) for line in finished.log_path.read_text().splitlines()]
    assert {"StageStarted", "StageFinished"} <= {line["event"] for line in lines}
    assert all("time" in line for line in lines)
