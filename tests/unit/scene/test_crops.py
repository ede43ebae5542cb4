from __future__ import annotations

import shutil
import threading
import time
import tracemalloc
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st
from numpy.typing import NDArray

from hsistream.errors import ConfigError, DamagedError, SceneError, TileError
from hsistream.scene.crops import (
    Crop,
    CropPair,
    CropSettings,
    CropStream,
    buffer_bytes,
    open_crops,
    padded_frames,
    valid_per_chunk,
)
from hsistream.scene.ingest import ingest
from hsistream.scene.scene import Frame, Scene
from hsistream.tiles import TileGrid, Window, area, size
from tests.strategies import Shape, array_source, masks, shapes, whole

SMALL = CropSettings(
    seed=3, steps=8, pairs=3, crop_px=8, blocks=4, amplification=4.0, block_px_most=32
)
"""Crops of 8 px from 12 blocks of 32 px: the scene does not fit into the buffer."""

Origins = list[tuple[int, int, tuple[int, int], tuple[int, int]]]


def counts_of(scene: Scene) -> list[NDArray[np.int32]]:
    return [
        valid_per_chunk(scene.valid(number, whole(frame.shape)), scene.chunk_px)
        for number, frame in enumerate(scene.frames)
    ]


def open_all(scene: Scene, settings: CropSettings = SMALL) -> CropStream:
    return open_crops(scene, settings, counts_of(scene))


def pairs_of(stream: CropStream, first_step: int = 0) -> list[CropPair]:
    return [pair for batch in stream.batches(first_step) for pair in batch]


def origins_of(pairs: Sequence[CropPair]) -> Origins:
    return [(pair.number, pair.frame, pair.first.origin, pair.second.origin) for pair in pairs]


def assert_same_crops(found: Sequence[CropPair], expected: Sequence[CropPair]) -> None:
    assert origins_of(found) == origins_of(expected)
    for one, other in zip(found, expected, strict=True):
        for crop, same in ((one.first, other.first), (one.second, other.second)):
            np.testing.assert_array_equal(crop.spectra, same.spectra)
            np.testing.assert_array_equal(crop.valid, same.valid)


def ingest_places(
    frame_shapes: Sequence[Shape], folder: Path, *, valid: Sequence[NDArray[np.bool_]] = ()
) -> Scene:
    """A scene whose bands are frame, row, column and noise, so that pixels differ."""
    sources = []
    for number, shape in enumerate(frame_shapes):
        row, column = np.indices(shape)
        noise = np.random.default_rng(number).integers(0, 1000, shape)
        values = np.stack([np.full(shape, number), row, column, noise]).astype(np.int16)
        mask = valid[number] if valid else None
        sources.append(array_source(values, f"f{number}", mask=mask))
    return ingest(sources, folder / "places.zarr")


def layout(scene: Scene, frame_shapes: Sequence[Shape], **facts: Any) -> Scene:
    """A scene that is nowhere on the disk, without no data."""
    frames = [
        Frame(f"f{number}", shape, shape[0] * shape[1], 1.0)
        for number, shape in enumerate(frame_shapes)
    ]
    return replace(scene, frames=tuple(frames), **facts)


def full_counts(scene: Scene) -> list[NDArray[np.int32]]:
    return [
        valid_per_chunk(np.ones(frame.shape, np.bool_), scene.chunk_px) for frame in scene.frames
    ]


@pytest.fixture
def large(scene: Scene) -> Scene:
    """The layout of a scene of 40 Mpx and 100 bands."""
    return layout(scene, [(4000, 5000), (5000, 4000)], bands=100, chunk_px=128, shard_px=512)


def read_nothing(self: Scene, frame: int, window: Window) -> NDArray[Any]:
    return np.zeros((self.bands, *size(window)), self.dtype)


def all_valid(self: Scene, frame: int, window: Window) -> NDArray[np.bool_]:
    return np.ones(size(window), np.bool_)


@pytest.fixture
def nothing_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """All pixels of all scenes are 0 and valid."""
    monkeypatch.setattr(Scene, "read", read_nothing)
    monkeypatch.setattr(Scene, "valid", all_valid)


