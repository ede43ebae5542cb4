"""Maps of classes from labelled pixels, by the command line and from Python."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray

import hsistream as hs
from hsistream import pipeline
from hsistream.classification import classify, request
from hsistream.classifiers import logistic
from hsistream.classifiers.base import Lesson
from hsistream.classifiers.splits import TEST, TRAIN, Labels, least_distance_px
from hsistream.config import RunConfig
from hsistream.errors import ConfigError, DamagedError, IncompleteError
from hsistream.evaluation import evaluate, export_labels
from hsistream.events import Event, Progress, StageStarted
from hsistream.execution import Execution
from hsistream.runs import CONFIDENCE, LABELS, LATENTS, NO_LABEL, PROBABILITY, RunDirectory
from hsistream.runtime.cluster import connect
from hsistream.runtime.memory import release_memory
from hsistream.scene.scene import Scene
from hsistream.sections import ClassifySection, FeatureName
from hsistream.stages import Address, Context, divide, examine, gather, learn
from hsistream.stages.class_summary import classification_summary
from hsistream.stages.features import feature_kinds, load_features, read_features
from hsistream.stores.raster import RasterStore
from hsistream.stores.tables import read_table, write_table
from tests.conftest import FRAMES
from tests.integration.commands import QUIET, command
from tests.laws.requests import LIGHT, TINY
from tests.laws.results import differing, layer, pixel_bytes

EXECUTION = Execution(tile_px=32, threads=2)
FEW = (("classify.splits", 2), ("classify.per_class", 8))
BLOCKS = (("classify.split", "blocks"), ("classify.block_px", 12), ("classify.apart_px", 3))
SMALL = {"window_px": 3, "steps": 12, "batch": 8}

Classified = Callable[..., RunDirectory]


@pytest.fixture(scope="session")
def labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A third of the truth of the first frame; the second has no labels."""
    path = tmp_path_factory.mktemp("labels") / "labels.npz"
    truth = FRAMES[0].truth()
    known = np.random.default_rng(0).random(truth.shape) < 0.3
    np.savez(path, frame0=truth * known)
    return path


def asked(labels: Path, *settings: tuple[str, Any], method: str | None = None) -> RunConfig:
    given = [("classify.labels", str(labels)), *FEW, *settings]
    return RunConfig.make(method, settings=given)


