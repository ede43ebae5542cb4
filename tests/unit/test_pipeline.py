from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest

from hsistream import planning
from hsistream.config import RunConfig
from hsistream.errors import (
    ConfigError,
    IncompleteError,
    MemoryBudgetError,
    ResourceError,
    SceneError,
    StoreError,
)
from hsistream.events import Event, Progress, StageFinished, StageStarted, Warned
from hsistream.execution import Execution
from hsistream.pipeline import default_directory, fingerprints, relabel, run, status
from hsistream.planning import plan, refuse
from hsistream.presets import PRESETS
from hsistream.runs import RunDirectory
from hsistream.scene.scene import Scene
from hsistream.sections import LearntSection
from hsistream.stages.table import stream
from hsistream.stores.tables import read_table, write_table
from tests.laws.requests import tiny

STAGES = stream(RunConfig())
NAMES = [stage.name for stage in STAGES]
MARKS_IN_DIRECTORY = 6


def config_with(*settings: tuple[str, Any]) -> RunConfig:
    return RunConfig.make(settings=[("cluster.clusters", 3), *settings])


# --- who does the work ---------------------------------------------------------------------


def test_a_scheduler_without_a_client_is_refused(scene: Scene, tmp_path: Path) -> None:
    execution = Execution(scheduler="local:2")
    with pytest.raises(ConfigError, match=r'with hsistream\.connect\("local:2"\) as client'):
        run(scene, config_with(), tmp_path / "run", execution=execution)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("client", [SimpleNamespace(), Mock(asynchronous=True)])
def test_what_cannot_be_asked_for_results_is_no_client(
    client: Any, scene: Scene, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"distributed\.Client that is not asynchronous"):
        run(scene, config_with(), tmp_path / "run", client=client)


