from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hsistream.config import RunConfig
from hsistream.events import ignore
from hsistream.execution import Execution
from hsistream.runs import RunDirectory
from hsistream.scene.scene import Scene
from hsistream.stages import Context, standardise
from hsistream.stages import statistics as statistics_stage
from hsistream.stages.standardise import strangest_frame
from hsistream.stages.statistics import STANDARD, TABLE, from_table
from hsistream.stores.tables import Table, read_table, write_table
from tests.strategies import whole

BY_FRAME = (("statistics.by", "frame"),)
BY_GROUP = (("statistics.by", "group"), ("statistics.groups", {"frame0": "b", "frame1": "a"}))


def context_of(scene: Scene, run: RunDirectory, *settings: tuple[str, Any]) -> Context:
    spectral = ("views.spectral", ["z", "l2", "mnf"])
    config = RunConfig.make(settings=[("cluster.clusters", 3), spectral, *settings])
    return Context(run, scene, config, Execution(), 32, 1, None, ignore, "")


def learnt_of(scene: Scene, folder: Path, *settings: tuple[str, Any]) -> RunDirectory:
    """Measure a scene, and put the tables where a run that adopts them has them."""
    run = RunDirectory(folder)
    statistics_stage.run(context_of(scene, run, *settings))
    for name in (TABLE, STANDARD):
        write_table(run.learnt_table(name), read_table(run.table(name)))
        run.table(name).unlink()
    run.forget("statistics")
    return run


def only(scene: Scene, *numbers: int) -> Scene:
    return replace(scene, frames=tuple(scene.frames[number] for number in numbers))


@pytest.mark.parametrize("settings", [(), BY_FRAME, BY_GROUP], ids=["scene", "frame", "group"])
def test_the_scene_that_was_learnt_from_is_standardised_as_before(
    scene: Scene, tmp_path: Path, settings: tuple[tuple[str, Any], ...]
) -> None:
    run = learnt_of(scene, tmp_path, *settings)
    standardise.run(context_of(scene, run, *settings))
    for name in (TABLE, STANDARD):
        before, after = read_table(run.learnt_table(name)), read_table(run.table(name))
        assert after.keys() == {key for key in before if not key.startswith("valid_per_chunk")}
        for key, values in after.items():
            np.testing.assert_array_equal(values, before[key], err_msg=key)


@pytest.mark.parametrize("number", [0, 1])
def test_a_frame_is_standardised_by_its_own_moments_along_learnt_directions(
    scene: Scene, tmp_path: Path, number: int
) -> None:
    run = learnt_of(only(scene, 1 - number), tmp_path, *BY_FRAME)
    one = only(scene, number)
    standardise.run(context_of(one, run, *BY_FRAME))
    learnt, found = (
        from_table(read_table(path)) for path in (run.learnt_table(TABLE), run.table(TABLE))
    )
    shape = one.frames[0].shape
    valid = scene.valid(number, whole(shape))
    spectra = scene.read(number, whole(shape))[found.good][:, valid].astype(np.float64)
    unit = spectra / np.linalg.norm(spectra, axis=0)
    assert found.groups == (one.frames[0].name,)
    assert found.edge_scales == learnt.edge_scales
    for before, after in zip(learnt.projections, found.projections, strict=True):
        own = unit if after.unit_norm else spectra
        np.testing.assert_allclose(after.mean[0], own.mean(axis=1))
        scale = np.ones(len(own)) if after.unit_norm else 1 / own.std(axis=1)
        np.testing.assert_allclose(after.scale[0], scale)
        np.testing.assert_array_equal(after.directions, before.directions)
    standard = read_table(run.table(STANDARD))
    np.testing.assert_array_equal(standard["low"][0], spectra.min(axis=1))
    np.testing.assert_array_equal(standard["high"][0], spectra.max(axis=1))


def test_a_group_is_found_by_its_name(scene: Scene, tmp_path: Path) -> None:
    run = learnt_of(scene, tmp_path, *BY_GROUP)
    one = only(scene, 1)
    groups = ("statistics.groups", {"frame1": "b"})
    standardise.run(context_of(one, run, ("statistics.by", "group"), groups))
    learnt, found = (
        from_table(read_table(path)) for path in (run.learnt_table(TABLE), run.table(TABLE))
    )
    assert (learnt.groups, found.groups) == (("a", "b"), ("b",))
    assert found.group_of_frame.tolist() == [0]
    for before, after in zip(learnt.projections, found.projections, strict=True):
        np.testing.assert_array_equal(after.mean[0], before.mean[1])
        np.testing.assert_array_equal(after.scale[0], before.scale[1])
    before_seen, seen = read_table(run.learnt_table(STANDARD)), read_table(run.table(STANDARD))
    for name in standardise.OF_GROUPS:
        np.testing.assert_array_equal(seen[name], before_seen[name][1:])


def with_brightness(scene: Scene, *levels: float) -> Scene:
    frames = [replace(f, brightness=level) for f, level in zip(scene.frames, levels, strict=True)]
    return replace(scene, frames=tuple(frames))


def brightness_of(*levels: float) -> Table:
    return {"brightness": np.asarray(levels)}


DEVIATIONS: Table = {"scale": np.array([[1 / 0.4, 0.0, 0.0, 0.0, 1 / 0.5, 1 / 0.6]])}
"""Features of spectra that deviate by about .5, or not at all."""


@pytest.mark.parametrize(
    ("known", "levels", "name", "factor"),
    [
        ((2.0, 4.0), (2.0, 3.0), "frame0", 1.0),
        ((2.0, 4.0), (3.0, 6.0), "frame1", 1.5),
        ((2.0, 4.0), (1.0, 6.0), "frame0", 2.0),
        ((2.0,), (2.0, 200.0), "frame1", 100.0),
    ],
)
def test_the_strangest_frame_is_farthest_from_all_known_ones(
    scene: Scene, known: tuple[float, ...], levels: tuple[float, ...], name: str, factor: float
) -> None:
    found = strangest_frame(with_brightness(scene, *levels), brightness_of(*known), DEVIATIONS)
    assert found is not None
    assert found[0].name == name
    assert found[1] == pytest.approx(factor)


@pytest.mark.parametrize(
    ("known", "levels", "name", "factor"),
    [
        ((0.0,), (0.4, 0.3), "frame0", 1.0),
        ((-0.1,), (-0.2, 30.0), "frame1", 60.0),
        ((2.0,), (1.0, -2000.0), "frame1", 1000.0),
        ((2.0,), (0.01, -1.0), "frame0", 200.0),
    ],
)
def test_brightness_below_zero_is_compared_with_deviations(
    scene: Scene, known: tuple[float, ...], levels: tuple[float, ...], name: str, factor: float
) -> None:
    found = strangest_frame(with_brightness(scene, *levels), brightness_of(*known), DEVIATIONS)
    assert found is not None
    assert found[0].name == name
    assert found[1] == pytest.approx(factor)


def test_a_frame_without_data_is_not_strange(scene: Scene) -> None:
    bright = with_brightness(scene, 2.0, 900.0)
    frames = (bright.frames[0], replace(bright.frames[1], valid_pixels=0))
    found = strangest_frame(replace(bright, frames=frames), brightness_of(2.0), DEVIATIONS)
    assert found is not None
    assert found[0].name == "frame0"
