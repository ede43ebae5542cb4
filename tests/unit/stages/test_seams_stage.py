"""Label changes at seams, counted from the store of labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hsistream.regions.seams import LabelChanges
from hsistream.runs import LABELS, NO_LABEL, RunDirectory
from hsistream.scene.scene import Scene
from hsistream.stages import Address
from hsistream.stages import seams as seams_stage
from hsistream.stages.labelling import layers
from hsistream.stages.seams import measure_seams
from hsistream.stores.raster import RasterStore
from tests.strategies import whole

STORED_PX = 16


@pytest.fixture
def labelled(scene: Scene, tmp_path: Path) -> RunDirectory:
    """A run with random labels, and nothing else."""
    run, random = RunDirectory(tmp_path), np.random.default_rng(0)
    store = RasterStore.create(run.labels_uri, layers(3), scene.frames, STORED_PX)
    for frame in scene.frames:
        drawn = random.integers(0, 4, frame.shape)
        labels = np.where(drawn == 3, NO_LABEL, drawn).astype(np.uint16)
        store.write(frame.name, LABELS, whole(frame.shape), labels)
    return run


def of_frame(run: RunDirectory, scene: Scene, number: int, tile_px: int) -> LabelChanges:
    frame = scene.frames[number]
    every = whole(frame.shape)
    labels = RasterStore(run.labels_uri).read(frame.name, LABELS, every)
    return LabelChanges.from_window(labels, every, every, tile_px=tile_px, no_data=NO_LABEL)


@pytest.mark.parametrize("window_px", [20, 32, 2048])
def test_frames_read_in_windows_add_up(
    labelled: RunDirectory, scene: Scene, monkeypatch: pytest.MonkeyPatch, window_px: int
) -> None:
    monkeypatch.setattr(seams_stage, "WINDOW_PX", window_px)
    expected = of_frame(labelled, scene, 0, 24) + of_frame(labelled, scene, 1, 24)
    assert expected.seam_pairs > 0
    assert measure_seams(Address(scene, labelled, ""), 24) == expected


def test_only_frames_with_seams_are_counted(labelled: RunDirectory, scene: Scene) -> None:
    assert [frame.shape for frame in scene.frames] == [(50, 70), (33, 48)]
    address = Address(scene, labelled, "")
    assert measure_seams(address, 48) == of_frame(labelled, scene, 0, 48)
    assert measure_seams(address, 70) == LabelChanges()
