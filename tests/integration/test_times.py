"""The estimate of times: complete for every preset, and without a trace."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hsistream import calibration, pipeline
from hsistream.calibration import estimate_times
from hsistream.config import RunConfig
from hsistream.execution import Execution
from hsistream.presets import PRESETS
from hsistream.scene.ingest import ingest
from hsistream.scene.scene import Scene
from hsistream.stages.table import stream
from tests.integration.commands import MakeScene, command
from tests.laws.requests import tiny, tiny_options
from tests.strategies import array_source

TORCH_CACHE = "torchinductor"
"""Begins the name of a folder that torch makes when it is loaded, and keeps."""

FAST = Execution(tile_px=32, threads=2)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder for temporary files, which must be empty in the end."""
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    yield place
    left = [path.name for path in place.iterdir()]
    assert [name for name in left if not name.startswith(TORCH_CACHE)] == []


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[RunConfig]:
    """What the runs on squares are asked for, as they are begun."""
    configs: list[RunConfig] = []

    def noting(of: Scene, config: RunConfig, *given: object, **named: object) -> object:
        configs.append(config)
        return pipeline.run(of, config, *given, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(calibration, "run", noting)
    return configs


@pytest.fixture
def small_squares(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "SIDES_PX", (16, 32))


@pytest.mark.usefixtures("folder", "small_squares")
@pytest.mark.parametrize("method", list(PRESETS))
def test_every_stage_of_every_preset_has_a_time(method: str, scene: Scene) -> None:
    beside = sorted(Path(scene.uri).parent.rglob("*"))
    config = tiny(method)
    found = estimate_times(scene, config, FAST)
    assert list(found) == [stage.name for stage in stream(config)]
    assert min(found.values()) >= 0
    assert sum(found.values()) > 0
    assert sorted(Path(scene.uri).parent.rglob("*")) == beside


@pytest.mark.usefixtures("folder")
def test_larger_and_larger_squares_are_measured_until_they_are_the_scene(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, plain = [], calibration._measure
    monkeypatch.setattr(calibration, "BUDGET_S", 10**6)

    def noting(*given: object) -> object:
        found = plain(*given)  # type: ignore[arg-type]
        seen.append(found)
        return found

    monkeypatch.setattr(calibration, "_measure", noting)
    estimate_times(scene, tiny("kmeans"), replace(FAST, threads=1))
    pixels = [each.load.pixels for each in seen]
    assert pixels == sorted(pixels)
    assert pixels[-1] == scene.valid_pixels


@pytest.mark.usefixtures("folder")
def test_no_run_is_begun_for_which_there_is_no_time(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs, plain = [], calibration._measure

    def noting(*given: object) -> object:
        runs.append(given)
        return plain(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(calibration, "BUDGET_S", 0.0)
    monkeypatch.setattr(calibration, "_measure", noting)
    estimate_times(scene, tiny("kmeans"), FAST)
    assert len(runs) == 2


@pytest.mark.usefixtures("folder")
def test_nothing_is_left_after_an_error(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*given: object, **named: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(calibration, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        estimate_times(scene, tiny("kmeans"), FAST)


@pytest.mark.usefixtures("folder", "small_squares")
@pytest.mark.parametrize(
    "settings",
    [
        [("statistics.by", "frame")],
        [("statistics", {"by": "group", "groups": {"frame0": "a", "frame1": "b"}})],
        [("reservoir.pixels", 100)],
        [("cluster.clusters", 40)],
    ],
)
def test_settings_of_frames_and_amounts_suit_the_squares(
    scene: Scene, settings: list[tuple[str, object]]
) -> None:
    config = RunConfig.make("kmeans", settings=[("cluster.clusters", 3), *settings])
    assert len(estimate_times(scene, config, FAST)) == len(stream(config))


@pytest.mark.usefixtures("folder", "small_squares")
def test_superpixels_are_as_dense_in_the_squares(scene: Scene, asked: list[RunConfig]) -> None:
    estimate_times(scene, tiny("s2dl-paper", ("segment.superpixels", 500)), FAST)
    shares = [each.segment.superpixels / 500 for each in asked if each.segment.superpixels]
    areas = [2 * side_px**2 / scene.pixels for side_px in (16, 32)]
    np.testing.assert_allclose(shares, areas, atol=1 / 500)


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("shape", [(5, 4), (1, 9)])
def test_a_scene_of_a_few_pixels_is_measured_as_a_whole(
    tmp_path: Path, shape: tuple[int, int]
) -> None:
    values = np.random.default_rng(0).random((3, *shape))
    scene = ingest([array_source(values)], tmp_path / "scene.zarr")
    config = RunConfig.make("kmeans", settings=[("cluster.clusters", 2)])
    assert len(estimate_times(scene, config, FAST)) == len(stream(config))


@pytest.mark.usefixtures("folder", "small_squares")
def test_a_training_is_watched_on_a_crop_for_each_worker(
    scene: Scene, asked: list[RunConfig]
) -> None:
    estimate_times(scene, tiny("dgc"), FAST)
    assert {each.training.probe for each in asked} == {2}


# The command


@pytest.mark.usefixtures("folder", "small_squares")
def test_the_plan_shows_times_and_says_that_they_are_estimated(scene: Scene) -> None:
    asked = ("plan", scene.uri, *tiny_options("kmeans"))
    text = command(*asked).out
    assert "estimated" in text
    lines = {line.split()[0]: line for line in text.splitlines() if line}
    assert lines["time"].startswith("time    about ")
    assert all(lines[stage.name].endswith(" s") for stage in stream(tiny("kmeans")))
    facts = command(*asked, "--json").json
    assert list(facts["estimated_s"]) == [stage["stage"] for stage in facts["stages"]]
    assert facts["estimated_total_s"] == pytest.approx(sum(facts["estimated_s"].values()), abs=0.01)


@pytest.mark.parametrize(
    ("option", "code"), [(["--no-time"], 0), (["--memory", "1 MiB"], 4)], ids=["asked", "refused"]
)
def test_no_pixel_is_read_where_no_time_is_wanted(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, option: list[str], code: int
) -> None:
    def forbidden(*given: object) -> None:
        raise AssertionError("a pixel is read")

    monkeypatch.setattr(Scene, "read", forbidden)
    monkeypatch.setattr(Scene, "valid", forbidden)
    outcome = command("plan", scene.uri, "--json", *option)
    assert outcome.code == code
    assert outcome.json["estimated_s"] is outcome.json["estimated_total_s"] is None
    assert "time" not in command("plan", scene.uri, *option).out.split()


def test_a_scene_whose_squares_are_all_alike_is_planned_without_a_time(
    make_scene: MakeScene,
) -> None:
    cube = np.ones((200, 200, 3))
    cube[::199, ::199] = 2
    outcome = command("plan", make_scene(cube), "--json")
    assert outcome.code == 0
    assert outcome.json["estimated_s"] is None
    assert outcome.err.startswith("warning: no time can be estimated. Pixels that differ")
