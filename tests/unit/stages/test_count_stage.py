from __future__ import annotations

import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from hsistream.consensus.codebooks import Codebooks
from hsistream.runs import RunDirectory
from hsistream.scene.scene import Scene
from hsistream.stages import Address, scene_tiles
from hsistream.stages import cluster as cluster_stage
from hsistream.stages import codebooks as codebooks_stage
from hsistream.stages import views as views_stage
from hsistream.stages.count import LAYER, TABLE, codes_dtype, count_tile
from hsistream.stages.statistics import TABLE as STATISTICS
from hsistream.stages.statistics import from_table
from hsistream.stores.raster import RasterStore
from hsistream.stores.tables import read_table
from hsistream.tiles import Tile
from tests.strategies import whole

Codes = NDArray[np.int64]


def books_of(run: RunDirectory) -> tuple[Codebooks, ...]:
    path = run.table(codebooks_stage.TABLE)
    return codebooks_stage.read_codebooks(path, run.config().views.names)


def dtype_of(run: RunDirectory) -> type[np.unsignedinteger]:
    return codes_dtype(codebooks_stage.landmark_starts(books_of(run)))


def direct_codes(scene: Scene, run: RunDirectory, frame: int) -> Codes:
    """Nearest centroids of every pixel of a frame, (codebook, y, x), in float64; -1 = no data."""
    constants, section = from_table(read_table(run.table(STATISTICS))), run.config().views
    shape = scene.frames[frame].shape
    tile = Tile(frame, 0, 0, whole(shape))
    images: dict[str, NDArray[np.float64]] = {}
    for strip, name, values in views_stage.tile_views(tile, scene, section, constants):
        images.setdefault(name, np.zeros((len(values), *shape)))[:, *strip] = values
    codes = []
    for books in books_of(run):
        pixels = images[books.view].reshape(len(images[books.view]), -1).T
        for first, last in pairwise(books.starts):
            part = books.centroids[first:last].astype(np.float64)
            distance = ((pixels[:, None] - part[None]) ** 2).sum(axis=2)
            codes.append(distance.argmin(axis=1).reshape(shape))
    found = np.stack(codes)
    found[:, ~scene.valid(frame, whole(shape))] = -1
    return found


def pairs(codes: Codes, starts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Count shared landmarks, codebook by codebook, without the -1."""
    landmarks = (codes + starts[:-1, None, None])[:, codes[0] >= 0]
    counts = np.zeros((starts[-1], starts[-1]), np.int64)
    for first in landmarks:
        for second in landmarks:
            np.add.at(counts, (first, second), 1)
    return counts


def as_stored(codes: Codes, run: RunDirectory) -> Codes:
    return np.where(codes < 0, np.iinfo(dtype_of(run)).max, codes)


def test_the_codes_of_a_run_are_the_nearest_centroids(scene: Scene, finished: RunDirectory) -> None:
    store = RasterStore(finished.codes_uri)
    for number, frame in enumerate(scene.frames):
        found = store.read(frame.name, LAYER, whole(frame.shape), leading=1)
        assert found.dtype == dtype_of(finished)
        np.testing.assert_array_equal(
            found, as_stored(direct_codes(scene, finished, number), finished)
        )


def test_the_counts_of_a_run_are_those_of_all_its_pixels(
    scene: Scene, finished: RunDirectory
) -> None:
    table = read_table(finished.table(TABLE))
    starts = table["starts"]
    np.testing.assert_array_equal(starts, codebooks_stage.landmark_starts(books_of(finished)))
    expected = sum(pairs(direct_codes(scene, finished, frame), starts) for frame in (0, 1))
    np.testing.assert_array_equal(table["counts"], expected)
    assert table["counts"][: starts[1], : starts[1]].sum() == scene.valid_pixels


@pytest.mark.parametrize(("row", "column"), [(0, 0), (1, 2)])
def test_one_tile_is_counted_as_by_brute_force(
    scene: Scene, finished: RunDirectory, tmp_path: Path, row: int, column: int
) -> None:
    run = RunDirectory(shutil.copytree(finished.path, tmp_path / "run"))
    section = run.config().views
    grid_tiles = scene_tiles(scene, 32, views_stage.halo(section))
    tile = next(each for each in grid_tiles if each.key == f"0-{row}-{column}")
    store = RasterStore(run.codes_uri)
    everything = whole(scene.frames[0].shape)
    before = store.read("frame0", LAYER, everything, leading=1)
    store.write("frame0", LAYER, tile.core, np.zeros_like(before[:, *tile.core]))
    found = count_tile(tile, address=Address(scene, run, "mark"), views=section)
    np.testing.assert_array_equal(store.read("frame0", LAYER, everything, leading=1), before)

    starts = codebooks_stage.landmark_starts(books_of(run))
    expected = pairs(direct_codes(scene, run, 0)[:, *tile.core], starts)
    counts = np.zeros_like(expected)
    counts.reshape(-1)[found["pairs"]] = found["counts"]
    np.testing.assert_array_equal(counts, np.triu(expected))
    assert (found["counts"] > 0).all()


def test_codebooks_survive_their_table_and_have_the_sizes_that_were_asked(
    finished: RunDirectory,
) -> None:
    config = finished.config()
    sizes = codebooks_stage.codebook_sizes(config)
    assert set(sizes) == {multiple * 3 for multiple in config.codebooks.multiples}
    for books in books_of(finished):
        assert np.diff(books.starts).tolist() == sizes
        assert len(books.centroids) == books.starts[-1]


def test_weights_are_those_of_the_views(finished: RunDirectory) -> None:
    config = finished.config()
    views = config.views.model_copy(update={"weights": {"mnf.edge": 0.25}})
    weights = cluster_stage.codebook_weights(config.model_copy(update={"views": views}))
    books = len(codebooks_stage.codebook_sizes(config))
    assert weights == [1.0] * 5 * books + [0.25] * books


def test_the_codes_of_the_reservoir_are_those_of_its_pixels(
    scene: Scene, finished: RunDirectory
) -> None:
    views = read_table(finished.table(views_stage.TABLE))
    found = cluster_stage.reservoir_codes(views, books_of(finished))
    parts = [direct_codes(scene, finished, frame) for frame in (0, 1)]
    expected = np.concatenate([codes[:, codes[0] >= 0] for codes in parts], axis=1)
    np.testing.assert_array_equal(found, expected)
