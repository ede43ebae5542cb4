from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from hsistream.config import RunConfig
from hsistream.consensus.projections import (
    Moments,
    edge_scale,
    fit_l2,
    fit_mnf,
    fit_z,
    unit_length,
)
from hsistream.errors import ConfigError, SceneError
from hsistream.events import Event, Warned, ignore
from hsistream.execution import Execution
from hsistream.illumination import features
from hsistream.pipeline import fingerprints
from hsistream.runs import RunDirectory
from hsistream.scene.ingest import ingest
from hsistream.scene.scene import Scene
from hsistream.sections import StatisticsSection
from hsistream.stages import Context, scene_tiles, statistics
from hsistream.stages.pictures import picture_step
from hsistream.stages.statistics import (
    BRIGHTNESS_RATIO,
    PICTURES,
    RESERVOIR,
    TABLE,
    Constants,
    brightness_advice,
    from_table,
    measure_tile,
    shown_bands,
    statistics_groups,
    to_table,
    warn_of_brightness,
)
from hsistream.stores.tables import read_table
from tests.oracles import noise_covariance
from tests.strategies import array_source, whole

CHANGES = ("snv", "snv+brightness", "l2", "l2+brightness", "continuum")
"""All illuminations but none."""

SETTINGS = [("cluster.clusters", 3), ("views.spectral", ["z", "l2", "mnf"])]
SETTINGS += [(f"views.{name}_components", 5) for name in ("z", "l2", "mnf")]


def measure(scene: Scene, folder: Path, illumination: str) -> Constants:
    """Run this stage alone."""
    config = RunConfig.make(settings=[*SETTINGS, ("statistics.illumination", illumination)])
    run = RunDirectory(folder)
    statistics.run(Context(run, scene, config, Execution(), 32, 1, None, ignore, ""))
    return from_table(read_table(run.table(TABLE)))


def good_features(scene: Scene, frame: int, illumination: str = "none") -> NDArray[np.float64]:
    """Features of all pixels of a frame, (feature, y, x), read in one piece."""
    good = np.asarray(scene.good_bands)
    spectra = scene.read(frame, whole(scene.frames[frame].shape))[good]
    wavelengths_nm = np.asarray(scene.wavelengths_nm)[good]
    return features(illumination, spectra, wavelengths_nm).astype(np.float64)


def good_pixels(scene: Scene, frame: int, illumination: str = "none") -> NDArray[np.float64]:
    """Features of the valid pixels, (feature, pixel), read in one piece."""
    valid = scene.valid(frame, whole(scene.frames[frame].shape))
    return good_features(scene, frame, illumination)[:, valid]


def paired_pixels(scene: Scene, frame: int) -> NDArray[np.bool_]:
    """Pixels whose right and lower neighbours are valid and of the same strip of chunks."""
    valid = scene.valid(frame, whole(scene.frames[frame].shape))
    height, width = valid.shape
    paired = np.zeros_like(valid)
    for row in range(height - 1):
        for column in range(width - 1):
            together = (row + 1) % scene.chunk_px and (column + 1) % scene.shard_px
            paired[row, column] = (
                together
                and valid[row, column]
                and valid[row, column + 1]
                and valid[row + 1, column]
            )
    return paired


def direct_pairs(
    scene: Scene, illumination: str = "none"
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Features of the reservoir's pixels and of their neighbours, (pair, feature) each."""
    found = []
    for frame in range(len(scene.frames)):
        values = good_features(scene, frame, illumination)
        row, column = np.nonzero(paired_pixels(scene, frame))
        for right, down in ((1, 0), (0, 1)):
            found.append((values[:, row, column].T, values[:, row + down, column + right].T))
    return np.concatenate([own for own, _ in found]), np.concatenate([other for _, other in found])


def direct_moments(pixels: NDArray[np.float64]) -> Moments:
    return Moments(
        np.array([pixels.shape[1]]),
        pixels.mean(axis=1)[None],
        np.cov(pixels, bias=True)[None],
        np.ptp(pixels, axis=1)[None] > 0,
    )


# --- groups --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("section", "names", "numbers"),
    [
        ({}, ("scene",), [0, 0]),
        ({"by": "frame"}, ("frame0", "frame1"), [0, 1]),
        ({"by": "group", "groups": {"frame0": "b", "frame1": "a"}}, ("a", "b"), [1, 0]),
        ({"by": "group", "groups": {"frame0": "a", "frame1": "a"}}, ("a",), [0, 0]),
    ],
)
def test_frames_belong_to_groups(
    scene: Scene, section: dict[str, Any], names: tuple[str, ...], numbers: list[int]
) -> None:
    found, of_frame = statistics_groups(scene, StatisticsSection(**section))
    assert found == names
    assert of_frame.tolist() == numbers


