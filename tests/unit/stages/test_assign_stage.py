from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from hsistream.runs import INDEX, LATENTS, RunDirectory
from hsistream.scene.ingest import ingest
from hsistream.scene.scene import Scene
from hsistream.stages import Address, scene_tiles
from hsistream.stages import assign as assign_stage
from hsistream.stages import encode as encode_stage
from hsistream.stages import train as train_stage
from hsistream.stages.assign import (
    NO_PROTOTYPE,
    TABLE,
    assign_tile,
    load_prototypes,
    nearest_prototypes,
)
from hsistream.stores.raster import RasterStore
from hsistream.stores.tables import Table, read_table, write_table
from tests.strategies import Shape, array_source, whole

SHARE = 0.4
"""Share of the pixels that is in the reservoir of the made runs."""

Latents = NDArray[np.float16]
Index = NDArray[np.int64]


def unit(rng: np.random.Generator, *shape: int) -> NDArray[np.float64]:
    """Random vectors of unit length along the first axis."""
    drawn = rng.standard_normal(shape)
    return np.asarray(drawn / np.linalg.norm(drawn, axis=0))


def nearest(latents: Latents, prototypes: NDArray[np.floating]) -> Index:
    """The prototype of largest cosine, by brute force; -1 where there is no data."""
    found = np.full(latents.shape[1:], -1)
    for place in np.ndindex(found.shape):
        vector = latents[:, *place].astype(np.float32)
        if np.isfinite(vector).all():
            found[place] = (prototypes.astype(np.float32) @ vector).argmax()
    return found


def signed(index: NDArray[np.uint16]) -> Index:
    """The same index, with -1 where there is no data."""
    return np.where(index == NO_PROTOTYPE, -1, index.astype(np.int64))


def meetings(index: Index, prototypes: int) -> Index:
    """How often two prototypes lie side by side, by brute force, symmetric."""
    counts = np.zeros((prototypes, prototypes), np.int64)
    height, width = index.shape
    for row, column in np.ndindex(height, width):
        for down, right in ((0, 1), (1, 0), (0, -1), (-1, 0)):
            other = row + down, column + right
            if not (0 <= other[0] < height and 0 <= other[1] < width):
                continue
            if index[row, column] >= 0 and index[other] >= 0:
                counts[index[row, column], index[other]] += 1
    return counts


@dataclass(frozen=True)
class Made:
    """A run directory with latents and prototypes that nothing was trained for."""

    scene: Scene
    run: RunDirectory
    latents: tuple[Latents, ...]
    prototypes: NDArray[np.float64]

    def index(self) -> list[Index]:
        return [nearest(each, self.prototypes) for each in self.latents]


def make(folder: Path, shapes: Sequence[Shape], prototypes: int = 5, blank: float = 0.2) -> Made:
    """Make frames of these shapes, a share of whose pixels is without data."""
    rng = np.random.default_rng(len(shapes))
    places = unit(rng, 4, prototypes).T
    sources, latents = [], []
    for number, shape in enumerate(shapes):
        valid = rng.random(shape) >= blank
        valid[0, 0] = True
        values = rng.integers(1, 1000, (2, *shape)).astype(np.uint16)
        sources.append(array_source(values, f"f{number}", mask=valid))
        found = unit(rng, 4, *shape).astype(np.float16)
        found[:, ~valid] = np.nan
        latents.append(found)
    run, scene = RunDirectory(folder / "run"), ingest(sources, folder / "scene.zarr")
    run.path.mkdir()
    write_table(run.table(train_stage.TABLE), {"prototypes": places[None]})
    return Made(scene, run, tuple(latents), places)


def assigned(made: Made, tile_px: int) -> Table:
    """Assign all tiles in turn, and put together what they give."""
    scene, frames = made.scene, made.scene.frames
    layer = encode_stage._layer(4)
    store = RasterStore.create(made.run.latents_uri, [layer], frames, tile_px)
    for tile in scene_tiles(scene, tile_px):
        values = np.ascontiguousarray(made.latents[tile.frame][:, *tile.core])
        store.write(frames[tile.frame].name, LATENTS, tile.core, values)
    RasterStore.create(made.run.index_uri, [assign_stage._layer()], frames, tile_px)
    tiles = scene_tiles(scene, tile_px)
    address = Address(scene, made.run, "mark")
    results = [assign_tile(tile, address=address) for tile in tiles]

    class Results:
        def results(self, asked: list[object]) -> list[tuple[object, Table]]:
            # as tiles finish, in any order
            order = np.random.default_rng(0).permutation(len(asked))
            return [(asked[n], results[n]) for n in order]

    return assign_stage._collect(Results(), tiles, scene)  # type: ignore[arg-type]


# --- one pixel -----------------------------------------------------------------------------