@pytest.fixture(scope="session")
def mapped(scene: Scene, labels: Path, tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """A finished map by the defaults; never to be changed."""
    folder = tmp_path_factory.mktemp("mapped") / "run"
    return classify(scene, asked(labels), folder, execution=EXECUTION)


@pytest.fixture
def classified(scene: Scene, labels: Path, tmp_path: Path) -> Classified:
    """Make a map of the shared scene, with settings."""

    def of(
        *settings: tuple[str, Any], method: str | None = None, name: str = "run"
    ) -> RunDirectory:
        config = asked(labels, *settings, method=method)
        return classify(scene, config, tmp_path / name, execution=EXECUTION)

    return of


def truth_of(number: int) -> NDArray[np.uint8]:
    return FRAMES[number].truth()


def accuracy(run: RunDirectory, scene: Scene, number: int) -> float:
    """Share of the pixels of a frame whose label is their class."""
    truth, label = truth_of(number), layer(run, scene)[number]
    known = truth > 0
    return float((label[known] + 1 == truth[known]).mean())


# What comes out


def test_names_of_classes_are_printed_as_they_are(scene: Scene, tmp_path: Path) -> None:
    rows = [f"{x},{y},{'forest [dense]' if x < 10 else '[/b]'}" for x in range(20) for y in (3, 9)]
    (tmp_path / "labels.csv").write_text("\n".join(["x,y,class", *rows]))
    given = ("--labels", tmp_path / "labels.csv", "--frame", "frame0", "--run", tmp_path / "run")
    outcome = command("classify", scene.uri, *given, "--splits", "0", *QUIET)
    assert outcome.code == 0, outcome.err
    assert "forest [dense]" in outcome.out
    assert "[/b]" in outcome.out


def test_seeds_have_no_split_in_common(classified: Classified) -> None:
    first, second = (
        read_table(classified(("seed", seed), name=f"seed{seed}").table(divide.TABLE))["roles"]
        for seed in (0, 1)
    )
    for roles in first:
        assert (roles != second).any(axis=1).all()


def test_scores_are_read_as_the_command_line_prints_them(mapped: RunDirectory) -> None:
    found = hs.classification_scores(mapped)
    printed = command("report", mapped.path, "--json").json["scores"]
    for name in ("oa", "aa", "kappa"):
        spread = getattr(found, name)
        assert {"mean": spread.mean, "sd": spread.sd} == printed[name]
    assert found.names == ("1", "2", "3")
    assert found.confusion.shape == (2, 3, 3)
    each = [np.trace(table) / table.sum() for table in found.confusion]
    assert found.oa.mean == pytest.approx(np.mean(each))
    assert found.oa.sd == pytest.approx(np.std(each, ddof=1))
    assert "8 labels of each class" in found.split


def test_scores_that_a_run_has_not_are_refused(
    mapped: RunDirectory, finished: RunDirectory, classified: Classified, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"is one of clusters.*hsistream\.evaluate"):
        hs.classification_scores(finished)
    with pytest.raises(ConfigError, match=r"classify\.splits = 0"):
        hs.classification_scores(classified(("classify.splits", 0)))
    own = RunDirectory(shutil.copytree(mapped.path, tmp_path / "own"))
    stages = {name: each for name, each in own.manifest().stages.items() if name != "examine"}
    own.save(replace(own.manifest(), stages=stages))
    with pytest.raises(IncompleteError, match="stage examine"):
        hs.classification_scores(own)


def test_labels_are_named_by_a_path(labels: Path, mapped: RunDirectory) -> None:
    config = RunConfig.make(settings={"classify.labels": labels})
    assert config == RunConfig.make(settings={"classify.labels": str(labels)})
    assert config.classify is not None
    assert config.classify.labels == str(labels)


def test_frames_without_labels_are_mapped_too(mapped: RunDirectory, scene: Scene) -> None:
    assert accuracy(mapped, scene, 0) > 0.9
    assert accuracy(mapped, scene, 1) > 0.85
    for number, label in enumerate(layer(mapped, scene)):
        np.testing.assert_array_equal(label == NO_LABEL, truth_of(number) == 0)


def test_labels_carry_the_names_of_their_classes(mapped: RunDirectory) -> None:
    opened = mapped.open(LABELS, "frame1")
    assert opened.attrs["class_names"] == ["1", "2", "3"]
    assert opened.attrs["flag_meanings"] == "1 2 3"


def test_probabilities_are_kept_on_request(classified: Classified, scene: Scene) -> None:
    run = classified(("classify.probabilities", True), ("classify.classifier", "logistic"))
    store, (height, width) = RasterStore(run.labels_uri), scene.frames[0].shape
    window = slice(0, height), slice(0, width)
    stored = store.read("frame0", PROBABILITY, window, leading=1)
    label, best = layer(run, scene)[0], layer(run, scene, CONFIDENCE)[0]
    known = label != NO_LABEL
    np.testing.assert_array_equal(stored.max(axis=0)[known], best[known])
    chosen = np.take_along_axis(stored, np.where(known, label, 0)[None].astype(int), axis=0)[0]
    np.testing.assert_array_equal(chosen[known], best[known])
    assert np.abs(stored.astype(int).sum(axis=0)[known] - 254).max() <= 2
    opened = run.open(PROBABILITY, "frame0")
    assert opened.attrs["class_names"] == ["1", "2", "3"]
    np.testing.assert_array_equal(opened.sel({"class": "2"}), opened[1])


def test_a_map_can_be_evaluated_exported_and_shown_again(
    mapped: RunDirectory, tmp_path: Path
) -> None:
    run = RunDirectory(shutil.copytree(mapped.path, tmp_path / "run"))
    truth = {f"frame{number}": truth_of(number) for number in (0, 1)}
    assert evaluate(run.path, truth).oa > 0.85
    first, _ = export_labels(run.path, tmp_path / "tiffs")
    with rasterio.open(first) as file:
        tags = file.tags(1)
    assert [tags[f"CLASS_{label}"] for label in range(3)] == ["1", "2", "3"]
    facts = command("report", run.path, "--json").json
    assert facts["classes"] == ["1", "2", "3"]
    assert "labels given" in command("report", run.path).out
    assert "is a map of classes" in command("relabel", run.path, "--clusters", 4).refusal(2)
    assert command("status", run.path).code == 0
    assert "Classes" in run.page_path.read_text()


def test_the_page_says_what_the_scores_are_of(mapped: RunDirectory) -> None:
    page = mapped.page_path.read_text()
    assert "Only labels that were not learnt from are tested." in page
    assert "8 labels of each class, wherever they lie" in page
    assert "Confusion" in page
    assert "Clusters" not in page


# What the command says


def test_the_command_prints_scores_and_classes(scene: Scene, labels: Path, tmp_path: Path) -> None:
    options = ("--labels", labels, "--splits", 2, "--per-class", 8, "--run", tmp_path / "run")
    outcome = command("classify", scene.uri, *options, "--progress", "log")
    assert outcome.code == 0, outcome.err
    assert "over 2 splits: 8 labels of each class, wherever they lie" in outcome.out
    assert "examine: done" in outcome.err
    facts = command("classify", scene.uri, *options, *QUIET, "--json").json
    assert facts["classes"] == ["1", "2", "3"]
    assert sum(facts["cluster_pixels"]) == scene.valid_pixels
    assert facts["scores"]["oa"]["mean"] > 0.8
    config = asked(labels).classify
    assert config is not None
    most = config.most
    assert facts["learnt_pixels"] == [min(most, each) for each in facts["labelled_pixels"]]


def test_a_map_lies_beside_the_scene_whatever_file_holds_the_labels(
    scene: Scene, labels: Path, tmp_path: Path
) -> None:
    """Pixels, classes and names count; the file does not."""
    with np.load(labels) as file:
        places = [(x, y, file["frame0"][y, x]) for y, x in np.argwhere(file["frame0"])]
    lines = ["frame,x,y,class", *(f"frame0,{x},{y},{each}" for x, y, each in places)]
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    runs = {
        str(pipeline.default_directory(scene, request(scene, asked(path))))
        for path in (labels, tmp_path / "labels.csv")
    }
    assert len(runs) == 1
    assert Path(runs.pop()).name.startswith("raw-lda-")


# What may be seen, and what may not


def test_scores_are_of_tested_pixels_only(mapped: RunDirectory) -> None:
    roles = read_table(mapped.table(divide.TABLE))["roles"]
    counted = read_table(mapped.table(examine.TABLE))["confusion"].sum(axis=(1, 2))
    np.testing.assert_array_equal(counted, (roles == TEST).sum(axis=1))


@pytest.mark.parametrize("classifier", ["lda", "transformer"])
def test_labels_of_the_test_change_nothing_that_is_learnt_for_scores(
    classified: Classified, scene: Scene, labels: Path, classifier: str
) -> None:
    settings = (("classify.classifier", classifier), ("classify.transformer", SMALL))
    run = classified(*settings)
    before = {path.name: path.read_bytes() for path in run.classifiers_path.iterdir()}
    table = read_table(run.table(divide.TABLE))
    tested = (table["roles"] == TEST).all(axis=0)
    assert tested.sum() > 100
    table["number"][tested] = np.random.default_rng(1).permutation(table["number"][tested])
    write_table(run.table(divide.TABLE), table)
    forget(run, "gather", "learn", "examine", "label")
    shutil.rmtree(run.classifiers_path)
    classify(scene, asked(labels, *settings), run.path, execution=EXECUTION)
    after = {path.name: path.read_bytes() for path in run.classifiers_path.iterdir()}
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"map.safetensors"}