@pytest.mark.parametrize(
    "named", [["frame0"], ["frame0", "frame1", "frame2"], ["frame0", "frame2"]]
)
def test_groups_name_every_frame_and_no_other(scene: Scene, named: list[str]) -> None:
    section = StatisticsSection(by="group", groups=dict.fromkeys(named, "a"))
    differing = sorted({"frame0", "frame1"} ^ set(named))
    with pytest.raises(ConfigError, match=", ".join(differing)):
        statistics_groups(scene, section)


# --- brightness ----------------------------------------------------------------------------


def with_brightness(scene: Scene, *levels: float) -> Scene:
    frames = [
        replace(scene.frames[0], name=f"f{number}", brightness=level)
        for number, level in enumerate(levels)
    ]
    return replace(scene, frames=tuple(frames))


def test_frames_of_differing_brightness_are_worth_a_word(scene: Scene) -> None:
    advice = brightness_advice(with_brightness(scene, 10.0, 8.0, 12.0))
    assert advice is not None
    assert "factor of 1.50" in advice
    assert "f1 is the darkest, f2 the brightest" in advice


@pytest.mark.parametrize(
    "levels", [(10.0,), (10.0, 10.0 * BRIGHTNESS_RATIO - 0.01), (10.0, 0.0), (10.0, -4.0)]
)
def test_frames_of_about_one_brightness_are_not(scene: Scene, levels: tuple[float, ...]) -> None:
    assert brightness_advice(with_brightness(scene, *levels)) is None


def test_a_frame_without_data_has_no_brightness(scene: Scene) -> None:
    both = with_brightness(scene, 10.0, 20.0)
    empty = replace(both.frames[1], valid_pixels=0)
    assert brightness_advice(replace(both, frames=(both.frames[0], empty))) is None


@pytest.mark.parametrize(
    ("section", "warnings"),
    [
        (StatisticsSection(), 1),
        (StatisticsSection(by="frame"), 0),
        (StatisticsSection(illumination="snv"), 0),
    ],
)
def test_who_has_chosen_gets_no_advice(
    scene: Scene, section: StatisticsSection, warnings: int
) -> None:
    heard: list[Event] = []
    warn_of_brightness(with_brightness(scene, 1.0, 2.0), section, heard.append)
    assert len(heard) == warnings
    assert all(isinstance(event, Warned) for event in heard)


# --- one tile ------------------------------------------------------------------------------


def options(**changed: Any) -> dict[str, Any]:
    """Arguments of the work on one tile."""
    return {
        "seed": 0,
        "thresholds": (1.0, 1.0),
        "kinds": ("raw",),
        "illumination": "none",
        **changed,
    }


@pytest.mark.parametrize("illumination", ["none", *CHANGES])
def test_one_tile_is_measured_as_numpy_does(scene: Scene, illumination: str) -> None:
    tile = scene_tiles(scene, scene.shard_px)[0]
    found = measure_tile(
        tile, scene=scene, **options(kinds=("raw", "unit"), illumination=illumination)
    )
    valid = scene.valid(0, tile.core)
    pixels = good_features(scene, 0, illumination)[:, *tile.core][:, valid]
    assert 0 < valid.sum() < valid.size
    unit = pixels / np.linalg.norm(pixels, axis=0)
    for kind, values in (("raw", pixels), ("unit", unit)):
        assert found[f"{kind}.count"] == values.shape[1]
        np.testing.assert_allclose(found[f"{kind}.mean"], values.mean(axis=1), rtol=1e-12)
        np.testing.assert_allclose(
            found[f"{kind}.outer"] / values.shape[1],
            np.cov(values, bias=True),
            rtol=1e-8,
            atol=1e-12,
        )
    row, column = np.nonzero(valid)
    np.testing.assert_array_equal(found["spectra"].T, scene.read(0, tile.core)[:, valid])
    order = np.lexsort((found["column"], found["row"]))
    np.testing.assert_array_equal(found["row"][order], row)
    np.testing.assert_array_equal(found["column"][order], column)


def test_where_nothing_is_summed_the_sample_is_the_same(scene: Scene) -> None:
    tile = scene_tiles(scene, scene.shard_px)[0]
    summed, found = (
        measure_tile(tile, scene=scene, **options(kinds=kinds)) for kinds in (("raw",), ())
    )
    assert summed.keys() - found.keys() == {
        "raw.count", "raw.mean", "raw.outer", "raw.minimum", "raw.maximum",
    }  # fmt: skip
    for name, values in found.items():
        np.testing.assert_array_equal(values, summed[name])


