from __future__ import annotations

import numpy as np
import pytest

from hsistream.runs import LABELS, RunDirectory
from hsistream.scene.scene import Scene
from hsistream.stages import look_up_sample
from hsistream.stages.look_up_sample import labels_at
from hsistream.stores.raster import RasterStore
from hsistream.stores.tables import Table, read_table
from tests.strategies import whole


@pytest.mark.parametrize("tile_px", [7, 32, 2048])
def test_labels_are_those_of_the_map_whatever_the_order(
    scene: Scene, finished: RunDirectory, monkeypatch: pytest.MonkeyPatch, tile_px: int
) -> None:
    monkeypatch.setattr(look_up_sample, "TILE_PX", tile_px)
    rng = np.random.default_rng(0)
    frame = rng.integers(0, 2, 60)
    shapes = np.asarray([each.shape for each in scene.frames])
    row, column = (rng.integers(0, shapes[frame, axis]) for axis in (0, 1))
    found = labels_at({"frame": frame, "row": row, "column": column}, finished, scene)
    store = RasterStore(finished.labels_uri)
    maps = [store.read(each.name, LABELS, whole(each.shape)) for each in scene.frames]
    expected = [maps[f][y, x] for f, y, x in zip(frame, row, column, strict=True)]
    assert found.tolist() == expected


def test_the_reservoir_has_the_labels_that_it_was_given(
    scene: Scene, finished: RunDirectory
) -> None:
    places = read_table(finished.table("reservoir"))
    expected = read_table(finished.table("clusters"))["reservoir_label"]
    np.testing.assert_array_equal(labels_at(places, finished, scene), expected)


def test_no_places_have_no_labels(scene: Scene, finished: RunDirectory) -> None:
    nowhere: Table = {name: np.zeros(0, np.int64) for name in ("frame", "row", "column")}
    assert len(labels_at(nowhere, finished, scene)) == 0