def test_a_step_has_pairs_of_crops_as_stored(scene: Scene) -> None:
    batches = list(open_all(scene).batches())
    assert [len(batch) for batch in batches] == [3] * 8
    pairs = [pair for batch in batches for pair in batch]
    assert [pair.number for pair in pairs] == list(range(24))
    for pair in pairs:
        for crop in (pair.first, pair.second):
            (top, left), window = crop.origin, tuple(slice(at, at + 8) for at in crop.origin)
            assert 0 <= top <= scene.frames[pair.frame].shape[0] - 8
            assert 0 <= left <= scene.frames[pair.frame].shape[1] - 8
            assert crop.spectra.dtype == np.uint16
            np.testing.assert_array_equal(crop.spectra, scene.read(pair.frame, window))  # type: ignore[arg-type] # two slices
            np.testing.assert_array_equal(crop.valid, scene.valid(pair.frame, window))  # type: ignore[arg-type] # two slices


@limits(max_examples=10)
@given(st.integers(0, 2**31 - 1))
def test_the_overlap_shows_the_same_pixels(scene: Scene, seed: int) -> None:
    for pair in pairs_of(open_all(scene, replace(SMALL, seed=seed, steps=3))):
        assert_overlap_shows_the_same(pair)


def assert_overlap_shows_the_same(pair: CropPair) -> None:
    first, second = pair.overlap()
    assert area(first) == area(second) > 0
    np.testing.assert_array_equal(pair.first.spectra[:, *first], pair.second.spectra[:, *second])
    np.testing.assert_array_equal(pair.first.valid[first], pair.second.valid[second])


@pytest.mark.parametrize(
    ("first", "second"), [((0, 0), (3, -2)), ((5, 5), (5, 5)), ((9, 1), (3, 4))]
)
def test_the_overlap_is_all_that_the_crops_share(
    first: tuple[int, int], second: tuple[int, int]
) -> None:
    crops = [Crop(np.zeros((1, 8, 8)), np.ones((8, 8), np.bool_), at) for at in (first, second)]
    here, there = CropPair(0, 0, *crops).overlap()
    shared = {
        tuple((np.indices((8, 8))[:, *window] + np.reshape(at, (2, 1, 1)))[:, y, x].tolist())
        for window, at in ((here, first), (there, second))
        for y, x in np.ndindex(size(window))
    }
    pixels = [{(y + at[0], x + at[1]) for y, x in np.ndindex(8, 8)} for at in (first, second)]
    assert shared == pixels[0] & pixels[1]


@pytest.mark.parametrize("settings", [SMALL, replace(SMALL, blocks=64), replace(SMALL, pairs=1)])
def test_a_run_entered_later_gives_the_rest(scene: Scene, settings: CropSettings) -> None:
    stream = open_all(scene, settings)
    pairs = pairs_of(stream)
    for step in range(settings.steps + 1):
        assert_same_crops(pairs_of(stream, step), pairs[step * settings.pairs :])


def test_the_seed_chooses_the_pairs(scene: Scene) -> None:
    first, second = (pairs_of(open_all(scene, replace(SMALL, seed=seed))) for seed in (0, 1))
    assert origins_of(first) != origins_of(second)
    assert_same_crops(first, pairs_of(open_all(scene, replace(SMALL, seed=0))))