def test_blocks_keep_all_that_is_looked_at_apart(classified: Classified, scene: Scene) -> None:
    """Of 5 x 5 means in windows of 3 px with a stem, 9 px are looked at."""
    run = classified(
        ("classify.split", "blocks"),
        ("classify.block_px", 20),
        ("classify.classifier", "transformer"),
        ("classify.transformer", SMALL),
        method="mean5",
    )
    table = read_table(run.table(divide.TABLE))
    places = Labels(
        *(table[name].astype(np.int64) for name in ("frame", "row", "column", "number"))
    )
    assert table["apart_px"] == 9
    for roles in table["roles"]:
        assert {TRAIN, TEST} <= set(roles.tolist())
        assert least_distance_px(places, roles) >= 9


# Whatever the tiles, restarts and workers


@pytest.mark.parametrize(
    ("classifier", "method"), [("lda", "raw"), ("logistic", "mean5"), ("transformer", "pca")]
)
def test_tiles_of_any_size_give_the_same_map(
    scene: Scene, labels: Path, tmp_path: Path, classifier: str, method: str
) -> None:
    config = asked(
        labels,
        ("classify.classifier", classifier),
        ("classify.transformer", SMALL),
        method=method,
    )
    maps, scores = [], []
    for tile_px in (32, 64, 4096):
        execution = Execution(tile_px=tile_px, threads=1)
        run = classify(scene, config, tmp_path / str(tile_px), execution=execution)
        maps.append(np.concatenate([each.ravel() for each in layer(run, scene)]))
        summary = classification_summary(run)
        assert summary is not None
        scores.append(summary.confusion.tolist())
    assert scores[0] == scores[1] == scores[2]
    np.testing.assert_array_equal(maps[0], maps[1])
    np.testing.assert_array_equal(maps[0], maps[2])


