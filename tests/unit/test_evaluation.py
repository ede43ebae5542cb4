from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import rasterio
import xarray as xr
from numpy.typing import NDArray

from hsistream import evaluation
from hsistream.config import RunConfig
from hsistream.errors import ConfigError, DamagedError, IncompleteError, SceneError, StoreError
from hsistream.evaluation import evaluate, export_labels, read_truth, rewrite_report
from hsistream.readers.labelled import Labelled, LabelOptions
from hsistream.runs import LABELS, NO_LABEL, RunDirectory
from hsistream.scene.scene import Scene
from hsistream.stores.raster import RasterStore
from tests.strategies import whole

Truth = dict[str, NDArray[np.int64]]


@pytest.fixture
def own_run(finished: RunDirectory, tmp_path: Path) -> RunDirectory:
    """A copy of the finished run, to be changed."""
    return RunDirectory(shutil.copytree(finished.path, tmp_path / "run"))


def perfect_truth(scene: Scene, run: RunDirectory) -> Truth:
    """The labels of a run as classes 1, 2, ... with 0 for pixels without data."""
    store = RasterStore(run.labels_uri)
    labels = {f.name: store.read(f.name, LABELS, whole(f.shape)) for f in scene.frames}
    return {
        name: np.where(found == NO_LABEL, 0, found.astype(np.int64) + 1)
        for name, found in labels.items()
    }


def test_a_truth_equal_to_the_labels_scores_one(scene: Scene, own_run: RunDirectory) -> None:
    truth = perfect_truth(scene, own_run)
    scores = evaluate(own_run.path, truth)
    assert scores.oa == scores.ari == scores.nmi == pytest.approx(1)
    assert scores.pixels == scene.valid_pixels
    assert json.loads(own_run.scores_path.read_text()) == json.loads(json.dumps(scores.to_json()))


def places_of(scene: Scene, truth: Truth) -> Labelled:
    """The labelled pixels of maps, as if each had been listed; classes are named."""
    maps = [truth[frame.name] for frame in scene.frames]
    places = [(np.full(np.count_nonzero(each), n), *each.nonzero()) for n, each in enumerate(maps)]
    frame, row, column = np.concatenate(places, axis=1)
    number = np.concatenate([each[each > 0] for each in maps]) - 1
    names = tuple(f"kind {name}" for name in range(number.max() + 1))
    return Labelled(frame, row, column, number, names)


@pytest.mark.parametrize("only", [None, 0])
def test_listed_pixels_score_as_maps_of_them_and_keep_the_names_of_classes(
    scene: Scene, own_run: RunDirectory, monkeypatch: pytest.MonkeyPatch, only: int | None
) -> None:
    rng = np.random.default_rng(0)
    truth = {
        name: np.where(rng.random(each.shape) < 0.1, 1 + each % 3, 0)
        for name, each in perfect_truth(scene, own_run).items()
    }
    frame = None if only is None else scene.frames[only].name
    maps = truth if frame is None else {frame: truth[frame]}
    expected = evaluate(own_run.path, maps, frame=frame).to_json()
    monkeypatch.setattr(evaluation, "TILE_PX", 17)
    found = evaluate(own_run.path, places_of(scene, truth), frame=frame).to_json()
    for number, of_class in found["per_class"].items():
        assert of_class["name"] == f"kind {int(number) - 1}"
        of_class["name"] = None
    assert found == expected


