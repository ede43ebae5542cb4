from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from hsistream.config import RunConfig
from hsistream.sections import StatisticsSection
from hsistream.consensus.projections import Moments, edge_scale, fit_mnf, fit_z, noise_covariance
from hsistream.errors import ConfigError
from hsistream.events import Event, Warned
from hsistream.runs import RunDirectory
from hsistream.scene.scene import Scene
from hsistream.stages import scene_tiles
from hsistream.stages.pictures import picture_step
from hsistream.stages.statistics import (
    BRIGHTNESS_RATIO,
    PICTURES,
    RESERVOIR,
    TABLE,
    brightness_advice,
    from_table,
    measure_tile,
    shown_bands,
    statistics_groups,
    to_table,
    warn_of_brightness,
)
from hsistream.stores.tables import read_table
from tests.strategies import whole


def good_pixels(scene: Scene, frame: int) -> NDArray[np.float64]:
    """Valid pixels in the good bands, (band, pixel), read in one piece."""
    window = whole(scene.frames[frame].shape)
    spectra = scene.read(frame, window)[np.asarray(scene.good_bands)]
    return np.asarray(spectra[:, scene.valid(frame, window)], np.float64)


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


def direct_steps(scene: Scene) -> NDArray[np.float64]:
    """Differences of the reservoir's neighbours in the good bands, (pair, band)."""
    found = []
    for frame in range(len(scene.frames)):
        spectra = scene.read(frame, whole(scene.frames[frame].shape)).astype(np.float64)
        spectra = spectra[np.asarray(scene.good_bands)]
        row, column = np.nonzero(paired_pixels(scene, frame))
        own = spectra[:, row, column]
        found += [own - spectra[:, row, column + 1], own - spectra[:, row + 1, column]]
    return np.concatenate([np.asarray(step.T) for step in found])


def direct_moments(scene: Scene) -> Moments:
    pixels = np.concatenate([good_pixels(scene, frame) for frame in (0, 1)], axis=1)
    return Moments(
        np.array([pixels.shape[1]]),
        pixels.mean(axis=1)[None],
        np.cov(pixels, bias=True)[None],
        np.ones((1, len(pixels)), bool),
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


@pytest.mark.parametrize(("by", "warnings"), [("scene", 1), ("frame", 0)])
def test_who_has_chosen_gets_no_advice(scene: Scene, by: Any, warnings: int) -> None:
    heard: list[Event] = []
    section = StatisticsSection(by=by)
    warn_of_brightness(with_brightness(scene, 1.0, 2.0), section, heard.append)
    assert len(heard) == warnings
    assert all(isinstance(event, Warned) for event in heard)


# --- one tile ------------------------------------------------------------------------------


def test_one_tile_is_measured_as_numpy_does(scene: Scene) -> None:
    tile = scene_tiles(scene, scene.shard_px)[0]
    found = measure_tile(tile, scene=scene, seed=0, thresholds=(1.0, 1.0), unit_norm=True)
    good = np.asarray(scene.good_bands)
    valid = scene.valid(0, tile.core)
    pixels = scene.read(0, tile.core)[good][:, valid].astype(np.float64)
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
    order = np.lexsort((found["column"], found["row"]))
    np.testing.assert_array_equal(found["row"][order], row)
    np.testing.assert_array_equal(found["column"][order], column)


def test_neighbours_of_the_reservoir_are_the_right_and_the_lower_one(scene: Scene) -> None:
    everything = scene.read(1, whole(scene.frames[1].shape))
    expected = paired_pixels(scene, 1)
    for tile in [tile for tile in scene_tiles(scene, scene.shard_px) if tile.frame == 1]:
        found = measure_tile(tile, scene=scene, seed=0, thresholds=(1.0, 0.4), unit_norm=False)
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
    moments, steps, views = direct_moments(scene), direct_steps(scene), finished.config().views
    noise = noise_covariance(steps * moments.scale()[0])
    expected = (fit_z(moments, views.z_components), fit_mnf(moments, noise, views.mnf_components))
    pixels = good_pixels(scene, 1)
    for found, direct, scale in zip(
        constants.projections, expected, constants.edge_scales, strict=True
    ):
        assert found.name == direct.name
        assert_same_projection(found, direct, pixels)
        squared = ((steps @ direct.matrix[0]) ** 2).sum(axis=1)
        assert scale == pytest.approx(edge_scale(squared), rel=1e-6)


def test_constants_survive_their_table(finished: RunDirectory) -> None:
    table = read_table(finished.table(TABLE))
    again = to_table(from_table(table))
    assert again.keys() == table.keys()
    for name, values in table.items():
        np.testing.assert_array_equal(again[name], values)


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
