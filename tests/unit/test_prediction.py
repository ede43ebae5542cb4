from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from hsistream import prediction
from hsistream.config import RunConfig
from hsistream.errors import ConfigError, SceneError
from hsistream.prediction import predict, request
from hsistream.runs import RunDirectory
from hsistream.scene.scene import Scene
from hsistream.stages.adopt import learnt_fingerprint


@pytest.fixture
def run_by(finished: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> RunDirectory:
    """The finished run, taken for one of the statistics that a test sets."""
    monkeypatch.setattr(prediction, "_check_finished", lambda learnt, config: None)
    return finished


def with_statistics(monkeypatch: pytest.MonkeyPatch, run: RunDirectory, **section: object) -> None:
    tree = run.config().model_dump() | {"statistics": section}
    monkeypatch.setattr(RunDirectory, "config", lambda self: RunConfig.check(tree))


def with_brightness(scene: Scene, factor: float) -> Scene:
    frames = [replace(each, brightness=factor * each.brightness) for each in scene.frames]
    return replace(scene, frames=tuple(frames))


def test_what_is_asked_is_what_was_asked_by_what_was_learnt(
    scene: Scene, finished: RunDirectory
) -> None:
    asked, config = request(scene, finished.path, {}), finished.config()
    assert asked.learnt is not None
    assert asked.learnt.fingerprint == learnt_fingerprint(finished, config)
    assert asked.model_copy(update={"learnt": None}) == config
    assert RunConfig.check(asked.model_dump()) == asked


def test_a_scene_without_data_is_refused(
    scene: Scene, finished: RunDirectory, tmp_path: Path
) -> None:
    frames = tuple(replace(frame, valid_pixels=0) for frame in scene.frames)
    with pytest.raises(SceneError, match="has none"):
        predict(replace(scene, frames=frames), finished.path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("section", "factor", "refused"),
    [
        ({}, 40, False),
        ({}, 100, True),
        ({}, 0.01, True),
        ({"by": "frame"}, 100, False),
        ({"illumination": "snv"}, 100, False),
        ({"illumination": "snv+brightness"}, 100, True),
        ({"illumination": "snv+brightness", "by": "frame"}, 100, False),
    ],
    ids=str,
)
def test_other_units_are_refused_where_brightness_counts(
    scene: Scene,
    run_by: RunDirectory,
    monkeypatch: pytest.MonkeyPatch,
    section: dict[str, object],
    factor: float,
    refused: bool,
) -> None:
    with_statistics(monkeypatch, run_by, **section)
    new = with_brightness(scene, factor)
    if refused:
        with pytest.raises(ConfigError, match="Frames need the units"):
            request(new, run_by.path, {})
    else:
        assert request(new, run_by.path, {}).learnt is not None


@pytest.mark.parametrize(
    ("groups", "said"),
    [
        ({}, "frame0, frame1 of"),
        ({"frame0": "a"}, "frame1 of"),
        ({"frame0": "a", "frame1": "c"}, "frame1 of"),
        ({"frame0": "a", "frame1": "b", "north": "a"}, "has no frame north"),
    ],
    ids=str,
)
def test_every_frame_needs_a_group_that_was_learnt(
    scene: Scene,
    run_by: RunDirectory,
    monkeypatch: pytest.MonkeyPatch,
    groups: dict[str, str],
    said: str,
) -> None:
    known = {"spring": "a", "autumn": "b"}
    with_statistics(monkeypatch, run_by, by="group", groups=known)
    with pytest.raises(ConfigError, match=rf"\(a, b\), but .*{said}"):
        request(scene, run_by.path, groups)
    named = {"frame0": "b", "frame1": "b"}
    assert request(scene, run_by.path, named).statistics.groups == named


def test_groups_where_there_are_none_are_refused(scene: Scene, finished: RunDirectory) -> None:
    with pytest.raises(ConfigError, match="are by scene"):
        request(scene, finished.path, {"frame0": "a"})


def test_a_known_wavelength_is_compared_with_known_ones_only(
    scene: Scene, finished: RunDirectory
) -> None:
    assert request(replace(scene, wavelengths_nm=()), finished.path, {}).learnt is not None
    shifted = tuple(value + 2 for value in scene.wavelengths_nm)
    with pytest.raises(ConfigError, match=r"and 2 more \(from 0\)"):
        request(replace(scene, wavelengths_nm=shifted), finished.path, {})
