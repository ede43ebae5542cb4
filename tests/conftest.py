from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

from hsistream.config import RunConfig
from hsistream.execution import Execution
from hsistream.pipeline import run
from hsistream.runs import RunDirectory
from hsistream.scene import layout as layout_module
from hsistream.scene.ingest import ingest
from hsistream.scene.scene import Scene
from hsistream.scene.synthetic import SyntheticFrame
from tests.laws.requests import TinyRun, made_once

settings.register_profile("hsistream", max_examples=40, deadline=None)
settings.load_profile("hsistream")

FRAMES = (
    SyntheticFrame(0, (50, 70), bands=12, classes=3),
    SyntheticFrame(1, (33, 48), bands=12, classes=3),
)
"""Two frames of odd sizes with blind bands and a corner without data."""

ROOMY_FRAMES = (
    SyntheticFrame(2, (150, 170), bands=12, classes=3),
    SyntheticFrame(3, (40, 70), bands=12, classes=3),
)
"""One is larger than a crop of a training, the other is not."""


@pytest.fixture
def small_storage(monkeypatch: pytest.MonkeyPatch) -> tuple[int, int]:
    """Chunks of 16 px and shards of at most 32 px for scenes ingested in this test."""
    return _shrink_storage(monkeypatch)


@pytest.fixture(scope="session")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """A scene of several shards per frame; never to be changed."""
    with pytest.MonkeyPatch.context() as patch:
        _shrink_storage(patch)
        return ingest(FRAMES, tmp_path_factory.mktemp("scene") / "scene.zarr")


@pytest.fixture(scope="session")
def roomy_scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """A scene with one frame larger than a crop, and one smaller; never to be changed."""
    with pytest.MonkeyPatch.context() as patch:
        _shrink_storage(patch)
        return ingest(ROOMY_FRAMES, tmp_path_factory.mktemp("roomy") / "scene.zarr")


@pytest.fixture(scope="session")
def finished(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """A finished run on the scene; never to be changed."""
    config = RunConfig.make(settings=[("cluster.clusters", 3)])
    folder = tmp_path_factory.mktemp("run") / "run"
    return run(scene, config, folder, execution=Execution(tile_px=32, threads=2))


@pytest.fixture(scope="session")
def tiny_run(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> TinyRun:
    """Give the finished run of a preset on the scene, made once; never to be changed."""
    folder = tmp_path_factory.mktemp("tiny-runs")
    return made_once(scene, folder, Execution(tile_px=32, threads=2))


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of real scenes, named by the environment variable HSISTREAM_DATA."""
    folder = os.environ.get("HSISTREAM_DATA")
    if folder:
        return Path(folder)
    reason = "HSISTREAM_DATA does not name the folder of the real scenes"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def _shrink_storage(patch: pytest.MonkeyPatch) -> tuple[int, int]:
    chunk_px, shard_px = 16, 32
    spectrum = FRAMES[0].bands * FRAMES[0].header.dtype.itemsize
    patch.setattr(layout_module, "CHUNK_SIDES_PX", (chunk_px,))
    patch.setattr(layout_module, "SHARD_BYTES", spectrum * shard_px**2)
    return chunk_px, shard_px
