from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hsistream.errors import DamagedError, TileError
from hsistream.scene.scene import Frame
from hsistream.stores import arrays
from hsistream.stores.raster import CHUNK_PX, Layer, RasterStore, storage_chunk
from hsistream.tiles import TileGrid, size
from tests.strategies import Shape, shapes, whole

LABELS = Layer("labels", "uint16", 65535, attributes={"long_name": "label"})
CODES = Layer("codes", "uint8", 255, leading=("codebook", 3))


def frame(shape: Shape, name: str = "a") -> Frame:
    return Frame(name, shape, shape[0] * shape[1], 1.0)


def make(folder: Path, shape: Shape, tile_px: int) -> RasterStore:
    uri = str(folder / "raster.zarr")
    return RasterStore.create(uri, [LABELS, CODES], [frame(shape), frame((3, 5), "b")], tile_px)


def test_a_layer_lies_on_the_grid_of_every_frame(tmp_path: Path) -> None:
    store = make(tmp_path, (50, 70), 32)
    group: Any = arrays.open_group(store.uri)
    labels, codes = group["a/labels"], group["a/codes"]
    assert (labels.shape, labels.dtype) == ((50, 70), np.uint16)
    assert (codes.shape, codes.dtype) == ((3, 50, 70), np.uint8)
    assert group["b/codes"].shape == (3, 3, 5)
    assert labels.metadata.dimension_names == ("y", "x")
    assert codes.metadata.dimension_names == ("codebook", "y", "x")
    assert labels.attrs["long_name"] == "label"
    assert store.exists


def test_one_file_holds_one_tile_with_all_of_its_leading_axis(tmp_path: Path) -> None:
    store = make(tmp_path, (50, 70), 32)
    for tile in TileGrid((50, 70), 32):
        folder = Path(store.uri) / "a" / "codes" / "c" / "0" / str(tile.row)
        assert not (folder / str(tile.column)).exists()
        rows, columns = tile.core
        core = (3, rows.stop - rows.start, columns.stop - columns.start)
        store.write("a", "codes", tile.core, np.ones(core, np.uint8))
        assert (folder / str(tile.column)).is_file()
    assert arrays.missing_shards(store.uri, "a/codes") == []


def test_pixels_that_were_never_written_hold_the_fill_value(tmp_path: Path) -> None:
    store = make(tmp_path, (9, 9), 8)
    store.write("a", "labels", (slice(0, 8), slice(0, 8)), np.zeros((8, 8), np.uint16))
    found = store.read("a", "labels", whole((9, 9)))
    assert (found[:8, :8] == 0).all()
    assert (found[8:] == 65535).all()


@pytest.mark.parametrize("tile_px", [8, 24, 40])
def test_cores_written_on_threads_are_all_there(tmp_path: Path, tile_px: int) -> None:
    shape = (37, 53)
    store = make(tmp_path, shape, tile_px)
    values = np.random.default_rng(0).integers(0, 255, (3, *shape), np.uint8)
    with ThreadPoolExecutor(4) as pool:
        for done in [
            pool.submit(store.write, "a", "codes", tile.core, values[:, *tile.core])
            for tile in TileGrid(shape, tile_px)
        ]:
            done.result()
    np.testing.assert_array_equal(store.read("a", "codes", whole(shape), leading=1), values)
    window = (slice(5, 30), slice(7, 52))
    np.testing.assert_array_equal(store.read("a", "codes", window, leading=1), values[:, *window])


def test_strips_are_one_chunk_high_and_make_up_the_window(tmp_path: Path) -> None:
    store = make(tmp_path, (50, 70), 16)
    for tile in TileGrid((50, 70), 16):
        values = np.random.default_rng(tile.row).integers(0, 255, (3, *size(tile.core)), np.uint8)
        store.write("a", "codes", tile.core, values)
    window = slice(5, 41), slice(3, 60)
    found = list(store.read_strips("a", "codes", window, leading=1))
    assert [rows.stop - rows.start for (rows, _), _ in found] == [11, 16, 9]
    assert all(columns == window[1] for (_, columns), _ in found)
    joined = np.concatenate([codes for _, codes in found], axis=1)
    np.testing.assert_array_equal(joined, store.read("a", "codes", window, leading=1))
    floats = store.read_floats("a", "codes", window, leading=1)
    assert floats.dtype == np.float32
    np.testing.assert_array_equal(floats, joined)


def test_creating_a_store_replaces_the_old_one(tmp_path: Path) -> None:
    store = make(tmp_path, (8, 8), 8)
    store.write("a", "labels", whole((8, 8)), np.zeros((8, 8), np.uint16))
    again = make(tmp_path, (8, 8), 8)
    assert (again.read("a", "labels", whole((8, 8))) == 65535).all()