class KilledError(Exception):
    """Stands for the end of the process."""


STAGES = ("divide", "gather", "learn", "examine", "label", "sample", "report")


@pytest.mark.parametrize("stage", STAGES)
def test_a_run_that_was_killed_ends_as_if_nothing_had_happened(
    scene: Scene, labels: Path, mapped: RunDirectory, tmp_path: Path, stage: str
) -> None:
    tiled = stage in ("gather", "learn", "examine", "label")

    def kill(event: Event) -> None:
        begun = isinstance(event, StageStarted) and not tiled
        if getattr(event, "stage", "") == stage and (begun or isinstance(event, Progress)):
            raise KilledError

    with pytest.raises(KilledError):
        classify(scene, asked(labels), tmp_path / "run", execution=EXECUTION, notify=kill)
    heard: list[Event] = []
    run = classify(scene, asked(labels), tmp_path / "run", execution=EXECUTION, notify=heard.append)
    assert differing(run, mapped) == []
    if tiled and stage != "learn":
        [begun] = [e for e in heard if isinstance(e, StageStarted) and e.stage == stage]
        assert begun.resumed == 1


def test_what_was_learnt_is_not_learnt_again(
    scene: Scene, labels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kill(event: Event) -> None:
        if isinstance(event, Progress) and event.stage == "learn" and event.done == 2:
            raise KilledError

    with pytest.raises(KilledError):
        classify(scene, asked(labels), tmp_path / "run", execution=EXECUTION, notify=kill)
    fits: list[Lesson] = []
    known = learn._fit

    def fit(lesson: Lesson, settings: ClassifySection, context: Context) -> learn.Judge:
        fits.append(lesson)
        return known(lesson, settings, context)

    monkeypatch.setattr(learn, "_fit", fit)
    classify(scene, asked(labels), tmp_path / "run", execution=EXECUTION)
    assert len(fits) == 1  # that of the map; two splits were done


def test_worker_processes_give_the_same(
    scene: Scene, labels: Path, mapped: RunDirectory, tmp_path: Path
) -> None:
    execution = replace(EXECUTION, scheduler="local:2", threads=None)
    with connect("local:2") as client:
        run = classify(scene, asked(labels), tmp_path / "run", execution=execution, client=client)
    assert pixel_bytes(run, scene) == pixel_bytes(mapped, scene)


def test_a_damaged_classifier_is_found(classified: Classified, scene: Scene, labels: Path) -> None:
    run = classified()
    forget(run, "label")
    (run.classifiers_path / "map.safetensors").write_bytes(b"nothing")
    release_memory()  # another process would read it
    with pytest.raises(DamagedError, match=r"map\.safetensors"):
        classify(scene, asked(labels), run.path, execution=EXECUTION)


def test_a_flipped_bit_of_a_classifier_is_found_and_it_is_learnt_again(
    classified: Classified, scene: Scene, labels: Path, mapped: RunDirectory
) -> None:
    run = classified()
    shutil.rmtree(run.labels_uri)
    path = run.classifiers_path / "map.safetensors"
    content = bytearray(path.read_bytes())
    content[-20] ^= 64
    path.write_bytes(content)
    release_memory()
    with pytest.raises(DamagedError, match=r"map\.safetensors fails its checksum.*Delete it"):
        classify(scene, asked(labels), run.path, execution=EXECUTION)
    path.unlink()
    again = classify(scene, asked(labels), run.path, execution=EXECUTION)
    assert pixel_bytes(again, scene) == pixel_bytes(mapped, scene)


def forget(run: RunDirectory, *stages: str) -> None:
    """Take stages for not done."""
    facts = json.loads(run.manifest_path.read_text())
    for stage in stages:
        del facts["stages"][stage]
    run.manifest_path.write_text(json.dumps(facts))


# Networks


@pytest.mark.parametrize("method", ["dgc", "umae"])
def test_latents_are_features(classified: Classified, scene: Scene, method: str) -> None:
    settings = [*TINY, *LIGHT.get(method, ())]
    run = classified(("classify.features", ["raw", "latents"]), *settings, method=method)
    assert accuracy(run, scene, 0) > 0.85
    assert "raw + latents" in run.page_path.read_text()


def test_of_lifted_latents_a_classifier_sees_the_components(
    classified: Classified, scene: Scene
) -> None:
    settings = (*TINY, ("encoder.components", 5))
    run = classified(("classify.features", ["latents"]), *settings, method="diffcrn")
    window = (slice(3, 20), slice(5, 12))
    features = load_features(Address(scene, run, "tested"), ("latents",))
    seen = read_features(0, window, 0, scene, features)
    latents = RasterStore(run.latents_uri).read(scene.frames[0].name, LATENTS, window, leading=1)
    assert latents.shape == (6, 17, 7)
    assert seen.shape == (5, 17, 7)
    lifted = np.concatenate([seen, np.ones_like(seen[:1])])
    lifted /= np.linalg.norm(lifted, axis=0)
    np.testing.assert_allclose(lifted, latents, atol=2e-3)


def test_every_kind_of_feature_has_one_scale(classified: Classified, scene: Scene) -> None:
    names: tuple[FeatureName, ...] = ("raw", "latents", "mean5")
    wanted = ("classify.features", list(names)), ("classify.classifier", "logistic")
    run = classified(*wanted, *TINY, method="diffcrn")
    address = Address(scene, run, "kinds")
    features = load_features(address, names)
    table, places = read_table(run.table(gather.TABLE)), read_table(run.table(divide.TABLE))
    kind = feature_kinds(features, table["squares"].shape[1])
    window = (slice(3, 20), slice(5, 12))
    seen = read_features(0, window, 0, scene, features)
    for place, name in enumerate(names):
        alone = read_features(0, window, 0, scene, load_features(address, (name,)))
        np.testing.assert_array_equal(seen[kind == place], alone)

    config = run.config()
    assert config.classify is not None
    [judge] = learn.load_judges(address, config.classify, (learn.MAP,))
    number = places["number"][table["pixel"]].astype(np.int64)
    lesson = Lesson(table["squares"], number, len(places["names"]), kind)
    lesson = lesson.at(places["final"][table["pixel"]])
    expected = logistic.fit(config.classify, lesson, 0).judge(lesson.squares)
    np.testing.assert_allclose(judge.fitted.judge(lesson.squares), expected, atol=1e-3)
    alike = logistic.fit(config.classify, replace(lesson, kind=None), 0).judge(lesson.squares)
    assert np.abs(alike - expected).max() > 0.1


# Refusals


def test_labels_without_data_are_counted(scene: Scene, tmp_path: Path) -> None:
    truth = truth_of(0).copy()
    truth[0, 0] = 3
    assert truth_of(0)[0, 0] == 0
    np.savez(tmp_path / "labels.npz", frame0=truth)
    run = classify(scene, asked(tmp_path / "labels.npz"), tmp_path / "run", execution=EXECUTION)
    [said] = [each for each in run.manifest().warnings if "no data" in each]
    assert said == f"1 of {(truth > 0).sum():,} labelled pixels have no data and are left out"


def test_a_run_of_other_labels_is_another_run(
    scene: Scene, mapped: RunDirectory, labels: Path, tmp_path: Path
) -> None:
    with np.load(labels) as file:
        changed = file["frame0"].copy()
    changed[changed == 3] = 0
    np.savez(tmp_path / "labels.npz", frame0=changed)
    with pytest.raises(ConfigError, match=r"classify\.fingerprint"):
        classify(scene, asked(tmp_path / "labels.npz"), mapped.path, execution=EXECUTION)


def test_labels_may_be_moved(
    scene: Scene, mapped: RunDirectory, labels: Path, tmp_path: Path
) -> None:
    run = shutil.copytree(mapped.path, tmp_path / "run")
    moved = shutil.copy(labels, tmp_path / "moved.npz")
    heard: list[Event] = []
    classify(scene, asked(Path(moved)), run, execution=EXECUTION, notify=heard.append)
    assert not [event for event in heard if isinstance(event, StageStarted)]


@dataclass(frozen=True)
class Refused:
    """A request that cannot be met."""

    options: tuple[str, ...]
    message: str


REFUSED = [
    Refused(("--features", "colour"), "classify.features"),
    Refused(("--features", "raw+raw"), "none twice"),
    Refused(("--split", "random", "--block", "9"), "--block is for --split blocks, but the split"),
    Refused(("--fraction", "0.2", "--block", "9"), "--block is for --split blocks, but the split"),
    Refused(("--features", "latents"), "a network and its latents belong together"),
    Refused(("--method", "dgc", "--features", "raw"), "a network and its latents belong together"),
    Refused(("--method", "s2dl"), "--method must be one of raw, pca, mnf, mean5, dgc"),
    Refused(("--set", "classify.transformer.window_px=4"), "must be odd"),
    Refused(("--set", "classify.ctssfm.variant=all"), "classify.ctssfm.variant"),
    Refused(("--classifier", "ctssfm"), "needs the stages of diffcrn alone"),
    Refused(("--method", "dgc", "--classifier", "ctssfm"), "needs the stages of diffcrn alone"),
    Refused(("--method", "diffcrn", "--classifier", "ctssfm"), "encoder.latents=stages"),
    Refused(("--split", "blocks", "--block", "200"), "no class has labels in two blocks of 200 px"),
    Refused(("--split", "blocks", "--set", "classify.apart_px=500"), "none lies 500 px"),
    Refused(("--device", "cuda"), "--device cuda is for methods with a network"),
    Refused(("--frame", "frame9"), "no frame 'frame9'"),
    Refused(("--key", "nothing"), "'nothing'"),
]


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: " ".join(case.options))
def test_a_request_that_cannot_be_met_is_refused(
    scene: Scene, labels: Path, tmp_path: Path, case: Refused
) -> None:
    given = ("--labels", labels, "--run", tmp_path / "run", *QUIET, *case.options)
    outcome = command("classify", scene.uri, *given)
    assert outcome.code in (1, 2), outcome.err
    assert case.message in outcome.refusal(outcome.code)


