"""Several frames are one scene."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hsistream.config import RunConfig
from hsistream.events import Event, Warned
from hsistream.execution import Execution
from hsistream.pipeline import run
from hsistream.report.scores import score
from hsistream.runs import NO_LABEL, RunDirectory
from hsistream.scene.ingest import ingest
from hsistream.scene.scene import Scene
from hsistream.scene.synthetic import SyntheticFrame
from tests.integration.commands import QUIET, command
from tests.laws.results import layer
from tests.strategies import array_source, whole

SHAPES = ((64, 90), (41, 57), (20, 130))
CLASSES = 3


def _frames(gains: tuple[float, ...] = (1.0, 1.0, 1.0)) -> list[SyntheticFrame]:
    return [
        SyntheticFrame(number, shape, bands=20, classes=CLASSES, gain=gain)
        for number, (shape, gain) in enumerate(zip(SHAPES, gains, strict=True))
    ]


def _config(*settings: tuple[str, object]) -> RunConfig:
    return RunConfig.make(settings=[("cluster.clusters", CLASSES), *settings])


def _agreement(frames: list[SyntheticFrame], done: RunDirectory, scene: Scene) -> float:
    """Adjusted Rand index over all frames together."""
    truth = np.concatenate([frame.truth().ravel() for frame in frames])
    labels = np.concatenate([labels.ravel() for labels in layer(done, scene)])
    return float(score(truth, labels).to_json()["ari"])


def test_frames_of_differing_sizes_share_their_labels(tmp_path: Path) -> None:
    frames = _frames()
    scene = ingest(frames, tmp_path / "scene.zarr")
    done = run(scene, _config(), tmp_path / "run", execution=Execution(tile_px=48))
    assert [labels.shape for labels in layer(done, scene)] == list(SHAPES)
    assert _agreement(frames, done, scene) > 0.85
    for frame, labels in zip(frames, layer(done, scene), strict=True):
        np.testing.assert_array_equal(labels != NO_LABEL, frame.valid(whole(frame.shape)))


@pytest.mark.parametrize("empty", [0, 1])
@pytest.mark.parametrize("by", ["scene", "frame"])
def test_a_frame_without_data_harms_no_other(tmp_path: Path, empty: int, by: str) -> None:
    frames = [replace(frame, shape=(40, 60)) for frame in _frames()[:2]]
    cubes = [frame.read(whole(frame.shape)) for frame in frames]
    masks = [frame.valid(whole(frame.shape)) for frame in frames]
    masks[empty][:] = False
    sources = [
        array_source(cube, f"frame{number}", mask=mask)
        for number, (cube, mask) in enumerate(zip(cubes, masks, strict=True))
    ]
    scene = ingest(sources, tmp_path / "scene.zarr")
    assert scene.frames[empty].valid_pixels == 0
    done = run(scene, _config(("statistics.by", by)), tmp_path / "run")
    labels = layer(done, scene)
    assert (labels[empty] == NO_LABEL).all()
    np.testing.assert_array_equal(labels[1 - empty] != NO_LABEL, masks[1 - empty])
    assert len(np.unique(labels[1 - empty][masks[1 - empty]])) == CLASSES
    assert done.page_path.is_file()
    assert command("export", done.path, tmp_path / "maps").code == 0


@pytest.mark.parametrize("by", ["frame", "group"])
def test_statistics_of_each_exposure_undo_the_exposure(tmp_path: Path, by: str) -> None:
    frames = _frames(gains=(1.0, 1.7, 1.7))
    scene = ingest(frames, tmp_path / "scene.zarr")
    settings: list[tuple[str, object]] = [("statistics.by", by)]
    if by == "group":
        groups = {"frame0": "morning", "frame1": "noon", "frame2": "noon"}
        settings.append(("statistics.groups", groups))
    done = run(scene, _config(*settings), tmp_path / by)
    together = run(scene, _config(), tmp_path / "scene")
    own, shared = _agreement(frames, done, scene), _agreement(frames, together, scene)
    assert own > 0.85
    assert own > shared


def test_frames_of_differing_brightness_are_a_warning(tmp_path: Path) -> None:
    scene = ingest(_frames(gains=(1.0, 1.7, 1.7)), tmp_path / "scene.zarr")
    events: list[Event] = []
    done = run(scene, _config(), tmp_path / "scene", notify=events.append)
    (warning,) = (event.message for event in events if isinstance(event, Warned))
    assert "--statistics frame" in warning
    assert done.manifest().warnings == (warning,)
    quiet: list[Event] = []
    run(scene, _config(("statistics.by", "frame")), tmp_path / "frame", notify=quiet.append)
    assert not [event for event in quiet if isinstance(event, Warned)]


def test_groups_come_from_a_configuration_file(tmp_path: Path) -> None:
    scene = ingest(_frames(), tmp_path / "scene.zarr")
    (tmp_path / "settings.toml").write_text(
        '[statistics]\nby = "group"\n'
        '[statistics.groups]\nframe0 = "a"\nframe1 = "b"\nframe2 = "a"\n'
        "[cluster]\nclusters = 3\n"
    )
    target = RunDirectory(tmp_path / "run")
    asked = ("cluster", scene.uri, "--config", tmp_path / "settings.toml", *QUIET)
    assert command(*asked, "--run", target.path).code == 0
    assert target.config().statistics.groups == {"frame0": "a", "frame1": "b", "frame2": "a"}
    assert command(*asked, "--run", target.path).code == 0
