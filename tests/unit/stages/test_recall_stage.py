from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from hsistream.runs import CONFIDENCE, LABELS, RunDirectory
from hsistream.scene.scene import Scene
from hsistream.stages import Address, label, recall, scene_tiles
from hsistream.stages import views as views_stage
from hsistream.stores.raster import RasterStore


@pytest.mark.parametrize("number", [0, 5, 9])
def test_a_tile_is_labelled_at_once_as_by_its_codes(
    scene: Scene, finished: RunDirectory, tmp_path: Path, number: int
) -> None:
    own = RunDirectory(tmp_path / "own")
    shutil.copytree(finished.path, own.path, ignore=shutil.ignore_patterns("codes.zarr"))
    views = own.config().views
    tile = scene_tiles(scene, 32, views_stage.halo(views))[number]
    name = scene.frames[tile.frame].name
    store = RasterStore(own.labels_uri)
    expected = [store.read(name, layer, tile.core) for layer in (LABELS, CONFIDENCE)]
    counted = label.label_tile(tile, address=Address(scene, finished, "known"))
    for layer in (LABELS, CONFIDENCE):
        store.write(name, layer, tile.core, np.zeros_like(expected[0]))
    found = recall.label_tile(tile, address=Address(scene, own, "new"), views=views)
    for layer, values in zip((LABELS, CONFIDENCE), expected, strict=True):
        np.testing.assert_array_equal(store.read(name, layer, tile.core), values)
    assert found.keys() == counted.keys()
    for key, values in counted.items():
        np.testing.assert_array_equal(found[key], values)


def test_memory_grows_with_the_tile_and_the_disk_with_the_scene(
    scene: Scene, finished: RunDirectory
) -> None:
    small, large = (recall.estimate(scene, finished.config(), px) for px in (16, 32))
    assert sum(small.task.values()) < sum(large.task.values())
    assert (small.tiles, large.tiles) == (5 * 4 + 3 * 3, 3 * 2 + 2 * 2)
    assert small.disk_bytes == large.disk_bytes == 2 * scene.pixels
