"""What a run has learnt gives the frames that it was learnt from the labels that they have."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hsistream.events import Event, Progress, StageStarted
from hsistream.execution import Execution
from hsistream.pipeline import run, status
from hsistream.planning import plan
from hsistream.prediction import predict, request
from hsistream.runs import RunDirectory
from hsistream.runtime.cluster import connect
from hsistream.scene.ingest import ingest
from hsistream.scene.scene import Scene
from hsistream.scene.synthetic import SyntheticFrame
from hsistream.stages.labelling import cluster_pixels
from tests.laws.requests import TinyRun, tiny
from tests.laws.results import agreement, differing, layer, pixel_bytes
from tests.strategies import array_source, whole

EXECUTION = Execution(tile_px=32, threads=2)

GROUPS = {"frame0": "b", "frame1": "a"}

SECTIONS: dict[str, tuple[tuple[str, Any], ...]] = {
    "scene": (),
    "frame": (("statistics.by", "frame"),),
    "group": (("statistics.by", "group"), ("statistics.groups", GROUPS)),
    "unit": (("views.spectral", ["z", "l2"]), ("statistics.by", "frame")),
    "light": (("statistics.illumination", "snv+brightness"), ("statistics.by", "frame")),
}


class KilledError(Exception):
    """Stands for the end of the process."""


@pytest.fixture
def alone(scene: Scene, tmp_path: Path, small_storage: tuple[int, int]) -> list[Scene]:
    """The frames of the scene, each ingested as a scene of its own."""
    shapes = [frame.shape for frame in scene.frames]
    frames = [SyntheticFrame(n, shape, bands=12, classes=3) for n, shape in enumerate(shapes)]
    return [ingest([frame], tmp_path / f"{frame.header.name}.zarr") for frame in frames]


@pytest.fixture(scope="module")
def learnt_by(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> TinyRun:
    """Give the finished run of kmeans with other statistics, made once."""
    folder = tmp_path_factory.mktemp("learnt-by")

    def of(statistics: str) -> RunDirectory:
        target = RunDirectory(folder / statistics)
        if not target.exists:
            config = tiny("kmeans", *SECTIONS[statistics])
            run(scene, config, target.path, execution=EXECUTION)
        return target

    return of


def groups_of(learnt: RunDirectory, scene: Scene) -> dict[str, str]:
    known = learnt.config().statistics.groups
    return {frame.name: known[frame.name] for frame in scene.frames if known}


# The way back


@pytest.mark.parametrize(
    "method", ["consensus", "kmeans", "dgc", "dgc-paper", "umae", "spectraldiff"]
)
def test_the_scene_of_a_run_gets_its_labels(
    tiny_run: TinyRun, scene: Scene, tmp_path: Path, method: str
) -> None:
    found = predict(scene, tiny_run(method).path, tmp_path / "new", execution=EXECUTION)
    assert pixel_bytes(found, scene) == pixel_bytes(tiny_run(method), scene)
    assert all(stage.done for stage in status(found.path))


@pytest.mark.parametrize("settings", [(), (("cluster.head", "diffusion"),)])
@pytest.mark.parametrize("assignment", ["ward", "kmeans"])
def test_a_walk_leads_back(
    scene: Scene, tmp_path: Path, settings: tuple[tuple[str, Any], ...], assignment: str
) -> None:
    """By the equation that its eigenvectors fulfil: superpixels and nodes are the same again."""
    config = tiny("s2dl", *settings, ("graph.neighbours", 8), ("graph.assignment", assignment))
    learnt = run(scene, config, tmp_path / "learnt", execution=EXECUTION)
    found = predict(scene, learnt.path, tmp_path / "new", execution=EXECUTION)
    for layer_name in ("superpixels", "labels"):
        for frame in scene.frames:
            before, after = (
                each.open(layer_name, frame.name).to_numpy() for each in (learnt, found)
            )
            assert (before == after).mean() >= (1 if layer_name == "superpixels" else 0.995)


@pytest.mark.parametrize("head", ["joint", "diffusion"])
def test_a_frame_alone_is_cut_and_labelled_as_among_others(
    scene: Scene, alone: list[Scene], tmp_path: Path, head: str
) -> None:
    """With more clusters than there are materials, so that a frame may lack some."""
    config = tiny("s2dl", ("cluster.head", head), ("graph.neighbours", 8), clusters=9)
    learnt = run(scene, config, tmp_path / "learnt", execution=EXECUTION)
    clusters = len(cluster_pixels(learnt))
    for one in alone:
        name = one.frames[0].name
        found = predict(one, learnt.path, tmp_path / name, execution=EXECUTION)
        before, after = (each.open("labels", name).to_numpy() for each in (learnt, found))
        assert (before == after).mean() >= 0.995
        assert len(cluster_pixels(found)) == clusters


@pytest.mark.parametrize("method", ["consensus", "dgc", "consensus-dgc"])
def test_a_frame_alone_gets_the_labels_that_it_has_among_others(
    tiny_run: TinyRun, scene: Scene, alone: list[Scene], tmp_path: Path, method: str
) -> None:
    expected = pixel_bytes(tiny_run(method), scene)
    for number, one in enumerate(alone):
        target = tmp_path / f"new-{number}"
        found = predict(one, tiny_run(method).path, target, execution=EXECUTION)
        assert pixel_bytes(found, one) == expected[number::2]


@pytest.mark.parametrize("by", list(SECTIONS))
def test_all_statistics_lead_back(
    learnt_by: TinyRun, scene: Scene, tmp_path: Path, by: str
) -> None:
    learnt = learnt_by(by)
    groups = groups_of(learnt, scene)
    found = predict(scene, learnt.path, tmp_path / "new", groups=groups, execution=EXECUTION)
    assert pixel_bytes(found, scene) == pixel_bytes(learnt, scene)


@pytest.mark.parametrize("by", ["frame", "group"])
def test_a_frame_alone_is_standardised_as_it_was(
    learnt_by: TinyRun, scene: Scene, alone: list[Scene], tmp_path: Path, by: str
) -> None:
    learnt = learnt_by(by)
    expected = layer(learnt, scene)
    for number, one in enumerate(alone):
        found = predict(one, learnt.path, tmp_path / str(number), groups=groups_of(learnt, one))
        np.testing.assert_array_equal(layer(found, one)[0], expected[number])


def test_statistics_by_frame_of_a_network_lead_back(scene: Scene, tmp_path: Path) -> None:
    learnt = run(scene, tiny("dgc", ("statistics.by", "frame")), tmp_path / "run")
    found = predict(scene, learnt.path, tmp_path / "new")
    assert pixel_bytes(found, scene) == pixel_bytes(learnt, scene)


@pytest.mark.parametrize("gain", [0.5, 4.0])
@pytest.mark.parametrize("method", ["consensus", "dgc"])
def test_statistics_by_frame_undo_the_exposure_of_a_new_frame(
    tmp_path: Path, method: str, gain: float
) -> None:
    frame = SyntheticFrame(4, (40, 60), bands=12, classes=3)
    cube = frame.read(whole(frame.shape)).astype(np.float32)
    scene, new = (
        ingest([array_source(factor * cube)], tmp_path / f"{factor}.zarr") for factor in (1, gain)
    )
    learnt = run(scene, tiny(method, ("statistics.by", "frame")), tmp_path / "run")
    found = predict(new, learnt.path, tmp_path / "new")
    assert pixel_bytes(found, new) == pixel_bytes(learnt, scene)


# Whatever the run and its scene have become


def test_neither_the_scene_nor_the_directory_must_be_where_it_was(
    tiny_run: TinyRun, alone: list[Scene], tmp_path: Path
) -> None:
    copied = Path(shutil.copytree(tiny_run("kmeans").path, tmp_path / "copied"))
    for name in ("codes.zarr", "views.npz", "counts.npz", "reservoir.npz", "labels.zarr"):
        path = copied / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    text = (copied / "manifest.json").read_text()
    (copied / "manifest.json").write_text(text.replace("scene.zarr", "gone.zarr"))
    first = predict(alone[1], tiny_run("kmeans").path, tmp_path / "first", execution=EXECUTION)
    second = predict(alone[1], copied, tmp_path / "second", execution=EXECUTION)
    assert differing(first, second) == ["run.toml"]


def test_a_prediction_goes_on_where_its_run_was_moved(
    tiny_run: TinyRun, alone: list[Scene], tmp_path: Path
) -> None:
    first, second = (
        Path(shutil.copytree(tiny_run("kmeans").path, tmp_path / name)) for name in ("a", "b")
    )
    whole = predict(alone[0], first, tmp_path / "whole", execution=EXECUTION)
    target = tmp_path / "new"
    with pytest.raises(KilledError):
        predict(alone[0], first, target, execution=EXECUTION, notify=_killer("label", 2))
    shutil.rmtree(first)
    found = predict(alone[0], second, target, execution=EXECUTION)
    assert differing(found, whole) == ["run.toml"]
    assert found.config().learnt == request(alone[0], second, {}).learnt


def test_what_was_adopted_needs_its_run_no_more(
    tiny_run: TinyRun, scene: Scene, tmp_path: Path
) -> None:
    learnt = Path(shutil.copytree(tiny_run("dgc").path, tmp_path / "learnt"))
    target = tmp_path / "new"
    with pytest.raises(KilledError):
        predict(scene, learnt, target, execution=EXECUTION, notify=_killer("encode", 3))
    shutil.rmtree(learnt)
    found = run(scene, RunDirectory(target).config(), target, execution=EXECUTION)
    assert pixel_bytes(found, scene) == pixel_bytes(tiny_run("dgc"), scene)


# Killed, and repeated


def _killer(stage: str, done: int) -> Callable[[Event], None]:
    def listen(event: Event) -> None:
        begun = isinstance(event, StageStarted) and event.stage == stage and not done
        if begun or (isinstance(event, Progress) and (event.stage, event.done) == (stage, done)):
            raise KilledError

    return listen


@pytest.fixture(scope="module")
def uninterrupted(
    tiny_run: TinyRun, scene: Scene, tmp_path_factory: pytest.TempPathFactory
) -> TinyRun:
    folder = tmp_path_factory.mktemp("uninterrupted")

    def of(method: str) -> RunDirectory:
        target = RunDirectory(folder / method)
        if not target.exists:
            predict(scene, tiny_run(method).path, target.path, execution=EXECUTION)
        return target

    return of


@pytest.mark.parametrize(
    ("method", "stage", "done"),
    [
        ("consensus", "adopt", 0),
        ("consensus", "statistics", 3),
        ("consensus", "label", 1),
        ("consensus", "label", 10),
        ("consensus", "sample", 0),
        ("consensus", "report", 0),
        ("dgc", "encode", 4),
        ("dgc", "assign", 4),
        ("dgc", "label", 4),
    ],
)
def test_a_prediction_killed_in_any_stage_ends_the_same(
    tiny_run: TinyRun,
    uninterrupted: TinyRun,
    scene: Scene,
    tmp_path: Path,
    method: str,
    stage: str,
    done: int,
) -> None:
    learnt = tiny_run(method).path
    with pytest.raises(KilledError):
        predict(scene, learnt, tmp_path, execution=EXECUTION, notify=_killer(stage, done))
    assert {each.stage: each.done for each in status(tmp_path)}[stage] is False
    ended = predict(scene, learnt, tmp_path, execution=EXECUTION)
    assert differing(ended, uninterrupted(method)) == []


def test_finished_tiles_of_a_prediction_are_not_repeated(
    tiny_run: TinyRun, scene: Scene, tmp_path: Path
) -> None:
    learnt, heard = tiny_run("consensus").path, list[Event]()
    with pytest.raises(KilledError):
        predict(scene, learnt, tmp_path, execution=EXECUTION, notify=_killer("label", 6))
    predict(scene, learnt, tmp_path, execution=EXECUTION, notify=heard.append)
    resumed = {event.stage: event.resumed for event in heard if isinstance(event, StageStarted)}
    assert resumed == {"label": 6, "sample": 0, "report": 0}


# However it is run


@pytest.mark.parametrize("method", ["consensus", pytest.param("dgc", marks=pytest.mark.slow)])
def test_worker_processes_do_not_change_a_byte_of_a_prediction(
    tiny_run: TinyRun, uninterrupted: TinyRun, scene: Scene, tmp_path: Path, method: str
) -> None:
    execution = Execution(tile_px=32, scheduler="local:2")
    with connect(execution.scheduler) as client:
        found = predict(scene, tiny_run(method).path, tmp_path, execution=execution, client=client)
    assert differing(found, uninterrupted(method)) == []


@pytest.mark.parametrize("method", ["consensus", "dgc"])
def test_another_tile_flips_ties_at_most(
    tiny_run: TinyRun, uninterrupted: TinyRun, scene: Scene, tmp_path: Path, method: str
) -> None:
    learnt = tiny_run(method).path
    found = predict(scene, learnt, tmp_path, execution=Execution(tile_px=24))
    assert agreement(found, uninterrupted(method), scene) >= 0.9995


@pytest.mark.parametrize("method", ["consensus", "dgc", "umae"])
def test_a_prediction_takes_less_memory_than_was_planned(
    tiny_run: TinyRun, scene: Scene, tmp_path: Path, method: str
) -> None:
    asked = request(scene, tiny_run(method).path, {})
    promised = plan(scene, asked, EXECUTION).peak_bytes
    found = predict(scene, tiny_run(method).path, tmp_path, execution=EXECUTION)
    for name, record in found.manifest().stages.items():
        assert record.peak_bytes < promised, name