def test_the_pace_of_reading_does_not_matter(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    stream, rng, read = open_all(scene), np.random.default_rng(0), Scene.read
    expected = pairs_of(stream)

    def read_slowly(self: Scene, frame: int, window: Window) -> NDArray[Any]:
        time.sleep(rng.uniform(0, 0.003))
        return read(self, frame, window)

    monkeypatch.setattr(Scene, "read", read_slowly)
    slow = open_all(scene)
    found = []
    for batch in slow.batches():
        time.sleep(rng.uniform(0, 0.01))
        found += batch
    assert_same_crops(found, expected)
    assert slow.counters == stream.counters


def test_what_is_kept_does_not_matter(scene: Scene) -> None:
    stream = open_all(scene)
    assert not stream.plan.keep
    keeping = replace(stream, plan=replace(stream.plan, keep=True))
    assert_same_crops(pairs_of(keeping), pairs_of(stream))


@pytest.mark.parametrize("keep", [False, True])
def test_memory_is_as_promised(large: Scene, nothing_read: None, keep: bool) -> None:
    if keep:
        large = layout(large, [(500, 700), (300, 200)])
    large = replace(large, bands=10)
    settings = CropSettings(0, 40, 4)
    stream = open_crops(large, settings, full_counts(large))
    assert stream.plan.keep == keep
    promised = buffer_bytes(large, settings)
    tracemalloc.start()
    try:
        for _ in stream.batches():
            pass
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert stream.counters.blocks_read > (0 if keep else settings.blocks)
    assert 0.5 * promised < peak < promised


def test_the_thread_ends_with_the_stream(scene: Scene) -> None:
    stream = open_all(scene)
    for steps in (0, 1, 5, SMALL.steps):
        batches = stream.batches()
        list(islice(batches, steps))
        assert isinstance(batches, Iterator)
        batches.close()  # type: ignore[attr-defined] # a generator
        assert not [t for t in threading.enumerate() if t.name.startswith("crops")]


@pytest.mark.parametrize("settings", [SMALL, replace(SMALL, blocks=64)])
def test_a_damaged_chunk_is_told(scene: Scene, tmp_path: Path, settings: CropSettings) -> None:
    own = Scene.open(shutil.copytree(scene.uri, tmp_path / "own.zarr"))
    for shard in Path(own.uri, "frame0/spectra/c").glob("*/*/*"):
        content = bytearray(shard.read_bytes())
        content[100:-200] = bytes(len(content) - 300)
        shard.write_bytes(content)
    with pytest.raises(DamagedError, match="damaged"):
        pairs_of(open_all(own, settings))
    assert not [t for t in threading.enumerate() if t.name.startswith("crops")]


def test_a_scene_that_fits_is_read_once(scene: Scene) -> None:
    settings = replace(SMALL, blocks=64, steps=60)
    stream = open_all(scene, settings)
    assert stream.plan.keep
    pairs_of(stream)
    assert stream.counters.bytes_read == scene.pixels * scene.bands * scene.itemsize
    assert stream.counters.hits > stream.counters.blocks_read


def test_a_frame_of_one_block_is_read_once(scene: Scene) -> None:
    stream = open_all(scene, CropSettings(seed=0, steps=50, pairs=2, crop_px=16))
    pairs_of(stream)
    assert stream.counters.blocks_read == 2
    assert stream.counters.bytes_read == scene.pixels * scene.bands * scene.itemsize


@pytest.mark.parametrize(("steps", "pairs"), [(30, 1), (31, 3), (100, 4)])
def test_counters_tell_what_was_read_and_used(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, steps: int, pairs: int
) -> None:
    stream = open_all(scene, replace(SMALL, steps=steps, pairs=pairs, amplification=1.0))
    read, sizes = Scene.read, []

    def watched(self: Scene, frame: int, window: Window) -> NDArray[Any]:
        values = read(self, frame, window)
        sizes.append(values.nbytes)
        return values

    monkeypatch.setattr(Scene, "read", watched)
    used = sum(p.first.spectra.nbytes + p.second.spectra.nbytes for p in pairs_of(stream))
    counters = stream.counters
    assert (counters.bytes_read, counters.bytes_used) == (sum(sizes), used)
    assert counters.amplification == sum(sizes) / used <= 1.1
    needed = len(list(stream.plan.schedule.needs(0)))
    assert counters.blocks_read + counters.hits == needed


@limits(max_examples=60)
@given(
    st.sampled_from([30, 31, 37, 64, 97, 240, 1000]),
    st.integers(1, 4),
    st.lists(st.tuples(st.integers(64, 1300), st.integers(64, 1100)), min_size=1, max_size=3),
    st.sampled_from([(64, 100), (64, 301), (64, 2000), (128, 60), (256, 20)]),
    st.sampled_from([1.0, 2.0]),
)
def test_no_run_reads_much_more_than_it_uses(
    scene: Scene,
    steps: int,
    pairs: int,
    frame_shapes: list[Shape],
    storage: tuple[int, int],
    amplification: float,
) -> None:
    chunk_px, bands = storage
    planned = layout(scene, frame_shapes, chunk_px=chunk_px, bands=bands)
    settings = CropSettings(0, steps, pairs, amplification=amplification)
    plan = open_crops(planned, settings, full_counts(planned)).plan
    read_px = sum(area(plan.block(number).window) for number in plan.schedule.needs(0))
    assert read_px / (steps * pairs * 2 * settings.crop_px**2) <= 1.1 * amplification


def test_pairs_of_a_step_come_from_different_blocks(large: Scene) -> None:
    stream = open_crops(large, CropSettings(0, 500, 4), full_counts(large))
    plan = stream.plan
    for step in range(0, 500, 7):
        blocks = {
            plan.block(plan.schedule.block(number)) for number in range(step * 4, step * 4 + 4)
        }
        assert len(blocks) == 4


def test_crops_move_as_far_as_the_overlap_allows(large: Scene, nothing_read: None) -> None:
    large = replace(large, bands=1)
    settings = CropSettings(0, 1000, 2, block_px_most=1024)
    shares, shifts = [], []
    for pair in pairs_of(open_crops(large, settings, full_counts(large))):
        shares.append(area(pair.overlap()[0]) / 64**2)
        shifts.append(np.subtract(pair.second.origin, pair.first.origin))
    assert np.abs(shifts).max() == pytest.approx(0.8 * 64, abs=2)
    assert min(shares) > 0.04
    assert np.mean(shares) == pytest.approx(0.575, abs=0.02)
    assert np.abs(np.mean(shifts, axis=0)).max() < 1.5


def test_frames_are_seen_by_their_valid_pixels(scene: Scene) -> None:
    planned = layout(scene, [(400, 500), (400, 250), (200, 250), (200, 250)], chunk_px=64)
    plan = open_crops(planned, CropSettings(0, 4000, 4), full_counts(planned)).plan
    frames = [plan.block(plan.schedule.block(number)).frame for number in range(0, 16_000, 3)]
    shares = np.bincount(frames) / len(frames)
    np.testing.assert_allclose(shares, [0.5, 0.25, 0.125, 0.125], atol=0.03)


def test_a_frame_without_data_is_never_shown(tmp_path: Path, small_storage: None) -> None:
    valid = [np.ones((20, 30), np.bool_), np.zeros((40, 40), np.bool_)]
    own = ingest_places([(20, 30), (40, 40)], tmp_path, valid=valid)
    assert {pair.frame for pair in pairs_of(open_all(own))} == {0}
    assert padded_frames(own, 64) == ["f0"]


def test_a_pair_is_drawn_again_until_it_shares_data(tmp_path: Path, small_storage: None) -> None:
    valid = np.zeros((64, 64), np.bool_)
    valid[:, 20:26] = True
    own = ingest_places([(64, 64)], tmp_path, valid=[valid])
    pairs = pairs_of(open_all(own, replace(SMALL, steps=60)))
    seen = [pair.first.valid[pair.overlap()[0]].any() for pair in pairs]
    assert np.mean(seen) > 0.9
    hardly = np.zeros((64, 64), np.bool_)
    hardly[0, 0] = True
    rare = ingest_places([(64, 64)], tmp_path / "rare", valid=[hardly])
    pairs = pairs_of(open_all(rare, replace(SMALL, steps=20)))
    assert len(pairs) == 60, "without shared data they are taken as they are"


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1), (5, 7), (7, 100), (8, 8), (9, 8)])
def test_small_frames_are_mirrored(tmp_path: Path, small_storage: None, shape: Shape) -> None:
    own = ingest_places([shape], tmp_path)
    for pair in pairs_of(open_all(own, replace(SMALL, steps=6))):
        assert_overlap_shows_the_same(pair)
        for crop in (pair.first, pair.second):
            assert crop.spectra.shape == (4, 8, 8)
            rows, columns = (
                slice(at, min(at + 8, extent))
                for at, extent in zip(crop.origin, shape, strict=True)
            )
            rim = [(0, 8 - length) for length in size((rows, columns))]
            shown, valid = own.read(0, (rows, columns)), own.valid(0, (rows, columns))
            np.testing.assert_array_equal(
                crop.spectra, np.pad(shown, [(0, 0), *rim], mode="symmetric")
            )
            np.testing.assert_array_equal(crop.valid, np.pad(valid, rim, mode="symmetric"))
    assert padded_frames(own, 8) == (["f0"] if min(shape) < 8 else [])