def test_a_map_of_classes_is_neither_predicted_by_nor_relabelled(
    mapped: RunDirectory, scene: Scene
) -> None:
    outcome = command("predict", scene.uri, "--run", mapped.path, *QUIET)
    assert "is a map of classes" in outcome.refusal(2)
    outcome = command("relabel", mapped.path, "--clusters", 2, *QUIET)
    assert "relabel needs a run whose clusters" in outcome.refusal(2)


def test_cluster_does_not_learn_from_labels(scene: Scene, labels: Path, tmp_path: Path) -> None:
    given = ("--set", f"classify.labels={labels}", "--run", tmp_path / "run", *QUIET)
    outcome = command("cluster", scene.uri, *given)
    assert "Use hsistream classify" in outcome.refusal(2)


def test_memory_is_planned_for_the_labels_that_there_are(scene: Scene, labels: Path) -> None:
    facts = command("plan", scene.uri, "--labels", labels, "--json").json
    assert [each["stage"] for each in facts["stages"]][1:5] == [
        "divide",
        "gather",
        "learn",
        "examine",
    ]
    assert facts["estimated_s"] is None


def test_settings_of_classes_are_a_file_that_is_read_again(tmp_path: Path, labels: Path) -> None:
    outcome = command("methods", "--settings", "--method", "mean5")
    assert outcome.code == 0
    (tmp_path / "run.toml").write_text(outcome.out)
    config = RunConfig.from_toml(tmp_path / "run.toml")
    assert config.classify is not None
    assert config.classify.features == ("mean5",)
    assert "raw " in command("methods").out