def test_neighbours_of_the_reservoir_are_the_right_and_the_lower_one(scene: Scene) -> None:
    everything = scene.read(1, whole(scene.frames[1].shape))
    expected = paired_pixels(scene, 1)
    for tile in [tile for tile in scene_tiles(scene, scene.shard_px) if tile.frame == 1]:
        found = measure_tile(tile, scene=scene, **options(thresholds=(1.0, 0.4)))
        row, column, paired = found["row"], found["column"], found["paired"]
        np.testing.assert_array_equal(found["spectra"].T, everything[:, row, column])
        np.testing.assert_array_equal(paired, expected[row, column])
        row, column = row[paired], column[paired]
        np.testing.assert_array_equal(found["right"].T, everything[:, row, column + 1])
        np.testing.assert_array_equal(found["lower"].T, everything[:, row + 1, column])


# --- the whole stage -----------------------------------------------------------------------


def assert_same_projection(found: Any, expected: Any, pixels: NDArray[np.float64]) -> None:
    first, second = found.scores(pixels, 0), expected.scores(pixels, 0)
    assert first.shape == second.shape
    sign = np.sign((first * second).sum(axis=1))[:, None]
    np.testing.assert_allclose(first * sign, second, atol=1e-7 * abs(second).max())


def test_the_projections_of_a_run_are_those_of_the_scene_in_one_piece(
    scene: Scene, finished: RunDirectory
) -> None:
    constants = from_table(read_table(finished.table(TABLE)))
    moments = direct_moments(np.hstack([good_pixels(scene, frame) for frame in (0, 1)]))
    own, other = direct_pairs(scene)
    steps, views = own - other, finished.config().views
    noise = noise_covariance(steps * moments.scale()[0])
    expected = (fit_z(moments, views.z_components), fit_mnf(moments, noise, views.mnf_components))
    pixels = good_pixels(scene, 1)
    for found, direct, scale in zip(
        constants.projections, expected, constants.edge_scales, strict=True
    ):
        assert found.name == direct.name
        assert_same_projection(found, direct, pixels)
        squared = ((steps @ direct.matrix(0)) ** 2).sum(axis=1)
        assert scale == pytest.approx(edge_scale(squared), rel=1e-6)


@pytest.mark.parametrize("illumination", CHANGES)
def test_the_projections_are_of_the_features(
    scene: Scene, tmp_path: Path, illumination: str
) -> None:
    constants = measure(scene, tmp_path, illumination)
    assert constants.illumination == illumination
    pixels = np.hstack([good_pixels(scene, frame, illumination) for frame in (0, 1)])
    moments, (own, other) = direct_moments(pixels), direct_pairs(scene, illumination)
    noise = noise_covariance((own - other) * moments.scale()[0])
    expected = (
        fit_z(moments, 5),
        fit_l2(direct_moments(np.asarray(unit_length(pixels))), 5),
        fit_mnf(moments, noise, 5),
    )
    for found, direct, scale in zip(
        constants.projections, expected, constants.edge_scales, strict=True
    ):
        assert found.name == direct.name
        assert_same_projection(found, direct, pixels)
        steps = direct.scores(own.T, 0) - direct.scores(other.T, 0)
        assert scale == pytest.approx(edge_scale((steps**2).sum(axis=0)), rel=1e-6)


def test_the_reservoir_is_the_same_whatever_the_light(scene: Scene, tmp_path: Path) -> None:
    measure(scene, tmp_path / "none", "none")
    measure(scene, tmp_path / "snv", "snv")
    found = [read_table(RunDirectory(tmp_path / n).table(RESERVOIR)) for n in ("none", "snv")]
    for name, values in found[0].items():
        np.testing.assert_array_equal(found[1][name], values)


def test_every_illumination_is_another_result(scene: Scene) -> None:
    settings = [("statistics.illumination", name) for name in ("none", *CHANGES)]
    marks = {next(iter(fingerprints(scene, RunConfig.make(settings=[one])))) for one in settings}
    assert len(marks) == len(settings)


