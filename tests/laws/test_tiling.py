"""The size of the tiles of the labelling passes hardly moves a label."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hsistream.config import Execution, RunConfig
from hsistream.pipeline import run
from hsistream.readers.sources import open_sources
from hsistream.runs import LABELS, NO_LABEL, RunDirectory
from hsistream.scene.ingest import ingest
from hsistream.scene.scene import Scene
from hsistream.scene.synthetic import SyntheticFrame
from hsistream.stores.raster import RasterStore
from tests.laws.results import agreement, layer

TILES_PX = (32, 100, 4096)
AGREED = 0.9995

Run = Callable[[Scene, int, int], RunDirectory]


@pytest.fixture
def run_with(tmp_path: Path) -> Run:
    """Run a scene with a number of clusters and a tile size."""

    def of(scene: Scene, clusters: int, tile_px: int) -> RunDirectory:
        config = RunConfig.make(settings=[("cluster.clusters", clusters)])
        execution = Execution(tile_px=tile_px, threads=2)
        return run(scene, config, tmp_path / f"tiles-of-{tile_px}", execution=execution)

    return of


def test_tiles_of_any_size_agree_on_a_scene_of_odd_size(run_with: Run, tmp_path: Path) -> None:
    frames = (
        SyntheticFrame(0, (117, 149), bands=24, classes=4),
        replace(SyntheticFrame(1, (61, 83), bands=24, classes=4), noise=0.05),
    )
    scene = ingest(frames, tmp_path / "scene.zarr")
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


def _check(scene: Scene, clusters: int, run_with: Run) -> None:
    """Compare all tile sizes with the first; every label must occur."""
    first, *others = [run_with(scene, clusters, tile_px) for tile_px in TILES_PX]
    labels = np.concatenate([array.ravel() for array in layer(first, scene)])
    assert set(np.unique(labels)) - {NO_LABEL} == set(range(clusters))
    shares = {
        px: agreement(first, other, scene) for px, other in zip(TILES_PX[1:], others, strict=True)
    }
    assert min(shares.values()) >= AGREED, shares
