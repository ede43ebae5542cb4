from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rioxarray  # noqa: F401 the place of an array is read through it
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from hsistream.config import RunConfig
from hsistream.errors import (
    ConfigError,
    DamagedError,
    HsistreamError,
    IncompleteError,
    StoreError,
)
from hsistream.manifest import Manifest, StageRecord
from hsistream.presets import presets_of
from hsistream.runs import (
    CONFIDENCE,
    INDEX,
    LABELS,
    LATENTS,
    NO_LABEL,
    PROBABILITY,
    STORES,
    RunDirectory,
    fingerprint,
    made_layers,
)
from hsistream.scene.scene import Frame, Scene
from hsistream.sections import LearntSection
from hsistream.stages.labelling import layers
from hsistream.stages.table import stream
from hsistream.stores.raster import RasterStore
from tests.strategies import whole, words

HOLD = """
import fcntl, sys
handle = open(sys.argv[1], "a")
fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
print("held", flush=True)
sys.stdin.read()
"""
"""A process that holds a lock until its standard input ends or it is killed."""


def begin(run: RunDirectory, config: RunConfig | None = None, identity: str = "abc") -> Manifest:
    with run.locked():
        return run.begin(config or RunConfig(), "scene.zarr", identity, "1")


# --- fingerprints --------------------------------------------------------------------------

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | words(),
    lambda inner: st.lists(inner) | st.dictionaries(words(), inner),
    max_leaves=8,
)


@given(st.dictionaries(words(), json_values, max_size=4))
def test_a_fingerprint_does_not_depend_on_the_order_of_keys(values: dict[str, Any]) -> None:
    backwards = dict(reversed(values.items()))
    assert fingerprint(values) == fingerprint(backwards)


@given(json_values, json_values)
def test_different_values_have_different_fingerprints(first: Any, second: Any) -> None:
    same = json.dumps(first, sort_keys=True) == json.dumps(second, sort_keys=True)
    assert (fingerprint(first) == fingerprint(second)) == same


def test_a_fingerprint_keeps_its_parts_apart() -> None:
    assert fingerprint("ab", "c") != fingerprint("a", "bc")
    assert fingerprint("a") != fingerprint("a", None)


# --- begin and resume ----------------------------------------------------------------------


def test_a_new_run_writes_what_was_asked_and_what_is_done(tmp_path: Path) -> None:
    run, config = RunDirectory(tmp_path / "run"), RunConfig.make(settings=[("seed", 5)])
    assert not run.exists
    manifest = begin(run, config)
    assert run.exists
    assert run.config() == config
    assert run.manifest() == manifest == Manifest("scene.zarr", "abc", "1")