@pytest.fixture(scope="module")
def unevenly_lit(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """One spectrum, in every pixel as bright as chance has it."""
    light = np.random.default_rng(0).uniform(0.2, 3, (1, 19, 23))
    spectrum = 0.1 + 0.05 * np.sin(np.arange(14))[:, None, None]
    values = (light * spectrum).astype(np.float32)
    return ingest([array_source(values)], tmp_path_factory.mktemp("light") / "scene.zarr")


@pytest.mark.parametrize("illumination", ["snv", "l2", "continuum"])
def test_brightness_alone_tells_no_pixels_apart_without_it(
    unevenly_lit: Scene, tmp_path: Path, illumination: str
) -> None:
    message = rf"illumination {illumination}, .* over its 437 .*illumination=snv\+brightness"
    with pytest.raises(SceneError, match=message):
        measure(unevenly_lit, tmp_path, illumination)


@pytest.mark.parametrize("illumination", ["none", "snv+brightness", "l2+brightness"])
def test_brightness_alone_tells_pixels_apart_with_it(
    unevenly_lit: Scene, tmp_path: Path, illumination: str
) -> None:
    constants = measure(unevenly_lit, tmp_path, illumination)
    assert constants.projections[0].components == 1


@pytest.mark.parametrize("illumination", ["none", *CHANGES])
def test_a_scene_of_one_spectrum_is_refused(tmp_path: Path, illumination: str) -> None:
    values = np.broadcast_to(np.arange(4, dtype=np.uint16)[:, None, None], (4, 8, 9))
    flat = ingest([array_source(values)], tmp_path / "scene.zarr")
    with pytest.raises(SceneError, match="Pixels that differ are needed"):
        measure(flat, tmp_path / "run", illumination)


@pytest.mark.parametrize("kind", ["f4", "f8"])
def test_a_scene_that_varies_by_next_to_nothing_is_refused(tmp_path: Path, kind: str) -> None:
    """Single precision cannot hold the inverse of such a deviation."""
    values = (np.random.default_rng(0).random((4, 8, 9)) * 1e-39).astype(kind)
    dark = ingest([array_source(values)], tmp_path / "scene.zarr")
    with pytest.raises(SceneError, match=r"more than 1e-32 are needed.*multiply them"):
        measure(dark, tmp_path / "run", "none")


def test_a_band_that_varies_by_next_to_nothing_is_constant(tmp_path: Path) -> None:
    values = np.random.default_rng(0).random((4, 8, 9)).astype(np.float32)
    values[2] *= np.float32(1e-39)
    source = array_source(values)
    constants = measure(ingest([source], tmp_path / "scene.zarr"), tmp_path / "run", "none")
    for projection in constants.projections:
        matrix = projection.matrix(0)
        assert np.isfinite(matrix.astype(np.float32)).all()
        assert projection.unit_norm or not matrix[2].any()


@pytest.mark.parametrize("illumination", ["snv+brightness", "continuum"])
def test_constants_survive_their_table(scene: Scene, tmp_path: Path, illumination: str) -> None:
    constants = measure(scene, tmp_path, illumination)
    again = from_table(to_table(constants))
    assert again.illumination == constants.illumination == illumination
    np.testing.assert_array_equal(again.wavelengths_nm, constants.wavelengths_nm)
    np.testing.assert_array_equal(again.good, constants.good)
    assert len(again.wavelengths_nm) == again.good.sum()


def test_constants_of_a_run_survive_their_table(finished: RunDirectory) -> None:
    table = read_table(finished.table(TABLE))
    again = to_table(from_table(table))
    assert again.keys() == table.keys() - {"dtype", "brightness"}
    assert again["groups"].tolist() == ["scene"]
    for name, values in again.items():
        np.testing.assert_array_equal(table[name], values)


def test_the_reservoir_is_sorted_and_holds_every_pixel_of_a_small_scene(
    scene: Scene, finished: RunDirectory
) -> None:
    assert scene.valid_pixels < RunConfig().reservoir.pixels
    table = read_table(finished.table(RESERVOIR))
    first = 0
    for number, frame in enumerate(scene.frames):
        valid = scene.valid(number, whole(frame.shape))
        part = slice(first, first + int(valid.sum()))
        first = part.stop
        assert (table["frame"][part] == number).all()
        np.testing.assert_array_equal(
            np.stack([table["row"][part], table["column"][part]]), np.nonzero(valid)
        )
        spectra = scene.read(number, whole(frame.shape))
        np.testing.assert_array_equal(table["spectra"][part].T, spectra[:, valid])
    assert first == len(table["row"]) == scene.valid_pixels


def test_pictures_show_three_bands_of_every_frame(scene: Scene, finished: RunDirectory) -> None:
    table, bands = read_table(finished.table(PICTURES)), list(shown_bands(scene))
    assert picture_step(scene) == 1
    for number, frame in enumerate(scene.frames):
        expected = scene.read(number, whole(frame.shape))[bands]
        np.testing.assert_array_equal(table[str(number)], expected)
