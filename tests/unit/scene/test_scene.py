from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from hsistream.errors import DamagedError, HsistreamError, SceneError
from hsistream.georeference import Georeference
from hsistream.scene.ingest import ingest
from hsistream.scene.scene import Scene
from tests.conftest import FRAMES
from tests.strategies import array_source, whole, windows


@pytest.fixture
def own_scene(scene: Scene, tmp_path: Path) -> Scene:
    """A copy of the scene, to be damaged."""
    return Scene.open(shutil.copytree(scene.uri, tmp_path / "own.zarr"))


def test_an_opened_scene_is_the_ingested_one(scene: Scene) -> None:
    assert Scene.open(scene.uri) == scene
    assert Scene.open(scene.uri + "/") == scene
    assert Scene.open(Path(scene.uri)) == scene


def test_a_scene_knows_its_layout(scene: Scene) -> None:
    assert [frame.shape for frame in scene.frames] == [(50, 70), (33, 48)]
    assert scene.pixels == 50 * 70 + 33 * 48
    masks = [source.valid(whole(source.shape)) for source in FRAMES]
    assert scene.valid_pixels == sum(int(mask.sum()) for mask in masks)
    assert (scene.bands, scene.dtype, scene.itemsize) == (12, "uint16", 2)
    assert scene.good_bands.count(False) == 2
    assert (scene.chunk_px, scene.shard_px) == (16, 32)


def test_a_scene_travels_light(scene: Scene) -> None:
    travelled = pickle.dumps(scene)
    assert pickle.loads(travelled) == scene
    assert len(travelled) < 8_000


@settings(max_examples=20)
@given(st.integers(0, 1).flatmap(lambda n: st.tuples(st.just(n), windows(FRAMES[n].shape))))
def test_windows_are_those_of_the_source(
    scene: Scene, place: tuple[int, tuple[slice, slice]]
) -> None:
    frame, window = place
    found = scene.read(frame, window)
    assert found.dtype == np.uint16
    np.testing.assert_array_equal(found, FRAMES[frame].read(window))
    np.testing.assert_array_equal(scene.valid(frame, window), FRAMES[frame].valid(window))


def test_frames_are_found_by_name(scene: Scene) -> None:
    assert scene.frame_number("frame1") == 1
    with pytest.raises(SceneError, match="it has frame0, frame1"):
        scene.frame_number("frame2")
    with pytest.raises(SceneError, match="it has frame0, frame1"):
        scene.open_frame("frame2")


def test_a_frame_opens_lazily_with_its_coordinates(scene: Scene) -> None:
    frame, opened = scene.frames[1], scene.open_frame("frame1")
    assert opened["spectra"].dims == ("band", "y", "x")
    assert opened["spectra"].chunks is not None
    np.testing.assert_allclose(opened["wavelength"], scene.wavelengths_nm)
    assert opened["wavelength"].attrs["units"] == "nm"
    np.testing.assert_array_equal(opened["good_wavelengths"].astype(bool), scene.good_bands)
    assert frame.georeference is not None
    y, x = frame.georeference.coordinates(frame.shape)
    np.testing.assert_array_equal(opened["y"], y)
    np.testing.assert_array_equal(opened["x"], x)
    assert "spatial_ref" in opened.coords
    np.testing.assert_array_equal(
        opened["spectra"][:, 2:9, 40:].values, scene.read(1, (slice(2, 9), slice(40, 48)))
    )


def test_a_turned_frame_has_no_coordinates_along_its_axes(tmp_path: Path) -> None:
    turned = Georeference((8.66, 5.0, 5e5, 5.0, -8.66, 4e6))
    values = np.random.default_rng(0).random((3, 6, 8))
    scene = ingest([array_source(values, "a", georeference=turned)], tmp_path / "s.zarr")
    opened = scene.open_frame("a")
    assert not {"x", "y"} & set(opened.coords)
    assert opened["spatial_ref"].attrs["GeoTransform"].split()[2] == "5.0"


# --- places that are no scene --------------------------------------------------------------


def test_nothing_is_no_scene(tmp_path: Path) -> None:
    with pytest.raises(SceneError, match="there is none at"):
        Scene.open(tmp_path / "none.zarr")


def test_a_folder_is_no_scene(tmp_path: Path) -> None:
    with pytest.raises(SceneError, match="there is none at"):
        Scene.open(tmp_path)


def test_a_remote_address_is_no_scene() -> None:
    with pytest.raises(SceneError, match=r"s3://bucket/a\.zarr is a remote address"):
        Scene.open("s3://bucket/a.zarr")