def test_labels_of_one_class_are_too_few(scene: Scene, tmp_path: Path) -> None:
    np.savez(tmp_path / "labels.npz", frame0=(truth_of(0) == 2).astype(np.uint8))
    with pytest.raises(ConfigError, match="at least two classes"):
        classify(scene, asked(tmp_path / "labels.npz"), tmp_path / "run", execution=EXECUTION)


def test_one_label_of_each_class_is_enough_for_a_map_without_scores(
    scene: Scene, tmp_path: Path
) -> None:
    truth = truth_of(0)
    only = np.zeros_like(truth)
    for each in (1, 2, 3):
        row, column = np.argwhere(truth == each)[50]
        only[row, column] = each
    np.savez(tmp_path / "labels.npz", frame0=only)
    config = asked(tmp_path / "labels.npz")
    with pytest.raises(ConfigError, match="no class has two"):
        classify(scene, config, tmp_path / "run", execution=EXECUTION)
    for classifier in ("lda", "logistic"):
        settings = ("classify.splits", 0), ("classify.classifier", classifier)
        plain = asked(tmp_path / "labels.npz", *settings)
        run = classify(scene, plain, tmp_path / classifier, execution=EXECUTION)
        assert accuracy(run, scene, 0) > 0.7
        assert "nothing is known of how right it is" in run.page_path.read_text()


def test_a_map_of_a_real_scene(data_folder: Path, tmp_path: Path) -> None:
    path = data_folder / "salinasA.npz"
    scene = hs.ingest(hs.open_sources([path]), tmp_path / "scene.zarr")
    config = RunConfig.make(settings=[("classify.labels", str(path)), ("classify.key", "gt")])
    summary = classification_summary(classify(scene, config, tmp_path / "run"))
    assert summary is not None
    assert summary.scores["oa"]["mean"] > 0.96
