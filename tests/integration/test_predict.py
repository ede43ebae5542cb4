"""Frames that a run has never seen, labelled by the command line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from hsistream.config import RunConfig
from hsistream.runs import NO_LABEL, RunDirectory
from hsistream.scene.ingest import ingest
from hsistream.scene.scene import Scene
from hsistream.scene.synthetic import SyntheticFrame
from hsistream.stages.report import page_facts
from hsistream.stages.table import stream
from tests.integration.commands import QUIET, command
from tests.laws.requests import TinyRun, tiny_options
from tests.laws.results import differing, layer, pixel_bytes
from tests.strategies import array_source, whole

TILE = ("--tile", 32)
KEPT_OF_ADOPTED = {"codebooks.npz", "clusters.npz"}
WAVELENGTHS_NM = (450.0, 550.0, 650.0, 850.0)


@pytest.fixture
def new_scene(tmp_path: Path) -> Scene:
    """A frame of the same bands and materials that no run has seen."""
    return ingest([SyntheticFrame(7, (30, 40), bands=12, classes=3)], tmp_path / "new.zarr")


@pytest.fixture
def predicted(new_scene: Scene, finished: RunDirectory, tmp_path: Path) -> RunDirectory:
    """The new frame, labelled by the finished run."""
    outcome = command("predict", new_scene.uri, *_by(finished), "--out", tmp_path / "out", *QUIET)
    assert outcome.code == 0, outcome.err
    return RunDirectory(tmp_path / "out")


def _by(learnt: RunDirectory) -> tuple[object, ...]:
    return ("--run", learnt.path, *TILE)


# What it prints, and where it lies


def test_a_prediction_says_whose_labels_it_has(
    new_scene: Scene, finished: RunDirectory, tmp_path: Path
) -> None:
    asked = ("predict", new_scene.uri, *_by(finished), "--out", tmp_path / "out")
    outcome = command(*asked, "--progress", "log")
    assert outcome.code == 0
    assert f"labels are those of {finished.path}" in outcome.out
    assert "adopt: started" in outcome.err
    facts = command(*asked, *QUIET, "--json").json
    assert facts["learnt_by"] == str(finished.path)
    assert facts["scene"] == new_scene.uri
    assert facts["clusters"] == 3
    assert sum(facts["cluster_pixels"]) == new_scene.valid_pixels
    assert command("report", finished.path, "--json").json["learnt_by"] is None


def test_a_prediction_lies_beside_the_new_scene_under_a_telling_name(
    new_scene: Scene, finished: RunDirectory
) -> None:
    asked = ("predict", new_scene.uri, *_by(finished), *QUIET, "--json")
    place = Path(command(*asked).json["run"])
    assert place.parent == Path(new_scene.uri).with_name("new.runs")
    assert place.name.startswith(f"consensus-k3-by-{finished.path.name}-")
    again = command(*asked)
    assert Path(again.json["run"]) == place


def test_a_prediction_is_a_run_directory(
    predicted: RunDirectory, new_scene: Scene, finished: RunDirectory
) -> None:
    assert command("status", predicted.path).code == 0
    stages = command("status", predicted.path, "--json").json["stages"]
    names = [stage["stage"] for stage in stages]
    assert names == ["adopt", "statistics", "label", "sample", "report"]
    assert names == [stage.name for stage in stream(predicted.config())]
    kept = {path.name for path in predicted.path.iterdir()}
    assert kept > KEPT_OF_ADOPTED
    assert not {"codes.zarr", "counts.npz", "views.npz"} & kept
    labels = predicted.open("labels", "frame7").to_numpy()
    assert labels.shape == new_scene.frames[0].shape
    assert set(np.unique(labels)) <= {0, 1, 2, NO_LABEL}
    asked = predicted.config()
    assert asked.learnt is not None
    assert asked.learnt.run == str(finished.path)
    assert asked.model_copy(update={"learnt": None}) == finished.config()


def test_what_a_file_says_can_be_asked_again(predicted: RunDirectory) -> None:
    assert RunConfig.from_toml(predicted.config_path) == predicted.config()
    text = predicted.config_path.read_text()
    assert "[learnt]" in text
    asked = ("plan", predicted.manifest().scene_uri, "--config", predicted.config_path)
    assert "adopt" in command(*asked).out


def test_scores_exports_and_reports_take_a_prediction(
    predicted: RunDirectory, new_scene: Scene, tmp_path: Path
) -> None:
    frame = SyntheticFrame(7, (30, 40), bands=12, classes=3)
    np.savez(tmp_path / "truth.npz", frame7=frame.truth())
    scores = command("evaluate", predicted.path, "--truth", tmp_path / "truth.npz", "--json").json
    assert scores["ari"] > 0.8
    assert command("export", predicted.path, tmp_path / "maps").code == 0
    with rasterio.open(tmp_path / "maps" / "frame7.tif") as file:
        np.testing.assert_array_equal(file.read(1), layer(predicted, new_scene)[0])
    page = predicted.page_path.read_text()
    assert command("report", predicted.path).code == 0
    assert predicted.page_path.read_text() == page
    assert "Agreement with the truth" in page


@pytest.mark.parametrize("method", ["consensus", "dgc"])
def test_the_page_tells_whose_clusters_these_are_and_not_how_they_were_found(
    tiny_run: TinyRun, new_scene: Scene, tmp_path: Path, method: str
) -> None:
    learnt = tiny_run(method)
    asked = ("predict", new_scene.uri, *_by(learnt), "--out", tmp_path / "out", *QUIET)
    assert command(*asked).code == 0
    page = (tmp_path / "out" / "report" / "page.html").read_text()
    assert f"the clusters are those of the run <code>{learnt.path}</code>" in page
    assert "Mean spectra" in page
    for section in ("Number of clusters", "<h2>Merging", "<h2>Training", "hsistream relabel"):
        assert section not in page
    assert "Nothing was learnt" not in learnt.page_path.read_text()


def test_mean_spectra_are_those_of_the_new_frames(
    predicted: RunDirectory, new_scene: Scene
) -> None:
    found = page_facts(predicted, new_scene, (), None).clusters
    labels = layer(predicted, new_scene)[0]
    spectra = new_scene.read(0, whole(labels.shape)).astype(float)
    good = np.asarray(new_scene.good_bands)
    for cluster in found:
        own = spectra[:, labels == cluster.label]
        assert cluster.sampled == cluster.pixels == own.shape[1]
        np.testing.assert_allclose(cluster.mean[good], own.mean(axis=1)[good])


def test_a_cluster_without_pixels_keeps_its_number(
    finished: RunDirectory, scene: Scene, tmp_path: Path
) -> None:
    labels, valid = layer(finished, scene)[0], scene.valid(0, whole(scene.frames[0].shape))
    cube = scene.read(0, whole(labels.shape))
    mask = valid & (labels == 2)
    source = array_source(
        cube, "part", mask=mask, wavelengths_nm=scene.wavelengths_nm, good_bands=scene.good_bands
    )
    part = ingest([source], tmp_path / "part.zarr")
    asked = ("predict", part.uri, *_by(finished), "--out", tmp_path / "out", *QUIET, "--json")
    outcome = command(*asked)
    assert outcome.code == 0, outcome.err
    assert outcome.json["clusters"] == 3
    assert np.argmax(outcome.json["cluster_pixels"]) == 2


def test_groups_are_named_frame_by_frame(scene: Scene, new_scene: Scene, tmp_path: Path) -> None:
    learnt = RunDirectory(tmp_path / "learnt")
    groups = "--set=statistics.groups={frame0 = 'dim', frame1 = 'bright'}"
    asked = (*tiny_options("kmeans"), "--statistics", "group", groups, "--run", learnt.path)
    assert command("cluster", scene.uri, *asked, *QUIET).code == 0
    given = ("predict", new_scene.uri, *_by(learnt), *QUIET)
    sentence = command(*given).refusal(2)
    assert "(bright, dim), but frame7 of" in sentence
    assert "--group FRAME=GROUP" in sentence
    assert "frame7" in command(*given, "--group", "frame7=noon").refusal(2)
    twice = ("--group", "frame7=dim", "--group", "frame8=dim")
    assert "no frame frame8" in command(*given, *twice).refusal(2)
    maps = []
    for group in ("dim", "bright"):
        out = RunDirectory(tmp_path / group)
        assert command(*given, "--group", f"frame7={group}", "--out", out.path).code == 0
        assert out.config().statistics.groups == {"frame7": group}
        maps.append(layer(out, new_scene)[0])
    assert (maps[0] != maps[1]).any()


# A run that has been changed


def test_another_number_of_clusters_is_another_prediction(
    tiny_run: TinyRun, new_scene: Scene, tmp_path: Path
) -> None:
    learnt = RunDirectory(shutil.copytree(tiny_run("dgc").path, tmp_path / "learnt"))
    asked = ("predict", new_scene.uri, *_by(learnt), *QUIET)
    first = RunDirectory(command(*asked, "--json").json["run"])
    before = pixel_bytes(first, new_scene)
    assert command("relabel", learnt.path, "--clusters", 5, *TILE, *QUIET).code == 0
    sentence = command(*asked, "--out", first.path).refusal(2)
    assert "cluster.clusters = 3 there, 5 here" in sentence
    assert "learnt.fingerprint" in sentence
    assert "--out" in sentence
    assert pixel_bytes(first, new_scene) == before
    second = command(*asked, "--json").json
    assert (second["clusters"], second["run"] != str(first.path)) == (5, True)

    assert command("relabel", learnt.path, "--clusters", 3, *TILE, *QUIET).code == 0
    again = command(*asked, "--out", first.path, "--progress", "log")
    assert "started" not in again.err
    assert pixel_bytes(first, new_scene) == before


def test_a_prediction_cannot_be_relabelled(
    tiny_run: TinyRun, new_scene: Scene, tmp_path: Path
) -> None:
    learnt, out = tiny_run("dgc"), RunDirectory(tmp_path / "out")
    assert command("predict", new_scene.uri, *_by(learnt), "--out", out.path, *QUIET).code == 0
    before = pixel_bytes(out, new_scene)
    sentence = command("relabel", out.path, "--clusters", 5, *QUIET).refusal(2)
    assert str(learnt.path) in sentence
    assert pixel_bytes(out, new_scene) == before
    assert command("status", out.path).code == 0


# Refusals

Change = Callable[[RunDirectory], None]


def _unfinished(learnt: RunDirectory) -> None:
    _change_stages(learnt, lambda stages: stages.pop("label"))


def _older(learnt: RunDirectory) -> None:
    _change_stages(learnt, lambda stages: stages["codebooks"].update(fingerprint="other"))


def _change_stages(learnt: RunDirectory, change: Callable[[dict[str, Any]], Any]) -> None:
    facts = json.loads(learnt.manifest_path.read_text())
    change(facts["stages"])
    learnt.manifest_path.write_text(json.dumps(facts))


def _without_codebooks(learnt: RunDirectory) -> None:
    learnt.table("codebooks").unlink()


def _damaged(learnt: RunDirectory) -> None:
    path = learnt.table("statistics")
    path.write_bytes(path.read_bytes()[:-30])


def _without_configuration(learnt: RunDirectory) -> None:
    learnt.config_path.unlink()


RUNS: dict[str, tuple[Change, int, str]] = {
    "unfinished": (_unfinished, 3, "stage label of {run} is to do"),
    "of another version": (_older, 2, "whose stage codebooks differs"),
    "without codebooks": (_without_codebooks, 5, "codebooks.npz is missing. Repeat the command"),
    "damaged": (_damaged, 5, "statistics.npz fails its checksum"),
    "no run": (_without_configuration, 1, "{run} has no run.toml"),
}


@pytest.mark.parametrize(("change", "code", "named"), RUNS.values(), ids=RUNS)
def test_a_run_that_cannot_be_used_is_refused(
    own_run: RunDirectory, new_scene: Scene, tmp_path: Path, change: Change, code: int, named: str
) -> None:
    change(own_run)
    asked = ("predict", new_scene.uri, "--run", own_run.path, "--out", tmp_path / "out")
    assert named.format(run=own_run.path) in command(*asked, *QUIET).refusal(code)
    assert not (tmp_path / "out").exists()


def _facts(**changed: Any) -> dict[str, Any]:
    return {"wavelengths_nm": WAVELENGTHS_NM, "good_bands": (True, True, False, True), **changed}


def _cube(bands: int = 4, scale: float = 1.0) -> np.ndarray[Any, np.dtype[np.float32]]:
    made = np.random.default_rng(0).uniform(1000, 3000, (bands, 20, 24))
    return (scale * made).astype(np.float32)


SCENES: dict[str, tuple[np.ndarray[Any, Any], dict[str, Any], tuple[str, ...], int, str]] = {
    "fewer bands": (_cube(3), {}, (), 2, "those are 4 and {new} has 3"),
    "other wavelengths": (
        _cube(),
        _facts(wavelengths_nm=(450.0, 552.0, 640.0, 850.9)),
        (),
        2,
        "wavelengths of bands 1 (from 0) of {new} differ by more than 1 nm",
    ),
    "other bad bands": (
        _cube(),
        _facts(good_bands=(True, True, True, False)),
        (),
        2,
        "others are good: 2, 3 (from 0)",
    ),
    "other units": (_cube(scale=1e-4), _facts(), (), 2, "(float32). Ingest it in the same units"),
    "groups": (_cube(), _facts(), ("--group", "a=b"), 2, "are by scene. Leave --group out"),
    "no group": (_cube(), _facts(), ("--group", "dim"), 2, "--group needs FRAME=GROUP"),
    "memory": (_cube(), _facts(), ("--memory", "1 MiB"), 4, "--memory of at least"),
    "device": (_cube(), _facts(), ("--device", "cuda"), 2, "--device cuda is for methods with"),
    "tile": (_cube(), _facts(), ("--tile", "4"), 2, "--tile is 4"),
}


@pytest.fixture(scope="module")
def four_bands(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """A run on a scene of four bands, one of them bad."""
    folder = tmp_path_factory.mktemp("four-bands")
    scene = ingest([array_source(_cube(), **_facts())], folder / "scene.zarr")
    asked = ("--method", "kmeans", "--clusters", 2, "--run", folder / "run")
    assert command("cluster", scene.uri, *asked, *QUIET).code == 0
    return RunDirectory(folder / "run")


@pytest.mark.parametrize(("cube", "facts", "options", "code", "named"), SCENES.values(), ids=SCENES)
def test_frames_that_do_not_suit_the_run_are_refused(
    four_bands: RunDirectory,
    tmp_path: Path,
    cube: np.ndarray[Any, Any],
    facts: dict[str, Any],
    options: tuple[str, ...],
    code: int,
    named: str,
) -> None:
    new = ingest([array_source(cube, **facts)], tmp_path / "new.zarr")
    asked = ("predict", new.uri, "--run", four_bands.path, "--out", tmp_path / "out", *options)
    assert named.format(new=new.uri) in command(*asked, *QUIET).refusal(code)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "facts",
    [
        _facts(),
        _facts(wavelengths_nm=(450.5, 550.0, 999.0, 850.0)),
        {"good_bands": (True, True, False, True)},
    ],
)
def test_bands_that_count_decide_within_their_tolerance(
    four_bands: RunDirectory, tmp_path: Path, facts: dict[str, Any]
) -> None:
    new = ingest([array_source(_cube(scale=1.02), **facts)], tmp_path / "new.zarr")
    asked = ("predict", new.uri, "--run", four_bands.path, *QUIET)
    assert command(*asked).code == 0


def test_walks_without_jumps_are_refused(
    tiny_run: TinyRun, new_scene: Scene, tmp_path: Path
) -> None:
    asked = ("predict", new_scene.uri, *_by(tiny_run("s2dl-paper")), "--out", tmp_path / "out")
    sentence = command(*asked, *QUIET).refusal(2)
    assert "a run whose walk can be carried on" in sentence
    assert "s2dl-paper are 0, 0 and modes" in sentence
    assert not (tmp_path / "out").exists()


def test_a_prediction_has_learnt_nothing(
    predicted: RunDirectory, finished: RunDirectory, new_scene: Scene
) -> None:
    sentence = command("predict", new_scene.uri, *_by(predicted), *QUIET).refusal(2)
    assert f"by {finished.path}" in sentence


def test_a_prediction_has_a_directory_of_its_own(own_run: RunDirectory, new_scene: Scene) -> None:
    asked = ("predict", new_scene.uri, *_by(own_run), "--out", own_run.path)
    assert "directory of its own" in command(*asked, *QUIET).refusal(2)


@pytest.mark.parametrize("place", ["own_run", "predicted", "notes"])
def test_a_directory_of_something_else_is_left_alone(
    request: pytest.FixtureRequest,
    finished: RunDirectory,
    scene: Scene,
    tmp_path: Path,
    place: str,
) -> None:
    """A run that learns, a prediction of another scene, and a folder with a file."""
    if place == "notes":
        (tmp_path / "notes").mkdir()
        (tmp_path / "notes" / "notes.txt").write_text("mine")
        target = RunDirectory(tmp_path / "notes")
    else:
        target = request.getfixturevalue(place)
    copied = RunDirectory(shutil.copytree(target.path, tmp_path / "copied"))
    asked = ("predict", scene.uri, *_by(finished), "--out", copied.path)
    assert str(copied.path) in command(*asked, *QUIET).refusal(2)
    (copied.path / "lock").unlink(missing_ok=True)
    (target.path / "lock").unlink(missing_ok=True)
    if place != "notes":
        assert differing(copied, target) == []
    assert (copied.path / "notes.txt").exists() == (place == "notes")


def test_frames_of_another_brightness_are_a_warning(
    scene: Scene, finished: RunDirectory, tmp_path: Path
) -> None:
    bright = SyntheticFrame(7, (30, 40), bands=12, classes=3, gain=1.7)
    new = ingest([bright], tmp_path / "new.zarr")
    asked = ("predict", new.uri, *_by(finished), "--out", tmp_path / "out", "--progress", "log")
    outcome = command(*asked)
    assert outcome.code == 0
    assert "frame7 differs in brightness by a factor of" in outcome.err
    (warning,) = RunDirectory(tmp_path / "out").manifest().warnings
    assert "--statistics frame" in warning


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ((), "those are 12 and"),
        (("--set=statistics.by=group", "--set=statistics.groups={a = 'x'}"), "x is none of them"),
    ],
    ids=["bands", "groups"],
)
def test_a_prediction_asked_of_cluster_is_checked_as_well(
    predicted: RunDirectory, scene: Scene, tmp_path: Path, settings: tuple[str, ...], named: str
) -> None:
    bands = len(scene.good_bands) if settings else 4
    facts: dict[str, Any] = {"good_bands": scene.good_bands} if settings else {}
    new = ingest([array_source(_cube(bands), **facts)], tmp_path / "other.zarr")
    asked = ("cluster", new.uri, "--config", predicted.config_path, "--run", tmp_path / "run")
    assert named in command(*asked, *settings, *QUIET).refusal(2)