def test_a_scene_of_many_small_frames_is_sampled(tmp_path: Path, small_storage: None) -> None:
    own = ingest_places([(20, 20 + number) for number in range(12)], tmp_path)
    stream = open_all(own, replace(SMALL, steps=40, blocks=3, block_px_most=16))
    pairs = pairs_of(stream)
    assert not stream.plan.keep
    assert {pair.frame for pair in pairs} == set(range(12))
    for pair in pairs:
        assert np.all(pair.first.spectra[0] == pair.frame)
        assert_overlap_shows_the_same(pair)


def test_a_run_of_no_steps_has_no_pairs(scene: Scene) -> None:
    stream = open_all(scene, replace(SMALL, steps=0))
    assert not pairs_of(stream)
    assert stream.counters.amplification == stream.counters.bytes_read == 0


def test_a_plan_of_a_long_run_is_small(large: Scene) -> None:
    plan = open_crops(large, CropSettings(0, 20_000, 4), full_counts(large)).plan
    assert plan.places.nbytes < 400_000


@given(shapes(40).flatmap(lambda shape: st.tuples(masks(shape), st.integers(1, 12))))
def test_chunks_are_counted_alike_in_tiles(found: tuple[NDArray[np.bool_], int]) -> None:
    mask, chunk_px = found
    counts = valid_per_chunk(mask, chunk_px)
    grid = TileGrid((mask.shape[0], mask.shape[1]), chunk_px)
    assert counts.dtype == np.int32
    assert counts.tolist() == [
        [int(mask[grid[row, column].core].sum()) for column in range(grid.columns)]
        for row in range(grid.rows)
    ]
    tiles = TileGrid((mask.shape[0], mask.shape[1]), 3 * chunk_px)
    rows = [
        [
            valid_per_chunk(mask[tiles[row, column].core], chunk_px)
            for column in range(tiles.columns)
        ]
        for row in range(tiles.rows)
    ]
    np.testing.assert_array_equal(np.block(rows), counts)


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"seed": -1}, "seed"),
        ({"steps": -1}, "steps"),
        ({"crop_px": 0}, "at least 1 px"),
        ({"amplification": 0.0}, "amplification"),
        ({"pairs": 0}, "1 to 4 are possible"),
        ({"pairs": 5}, "more blocks"),
        ({"least_overlap": (0.0, 0.5)}, "least_overlap"),
        ({"least_overlap": (0.6, 0.5)}, "least_overlap"),
        ({"least_overlap": (0.5, 1.5)}, "least_overlap"),
    ],
)
def test_settings_out_of_range_are_refused(facts: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        replace(SMALL, **facts)


def test_counts_of_another_scene_are_refused(scene: Scene) -> None:
    counts = counts_of(scene)
    with pytest.raises(TileError, match="frame0"):
        open_crops(scene, SMALL, counts[::-1])
    with pytest.raises(TileError, match="Count them again"):
        open_crops(scene, SMALL, [counts[0], counts[1] + 1])


def test_a_scene_without_data_is_refused(scene: Scene) -> None:
    frames = tuple(replace(frame, valid_pixels=0) for frame in scene.frames)
    with pytest.raises(SceneError, match="valid pixels"):
        open_crops(replace(scene, frames=frames), SMALL, counts_of(scene))