def test_a_scene_that_was_replaced_since_it_was_opened_is_refused(
    scene: Scene, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="was replaced since it was opened"):
        run(replace(scene, identity="0" * 32), config_with(), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("scheduler", ["none", "tcp://10.0.0.1:8786"])
def test_a_run_is_planned_for_the_workers_of_its_client(
    scheduler: str, scene: Scene, tmp_path: Path
) -> None:
    client = Mock()
    client.scheduler.address = "tcp://10.0.0.1:8786"
    client.nthreads.return_value = {"a": 1, "b": 2}
    execution = Execution(tile_px=32, memory_bytes=2**20, scheduler=scheduler)
    with pytest.raises(MemoryBudgetError, match="with 3 workers"):
        run(scene, config_with(), tmp_path / "run", execution=execution, client=client)


def test_a_run_at_a_remote_address_is_refused_and_nothing_is_made(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="s3://bucket/run is a remote address"):
        run(scene, config_with(), "s3://bucket/run")
    with pytest.raises(ConfigError, match="s3://bucket/run is a remote address"):
        plan(scene, config_with(), directory="s3://bucket/run")
    assert list(tmp_path.iterdir()) == []


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
    assert terms


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


def test_what_a_notebook_holds_is_not_counted_for_its_workers(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    def reserved(held: int) -> int:
        monkeypatch.setattr(planning, "own_bytes", lambda: held)
        return plan(scene, config_with(), Execution(scheduler="local:4")).reserved_bytes

    small, large = planning.FRESH_BYTES, planning.FRESH_BYTES + 2**30
    assert reserved(large) - reserved(small) == 2**30
    assert reserved(small) - reserved(small - 2**20) == 5 * 2**20


@pytest.fixture
def wide(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> Scene:
    """A scene whose tiles need far more than libraries do, and of these always as much."""
    monkeypatch.setattr(planning, "own_bytes", lambda: 100 * 2**20)
    frame = replace(scene.frames[0], shape=(8000, 8000), valid_pixels=8000**2)
    return replace(scene, frames=(frame,), bands=50, chunk_px=128, shard_px=512)


def peaks(scene: Scene, workers: int = 1) -> dict[int, int]:
    """Promised peak bytes of every tile size that is tried."""
    execution = Execution(threads=workers, memory_bytes=2**50)
    return {
        tile_px: plan(scene, config_with(), replace(execution, tile_px=tile_px)).peak_bytes
        for tile_px in (2048, *planning.TILES_PX)
    }


@pytest.mark.parametrize("fitting_px", [1024, 512])
def test_the_largest_tile_that_fits_is_named(wide: Scene, fitting_px: int) -> None:
    known = peaks(wide)
    execution = Execution(tile_px=2048, threads=2, memory_bytes=known[fitting_px])
    found = plan(wide, config_with(), execution)
    largest_px = max(tile_px for tile_px, peak in known.items() if peak <= known[fitting_px])
    assert found.instead is not None
    assert (found.instead.tile_px, found.instead.workers) == (largest_px, 1)
    advised = rf"The largest tile that fits is that of --tile {largest_px} and 1 worker\."
    with pytest.raises(MemoryBudgetError, match=advised):
        refuse(found, execution)
    helped = plan(wide, config_with(), replace(execution, tile_px=largest_px))
    assert helped.peak_bytes <= helped.limit_bytes
    assert helped.instead is None


@pytest.mark.parametrize("scheduler", ["none", "local:3"])
def test_the_least_memory_is_named_where_no_tile_fits(wide: Scene, scheduler: str) -> None:
    execution = Execution(tile_px=2048, threads=4, memory_bytes=2**20, scheduler=scheduler)
    found = plan(wide, config_with(), execution)
    least = found.instead
    assert least is not None
    assert least.workers == (1 if scheduler == "none" else 3)
    how = rf"--tile {least.tile_px} and {least.workers} worker"
    with pytest.raises(MemoryBudgetError, match=how):
        refuse(found, execution)
    if scheduler == "none":
        assert least.peak_bytes == min(peaks(wide).values())
    asked = replace(execution, tile_px=least.tile_px, threads=least.workers)
    enough = plan(wide, config_with(), replace(asked, memory_bytes=least.peak_bytes))
    assert enough.instead is None
    less = plan(wide, config_with(), replace(asked, memory_bytes=least.peak_bytes - 1))
    assert less.instead is not None


@pytest.mark.parametrize(
    ("method", "settings", "setting"),
    [
        ("s2dl", [("segment.tile_px", 4096)], "segment.tile_px"),
        ("dgc", [("training.pairs", 32)], "training.pairs"),
        ("umae", [("encoder.batch", 2048)], "encoder.batch"),
        ("consensus", [("reservoir.pixels", 2_000_000)], "reservoir.pixels"),
        ("s2dl-paper", [("segment.superpixels", 10**6)], "segment.superpixels"),
    ],
)
def test_where_no_tile_helps_the_setting_is_named_that_does(
    wide: Scene, method: str, settings: list[tuple[str, Any]], setting: str
) -> None:
    config = request_of(method, *settings)
    execution = Execution(threads=1)
    limit = plan(wide, config, execution).reserved_bytes + 50 * 2**20
    execution = replace(execution, memory_bytes=limit)
    with pytest.raises(MemoryBudgetError, match=rf"A smaller {setting} \(--set\) lowers"):
        refuse(plan(wide, config, execution), execution)


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


def request_of(method: str, *settings: tuple[str, Any]) -> RunConfig:
    return RunConfig.make(method, settings=[("cluster.clusters", 3), *settings])


@pytest.mark.parametrize("method", sorted(PRESETS))
@pytest.mark.parametrize("tile_px", [8, 512])
def test_every_preset_is_planned_with_positive_named_terms(
    scene: Scene, method: str, tile_px: int
) -> None:
    config = request_of(method)
    for stage in stream(config):
        needs = stage.estimate(scene, config, tile_px)
        terms = {**needs.task, **needs.driver}
        assert all(amount > 0 for amount in terms.values()), stage.name
        assert all(isinstance(amount, int) for amount in terms.values()), stage.name
        assert needs.disk_bytes >= 0
    found = plan(scene, config, Execution(tile_px=tile_px, memory_bytes=2**40))
    assert [stage.stage for stage in found.stages] == [stage.name for stage in stream(config)]
    assert found.peak_bytes > found.reserved_bytes
    json.dumps(found.to_json())


@pytest.mark.parametrize("method", ["dgc", "dgc-paper", "consensus-dgc", "umae"])
def test_a_network_needs_no_more_memory_for_more_pixels(scene: Scene, method: str) -> None:
    execution = Execution(tile_px=256, threads=2, memory_bytes=2**40)
    peaks = []
    for side in (2_000, 40_000):
        frame = replace(scene.frames[0], shape=(side, side), valid_pixels=side**2)
        large = replace(scene, frames=(frame,), bands=150, chunk_px=128, shard_px=512)
        found = plan(large, request_of(method), execution)
        peaks.append([each.peak_bytes - found.reserved_bytes for each in found.stages])
    for stage, small, large_bytes in zip(found.stages, *peaks, strict=True):
        if stage.stage != "report":  # its pictures grow up to their limit
            assert small == large_bytes, stage.stage


@pytest.mark.parametrize("method", ["dgc", "dgc-paper", "consensus-dgc", "umae"])
def test_a_run_with_a_network_takes_less_memory_than_was_planned(
    scene: Scene, tmp_path: Path, method: str
) -> None:
    config = request_of(method, ("training.steps", 1), ("training.pairs", 1))
    execution = Execution(tile_px=32, threads=2)
    promised = plan(scene, config, execution).peak_bytes
    done = run(scene, config, tmp_path / "run", execution=execution)
    for name, record in done.manifest().stages.items():
        assert record.peak_bytes < promised, name


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


@pytest.mark.parametrize(
    ("setting", "first"),
    [
        (("seed", 1), "statistics"),
        (("reservoir.pixels", 500), "statistics"),
        (("encoder.hidden", 8), "train"),
        (("encoder.prototypes", 17), "train"),
        (("training.steps", 7), "train"),
        (("cluster.merge", "ward"), "cluster"),
        (("cluster.most", 5), "cluster"),
    ],
    ids=lambda value: value if isinstance(value, str) else value[0],
)
def test_a_setting_of_a_network_changes_the_first_stage_that_uses_it_and_all_after(
    scene: Scene, setting: tuple[str, Any], first: str
) -> None:
    names = [stage.name for stage in stream(request_of("dgc"))]
    before = list(fingerprints(scene, request_of("dgc")))
    after = list(fingerprints(scene, request_of("dgc", setting)))
    changed = [name for name, a, b in zip(names, before, after, strict=True) if a != b]
    assert changed == names[names.index(first) :]


def test_another_number_of_clusters_leaves_the_network_as_it_is(scene: Scene) -> None:
    config = request_of("dgc")
    before, after = (list(fingerprints(scene, each)) for each in (config, config.with_clusters(5)))
    names = [stage.name for stage in stream(config)]
    changed = [name for name, a, b in zip(names, before, after, strict=True) if a != b]
    assert changed == ["cluster", "label", "report"]


def test_latents_are_viewed_after_they_are_made(scene: Scene) -> None:
    names = [stage.name for stage in stream(request_of("consensus-dgc"))]
    assert names.index("encode") < names.index("views")
    one, other = (
        list(fingerprints(scene, request_of("consensus-dgc", ("encoder.hidden", hidden))))
        for hidden in (8, 12)
    )
    changed = [name for name, a, b in zip(names, one, other, strict=True) if a != b]
    assert changed == names[names.index("train") :]


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


# --- labels by what another run has learnt ---------------------------------------------------


def by_learnt(config: RunConfig, run: str = "map", mark: str = "a") -> RunConfig:
    return config.model_copy(update={"learnt": LearntSection(run=run, fingerprint=mark)})


def test_all_stages_of_a_prediction_depend_on_what_was_learnt_and_not_on_where(
    scene: Scene,
) -> None:
    for config in map(request_of, ("consensus", "dgc", "umae", "s2dl", "ds2dl")):
        asked = by_learnt(config)
        marks = list(fingerprints(scene, asked))
        assert len(set(marks)) == len(stream(asked))
        assert list(fingerprints(scene, by_learnt(config, run="moved"))) == marks
        assert not set(marks) & set(fingerprints(scene, by_learnt(config, mark="b")))
        assert not set(marks) & set(fingerprints(scene, config))


@pytest.mark.parametrize("method", ["s2dl-paper", "ds2dl-paper"])
def test_walks_without_jumps_hand_nothing_on(method: str) -> None:
    with pytest.raises(ConfigError, match=f"method {method} are 0, 0 and modes"):
        stream(by_learnt(request_of(method)))


@pytest.mark.parametrize(
    "method", ["consensus", "dgc", "consensus-dgc", "umae", "kmeans", "s2dl", "ds2dl"]
)
def test_every_prediction_is_planned_with_positive_named_terms(scene: Scene, method: str) -> None:
    config = by_learnt(request_of(method))
    for stage in stream(config):
        needs = stage.estimate(scene, config, 32)
        assert all(amount > 0 for amount in {**needs.task, **needs.driver}.values()), stage.name
        assert stage.writes
    found = plan(scene, config, Execution(tile_px=32, memory_bytes=2**40))
    assert [each.stage for each in found.stages] == [each.name for each in stream(config)]


def test_fewer_pixels_than_clusters_may_be_labelled_by_a_run(scene: Scene) -> None:
    tiny = replace(scene, frames=(replace(scene.frames[0], valid_pixels=2),))
    assert plan(tiny, by_learnt(config_with())).valid_pixels == 2


def test_the_default_directory_of_a_prediction_names_its_run(scene: Scene) -> None:
    asked = by_learnt(config_with(), run="/maps/spring")
    directory = default_directory(scene, asked)
    assert directory.name.startswith("consensus-k3-by-spring-")
    assert directory == default_directory(scene, by_learnt(config_with(), run="/other/spring"))
    others = [
        default_directory(scene, by_learnt(config_with(), mark="b")),
        default_directory(scene, config_with()),
    ]
    assert directory not in others


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


def test_an_interrupted_training_is_begun_and_loses_no_step(scene: Scene, tmp_path: Path) -> None:
    def stop(event: Event) -> None:
        if isinstance(event, Progress) and event.stage == "train":
            raise KeyboardInterrupt

    config = tiny("dgc", ("training.steps", 3))
    with pytest.raises(KeyboardInterrupt):
        run(scene, config, tmp_path, notify=stop)
    found = {stage.stage: stage for stage in status(tmp_path)}
    assert found["train"].begun
    assert not found["train"].done
    assert not found["encode"].begun
    heard: list[Event] = []
    run(scene, config, tmp_path, notify=heard.append)
    steps = [e.done for e in heard if isinstance(e, Progress) and e.stage == "train"]
    assert steps == [2, 3]


def test_a_folder_without_run_has_no_status(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="run directory is needed"):
        status(tmp_path)


def test_a_run_logs_one_json_object_per_event(finished: RunDirectory) -> None:
    lines = [json.loads(line) for line in finished.log_path.read_text().splitlines()]
    assert {"StageStarted", "StageFinished"} <= {line["event"] for line in lines}
    assert all("time" in line for line in lines)


# --- another number of clusters ------------------------------------------------------------

LABELLING = ["cluster", "label", "report"]


@pytest.fixture
def own_run(learnt: RunDirectory, tmp_path: Path) -> RunDirectory:
    """A copy of the finished run with a network, to be changed."""
    return RunDirectory(shutil.copytree(learnt.path, tmp_path / "run"))


class StoppedError(Exception):
    """Stands for an interruption."""


def bytes_of(run: RunDirectory, *names: str) -> dict[str, bytes]:
    """All files of some entries of a run directory."""
    files = [path for name in names for path in sorted((run.path / name).rglob("*"))]
    return {str(path.relative_to(run.path)): path.read_bytes() for path in files if path.is_file()}


def warned_in(heard: list[Event]) -> list[str]:
    return [event.message for event in heard if isinstance(event, Warned)]


@pytest.mark.parametrize("clusters", [1, 2, 5, 16])
def test_prototypes_are_merged_to_any_number_and_nothing_is_trained(
    scene: Scene, own_run: RunDirectory, clusters: int
) -> None:
    heard: list[Event] = []
    kept = bytes_of(own_run, "checkpoint", "latents.zarr", "index.zarr")
    own_run.scores_path.write_text("{}")
    page = own_run.page_path.read_text()
    done = relabel(own_run.path, clusters, execution=Execution(tile_px=32), notify=heard.append)
    assert done == own_run
    finished = {each.stage: each.skipped for each in heard if isinstance(each, StageFinished)}
    assert [name for name, skipped in finished.items() if not skipped] == LABELLING
    assert bytes_of(own_run, "checkpoint", "latents.zarr", "index.zarr") == kept
    assert not own_run.scores_path.exists()
    assert own_run.page_path.read_text() != page
    assert own_run.config().cluster.clusters == clusters
    used = np.count_nonzero(read_table(own_run.table("assigned"))["usage"])
    pixels = read_table(own_run.table("labels"))["pixels"]
    assert pixels.shape == (2, min(clusters, used))
    assert pixels.sum() == scene.valid_pixels
    assert (pixels.sum(axis=0) > 0).all()
    assert bool(warned_in(heard)) == (clusters > used)
    assert all(each.done for each in status(own_run.path))


def test_there_and_back_again_are_the_same_labels(own_run: RunDirectory) -> None:
    before = bytes_of(own_run, "labels.zarr")
    execution = Execution(tile_px=32)
    relabel(own_run.path, 5, execution=execution)
    assert bytes_of(own_run, "labels.zarr") != before
    relabel(own_run.path, 3, execution=execution)
    assert bytes_of(own_run, "labels.zarr") == before


def test_relabelled_is_as_if_asked_for_at_once(
    scene: Scene, own_run: RunDirectory, tmp_path: Path
) -> None:
    relabel(own_run.path, 5, execution=Execution(tile_px=32))
    tree = own_run.config().model_dump()
    once = run(scene, RunConfig.check(tree), tmp_path / "once", execution=Execution(tile_px=32))
    assert bytes_of(once, "labels.zarr") == bytes_of(own_run, "labels.zarr")


def test_the_number_that_is_there_already_changes_nothing(own_run: RunDirectory) -> None:
    own_run.scores_path.write_text("{}")
    heard: list[Event] = []
    before = bytes_of(own_run, "labels.zarr", "report")
    relabel(own_run.path, 3, execution=Execution(tile_px=32), notify=heard.append)
    assert all(each.skipped for each in heard if isinstance(each, StageFinished))
    assert bytes_of(own_run, "labels.zarr", "report") == before
    assert own_run.scores_path.exists()


@pytest.mark.parametrize(
    ("clusters", "execution", "error"),
    [
        (17, Execution(tile_px=32), ConfigError),
        (0, Execution(tile_px=32), ConfigError),
        (-3, Execution(tile_px=32), ConfigError),
        (5, Execution(tile_px=32, memory_bytes=2**20), MemoryBudgetError),
    ],
)
def test_a_refused_number_leaves_the_run_as_it_is(
    own_run: RunDirectory, clusters: int, execution: Execution, error: type[Exception]
) -> None:
    before = bytes_of(own_run, ".")
    with pytest.raises(error):
        relabel(own_run.path, clusters, execution=execution)
    assert bytes_of(own_run, ".") == before


def test_clusters_that_are_no_merged_prototypes_cannot_be_changed(
    finished: RunDirectory, tmp_path: Path
) -> None:
    own = RunDirectory(shutil.copytree(finished.path, tmp_path / "run"))
    before = bytes_of(own, ".")
    with pytest.raises(ConfigError, match="this run is consensus"):
        relabel(own.path, 4)
    assert bytes_of(own, ".") == before
    with pytest.raises(StoreError, match="run directory is needed"):
        relabel(tmp_path / "none", 4)


@pytest.mark.parametrize("stage", LABELLING)
def test_a_change_that_was_interrupted_is_not_done_and_can_be_finished(
    own_run: RunDirectory, learnt: RunDirectory, stage: str, tmp_path: Path
) -> None:
    def listen(event: Event) -> None:
        if isinstance(event, StageStarted) and event.stage == stage:
            raise StoppedError

    execution = Execution(tile_px=32, threads=1)
    own_run.scores_path.write_text("{}")
    with pytest.raises(StoppedError):
        relabel(own_run.path, 5, execution=execution, notify=listen)
    done = {each.stage: each.done for each in status(own_run.path)}
    assert [name for name, is_done in done.items() if not is_done] == LABELLING[
        LABELLING.index(stage) :
    ]
    assert not own_run.scores_path.exists()
    relabel(own_run.path, 5, execution=execution)
    expected = RunDirectory(shutil.copytree(learnt.path, tmp_path / "other"))
    relabel(expected.path, 5, execution=execution)
    assert bytes_of(own_run, "labels.zarr") == bytes_of(expected, "labels.zarr")
    assert all(each.done for each in status(own_run.path))


def test_warnings_of_another_number_of_clusters_are_forgotten(own_run: RunDirectory) -> None:
    path = own_run.table("assigned")
    table = read_table(path)
    usage = np.where(np.arange(16) < 4, table["usage"] + 1, 0)
    write_table(path, table | {"usage": usage})
    relabel(own_run.path, 9, execution=Execution(tile_px=32))
    assert any("9 clusters" in warning for warning in own_run.manifest().warnings)
    relabel(own_run.path, 3, execution=Execution(tile_px=32))
    assert not any("9 clusters" in warning for warning in own_run.manifest().warnings)


# --- what happens to a run meanwhile -------------------------------------------------------


def during(stage: str, event: Event) -> bool:
    return isinstance(event, Progress) and event.stage == stage


def test_a_scene_that_is_replaced_meanwhile_is_found(scene: Scene, tmp_path: Path) -> None:
    own = Scene.open(shutil.copytree(scene.uri, tmp_path / "scene.zarr"))
    header = Path(own.uri) / "zarr.json"
    before = header.read_text()

    def replaced(event: Event) -> None:
        if during("count", event):
            header.write_text(before.replace(own.identity, "f" * len(own.identity)))

    execution = Execution(tile_px=32)
    with pytest.raises(ConfigError, match=r"was replaced during the stage count"):
        run(own, config_with(), tmp_path / "run", execution=execution, notify=replaced)
    stages = {stage.stage: stage for stage in status(tmp_path / "run")}
    assert stages["codebooks"].done
    assert not stages["count"].done
    assert not stages["count"].finished_tiles
    header.write_text(before)
    again = run(own, config_with(), tmp_path / "run", execution=execution)
    whole = run(scene, config_with(), tmp_path / "whole", execution=execution)
    assert bytes_of(again, "labels.zarr") == bytes_of(whole, "labels.zarr")


def test_labels_that_vanish_meanwhile_are_made_again(scene: Scene, tmp_path: Path) -> None:
    lost = tmp_path / "run" / "labels.zarr" / "frame0" / "labels" / "c" / "0" / "0"

    def emptied(event: Event) -> None:
        if during("label", event) and lost.exists():
            lost.write_bytes(b"")

    execution = Execution(tile_px=32, threads=1)
    with pytest.raises(IncompleteError, match="stage label has left files that are missing"):
        run(scene, config_with(), tmp_path / "run", execution=execution, notify=emptied)
    run(scene, config_with(), tmp_path / "run", execution=execution)
    assert all(stage.done for stage in status(tmp_path / "run"))


def test_a_stage_of_another_version_is_not_done(finished: RunDirectory, tmp_path: Path) -> None:
    own = RunDirectory(shutil.copytree(finished.path, tmp_path / "run"))
    manifest = own.manifest()
    count = replace(manifest.stages["count"], fingerprint="of another version")
    own.save(replace(manifest, stages={**manifest.stages, "count": count}))
    assert [stage.stage for stage in status(own) if not stage.done] == ["count"]


def test_an_emptied_folder_of_a_stage_is_not_done(own_run: RunDirectory) -> None:
    assert all(stage.done for stage in status(own_run))
    shutil.rmtree(own_run.checkpoint_path)
    (own_run.checkpoint_path / "checkpoints").mkdir(parents=True)
    assert [stage.stage for stage in status(own_run) if not stage.done] == ["train"]
