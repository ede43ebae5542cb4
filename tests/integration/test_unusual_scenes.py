"""Scenes at the edge of what is a scene: small, flat, patchy, of one band."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from hsistream.execution import Execution
from hsistream.pipeline import run
from hsistream.presets import PRESETS
from hsistream.runs import LABELS, NO_LABEL, RunDirectory
from hsistream.scene.ingest import IngestOptions, ingest
from hsistream.scene.scene import Scene
from tests.integration.commands import QUIET, MakeScene, command
from tests.laws.requests import tiny, tiny_options
from tests.laws.results import layer
from tests.strategies import array_source

Cube = NDArray[Any]

each_head = pytest.mark.parametrize("method", ["consensus", "dgc", "s2dl", "s2dl-paper"])
each_network = pytest.mark.parametrize("method", ["dgc", "dgc-paper", "consensus-dgc"])


def _fields(shape: tuple[int, int] = (24, 31), bands: int = 9) -> Cube:
    """Three fields side by side, noisy, (y, x, band) float32."""
    rng = np.random.default_rng(0)
    spectra = 500 + 300 * rng.random((3, bands))
    material = np.arange(shape[1]) * 3 // shape[1]
    cube = np.broadcast_to(spectra[material], (*shape, bands)) + rng.normal(0, 8, (*shape, bands))
    return cube.astype(np.float32)


def _cluster(
    scene: Path, *options: object, method: str = "consensus", clusters: int | None = 3
) -> tuple[RunDirectory, list[NDArray[Any]]]:
    """Cluster by the command line and return the labels of every frame."""
    target = scene.with_suffix(".run")
    asked = (*tiny_options(method, clusters=clusters), *options)
    outcome = command("cluster", scene, "--run", target, *QUIET, *asked)
    assert outcome.code == 0, outcome.err
    assert command("status", target).code == 0
    done = RunDirectory(target)
    assert done.page_path.is_file()
    return done, layer(done, Scene.open(scene))


def _few_are_told_of(done: RunDirectory, clusters: int) -> bool:
    """Tell whether a run says that it found fewer clusters than were asked for."""
    return f"{clusters} clusters were asked for, but only" in " ".join(done.manifest().warnings)


def _check_found(found: set[int], wanted: set[int], done: RunDirectory) -> None:
    """Want all clusters; only the method that has no start to fall back to may find fewer.

    It must then say so.
    """
    if done.config().method == "dgc-paper" and found < wanted:
        assert _few_are_told_of(done, len(wanted - {NO_LABEL}))
    else:
        assert found == wanted


@each_head
def test_values_that_are_not_finite_are_no_data(make_scene: MakeScene, method: str) -> None:
    cube = _fields()
    cube[3:6, 4:9] = np.nan
    cube[10, 10, 2] = np.inf
    cube[11, 11, 3] = -np.inf
    missing = ~np.isfinite(cube).all(axis=2)
    _, (labels,) = _cluster(make_scene(cube), method=method)
    np.testing.assert_array_equal(labels == NO_LABEL, missing)
    assert set(np.unique(labels[~missing])) == {0, 1, 2}


def test_a_stated_value_is_no_data(make_scene: MakeScene) -> None:
    cube = _fields().astype(np.int16)
    cube[:4] = -9999
    scene = make_scene(cube, "--no-data", -9999)
    assert Scene.open(scene).no_data == -9999
    _, (labels,) = _cluster(scene)
    assert (labels[:4] == NO_LABEL).all()
    assert (labels[4:] != NO_LABEL).all()


@each_head
def test_a_band_that_is_mostly_missing_is_bad_and_costs_no_pixel(
    make_scene: MakeScene, method: str
) -> None:
    cube = _fields()
    cube[..., 4] = np.nan
    scene = make_scene(cube)
    assert [not good for good in Scene.open(scene).good_bands].index(True) == 4
    _, (labels,) = _cluster(scene, method=method)
    assert (labels != NO_LABEL).all()


def test_a_constant_band_changes_no_label(make_scene: MakeScene) -> None:
    cube = _fields()
    _, (expected,) = _cluster(make_scene(cube))
    flat = np.insert(cube, 4, 7.0, axis=2)
    _, (labels,) = _cluster(make_scene(flat, name="flat"))
    np.testing.assert_array_equal(labels, expected)


@pytest.mark.parametrize("steps", [0, 4])
def test_a_constant_band_hardly_changes_what_a_network_sees(
    make_scene: MakeScene, steps: int
) -> None:
    """The noise of a training is drawn for one band more."""
    cube, asked = _fields(), ("--set", f"training.steps={steps}")
    _, (expected,) = _cluster(make_scene(cube), *asked, method="dgc")
    flat = np.insert(cube, 4, 7.0, axis=2)
    _, (labels,) = _cluster(make_scene(flat, name="flat"), *asked, method="dgc")
    assert (labels == expected).mean() >= 0.99


@pytest.mark.parametrize(
    "method",
    [name for name in PRESETS if not name.endswith("-paper") and name != "spectraldiff"],
)
@pytest.mark.parametrize("bands", [1, 2])
def test_few_bands_suffice(make_scene: MakeScene, bands: int, method: str) -> None:
    _, (labels,) = _cluster(make_scene(_fields(bands=bands)), method=method)
    third = labels.shape[1] // 3
    parts = [labels[:, :third], labels[:, third + 1 : 2 * third], labels[:, -third + 1 :]]
    assert len({int(np.bincount(part.ravel()).argmax()) for part in parts}) == 3


@pytest.mark.parametrize("method", ["s2dl-paper", "ds2dl-paper", "spectraldiff"])
@pytest.mark.parametrize("bands", [1, 2])
def test_published_methods_need_no_more_bands(
    make_scene: MakeScene, bands: int, method: str
) -> None:
    """They need not find all three: a unit-norm spectrum of one band is the same everywhere.

    And a diffusion model of four steps blurs the fields a little.
    """
    _, (labels,) = _cluster(make_scene(_fields(bands=bands)), method=method)
    assert (labels < 3).all()
    assert bands == 1 or len(np.unique(labels)) > 1


@pytest.mark.parametrize("shape", [(1, 40), (40, 1), (2, 2), (3, 5), (1, 3)])
@pytest.mark.parametrize(
    ("method", "clusters"),
    [(method, k) for method in ("consensus", "dgc", "s2dl", "s2dl-paper") for k in (2, None)],
)
def test_scenes_smaller_than_everything(
    make_scene: MakeScene, shape: tuple[int, int], method: str, clusters: int | None
) -> None:
    scene = make_scene(_fields((40, 40))[: shape[0], : shape[1]])
    _, (labels,) = _cluster(scene, method=method, clusters=clusters)
    assert labels.shape == shape
    assert (labels != NO_LABEL).all()
    assert labels.max() < (clusters or shape[0] * shape[1])


@pytest.mark.parametrize("method", list(PRESETS))
def test_one_cluster_is_one_label(make_scene: MakeScene, method: str) -> None:
    done, (labels,) = _cluster(make_scene(_fields()), method=method, clusters=1)
    assert (labels == 0).all()
    assert done.config().cluster.clusters == 1


@each_head
def test_the_number_of_clusters_is_estimated(make_scene: MakeScene, method: str) -> None:
    done, (labels,) = _cluster(make_scene(_fields((40, 60))), method=method, clusters=None)
    assert done.config().cluster.clusters is None
    assert 2 <= len(np.unique(labels)) <= 12


def test_fewer_kinds_of_pixels_than_clusters_is_a_warning(make_scene: MakeScene) -> None:
    cube = np.repeat(_fields((1, 3)), 20, axis=0)
    scene = make_scene(cube)
    target = scene.with_suffix(".run")
    plain = ("--set", "views.spatial=['plain']")  # the others tell edges of a field from its inside
    outcome = command("cluster", scene, "--clusters", 5, "--run", target, *plain, *QUIET)
    assert outcome.code == 0, outcome.err
    assert "warning: 5 clusters were asked for, but only 3" in outcome.err
    assert "sklearn" not in outcome.err
    (labels,) = layer(RunDirectory(target), Scene.open(scene))
    assert (labels == labels[0]).all()
    assert len(np.unique(labels)) == 3


@each_network
@pytest.mark.parametrize("clusters", [3, 5])
def test_fewer_kinds_of_pixels_than_prototypes(
    make_scene: MakeScene, method: str, clusters: int
) -> None:
    """The network alone tells the edge of a field from its inside."""
    cube = np.repeat(np.repeat(_fields((1, 3)), 20, axis=0), 7, axis=1)
    done, (labels,) = _cluster(make_scene(cube), method=method, clusters=clusters)
    found = np.unique(labels)
    assert set(found) == set(range(len(found)))
    assert len(found) <= clusters
    assert _few_are_told_of(done, clusters) == (len(found) < clusters)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", ">i2", "uint32", "float16", "float64"])
def test_numbers_of_any_kind_are_read(make_scene: MakeScene, dtype: str) -> None:
    cube = _fields()
    if dtype in ("int8", "uint8"):
        cube = cube / 8
    _, (labels,) = _cluster(make_scene(cube.astype(dtype)))
    assert set(np.unique(labels)) == {0, 1, 2}


REFUSED_BY_INGEST = {
    "nothing but nan": (np.full((5, 6, 4), np.nan), "has data"),
    "nothing but zeros": (np.zeros((5, 6, 4), np.int16), "has data"),
    "no pixels": (np.zeros((0, 6, 4)), "pixels and bands"),
    "no bands": (np.zeros((5, 6, 0)), "pixels and bands"),
    "complex": (np.ones((5, 6, 4), complex), "complex"),
    "truth values": (np.ones((5, 6, 4), bool), "bool"),
    "four axes": (np.ones((2, 5, 6, 4)), "axes"),
}


@pytest.mark.parametrize(("cube", "named"), REFUSED_BY_INGEST.values(), ids=list(REFUSED_BY_INGEST))
def test_what_is_no_scene_is_not_ingested(tmp_path: Path, cube: Cube, named: str) -> None:
    np.savez(tmp_path / "cube.npz", cube=cube)
    asked = ("ingest", tmp_path / "cube.npz", tmp_path / "scene.zarr", *QUIET)
    assert named in command(*asked).refusal(1)
    assert not (tmp_path / "scene.zarr").exists()


def test_a_mask_without_data_is_no_scene(tmp_path: Path) -> None:
    np.savez(tmp_path / "cube.npz", cube=_fields(), valid=np.zeros((24, 31), bool))
    asked = ("ingest", tmp_path / "cube.npz", tmp_path / "scene.zarr", *QUIET)
    assert "has data" in command(*asked).refusal(1)


REFUSED_BY_CLUSTER = {
    "all bands constant": (np.full((5, 6, 4), 7.0), 2, 1, "constant"),
    "one pixel": (_fields((1, 1)), 1, 1, "constant"),
    "more clusters than pixels": (_fields((2, 3)), 7, 2, "--clusters is 7"),
    "two clusters of one pixel": (_fields((1, 1)), 2, 2, "--clusters is 2"),
}


@each_head
@pytest.mark.parametrize(
    ("cube", "clusters", "code", "named"), REFUSED_BY_CLUSTER.values(), ids=list(REFUSED_BY_CLUSTER)
)
def test_a_scene_that_cannot_be_divided_is_refused(
    make_scene: MakeScene, cube: Cube, clusters: int, code: int, named: str, method: str
) -> None:
    scene = make_scene(cube)
    target = scene.with_suffix(".run")
    asked = ("cluster", scene, "--run", target, *tiny_options(method, clusters=clusters), *QUIET)
    assert named in command(*asked).refusal(code)
    assert command("status", target).code in (1, 3)
    assert target.exists() == (code == 1)


@each_head
def test_one_valid_pixel_is_no_scene_to_divide(make_scene: MakeScene, method: str) -> None:
    valid = np.zeros((24, 31), bool)
    valid[7, 9] = True
    scene = make_scene(_fields(), valid=valid)
    options = (*tiny_options(method, clusters=1), "--run", scene.with_suffix(".run"), *QUIET)
    assert "constant over its 1 valid pixels" in command("cluster", scene, *options).refusal(1)


@each_network
def test_two_valid_pixels_can_be_divided(make_scene: MakeScene, method: str) -> None:
    valid = np.zeros((24, 31), bool)
    valid[7, 2] = valid[20, 29] = True
    done, (labels,) = _cluster(make_scene(_fields(), valid=valid), method=method, clusters=2)
    _check_found({int(labels[7, 2]), int(labels[20, 29])}, {0, 1}, done)
    assert (labels[~valid] == NO_LABEL).all()


@pytest.mark.parametrize("bands", [1, 2])
def test_few_bands_are_no_obstacle_for_convolutions_along_them(
    make_scene: MakeScene, bands: int
) -> None:
    done, (labels,) = _cluster(make_scene(_fields(bands=bands)), method="dgc-paper")
    _check_found(set(np.unique(labels)), {0, 1, 2}, done)


# Frames smaller than a crop


@each_network
def test_frames_smaller_than_a_crop_are_told_of(make_scene: MakeScene, method: str) -> None:
    scene = make_scene(_fields((10, 10)))
    asked = (*tiny_options(method), "--run", scene.with_suffix(".run"), "--progress", "log")
    outcome = command("cluster", scene, *asked)
    assert outcome.code == 0, outcome.err
    told = "train: frame smaller than a crop of 64 px, continued by reflection"
    assert told in outcome.err
    assert told in RunDirectory(scene.with_suffix(".run")).log_path.read_text()
    done = RunDirectory(scene.with_suffix(".run"))
    (labels,) = layer(done, Scene.open(scene))
    _check_found(set(np.unique(labels)), {0, 1, 2}, done)


@each_network
@pytest.mark.parametrize("by", ["scene", "frame"])
def test_many_small_frames_are_one_scene(tmp_path: Path, method: str, by: str) -> None:
    """Among them an empty one, one of a single pixel, and one of a single row."""
    shapes = [(10, 9 + number) for number in range(9)] + [(1, 1), (1, 40)]
    cubes = [_fields(shape).transpose(2, 0, 1) for shape in shapes]
    masks = [np.ones(shape, bool) for shape in shapes]
    masks[4][:] = False
    sources = [
        array_source(cube, f"frame{number}", mask=mask)
        for number, (cube, mask) in enumerate(zip(cubes, masks, strict=True))
    ]
    ingest(sources, tmp_path / "scene.zarr")
    options = ("--statistics", by)
    done, maps = _cluster(tmp_path / "scene.zarr", *options, method=method)
    for labels, valid in zip(maps, masks, strict=True):
        np.testing.assert_array_equal(labels != NO_LABEL, valid)
    found = set(np.unique(np.concatenate([each.ravel() for each in maps])))
    _check_found(found, {0, 1, 2, NO_LABEL}, done)
    told = [
        line for line in done.log_path.read_text().splitlines() if "smaller than a crop" in line
    ]
    assert "and 7 more" in told[0]


@pytest.mark.usefixtures("small_storage")
@pytest.mark.parametrize(
    ("method", "padding"),
    [*(("consensus", each) for each in ("zero", "masked", "zero and kept")), ("dgc", "masked")],
)
def test_storage_files_without_data_are_complete(tmp_path: Path, method: str, padding: str) -> None:
    cube = _fields((70, 70)).transpose(2, 0, 1).copy()
    cube[:, :40, :40] = 0
    mask = np.ones((70, 70), bool)
    if padding == "masked":
        mask[:40, :40] = False
    source = array_source(cube, "padded", mask=mask)
    options = IngestOptions(keep_zeros=padding == "zero and kept")
    scene = ingest([source], tmp_path / "scene.zarr", options)
    assert scene.shard_px < 40
    scene.check_complete()
    done = run(scene, tiny(method), tmp_path / "run", execution=Execution(tile_px=32, threads=2))
    (labels,) = layer(done, scene)
    empty = padding != "zero and kept"
    assert ((labels[:40, :40] == NO_LABEL) == empty).all()
    assert (labels[40:] != NO_LABEL).all()
    files = [path for path in Path(done.labels_uri).glob(f"*/{LABELS}/c/*/*") if path.is_file()]
    assert len(files) == 9


@each_head
@pytest.mark.parametrize("name", ["moffett50", "salton_roi_nan", "berlin_hires4"])
def test_real_scenes_with_peculiarities(
    data_folder: Path, tmp_path: Path, name: str, method: str
) -> None:
    scene = tmp_path / f"{name}.zarr"
    asked = ("ingest", data_folder / f"{name}.npz", scene, *QUIET)
    assert command(*asked).code == 0
    _, (labels,) = _cluster(scene, "--set", "reservoir.pixels=5000", method=method)
    with np.load(data_folder / f"{name}.npz") as file:
        assert labels.shape == file["cube"].shape[:2]
        assert ((labels == NO_LABEL) | file["valid"]).all()
    assert set(np.unique(labels)) - {NO_LABEL} == {0, 1, 2}
