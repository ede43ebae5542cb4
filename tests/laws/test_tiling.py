"""The size of the tiles of the labelling passes hardly moves a label."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load

from hsistream.config import RunConfig
from hsistream.events import Event, StageStarted
from hsistream.execution import Execution
from hsistream.pipeline import run
from hsistream.readers.sources import open_sources
from hsistream.runs import INDEX, LABELS, LATENTS, NO_LABEL, RunDirectory
from hsistream.scene.ingest import ingest
from hsistream.scene.scene import Scene
from hsistream.scene.synthetic import SyntheticFrame
from hsistream.stores.raster import RasterStore
from tests.laws.requests import tiny
from tests.laws.results import agreement, layer

TILES_PX = (32, 100, 4096)
AGREED = 0.9995

NETWORK_TILES_PX = (4096, 16, 32, 100)
NETWORK_AGREED = 0.999
LATENT_STEP = 2e-3
"""Two steps of float16 below 1."""
SPATIAL_WEIGHT = 0.01
SPATIAL_LAYERS = {
    "dgc": "narrow.weight",
    "dgc-paper": "far.weight",
    "diffcrn": "denoiser.near.own.weight",
    "spectraldiff": "denoiser.up.0.resized.own.weight",
}
"""Weights without which a network would see single pixels only."""

Run = Callable[[Scene, int, int], RunDirectory]

ODD_FRAMES = (
    SyntheticFrame(0, (117, 149), bands=24, classes=4),
    replace(SyntheticFrame(1, (61, 83), bands=24, classes=4), noise=0.05),
)


class TrainedError(Exception):
    """The training is over."""


@pytest.fixture
def run_with(tmp_path: Path) -> Run:
    """Run a scene with a number of clusters and a tile size."""

    def of(scene: Scene, clusters: int, tile_px: int) -> RunDirectory:
        config = RunConfig.make(settings=[("cluster.clusters", clusters)])
        execution = Execution(tile_px=tile_px, threads=2)
        return run(scene, config, tmp_path / f"tiles-of-{tile_px}", execution=execution)

    return of


def test_tiles_of_any_size_agree_on_a_scene_of_odd_size(run_with: Run, tmp_path: Path) -> None:
    scene = ingest(ODD_FRAMES, tmp_path / "scene.zarr")
    assert scene.valid_pixels < scene.pixels
    assert not all(scene.good_bands)
    _check(scene, 4, run_with)


@pytest.mark.parametrize(("name", "clusters"), [("salinas150", 8), ("abu-beach-2", 5)])
def test_tiles_of_any_size_agree_on_real_scenes(
    run_with: Run, data_folder: Path, tmp_path: Path, name: str, clusters: int
) -> None:
    scene = ingest(open_sources([data_folder / f"{name}.npz"]), tmp_path / "scene.zarr")
    _check(scene, clusters, run_with)


def test_results_are_stored_in_shards_of_one_tile(run_with: Run, scene: Scene) -> None:
    done = run_with(scene, 3, 32)
    store = RasterStore(done.labels_uri)
    store.check_complete(scene.frames, LABELS)
    files = [path for path in Path(store.uri).glob(f"*/{LABELS}/c/*/*") if path.is_file()]
    assert len(files) == sum(-(-f.shape[0] // 32) * -(-f.shape[1] // 32) for f in scene.frames)


@pytest.mark.parametrize("method", ["dgc", pytest.param("dgc-paper", marks=pytest.mark.slow)])
def test_tiles_of_any_size_agree_on_what_a_network_sees(method: str, tmp_path: Path) -> None:
    scene = ingest(ODD_FRAMES, tmp_path / "scene.zarr")
    config = tiny(method, ("training.momentum", 0.0), clusters=4)
    _check_network(scene, config, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["spectraldiff", "diffcrn"])
def test_tiles_of_any_size_agree_on_what_a_diffusion_model_sees(
    method: str, tmp_path: Path
) -> None:
    scene = ingest(ODD_FRAMES, tmp_path / "scene.zarr")
    asked = (
        ("cluster.head", "prototypes"),
        ("views.spectral", ["z"]),
        ("views.spatial", ["plain"]),
    )
    noise = (("training.momentum", 0.0), ("encoder.noise", "hash"))
    _check_network(scene, tiny(method, *asked, *noise, clusters=4), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "clusters"), [("salinas150", 8), ("enmap_potsdam", 6)])
def test_tiles_of_any_size_agree_on_what_a_network_sees_of_real_scenes(
    data_folder: Path, tmp_path: Path, name: str, clusters: int
) -> None:
    scene = ingest(open_sources([data_folder / f"{name}.npz"]), tmp_path / "scene.zarr")
    config = RunConfig.make("dgc", settings=[("cluster.clusters", clusters)])
    _check_network(scene, config, tmp_path)


def _check(scene: Scene, clusters: int, run_with: Run) -> None:
    """Compare all tile sizes with the first; every label must occur."""
    first, *others = [run_with(scene, clusters, tile_px) for tile_px in TILES_PX]
    labels = np.concatenate([array.ravel() for array in layer(first, scene)])
    assert set(np.unique(labels)) - {NO_LABEL} == set(range(clusters))
    shares = {
        px: agreement(first, other, scene) for px, other in zip(TILES_PX[1:], others, strict=True)
    }
    assert min(shares.values()) >= AGREED, shares


def _check_network(scene: Scene, config: RunConfig, folder: Path) -> None:
    """Train once, encode with tiles of all sizes, and compare with one tile per frame."""
    first, *others = _encoded(scene, config, folder)
    assert _spatial_weight(first) > SPATIAL_WEIGHT
    for px, other in zip(NETWORK_TILES_PX[1:], others, strict=True):
        assert agreement(first, other, scene) >= NETWORK_AGREED, px
        for frame in scene.frames:
            mine, theirs = (_opened(each, INDEX, frame.name) for each in (first, other))
            assert (mine == theirs).mean() >= NETWORK_AGREED, px
            mine, theirs = (_opened(each, LATENTS, frame.name) for each in (first, other))
            np.testing.assert_array_equal(np.isnan(mine), np.isnan(theirs))
            gaps = np.abs(mine.astype(np.float32) - theirs.astype(np.float32))
            assert np.nanmax(gaps) <= LATENT_STEP, px


def _encoded(scene: Scene, config: RunConfig, folder: Path) -> list[RunDirectory]:
    """Runs that share a training, with tiles of all sizes."""

    def listen(event: Event) -> None:
        if isinstance(event, StageStarted) and event.stage == "encode":
            raise TrainedError

    with pytest.raises(TrainedError):
        run(scene, config, folder / "trained", execution=Execution(threads=2), notify=listen)
    found = []
    for tile_px in NETWORK_TILES_PX:
        target = shutil.copytree(folder / "trained", folder / f"tiles-of-{tile_px}")
        execution = Execution(tile_px=tile_px, threads=2)
        found.append(run(scene, config, target, execution=execution))
    return found


def _opened(done: RunDirectory, name: str, frame: str) -> NDArray[Any]:
    return np.asarray(done.open(name, frame).to_numpy())


def _spatial_weight(done: RunDirectory) -> float:
    """Largest weight of the last convolution; at the start it is 0, and no halo would matter."""
    latest = max((done.checkpoint_path / "checkpoints").iterdir())
    tensors = load((latest / "tensors.safetensors").read_bytes())
    name = SPATIAL_LAYERS[done.config().method]
    return float(np.abs(tensors[f"average.module.{name}"]).max())
