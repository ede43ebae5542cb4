from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from socket import gethostname
from typing import Any

import numpy as np
import pytest
import torch  # noqa: TID253 the layer of the networks
from numpy.typing import NDArray

from hsistream.config import RunConfig
from hsistream.errors import ConfigError
from hsistream.execution import Execution
from hsistream.methods import load_method
from hsistream.methods.base import Encoder
from hsistream.network_sections import DgcSection
from hsistream.pipeline import run
from hsistream.runs import LATENTS, NO_LABEL, RunDirectory
from hsistream.scene.ingest import ingest
from hsistream.scene.scene import Scene
from hsistream.stages import Address, scene_tiles
from hsistream.stages import encode as encode_stage
from hsistream.stages import statistics as statistics_stage
from hsistream.stages import train as train_stage
from hsistream.stages.assign import nearest_prototypes
from hsistream.stages.encode import embed_tile, encode_tile, latent_count, refine_tile
from hsistream.stores.raster import RasterStore
from hsistream.stores.tables import read_table
from hsistream.tiles import Tile, TileGrid
from tests.strategies import Shape, array_source, whole

Latents = NDArray[np.float32]

TILES_PX = (7, 16, 32, 100)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Small tensors on many threads mostly wait."""
    cores = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(cores)


@pytest.fixture(scope="module")
def encoder(learnt: RunDirectory) -> Encoder:
    settings = learnt.config().encoder
    assert settings is not None
    return train_stage.load_encoder(settings, learnt, "cpu")


def prototypes_of(run: RunDirectory) -> NDArray[np.float32]:
    found = read_table(run.table(train_stage.TABLE))["prototypes"][-1]
    return np.asarray(found, np.float32)


def encoded(
    scene: Scene, frame: int, encoder: Encoder, tile_px: int, side_px: int = 256
) -> Latents:
    """Latents of a frame, put together from tiles, before they are rounded."""
    shape = scene.frames[frame].shape
    found = np.full((encoder.latent_size, *shape), np.nan, np.float32)
    for tile in TileGrid(shape, tile_px, encoder.halo, frame):
        side = min(side_px, tile_px)
        embedded = embed_tile(tile, scene.valid(frame, tile.window(shape)), scene, encoder, side)
        found[:, *tile.core] = refine_tile(embedded, tile.core, encoder, side)
    return found


def directly(scene: Scene, frame: int, encoder: Encoder) -> Latents:
    """Latents of a frame in one piece."""
    shape = scene.frames[frame].shape
    raw, valid = scene.read(frame, whole(shape)), scene.valid(frame, whole(shape))
    embedded = encoder.embed(raw.reshape(len(raw), -1), frame).reshape(-1, *shape)
    width = (encoder.halo, encoder.halo)
    return encoder.refine(np.pad(np.where(valid, embedded, 0), ((0, 0), width, width), mode="edge"))


def stored(run: RunDirectory, scene: Scene, frame: int) -> NDArray[np.float16]:
    place = scene.frames[frame]
    return RasterStore(run.latents_uri).read(place.name, LATENTS, whole(place.shape), leading=1)


# --- a run ---------------------------------------------------------------------------------


def test_latents_are_those_of_the_whole_frame_and_nan_without_data(
    scene: Scene, learnt: RunDirectory, encoder: Encoder
) -> None:
    for number, frame in enumerate(scene.frames):
        found, valid = stored(learnt, scene, number), scene.valid(number, whole(frame.shape))
        assert found.dtype == np.float16
        assert np.isnan(found[:, ~valid]).all()
        expected = directly(scene, number, encoder)[:, valid]
        np.testing.assert_allclose(found[:, valid], expected, atol=1e-3)
        rounded = np.mean(found[:, valid] == expected.astype(np.float16))
        assert rounded > 0.98


def test_latents_open_lazily_with_their_place(scene: Scene, learnt: RunDirectory) -> None:
    frame = scene.frames[1]
    found = learnt.open(LATENTS, frame.name)
    assert found.dims == ("latent", "y", "x")
    assert found.chunks is not None
    np.testing.assert_array_equal(found, stored(learnt, scene, 1))


def test_a_worker_without_the_device_of_the_command_says_so(
    scene: Scene, learnt: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = learnt.config().encoder
    assert settings is not None
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match=f"finds none on {gethostname()}"):
        encode_stage._load(Address(scene, learnt, "another"), settings, "cuda")


# --- tiles ---------------------------------------------------------------------------------


@pytest.mark.parametrize("frame", [0, 1])
@pytest.mark.parametrize("tile_px", TILES_PX)
def test_latents_by_tile_are_those_of_the_whole_frame(
    scene: Scene, learnt: RunDirectory, encoder: Encoder, tile_px: int, frame: int
) -> None:
    valid = scene.valid(frame, whole(scene.frames[frame].shape))
    expected = directly(scene, frame, encoder)[:, valid]
    found = encoded(scene, frame, encoder, tile_px)[:, valid]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    labels, others = (
        nearest_prototypes(each.astype(np.float16)[:, None], prototypes_of(learnt))
        for each in (found, expected)
    )
    assert (labels != others).mean() <= 0.001


@pytest.mark.parametrize("side_px", [5, 16, 40, 64])
def test_the_side_of_the_squares_does_not_matter(
    scene: Scene, encoder: Encoder, side_px: int
) -> None:
    expected = directly(scene, 1, encoder)
    found = encoded(scene, 1, encoder, 64, side_px)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_blocks_of_rows_do_not_matter(
    scene: Scene, encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = encoded(scene, 0, encoder, 32)
    monkeypatch.setattr(encode_stage, "ROWS_AT_ONCE_BYTES", 1)
    np.testing.assert_allclose(encoded(scene, 0, encoder, 32), expected, atol=1e-5)


def test_a_tile_writes_its_core_and_nothing_else(
    scene: Scene, learnt: RunDirectory, tmp_path: Path
) -> None:
    run = RunDirectory(shutil.copytree(learnt.path, tmp_path / "run"))
    store, everything = RasterStore(run.latents_uri), whole(scene.frames[0].shape)
    settings = run.config().encoder
    assert settings is not None
    tile = next(each for each in scene_tiles(scene, 32, 2) if each.key == "0-1-1")
    before = stored(run, scene, 0)
    marked = np.where(np.isnan(before), before, 7)
    for other in scene_tiles(scene, 32):
        if other.frame == 0:
            store.write("frame0", LATENTS, other.core, marked[:, *other.core])
    table = encode_tile(
        tile,
        address=Address(scene, run, str(tmp_path)),
        settings=settings,
        device="cpu",
        side_px=32,
        seed=0,
        thresholds=(1.0,) * len(scene.frames),
    )
    expected = marked.copy()
    expected[:, *tile.core] = before[:, *tile.core]
    found = store.read("frame0", LATENTS, everything, leading=1)
    np.testing.assert_array_equal(np.delete(found, 0, 0), np.delete(expected, 0, 0))
    assert len(table["latents"]) == scene.valid(0, tile.core).sum()


# --- frames of any kind --------------------------------------------------------------------


def places(shape: Shape, dtype: str = "uint16") -> NDArray[Any]:
    """Spectra as of the scene of all tests, (12, y, x), with noise."""
    rng = np.random.default_rng(shape)
    return rng.integers(1000, 6000, (12, *shape)).astype(dtype)


@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (2, 1), (1, 40), (3, 3), (40, 2), (17, 16)])
@pytest.mark.parametrize("tile_px", [8, 16, 64])
def test_small_and_narrow_frames_are_those_of_one_piece(
    tmp_path: Path, encoder: Encoder, shape: Shape, tile_px: int
) -> None:
    scene = ingest([array_source(places(shape))], tmp_path / "scene.zarr")
    found = encoded(scene, 0, encoder, tile_px)
    np.testing.assert_allclose(found, directly(scene, 0, encoder), atol=1e-5)


@pytest.mark.parametrize("junk", [0.0, np.nan, np.inf, -3e38])
def test_pixels_without_data_spoil_no_neighbour(
    tmp_path: Path, encoder: Encoder, junk: float
) -> None:
    values = places((20, 24), "float32")
    valid = np.random.default_rng(3).random((20, 24)) < 0.6
    found = []
    for name, hidden in (("zero", 0.0), ("junk", junk)):
        spoilt = np.where(valid, values, np.float32(hidden))
        source = array_source(spoilt.astype(np.float32), mask=valid)
        scene = ingest([source], tmp_path / f"{name}.zarr")
        np.testing.assert_array_equal(scene.valid(0, whole((20, 24))), valid)
        found.append(encoded(scene, 0, encoder, 16))
    np.testing.assert_array_equal(found[0][:, valid], found[1][:, valid])
    assert np.isfinite(found[0][:, valid]).all()


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> tuple[Scene, RunDirectory]:
    """A run on a good frame, one without data, one of one pixel with data, and one of one pixel."""
    folder = tmp_path_factory.mktemp("odd")
    lone = np.zeros((12, 5), np.bool_)
    lone[7, 3] = True
    sources = [
        array_source(places((20, 24)), "good"),
        array_source(places((9, 9)), "blank", mask=np.zeros((9, 9), np.bool_)),
        array_source(places((12, 5)), "lone", mask=lone),
        array_source(places((1, 1)), "dot"),
    ]
    scene = ingest(sources, folder / "scene.zarr")
    settings = [("cluster.clusters", 3), ("training.steps", 1), ("training.pairs", 1)]
    config = RunConfig.make("dgc", settings=settings)
    return scene, run(scene, config, folder / "run", execution=Execution(tile_px=8, threads=1))


def test_frames_of_any_kind_are_encoded_and_labelled(odd: tuple[Scene, RunDirectory]) -> None:
    scene, done = odd
    for number, frame in enumerate(scene.frames):
        valid = scene.valid(number, whole(frame.shape))
        latents = stored(done, scene, number)
        assert (np.isfinite(latents) == valid).all()
        labels = done.open("labels", frame.name).to_numpy()
        assert ((labels != NO_LABEL) == valid).all()
        assert set(labels[valid].tolist()) <= {0, 1, 2}


# --- needs ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("bands", "expected"), [(12, 13), (16, 17), (300, 17)])
def test_latents_are_counted_at_most_before_anything_is_trained(
    scene: Scene, learnt: RunDirectory, bands: int, expected: int
) -> None:
    wide = replace(scene, bands=bands)
    assert latent_count(wide, learnt.config()) == expected


def test_more_pixels_at_a_time_need_more_memory(scene: Scene, learnt: RunDirectory) -> None:
    config = learnt.config()
    small, large = (encode_stage.estimate(scene, config, tile_px) for tile_px in (8, 64))
    assert sum(small.task.values()) < sum(large.task.values())
    assert small.tiles > large.tiles
    assert small.disk_bytes == large.disk_bytes == 13 * (2 * scene.pixels + 4 * scene.valid_pixels)


def test_the_halo_of_tiles_is_that_of_the_network(learnt: RunDirectory, encoder: Encoder) -> None:
    settings = learnt.config().encoder
    assert isinstance(settings, DgcSection)
    assert encoder.halo == load_method("dgc").halo(settings) == 2
    assert isinstance(next(iter(TileGrid((5, 5), 8, encoder.halo))), Tile)


def test_the_reservoir_of_latents_is_that_of_spectra(scene: Scene, learnt: RunDirectory) -> None:
    places = read_table(learnt.table(statistics_stage.RESERVOIR))
    found = read_table(learnt.table(encode_stage.TABLE))["reservoir"]
    assert len(found) == len(places["row"])
    for number, frame in enumerate(scene.frames):
        own = places["frame"] == number
        latents = RasterStore(learnt.latents_uri).read(
            frame.name, LATENTS, whole(frame.shape), leading=1
        )
        expected = latents[:, places["row"][own], places["column"][own]].T
        np.testing.assert_array_equal(found[own], expected)