def test_a_store_that_was_not_created_does_not_exist(tmp_path: Path) -> None:
    assert not RasterStore(str(tmp_path / "none.zarr")).exists


@pytest.mark.parametrize("tile_px", [16, 32, 64, 80])
def test_tiles_of_whole_shards_are_accepted(tmp_path: Path, tile_px: int) -> None:
    store = make(tmp_path, (50, 70), 16)
    store.check("a", "labels", TileGrid((50, 70), tile_px))
    assert tile_px % 16 == 0


@pytest.mark.parametrize(("tile_px", "advice"), [(8, 16), (24, 32), (33, 48), (69, 80)])
def test_tiles_that_share_a_shard_are_refused(tmp_path: Path, tile_px: int, advice: int) -> None:
    store = make(tmp_path, (50, 70), 16)
    for layer in ("labels", "codes"):
        with pytest.raises(TileError, match=f"Use a tile of {advice} px"):
            store.check("a", layer, TileGrid((50, 70), tile_px))


def test_one_tile_over_the_whole_frame_needs_no_alignment(tmp_path: Path) -> None:
    store, grid = make(tmp_path, (50, 70), 16), TileGrid((50, 70), 71)
    store.check("a", "labels", grid)
    assert len(grid) == 1


@settings(max_examples=20)
@given(shapes(60), st.integers(1, 70), st.integers(1, 70))
def test_a_grid_is_refused_exactly_if_two_tiles_share_a_shard(
    tmp_path_factory: pytest.TempPathFactory, shape: Shape, shard: int, tile_px: int
) -> None:
    store = make(tmp_path_factory.getbasetemp(), shape, shard)
    grid = TileGrid(shape, tile_px)
    shards = [
        (row, column)
        for tile in grid
        for row in range(tile.core[0].start // shard, (tile.core[0].stop - 1) // shard + 1)
        for column in range(tile.core[1].start // shard, (tile.core[1].stop - 1) // shard + 1)
    ]
    if len(set(shards)) == len(shards):
        store.check("a", "labels", grid)
    else:
        with pytest.raises(TileError):
            store.check("a", "labels", grid)


@given(st.integers(1, 5000))
def test_the_chunk_divides_the_tile(tile_px: int) -> None:
    chunk = storage_chunk(tile_px)
    assert tile_px % chunk == 0
    fits = [
        parts for parts in range(1, 17) if tile_px % parts == 0 and tile_px // parts <= CHUNK_PX
    ]
    assert chunk == (tile_px // fits[0] if fits else tile_px)


def test_a_layer_that_lacks_a_file_is_not_complete(tmp_path: Path) -> None:
    frames = [frame((50, 70)), frame((3, 5), "b")]
    store = make(tmp_path, (50, 70), 32)
    for each in frames:
        for tile in TileGrid(each.shape, 32):
            rows, columns = tile.core
            core = (rows.stop - rows.start, columns.stop - columns.start)
            store.write(each.name, "labels", tile.core, np.zeros(core, np.uint16))
    store.check_complete(frames, "labels")
    (Path(store.uri) / "a" / "labels" / "c" / "1" / "2").unlink()
    with pytest.raises(DamagedError, match=r"a/labels lacks 1 .*c/1/2"):
        store.check_complete(frames, "labels")


@pytest.fixture
def filled(tmp_path: Path) -> RasterStore:
    frames = [frame((50, 70)), frame((3, 5), "b")]
    store = RasterStore.create(str(tmp_path / "raster.zarr"), [LABELS], frames, 32)
    for each in frames:
        for tile in TileGrid(each.shape, 32):
            store.write(each.name, "labels", tile.core, np.zeros(size(tile.core), np.uint16))
    return store


def test_a_store_with_all_its_files_is_complete(filled: RasterStore) -> None:
    assert filled.complete


@pytest.mark.parametrize("name", ["zarr.json", "a", "a/labels", "b/labels/c"])
def test_a_store_that_lacks_a_frame_or_a_layer_is_not_complete(
    filled: RasterStore, name: str
) -> None:
    path = Path(filled.uri) / name
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert not filled.complete


@pytest.mark.parametrize("name", ["zarr.json", "a/zarr.json", "a/labels/zarr.json"])
@pytest.mark.parametrize("text", [b"", b"{}", b"\xff\xfe"])
def test_a_store_with_a_damaged_header_is_not_complete(
    filled: RasterStore, name: str, text: bytes
) -> None:
    (Path(filled.uri) / name).write_bytes(text)
    assert not filled.complete