def test_the_same_run_is_resumed_with_its_finished_stages(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    stages = {"views": StageRecord("f", 1.5, 2**30, 4)}
    run.save(replace(begin(run), stages=stages))
    assert begin(run).stages == stages


def test_another_configuration_is_refused_and_the_differences_are_listed(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    begin(run)
    other = RunConfig.make(settings=[("cluster.clusters", 4), ("seed", 2)])
    with pytest.raises(ConfigError) as caught:
        begin(run, other)
    assert "cluster.clusters = None there, 4 here" in str(caught.value)
    assert "seed = 0 there, 2 here" in str(caught.value)
    assert run.config() == RunConfig()


def test_another_scene_is_refused(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    begin(run)
    with pytest.raises(ConfigError, match="another scene"):
        begin(run, identity="def")


def test_a_run_that_has_learnt_may_move(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    here, there, other = (
        RunConfig().model_copy(update={"learnt": LearntSection(run=place, fingerprint=mark)})
        for place, mark in (("here", "a"), ("there", "a"), ("here", "b"))
    )
    begin(run, here)
    begin(run, there)
    assert run.config() == there
    with pytest.raises(ConfigError, match=r"learnt\.fingerprint = 'a' there, 'b' here"):
        begin(run, other)
    assert run.config() == there


def test_a_scene_that_moved_is_the_same_scene(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    begin(run)
    with run.locked():
        manifest = run.begin(RunConfig(), "elsewhere/scene.zarr", "abc", "1")
    assert manifest.scene_identity == "abc"


def test_a_run_does_not_lie_at_a_remote_address(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="s3://bucket/run is a remote address"):
        RunDirectory("s3://bucket/run")
    assert RunDirectory(f"file://{tmp_path}/run").path == tmp_path / "run"


def test_a_folder_with_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ConfigError, match="not empty"):
        begin(RunDirectory(tmp_path))
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


@pytest.mark.parametrize("left", ["run.toml", ".run.toml.partial", ".manifest.json.partial"])
def test_a_run_killed_while_it_began_can_begin_again(tmp_path: Path, left: str) -> None:
    (tmp_path / left).write_text("half of a fi")
    run = RunDirectory(tmp_path)
    begin(run)
    assert run.config() == RunConfig()


# --- manifest ------------------------------------------------------------------------------

records = st.builds(
    StageRecord,
    words(),
    st.floats(0, 1e6),
    st.integers(0, 2**50),
    st.integers(0, 2**40),
    st.lists(words(), max_size=3).map(tuple),
)
manifests = st.builds(
    Manifest,
    scene_uri=words(),
    scene_identity=words(),
    version=words(),
    stages=st.dictionaries(words(), records, max_size=3),
)


@given(manifests)
def test_a_manifest_survives_its_file(
    tmp_path_factory: pytest.TempPathFactory, manifest: Manifest
) -> None:
    run = RunDirectory(tmp_path_factory.getbasetemp() / "manifests")
    run.save(manifest)
    assert run.manifest() == manifest


def test_a_folder_without_manifest_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="is none"):
        RunDirectory(tmp_path).manifest()
    with pytest.raises(StoreError, match=r"no run\.toml"):
        RunDirectory(tmp_path).config()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"text"',
        b"{}",
        b'{"format": 2, "stages": [], "warnings": []}',
        b'{"format": 2, "stages": {"views": {}}, "warnings": []}',
        b'{"format": 2, "stages": {}, "warnings": []}',
        b'{"format": 2, "stages": {}, "warnings": [], "scene_uri": "\xc3\x28"}',
    ],
)
def test_a_damaged_manifest_is_reported_as_damage(tmp_path: Path, content: bytes) -> None:
    run = RunDirectory(tmp_path)
    run.manifest_path.write_bytes(content)
    with pytest.raises(DamagedError, match="cannot be understood"):
        run.manifest()


def test_a_manifest_of_another_format_is_refused(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    begin(run)
    facts = json.loads(run.manifest_path.read_text()) | {"format": 99}
    run.manifest_path.write_text(json.dumps(facts))
    with pytest.raises(HsistreamError):
        run.manifest()


# --- another request for the same run ------------------------------------------------------


def begun(folder: Path, **stages: str) -> RunDirectory:
    """A run whose stages are done with these fingerprints, and that has scores."""
    found = RunDirectory(folder / "run")
    config = RunConfig.make("dgc", settings=[("cluster.clusters", 3)])
    records = {
        name: StageRecord(mark, 1.0, 1, warnings=("beware",)) for name, mark in stages.items()
    }
    found.save(replace(begin(found, config), stages=records))
    found.report_path.mkdir()
    found.scores_path.write_text("{}")
    return found


def test_another_request_keeps_the_stages_that_it_does_not_concern(tmp_path: Path) -> None:
    own = begun(tmp_path, train="t", cluster="c", label="l")
    asked = own.config().with_clusters(5)
    own.adopt(asked, ["s", "t", "other"])
    assert own.config() == asked
    assert set(own.manifest().stages) == {"train"}
    assert not own.scores_path.exists()


def test_the_same_request_again_keeps_everything(tmp_path: Path) -> None:
    own = begun(tmp_path, train="t", cluster="c", label="l")
    before = own.manifest()
    own.adopt(own.config(), ["t", "c", "l", "r"])
    assert own.manifest() == before
    assert own.scores_path.exists()


def test_a_run_goes_on_as_what_was_asked_last(tmp_path: Path) -> None:
    own = begun(tmp_path, train="t")
    before, asked = own.config(), own.config().with_clusters(5)
    own.adopt(asked, ["t"])
    begin(own, asked)
    with pytest.raises(ConfigError, match=r"cluster\.clusters = 5 there, 3 here"):
        begin(own, before)


def test_scores_that_are_not_there_can_be_dropped(tmp_path: Path) -> None:
    own = begun(tmp_path)
    own.drop_scores()
    own.drop_scores()
    assert not own.scores_path.exists()


def test_another_network_is_refused_by_the_names_of_its_settings(tmp_path: Path) -> None:
    own = begun(tmp_path)
    settings = [("cluster.clusters", 3), ("encoder.hidden", 8), ("training.steps", 7)]
    with pytest.raises(ConfigError) as caught:
        begin(own, RunConfig.make("dgc", settings=settings))
    assert "encoder.hidden = 16 there, 8 here" in str(caught.value)
    assert "training.steps = 240 there, 7 here" in str(caught.value)


# --- lock ----------------------------------------------------------------------------------


def test_a_second_run_in_a_directory_is_refused_until_the_first_ends(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    with run.locked():
        with pytest.raises(StoreError, match="Another process"), run.locked():
            pass
        command = [sys.executable, "-S", "-c", HOLD, str(run.path / "lock")]
        second = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
        assert b"BlockingIOError" in second.stderr
    with run.locked():
        pass


def test_work_of_a_command_that_no_longer_holds_the_run_is_refused(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    with run.locked() as first:
        run.check_holder(first)
    run.check_holder(first)  # nobody else has come
    with run.locked() as second:
        run.check_holder(second)
        with pytest.raises(IncompleteError, match="another command"):
            run.check_holder(first)
    shutil.rmtree(run.path)
    with pytest.raises(IncompleteError, match="another command"):
        run.check_holder(second)


def test_the_lock_dies_with_its_process(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    command = [sys.executable, "-S", "-c", HOLD, str(tmp_path / "lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(StoreError, match="Another process"), run.locked():
            pass
        holder.kill()
        holder.wait()
        with run.locked():
            pass


# --- results -------------------------------------------------------------------------------


def test_a_run_is_a_value_that_knows_its_paths(tmp_path: Path) -> None:
    run = RunDirectory(str(tmp_path))
    assert run == RunDirectory(tmp_path)
    places = [run.manifest_path, run.page_path, run.table("a"), run.ledger("b"), run.log_path]
    assert len(set(places)) == len(places)
    assert all(tmp_path in place.parents for place in places)


def test_forgetting_a_stage_drops_its_ledger_only(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    for stage in ("count", "label"):
        run.ledger(stage).mkdir(parents=True)
    run.forget("count")
    run.forget("never begun")
    assert not run.ledger("count").exists()
    assert run.ledger("label").exists()


def labelled_run(
    folder: Path, frames: Sequence[Frame], label: NDArray[np.uint16] | None = None
) -> RunDirectory:
    """A run whose last stage has written labels, and confidence of a half, in one shard of each."""
    run, record = RunDirectory(folder), StageRecord("mark", 1.0, 1)
    run.save(replace(begin(run), stages={"label": record}))
    store = RasterStore.create(run.labels_uri, layers(3), frames, 128)
    for frame in frames:
        values = np.zeros(frame.shape, np.uint16) if label is None else label
        confidence = np.where(values == NO_LABEL, 255, 127).astype(np.uint8)
        store.write(frame.name, LABELS, whole(frame.shape), values)
        store.write(frame.name, CONFIDENCE, whole(frame.shape), confidence)
    return run


def test_results_open_lazily_with_their_place(tmp_path: Path, scene: Scene) -> None:
    frame = scene.frames[1]
    label = np.arange(frame.shape[0] * frame.shape[1]).reshape(frame.shape) % 3
    label[0, 0] = NO_LABEL
    run = labelled_run(tmp_path, [frame], label.astype(np.uint16))
    labels, margin = run.open(LABELS, frame.name), run.open(CONFIDENCE, frame.name)
    assert labels.dims == ("y", "x")
    assert labels.dtype == np.uint16
    assert labels.chunks is not None
    assert labels.rio.crs.to_epsg() == 32633
    np.testing.assert_array_equal(labels, label)
    assert np.isnan(margin[0, 0])
    np.testing.assert_allclose(margin.values.ravel()[1:], 0.5)


@pytest.mark.parametrize(
    ("layer", "frame", "then"),
    [
        (LABELS, "other", "has frame0, frame1"),
        (LABELS, None, "has frame0, frame1"),
        ("heights", "frame0", "'heights' is none. Runs have labels, confidence, probability, lat"),
        (PROBABILITY, "frame0", "has none; it has labels, confidence"),
    ],
)
def test_results_that_are_not_there_are_refused(
    tmp_path: Path, scene: Scene, layer: str, frame: str | None, then: str
) -> None:
    with pytest.raises(StoreError):
        RunDirectory(tmp_path).open(layer, frame)
    run = labelled_run(tmp_path, scene.frames)
    with pytest.raises(StoreError, match=then):
        run.open(layer, frame)


def test_the_only_frame_needs_no_name(tmp_path: Path, scene: Scene) -> None:
    run = labelled_run(tmp_path, scene.frames[:1])
    assert run.open(LABELS).identical(run.open(LABELS, "frame0"))


def test_a_result_whose_stage_is_not_done_is_refused(tmp_path: Path, scene: Scene) -> None:
    run = labelled_run(tmp_path, scene.frames)
    run.save(replace(run.manifest(), stages={}))
    with pytest.raises(IncompleteError, match=r"stage label of .* hsistream status"):
        run.open(LABELS, "frame0")


@pytest.mark.parametrize(
    ("lost", "message"),
    [
        ("", "is damaged or gone"),
        ("zarr.json", "is damaged or gone"),
        ("frame0", "frame0/labels lacks 1 .*zarr.json"),
        ("frame0/zarr.json", "frame0 lacks its zarr.json"),
        ("frame0/labels", "frame0/labels lacks 1 .*zarr.json"),
        ("frame0/labels/c/0/0", "frame0/labels lacks 1 .*c/0/0"),
        ("frame0/x/c/0", "frame0/x lacks 1 .*c/0"),
    ],
)
def test_a_result_that_lost_a_file_is_damage(
    tmp_path: Path, scene: Scene, lost: str, message: str
) -> None:
    run = labelled_run(tmp_path, scene.frames)
    path = Path(run.labels_uri, lost)
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(DamagedError, match=message):
        run.open(LABELS, "frame0")
    if lost.startswith("frame0"):
        assert run.open(LABELS, "frame1").dtype == np.uint16


@pytest.mark.parametrize("name", ["zarr.json", "frame0/zarr.json", "frame0/labels/zarr.json"])
@pytest.mark.parametrize("text", ["", '{"zarr_format": 3, '])
def test_a_result_with_a_damaged_header_is_damage(
    tmp_path: Path, scene: Scene, name: str, text: str
) -> None:
    run = labelled_run(tmp_path, scene.frames)
    Path(run.labels_uri, name).write_text(text)
    with pytest.raises(DamagedError):
        run.open(LABELS, "frame0")


@pytest.mark.parametrize("method", [*presets_of(classify=False), "raw"])
def test_the_layers_of_a_run_are_those_that_its_stages_write(method: str) -> None:
    of_classes = method == "raw"
    settings = {"classify.labels": "labels.npz"} if of_classes else {"cluster.clusters": 3}
    config = RunConfig.make(method, settings=settings)
    written = {(name, stage.name) for stage in stream(config) for name in stage.writes}
    expected = [layer for layer, made in STORES.items() if made in written]
    assert list(made_layers(config)) == [each for each in expected if each != PROBABILITY]


def test_a_run_stands_for_its_path(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    assert Path(run) == RunDirectory(run).path == tmp_path


def test_results_of_a_network_open_lazily_with_their_place(
    scene: Scene, learnt: RunDirectory
) -> None:
    for frame in scene.frames:
        latents, index = learnt.open(LATENTS, frame.name), learnt.open(INDEX, frame.name)
        assert latents.dims == ("latent", "y", "x")
        assert index.dims == ("y", "x")
        assert latents.dtype == np.float16
        assert index.dtype == np.uint16
        assert latents.chunks is not None
        assert latents.rio.crs.to_epsg() == index.rio.crs.to_epsg() == 32633
        assert (np.isnan(latents.to_numpy()).any(axis=0) == (index == 65535)).all()


def test_a_run_without_a_network_has_no_latents(scene: Scene, finished: RunDirectory) -> None:
    for layer in (LATENTS, INDEX):
        with pytest.raises(StoreError, match=rf"{layer}\.zarr has none"):
            finished.open(layer, scene.frames[0].name)


def test_a_folder_of_something_else_is_left_without_a_trace(tmp_path: Path) -> None:
    (tmp_path / "chapter.tex").write_text("years of work")
    with pytest.raises(ConfigError, match="is not empty and no run directory"):
        RunDirectory(tmp_path).check_place()
    RunDirectory(tmp_path / "new").check_place()
    assert [path.name for path in tmp_path.iterdir()] == ["chapter.tex"]