@pytest.mark.parametrize("suffix", ["csv", "npy"])
def test_a_truth_is_read_from_places_as_from_rasters(
    scene: Scene, own_run: RunDirectory, tmp_path: Path, suffix: str
) -> None:
    frame = scene.frames[0]
    row, column = (each[:9] for each in np.nonzero(scene.valid(0, whole(frame.shape))))
    classes, path = np.arange(9) % 3 + 1, tmp_path / f"truth.{suffix}"
    if suffix == "csv":
        lines = [f"{x},{y},{each}" for x, y, each in zip(column, row, classes, strict=True)]
        path.write_text("\n".join(["x,y,kind", *lines]))
    else:
        raster = np.zeros(frame.shape, np.uint8)
        raster[row, column] = classes
        np.save(path, raster)
    options = LabelOptions(frame=frame.name, field="kind")
    scores = evaluate(own_run, read_truth(path, own_run, options), frame=frame.name)
    assert scores.pixels == 9
    assert sorted(scores.per_class) == [1, 2, 3]


def test_scores_do_not_depend_on_the_tiles_in_which_labels_are_read(
    scene: Scene, own_run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    truth = perfect_truth(scene, own_run)
    rng = np.random.default_rng(0)
    noisy = {name: np.where(rng.random(t.shape) < 0.3, 1, t) for name, t in truth.items()}
    whole_scores = evaluate(own_run.path, noisy)
    monkeypatch.setattr(evaluation, "TILE_PX", 17)
    assert evaluate(own_run.path, noisy).to_json() == whole_scores.to_json()
    assert whole_scores.oa < 1


def test_frames_without_truth_are_left_out(scene: Scene, own_run: RunDirectory) -> None:
    truth = perfect_truth(scene, own_run)
    only = {"frame1": truth["frame1"]}
    assert evaluate(own_run.path, only).pixels == scene.frames[1].valid_pixels
    assert evaluate(own_run.path, truth, frame="frame0").pixels == scene.frames[0].valid_pixels


def test_one_unnamed_array_suits_one_frame(scene: Scene, own_run: RunDirectory) -> None:
    truth = perfect_truth(scene, own_run)["frame1"]
    for given in ({"classes": truth}, truth, truth.astype(np.float32)):
        assert evaluate(own_run.path, given, frame="frame1").oa == pytest.approx(1)


def test_a_map_that_is_of_no_frame_is_refused_by_its_name(
    scene: Scene, own_run: RunDirectory
) -> None:
    truth = perfect_truth(scene, own_run)
    misspelt = {"frame0": truth["frame0"], "Frame1": truth["frame1"]}
    with pytest.raises(
        ConfigError, match=r"Frame1 is none of them\. The frames are frame0, frame1"
    ):
        evaluate(own_run, misspelt)
    assert not own_run.scores_path.exists()


def test_files_of_other_frames_beside_those_of_the_scene_are_left_out(
    scene: Scene, own_run: RunDirectory, tmp_path: Path
) -> None:
    truth = perfect_truth(scene, own_run)
    folder = tmp_path / "labels"
    folder.mkdir()
    for name, values in {**truth, "frame9": np.ones((3, 4), np.int64)}.items():
        np.save(folder / f"{name}.npy", values)
    assert evaluate(own_run, read_truth(folder, own_run, LabelOptions())).oa == pytest.approx(1)


@pytest.mark.parametrize("kind", [str, Path])
def test_a_truth_is_read_from_its_path(
    scene: Scene, own_run: RunDirectory, tmp_path: Path, kind: type[str | Path]
) -> None:
    truth = perfect_truth(scene, own_run)
    np.savez(tmp_path / "truth.npz", **truth, valid=truth["frame0"] > 0)  # type: ignore[arg-type]
    path = kind(tmp_path / "truth.npz")
    assert evaluate(own_run, path).to_json() == evaluate(own_run, truth).to_json()
    assert evaluate(own_run, path, frame="frame1").pixels == scene.frames[1].valid_pixels


def test_a_truth_of_yes_and_no_has_one_class(scene: Scene, own_run: RunDirectory) -> None:
    truth = perfect_truth(scene, own_run)
    ones = {name: each == 1 for name, each in truth.items()}
    scores = evaluate(own_run, ones)
    assert list(scores.per_class) == [1]
    assert scores.pixels == sum(np.count_nonzero(each) for each in ones.values())


@pytest.mark.parametrize("dims", [("y", "x"), ("x", "y")])
def test_a_truth_in_xarray_is_turned_as_its_dimensions_say(
    scene: Scene, own_run: RunDirectory, dims: tuple[str, str]
) -> None:
    truth = {
        name: xr.DataArray(each, dims=("y", "x")).transpose(*dims)
        for name, each in perfect_truth(scene, own_run).items()
    }
    assert evaluate(own_run, truth).oa == pytest.approx(1)
    assert evaluate(own_run, truth["frame1"], frame="frame1").oa == pytest.approx(1)


def test_an_unknown_matching_is_refused_with_the_choices(
    scene: Scene, own_run: RunDirectory
) -> None:
    with pytest.raises(ConfigError, match="rectangular or square, but is 'foo'"):
        evaluate(own_run, perfect_truth(scene, own_run), matching="foo")  # type: ignore[arg-type]


def test_scores_may_leave_the_run_as_it_is(scene: Scene, own_run: RunDirectory) -> None:
    def seen() -> dict[Path, bytes]:
        return {each: each.read_bytes() for each in own_run.path.rglob("*") if each.is_file()}

    before = seen()
    assert evaluate(own_run, perfect_truth(scene, own_run), write=False).oa == pytest.approx(1)
    assert seen() == before


def test_the_page_shows_the_scores_and_keeps_them(scene: Scene, own_run: RunDirectory) -> None:
    before = own_run.page_path.read_text()
    evaluate(own_run.path, perfect_truth(scene, own_run))
    scored = own_run.page_path.read_text()
    assert scored != before
    own_run.page_path.unlink()
    assert rewrite_report(own_run.path) == own_run
    assert own_run.page_path.read_text() == scored


def zeros(scene: Scene) -> Truth:
    return {frame.name: np.zeros(frame.shape, np.int64) for frame in scene.frames}


def test_a_score_of_one_frame_says_so(scene: Scene, own_run: RunDirectory) -> None:
    truth, frame = perfect_truth(scene, own_run), scene.frames[1].name
    assert evaluate(own_run.path, truth, frame=frame).frame == frame
    assert f"in {frame} alone" in own_run.page_path.read_text()
    assert evaluate(own_run.path, truth).frame is None
    assert "alone" not in own_run.page_path.read_text()


def test_a_truth_without_labelled_pixels_is_refused(scene: Scene, own_run: RunDirectory) -> None:
    with pytest.raises(SceneError, match="0 everywhere"):
        evaluate(own_run.path, zeros(scene))
    assert not own_run.scores_path.exists()


def test_a_truth_of_another_size_is_refused(scene: Scene, own_run: RunDirectory) -> None:
    truth = zeros(scene) | {"frame1": np.ones((48, 33), np.int64)}
    with pytest.raises(ConfigError, match=r"33 x 48 px .* but is 48 x 33"):
        evaluate(own_run.path, truth)


def test_a_truth_of_fractions_is_refused(scene: Scene, own_run: RunDirectory) -> None:
    truth = {name: labels / 2 for name, labels in perfect_truth(scene, own_run).items()}
    with pytest.raises(SceneError, match="whole numbers"):
        evaluate(own_run.path, truth)
    assert not own_run.scores_path.exists()


def test_the_truth_of_another_frame_is_not_taken_for_that_of_the_one_asked_for(
    scene: Scene, own_run: RunDirectory
) -> None:
    first, second = (frame.name for frame in scene.frames[:2])
    truth = {first: np.ones(scene.frames[0].shape, int)}
    with pytest.raises(ConfigError, match=f"holds {first} and the frames are {second}"):
        evaluate(own_run, truth, frame=second)


def test_an_unnamed_truth_of_several_frames_is_refused(own_run: RunDirectory) -> None:
    with pytest.raises(ConfigError, match="frame0, frame1"):
        evaluate(own_run.path, {"classes": np.ones((50, 70), np.int64)})


def test_an_unknown_frame_is_refused(scene: Scene, own_run: RunDirectory) -> None:
    with pytest.raises(SceneError, match="no frame 'frame7'"):
        evaluate(own_run.path, zeros(scene), frame="frame7")


def test_an_unfinished_run_is_refused(tmp_path: Path, scene: Scene) -> None:
    run = RunDirectory(tmp_path)
    with pytest.raises(StoreError):
        evaluate(run.path, {})
    run.begin(RunConfig(), scene.uri, scene.identity, "1")
    for use in (lambda: evaluate(run.path, {}), lambda: rewrite_report(run.path)):
        with pytest.raises(IncompleteError, match="hsistream status"):
            use()
    with pytest.raises(IncompleteError, match="hsistream status"):
        export_labels(run.path, tmp_path / "maps")


def test_a_scene_that_was_replaced_is_refused(scene: Scene, own_run: RunDirectory) -> None:
    manifest = json.loads(own_run.manifest_path.read_text())
    own_run.manifest_path.write_text(json.dumps({**manifest, "scene_identity": "another"}))
    for use in (
        lambda: rewrite_report(own_run.path),
        lambda: export_labels(own_run.path, "anywhere"),
    ):
        with pytest.raises(ConfigError, match="another one lies at"):
            use()


def test_lost_labels_are_damage(scene: Scene, own_run: RunDirectory) -> None:
    truth = perfect_truth(scene, own_run)
    (Path(own_run.labels_uri) / "frame0" / LABELS / "c" / "0" / "1").unlink()
    with pytest.raises(DamagedError, match="frame0/labels lacks 1"):
        evaluate(own_run.path, truth)


def test_scores_that_cannot_be_read_are_damage(own_run: RunDirectory) -> None:
    own_run.scores_path.write_bytes(b'{"oa": \xff')
    with pytest.raises(DamagedError, match=r"scores\.json"):
        rewrite_report(own_run.path)


def test_exported_labels_are_georeferenced_and_equal(
    scene: Scene, finished: RunDirectory, tmp_path: Path
) -> None:
    paths = export_labels(finished.path, tmp_path / "maps")
    assert [path.name for path in paths] == ["frame0.tif", "frame1.tif"]
    store = RasterStore(finished.labels_uri)
    for frame, path in zip(scene.frames, paths, strict=True):
        assert frame.georeference is not None
        with rasterio.open(path) as file:
            found, nodata = file.read(1), file.nodata
            assert file.crs.to_epsg() == 32633
            assert tuple(file.transform)[:6] == frame.georeference.transform
        labels = store.read(frame.name, LABELS, whole(frame.shape))
        valid = labels != NO_LABEL
        np.testing.assert_array_equal(found[valid], labels[valid])
        assert (found[~valid] == nodata).all()


def test_an_export_replaces_maps_and_nothing_else(finished: RunDirectory, tmp_path: Path) -> None:
    first, second = export_labels(finished, tmp_path)
    before = first.read_bytes()
    assert export_labels(finished, tmp_path) == [first, second]
    first.unlink()
    second.write_bytes(b"an image that has the name of its frame")
    with pytest.raises(StoreError, match=r"frame1\.tif is a file that was not exported"):
        export_labels(finished, tmp_path)
    assert second.read_bytes() == b"an image that has the name of its frame"
    assert not first.exists()
    second.unlink()
    assert export_labels(finished, tmp_path)[0].read_bytes() == before


def test_a_scene_that_was_moved_is_asked_for(own_run: RunDirectory) -> None:
    facts = json.loads(own_run.manifest_path.read_text())
    own_run.manifest_path.write_text(json.dumps({**facts, "scene_uri": "/gone.zarr"}))
    with pytest.raises(SceneError, match=r"none at /gone\.zarr now\. If it was moved: hsistream"):
        rewrite_report(own_run)