@given(st.integers(1, 9), st.integers(1, 12), st.integers(0, 2**31))
def test_the_prototype_of_a_pixel_is_that_of_largest_cosine(
    prototypes: int, width: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    latents = unit(rng, 3, 2, width).astype(np.float16)
    latents[:, rng.random((2, width)) < 0.2] = np.nan
    places = unit(rng, 3, prototypes).T.astype(np.float32)
    found = nearest_prototypes(latents, places)
    assert found.dtype == np.uint16
    expected = nearest(latents, places)
    np.testing.assert_array_equal(signed(found), expected)


def test_of_equal_prototypes_the_first_wins() -> None:
    places = np.array([[0.0, 1], [1, 0], [1, 0]], np.float32)
    latents = np.array([[1.0, 0]], np.float16).T[:, :, None]
    assert nearest_prototypes(latents, places).tolist() == [[1]]


def test_pixels_at_a_time_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    latents, places = unit(rng, 3, 7, 5).astype(np.float16), unit(rng, 3, 6).T.astype(np.float32)
    expected = nearest_prototypes(latents, places)
    monkeypatch.setattr(assign_stage, "PIXELS_AT_ONCE", 4)
    np.testing.assert_array_equal(nearest_prototypes(latents, places), expected)


def test_prototypes_are_those_of_the_last_check_at_unit_length(
    scene: Scene, tmp_path: Path
) -> None:
    history = np.stack([np.eye(3), 4 * np.eye(3)[::-1], np.diag([2.0, 0, 5])])
    run = RunDirectory(tmp_path)
    write_table(run.table(train_stage.TABLE), {"prototypes": history})
    found = load_prototypes(Address(scene, run, "mark"))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, np.diag([1.0, 0, 1]))


# --- tiles ---------------------------------------------------------------------------------

SHAPES: tuple[Shape, ...] = ((23, 31), (9, 16))


@pytest.mark.parametrize("tile_px", [7, 16, 32, 100])
def test_counts_are_those_of_whole_frames_whatever_the_tiles(tmp_path: Path, tile_px: int) -> None:
    made = make(tmp_path, SHAPES)
    table, index = assigned(made, tile_px), made.index()
    store = RasterStore(made.run.index_uri)
    for frame, expected in zip(made.scene.frames, index, strict=True):
        found = store.read(frame.name, INDEX, whole(frame.shape))
        np.testing.assert_array_equal(signed(found), expected)
    known = np.concatenate([each[each >= 0] for each in index])
    np.testing.assert_array_equal(table["usage"], np.bincount(known, minlength=5))
    np.testing.assert_array_equal(table["neighbours"], sum(meetings(each, 5) for each in index))


@pytest.mark.parametrize("shapes", [[(1, 1)], [(1, 30)], [(30, 1)], [(2, 2), (1, 1)]])
@pytest.mark.parametrize("blank", [0.0, 0.5])
def test_counts_of_narrow_frames(tmp_path: Path, shapes: list[Shape], blank: float) -> None:
    made = make(tmp_path, shapes, 3, blank)
    table, index = assigned(made, 8), made.index()
    np.testing.assert_array_equal(table["neighbours"], sum(meetings(each, 3) for each in index))


def test_pictures_show_the_index(tmp_path: Path) -> None:
    made = make(tmp_path, SHAPES)
    table = assigned(made, 16)
    for number, expected in enumerate(made.index()):
        found = table[f"{INDEX}.{number}"]
        np.testing.assert_array_equal(signed(found), expected)


# --- a run ---------------------------------------------------------------------------------


def test_the_index_of_a_run_is_the_nearest_prototype_of_its_latents(
    scene: Scene, learnt: RunDirectory
) -> None:
    prototypes = read_table(learnt.table(train_stage.TABLE))["prototypes"][-1]
    store, usage = RasterStore(learnt.index_uri), np.zeros(16, np.int64)
    for frame in scene.frames:
        window = whole(frame.shape)
        latents = RasterStore(learnt.latents_uri).read(frame.name, LATENTS, window, leading=1)
        found = store.read(frame.name, INDEX, window)
        expected = nearest(latents, prototypes)
        assert (signed(found) != expected).mean() < 0.001
        usage += np.bincount(found[found != NO_PROTOTYPE], minlength=16)
    table = read_table(learnt.table(TABLE))
    np.testing.assert_array_equal(table["usage"], usage)
    assert usage.sum() == scene.valid_pixels


def test_larger_tiles_need_more_memory(scene: Scene, learnt: RunDirectory) -> None:
    small, large = (assign_stage.estimate(scene, learnt.config(), tile) for tile in (8, 64))
    assert sum(small.task.values()) < sum(large.task.values())
    assert small.driver == large.driver
