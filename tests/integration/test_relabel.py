"""Another number of clusters of the same prototypes, by the command line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hsistream import pipeline
from hsistream.events import Event, Progress, StageStarted
from hsistream.execution import Execution
from hsistream.runs import NO_LABEL, RunDirectory
from hsistream.scene.ingest import ingest
from hsistream.scene.scene import Scene
from hsistream.scene.synthetic import synthetic_frames
from hsistream.stores.tables import read_table
from tests.integration.commands import QUIET, command
from tests.laws.requests import TinyRun, tiny, tiny_options
from tests.laws.results import differing, layer, pixel_bytes

TILE = ("--tile", 32)
EXECUTION = Execution(tile_px=32, threads=2)
KEPT = ("statistics", "train", "encode", "assign")
"""Stages that another number of clusters does not concern."""


class StoppedError(Exception):
    """Stands for an interruption."""


@pytest.fixture
def own(tiny_run: TinyRun, tmp_path: Path) -> RunDirectory:
    """A copy of a finished run of dgc with three clusters, which a test may change."""
    return RunDirectory(shutil.copytree(tiny_run("dgc").path, tmp_path / "own"))


def found_labels(target: RunDirectory, scene: Scene) -> set[int]:
    return {int(label) for each in layer(target, scene) for label in np.unique(each)} - {NO_LABEL}


def test_there_and_back_again_gives_the_original_bytes(
    own: RunDirectory, tiny_run: TinyRun, scene: Scene
) -> None:
    other = command("relabel", own.path, "--clusters", 5, *TILE, "--progress", "log")
    assert other.code == 0, other.err
    assert [f"{stage}: done before" in other.err for stage in KEPT] == [True] * 4
    assert [f"{stage}: started" in other.err for stage in ("cluster", "label", "report")] == (
        [True] * 3
    )
    assert found_labels(own, scene) == set(range(5))
    assert {"labels.zarr/zarr.json", "run.toml"} & set(differing(own, tiny_run("dgc")))

    assert command("relabel", own.path, "--clusters", 3, *TILE, *QUIET).code == 0
    assert differing(own, tiny_run("dgc")) == []
    assert own.config() == tiny("dgc")


def test_the_tile_size_changes_no_label(own: RunDirectory, tiny_run: TinyRun, scene: Scene) -> None:
    for clusters in (4, 3):
        assert command("relabel", own.path, "--clusters", clusters, *QUIET).code == 0
    assert pixel_bytes(own, scene) == pixel_bytes(tiny_run("dgc"), scene)


def test_a_new_run_of_the_same_prototypes_gives_the_same_bytes(
    own: RunDirectory, scene: Scene, tmp_path: Path
) -> None:
    same = own.config().encoder
    assert same is not None
    settings = (("encoder.prototypes", same.prototypes), ("encoder.least", 3))
    asked = (*tiny_options("dgc", *settings, clusters=5), "--run", tmp_path / "new", *TILE)
    assert command("cluster", scene.uri, *asked, *QUIET).code == 0
    assert command("relabel", own.path, "--clusters", 5, *TILE, *QUIET).code == 0
    assert differing(own, RunDirectory(tmp_path / "new")) == []


@pytest.mark.parametrize("clusters", [1, 2, 7, 16])
def test_every_number_up_to_that_of_the_prototypes_is_possible(
    own: RunDirectory, scene: Scene, clusters: int
) -> None:
    outcome = command("relabel", own.path, "--clusters", clusters, *QUIET, "--json")
    assert outcome.code == 0, outcome.err
    found = found_labels(own, scene)
    assert found == set(range(len(found)))
    assert outcome.json["clusters"] == len(found)
    assert outcome.json["estimated"] is False
    used = np.count_nonzero(read_table(own.table("assigned"))["usage"])
    assert len(found) == min(clusters, used)
    mass = np.bincount(np.concatenate([each[each != NO_LABEL] for each in layer(own, scene)]))
    assert (np.diff(mass) <= 0).all()
    assert outcome.json["cluster_pixels"] == mass.tolist()


def test_all_pixels_of_a_prototype_have_one_label(own: RunDirectory, scene: Scene) -> None:
    before = [own.open("index", frame.name).to_numpy() for frame in scene.frames]
    for clusters in (8, 4):
        assert command("relabel", own.path, "--clusters", clusters, *QUIET).code == 0
        table = read_table(own.table("clusters"))["lookup"]
        for index, labels in zip(before, layer(own, scene), strict=True):
            known = labels != NO_LABEL
            np.testing.assert_array_equal(labels[known], table[index[known]])


def test_the_number_that_a_run_has_is_done_already(own: RunDirectory, tiny_run: TinyRun) -> None:
    page = own.page_path.read_bytes()
    outcome = command("relabel", own.path, "--clusters", 3, "--progress", "log")
    assert outcome.code == 0
    assert "started" not in outcome.err
    assert differing(own, tiny_run("dgc")) == []
    assert own.page_path.read_bytes() == page


def test_an_estimated_number_may_be_replaced(scene: Scene, tmp_path: Path) -> None:
    target = RunDirectory(tmp_path / "run")
    asked = (*tiny_options("dgc", clusters=None), "--run", target.path, *TILE, *QUIET)
    assert command("cluster", scene.uri, *asked, "--json").json["estimated"] is True
    outcome = command("relabel", target.path, "--clusters", 4, *QUIET, "--json")
    assert (outcome.json["clusters"], outcome.json["estimated"]) == (4, False)
    sentence = command("cluster", scene.uri, *asked).refusal(2)
    assert "cluster.clusters = 4 there, None here" in sentence


# Scores


def test_scores_are_of_the_new_labels(own: RunDirectory, scene: Scene, tmp_path: Path) -> None:
    truth = tmp_path / "truth.npz"
    for clusters in (3, 5):
        assert command("relabel", own.path, "--clusters", clusters, *QUIET).code == 0
        assert not own.scores_path.exists()
        named = zip(scene.frames, layer(own, scene), strict=True)
        np.savez(truth, **{f.name: np.where(m == NO_LABEL, 0, m + 1) for f, m in named})  # type: ignore[arg-type]
        scores = command("evaluate", own.path, "--truth", truth, "--json").json
        assert scores["ari"] == scores["oa"] == 1
        assert json.loads(own.scores_path.read_text()) == scores
    assert command("relabel", own.path, "--clusters", 3, *QUIET).code == 0
    assert command("evaluate", own.path, "--truth", truth, "--json").json["ari"] < 1


# Interruptions


def _stop_at(stage: str, done: int) -> Callable[[Event], None]:
    def listen(event: Event) -> None:
        begun = isinstance(event, StageStarted) and event.stage == stage and not done
        if begun or (isinstance(event, Progress) and (event.stage, event.done) == (stage, done)):
            raise StoppedError

    return listen


@pytest.mark.parametrize(
    ("stage", "done"), [("cluster", 0), ("label", 0), ("label", 4), ("report", 0)]
)
def test_an_interrupted_relabel_is_incomplete_until_it_is_repeated(
    own: RunDirectory, tiny_run: TinyRun, tmp_path: Path, stage: str, done: int
) -> None:
    np.savez(tmp_path / "truth.npz", frame0=np.ones((50, 70), int))
    scored = ("evaluate", own.path, "--truth", tmp_path / "truth.npz")
    assert command(*scored).code == 0
    with pytest.raises(StoppedError):
        pipeline.relabel(own.path, 5, execution=EXECUTION, notify=_stop_at(stage, done))
    stages = {
        each["stage"]: each["done"] for each in command("status", own.path, "--json").json["stages"]
    }
    assert command("status", own.path).code == 3
    assert [stages[name] for name in KEPT] == [True] * 4
    assert stages[stage] is stages["report"] is False
    assert not own.scores_path.exists(), "they were of the labels before"
    if stage != "report":
        assert "hsistream status" in command(*scored).refusal(3)
        assert "hsistream status" in command("report", own.path).refusal(3)
        assert "hsistream status" in command("export", own.path, tmp_path / "maps").refusal(3)

    outcome = command("relabel", own.path, "--clusters", 5, *TILE, *QUIET)
    assert outcome.code == 0, outcome.err
    assert command("status", own.path).code == 0
    whole = RunDirectory(shutil.copytree(tiny_run("dgc").path, tmp_path / "whole"))
    assert command("relabel", whole.path, "--clusters", 5, *TILE, *QUIET).code == 0
    assert differing(own, whole) == []


def test_an_interrupted_relabel_may_be_taken_back(own: RunDirectory, tiny_run: TinyRun) -> None:
    with pytest.raises(StoppedError):
        pipeline.relabel(own.path, 5, execution=EXECUTION, notify=_stop_at("label", 4))
    assert command("relabel", own.path, "--clusters", 3, *TILE, *QUIET).code == 0
    assert differing(own, tiny_run("dgc")) == []


def test_what_an_unfinished_run_lacks_is_done_first(
    scene: Scene, tiny_run: TinyRun, tmp_path: Path
) -> None:
    target = RunDirectory(tmp_path / "run")
    with pytest.raises(StoppedError):
        pipeline.run(
            scene, tiny("dgc"), target.path, execution=EXECUTION, notify=_stop_at("encode", 3)
        )
    assert command("relabel", target.path, "--clusters", 5, *TILE, *QUIET).code == 0
    assert command("status", target.path).code == 0
    assert command("relabel", target.path, "--clusters", 3, *TILE, *QUIET).code == 0
    assert differing(target, tiny_run("dgc")) == []


# Refusals


@pytest.mark.parametrize("method", ["consensus", "consensus-dgc", "kmeans"])
def test_clusters_that_are_no_merged_prototypes_are_refused(
    tiny_run: TinyRun, tmp_path: Path, method: str
) -> None:
    own = RunDirectory(shutil.copytree(tiny_run(method).path, tmp_path / "own"))
    sentence = command("relabel", own.path, "--clusters", 5, *QUIET).refusal(2)
    assert f"this run is {method}" in sentence
    assert "hsistream cluster" in sentence
    assert differing(own, tiny_run(method)) == []
    assert command("status", own.path).code == 0


@pytest.mark.parametrize(
    ("options", "code", "named"),
    [
        (("--clusters", 17), 2, "the run has 16 prototypes"),
        (("--clusters", 5, "--memory", "1 MiB"), 4, "--memory of at least"),
        (("--clusters", 5, "--tile", 4), 2, "--tile"),
        (("--clusters", 5, "--scheduler", "cloud"), 2, "local:N"),
    ],
    ids=str,
)
def test_what_cannot_be_done_leaves_the_run_as_it_is(
    own: RunDirectory, tiny_run: TinyRun, options: tuple[object, ...], code: int, named: str
) -> None:
    assert named in command("relabel", own.path, *options, *QUIET).refusal(code)
    assert differing(own, tiny_run("dgc")) == []
    assert command("status", own.path).code == 0


@pytest.mark.parametrize("clusters", ["0", "-1", "many", None])
def test_a_number_that_is_none_is_refused(own: RunDirectory, clusters: str | None) -> None:
    given = () if clusters is None else ("--clusters", clusters)
    outcome = command("relabel", own.path, *given)
    assert outcome.code == 2
    assert "Error: " in outcome.err


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path, scene: Scene) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    for place in (tmp_path, tmp_path / "none", Path(scene.uri)):
        assert str(place) in command("relabel", place, "--clusters", 5, *QUIET).refusal(1)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_run_in_which_another_process_works_is_refused(
    own: RunDirectory, tiny_run: TinyRun
) -> None:
    with own.locked():
        sentence = command("relabel", own.path, "--clusters", 5, *QUIET).refusal(1)
    assert "Another process is working in" in sentence
    assert differing(own, tiny_run("dgc")) == []
    assert command("status", own.path).code == 0


def test_a_run_whose_scene_is_gone_is_refused(own: RunDirectory, tiny_run: TinyRun) -> None:
    _point_to(own, own.path / "no-scene.zarr")
    assert "no-scene.zarr" in command("relabel", own.path, "--clusters", 5, *QUIET).refusal(1)
    assert differing(own, tiny_run("dgc")) == []
    assert command("status", own.path).code == 0


def test_a_run_whose_scene_is_another_is_refused(
    own: RunDirectory, tiny_run: TinyRun, tmp_path: Path
) -> None:
    ingest(synthetic_frames(1, (20, 20), bands=4), tmp_path / "other.zarr")
    _point_to(own, tmp_path / "other.zarr")
    sentence = command("relabel", own.path, "--clusters", 5, *QUIET).refusal(2)
    assert "another scene" in sentence
    assert differing(own, tiny_run("dgc")) == []
    assert command("status", own.path).code == 0


def test_a_damaged_scene_is_found_before_anything_is_changed(
    own: RunDirectory, tiny_run: TinyRun, scene: Scene, tmp_path: Path
) -> None:
    copied = Path(shutil.copytree(scene.uri, tmp_path / "copied.zarr"))
    (copied / "frame0" / "spectra" / "c" / "0" / "1" / "1").unlink()
    _point_to(own, copied)
    command("relabel", own.path, "--clusters", 5, *QUIET).refusal(5)
    assert differing(own, tiny_run("dgc")) == []
    assert command("status", own.path).code == 0


def _point_to(own: RunDirectory, scene: Path) -> None:
    """Make a run believe that its scene lies elsewhere."""
    facts = json.loads(own.manifest_path.read_text())
    own.manifest_path.write_text(json.dumps({**facts, "scene_uri": str(scene)}))