def test_a_scene_opens_by_anything_that_stands_for_its_path(own_scene: Scene) -> None:
    class Place:
        def __fspath__(self) -> str:
            return own_scene.uri

    for place in (Place(), Path(own_scene.uri), f"{own_scene.uri}/", f"file://{own_scene.uri}"):
        assert Scene.open(place) == own_scene


def test_a_file_is_no_scene_but_can_become_one(tmp_path: Path) -> None:
    path = tmp_path / "cube.npy"
    path.write_bytes(b"")
    with pytest.raises(SceneError, match=r"hsistream ingest .*cube\.npy .*cube\.zarr"):
        Scene.open(path)


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_a_foreign_store_is_no_scene_but_can_become_one(tmp_path: Path, zarr_format: int) -> None:
    zarr.open_group(tmp_path / "foreign.zarr", mode="w", zarr_format=zarr_format)  # type: ignore[arg-type]
    with pytest.raises(SceneError, match="not a scene written by hsistream"):
        Scene.open(tmp_path / "foreign.zarr")


def test_a_scene_of_another_format_is_refused(own_scene: Scene) -> None:
    path = Path(own_scene.uri) / "zarr.json"
    facts = json.loads(path.read_text())
    facts["attributes"]["hsistream"]["format"] = 99
    path.write_text(json.dumps(facts))
    with pytest.raises(SceneError):
        Scene.open(own_scene.uri)


@pytest.mark.parametrize("lost", ["frames", "bands", "identity"])
def test_a_scene_that_lost_some_of_its_facts_is_refused(own_scene: Scene, lost: str) -> None:
    path = Path(own_scene.uri) / "zarr.json"
    facts = json.loads(path.read_text())
    del facts["attributes"]["hsistream"][lost]
    path.write_text(json.dumps(facts))
    with pytest.raises(HsistreamError):
        Scene.open(own_scene.uri)


# --- damage --------------------------------------------------------------------------------


def test_a_whole_scene_is_complete(scene: Scene) -> None:
    scene.check_complete()
    for frame in scene.frames:
        assert (Path(scene.uri) / frame.name / "spectra" / "c" / "0" / "1" / "1").is_file()


@pytest.mark.parametrize(
    ("lost", "message"),
    [
        ("frame0/spectra/c/0/1/2", "frame0/spectra lacks 1 .*c/0/1/2"),
        ("frame1/valid/c/0/1", "frame1/valid lacks 1 .*c/0/1"),
    ],
)
def test_a_missing_file_is_found(own_scene: Scene, lost: str, message: str) -> None:
    (Path(own_scene.uri) / lost).unlink()
    with pytest.raises(DamagedError, match=message):
        own_scene.check_complete()


@pytest.mark.parametrize(
    "lost", ["spectra/c/0/1/2", "valid/c/0/1", "wavelength/c/0", "valid/zarr.json", "spectra"]
)
def test_a_frame_that_lost_a_file_is_not_opened(own_scene: Scene, lost: str) -> None:
    path = Path(own_scene.uri) / "frame0" / lost
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(DamagedError, match=f"frame0/{lost.partition('/')[0]} lacks 1 "):
        own_scene.open_frame("frame0")
    assert own_scene.open_frame("frame1")["spectra"].dtype == np.uint16


def test_a_frame_with_a_damaged_header_is_not_opened(own_scene: Scene) -> None:
    (Path(own_scene.uri) / "frame0" / "spectra" / "zarr.json").write_text("{")
    with pytest.raises(DamagedError, match="frame0/spectra"):
        own_scene.open_frame("frame0")


def test_a_missing_frame_is_found(own_scene: Scene) -> None:
    shutil.rmtree(Path(own_scene.uri) / "frame1")
    with pytest.raises(HsistreamError, match="frame1"):
        own_scene.check_complete()


@pytest.mark.parametrize("layer", ["spectra", "valid"])
def test_a_flipped_bit_is_found_when_it_is_read(own_scene: Scene, layer: str) -> None:
    for file in (Path(own_scene.uri) / "frame0" / layer / "c").rglob("*"):
        if file.is_file():
            stored = bytearray(file.read_bytes())
            stored[len(stored) // 2] ^= 4
            file.write_bytes(stored)
    read = own_scene.read if layer == "spectra" else own_scene.valid
    with pytest.raises(DamagedError, match=f"frame0/{layer}"):
        read(0, whole((50, 70)))
