"""Tiles write whole files only, and a pixel's label does not depend on its frame's edges."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from hsistream.config import RunConfig
from hsistream.consensus.views import HALO
from hsistream.errors import TileError
from hsistream.execution import Execution
from hsistream.pipeline import run
from hsistream.readers.sources import open_sources
from hsistream.runs import LABELS, NO_LABEL
from hsistream.scene.ingest import ingest
from hsistream.scene.scene import Frame, Scene
from hsistream.stores.raster import Layer, RasterStore
from hsistream.tiles import TileGrid, size
from tests.laws.results import layer

SHAPE = (75, 130)
LAYER = Layer(LABELS, "uint16", NO_LABEL)

SHARED_PX = 20
"""The last columns of abu-urban-5 are the first of abu-airport-2."""
SAME_LABEL = 0.985


def _store(folder: Path, tile_px: int) -> RasterStore:
    frame = Frame("frame", SHAPE, SHAPE[0] * SHAPE[1], 1.0)
    return RasterStore.create(str(folder / "store.zarr"), [LAYER], [frame], tile_px)


@pytest.mark.parametrize(("shard", "tile"), [(32, 16), (32, 33), (32, 48), (100, 64), (64, 129)])
def test_a_grid_that_cuts_a_shard_is_refused(tmp_path: Path, shard: int, tile: int) -> None:
    store = _store(tmp_path, shard)
    with pytest.raises(TileError, match=f"the tile is {tile} px and the shard {shard} px"):
        store.check("frame", LABELS, TileGrid(SHAPE, tile))


@pytest.mark.parametrize(("shard", "tile"), [(32, 32), (32, 96), (50, 100), (100, 130), (32, 999)])
def test_a_grid_of_whole_shards_is_accepted(tmp_path: Path, shard: int, tile: int) -> None:
    store = _store(tmp_path, shard)
    store.check("frame", LABELS, TileGrid(SHAPE, tile))


@pytest.mark.parametrize("tile_px", [16, 17, 50, 128])
def test_tiles_written_at_once_lose_no_pixel(tmp_path: Path, tile_px: int) -> None:
    store, grid = _store(tmp_path, tile_px), TileGrid(SHAPE, tile_px)
    expected = np.full(SHAPE, NO_LABEL, np.uint16)
    for number, tile in enumerate(grid):
        expected[tile.core] = number
    with ThreadPoolExecutor(8) as pool:
        list(
            pool.map(
                lambda tile: store.write("frame", LABELS, tile.core, expected[tile.core]), grid
            )
        )
    found = store.read("frame", LABELS, (slice(0, SHAPE[0]), slice(0, SHAPE[1])))
    np.testing.assert_array_equal(found, expected)
    assert all(size(tile.core) <= (tile_px, tile_px) for tile in grid)


@pytest.fixture(scope="module")
def neighbours(data_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """Two real frames that overlap: the end of one is the start of the other, to the bit."""
    names = ("abu-urban-5", "abu-airport-2")
    left, right = (np.load(data_folder / f"{name}.npz")["cube"] for name in names)
    np.testing.assert_array_equal(left[:, -SHARED_PX:], right[:, :SHARED_PX])
    sources = open_sources([data_folder / f"{name}.npz" for name in names])
    return ingest(sources, tmp_path_factory.mktemp("neighbours") / "scene.zarr")


@pytest.mark.parametrize("clusters", [4, 6])
def test_a_pixel_of_two_frames_has_one_label(
    neighbours: Scene, tmp_path: Path, clusters: int
) -> None:
    config = RunConfig.make(settings=[("cluster.clusters", clusters)])
    done = run(neighbours, config, tmp_path, execution=Execution(threads=2))
    left, right = layer(done, neighbours)
    same = left[:, -SHARED_PX:] == right[:, :SHARED_PX]
    halo = max(HALO.values())
    assert halo == 4
    assert same[:, halo:-halo].all()
    assert same.mean() >= SAME_LABEL
    assert len(np.unique(left[:, -SHARED_PX:])) > 1
