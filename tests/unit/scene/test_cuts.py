from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hsistream.errors import SceneError
from hsistream.scene.cuts import Cut, densest_cuts
from hsistream.scene.ingest import IngestOptions, ingest
from hsistream.scene.scene import Scene
from hsistream.tiles import area, size
from tests.strategies import array_source, whole


def made(folder: Path, *masks: np.ndarray) -> Scene:
    """A scene of random values, with frames of these masks (y, x)."""
    rng = np.random.default_rng(0)
    sources = [
        array_source(rng.integers(1, 99, (3, *mask.shape)).astype(np.int16), f"f{n}", mask=mask)
        for n, mask in enumerate(masks)
    ]
    return ingest(sources, folder / "scene.zarr")


def test_a_cut_shows_the_pixels_of_its_window(scene: Scene) -> None:
    window = slice(11, 30), slice(5, 47)
    cut = Cut(scene, 1, window, 4)
    assert (cut.header.name, cut.header.shape) == ("cut4", (19, 42))
    inner = slice(2, 9), slice(0, 3)
    there = slice(13, 20), slice(5, 8)
    np.testing.assert_array_equal(cut.read(inner), scene.read(1, there))
    np.testing.assert_array_equal(cut.valid(inner), scene.valid(1, there))


def test_a_scene_of_cuts_has_the_bands_and_the_data_of_its_scene(
    scene: Scene, tmp_path: Path
) -> None:
    cuts = densest_cuts(scene, 20, 1000)
    small = ingest(cuts, tmp_path / "small.zarr", IngestOptions(keep_zeros=True))
    for name in ("bands", "dtype", "good_bands", "wavelengths_nm", "no_data"):
        assert getattr(small, name) == getattr(scene, name)
    for number, cut in enumerate(cuts):
        all_of_it = whole(size(cut.window))
        np.testing.assert_array_equal(
            small.read(number, all_of_it), scene.read(cut.frame, cut.window)
        )
        valid = scene.valid(cut.frame, cut.window)
        np.testing.assert_array_equal(small.valid(number, all_of_it), valid)


def test_the_squares_with_most_data_are_cut(tmp_path: Path) -> None:
    mask = np.zeros((64, 64), np.bool_)
    mask[16:32, 48:64] = True
    mask[40:48, 0:12] = True
    cuts = densest_cuts(made(tmp_path, mask), 16, 256)
    assert [cut.window for cut in cuts] == [(slice(16, 32), slice(48, 64))]


def test_squares_are_added_until_there_are_enough_pixels(tmp_path: Path) -> None:
    scene = made(tmp_path, np.ones((64, 64), np.bool_), np.ones((30, 20), np.bool_))
    cuts = densest_cuts(scene, 16, 3 * 256)
    assert [area(cut.window) for cut in cuts] == [256] * 3
    assert len({(cut.frame, cut.window[0].start, cut.window[1].start) for cut in cuts}) == 3
    assert cuts == densest_cuts(scene, 16, 3 * 256)
    everything = densest_cuts(scene, 64, 10**6)
    assert [(cut.frame, size(cut.window)) for cut in everything] == [(0, (64, 64))]
    assert sum(area(cut.window) for cut in densest_cuts(scene, 32, 10**6)) == 64 * 64 + 30 * 20


def test_slivers_and_squares_without_data_are_left_out(tmp_path: Path) -> None:
    mask = np.ones((36, 70), np.bool_)
    mask[:, 32:] = False
    cuts = densest_cuts(made(tmp_path, mask), 32, 10**6)
    assert [cut.window for cut in cuts] == [(slice(0, 32), slice(0, 32))]


def test_a_large_scene_is_looked_at_in_a_few_places_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = made(tmp_path, np.ones((200, 200), np.bool_))
    looks: list[tuple[Any, ...]] = []
    plain = Scene.valid

    def counted(self: Scene, *place: Any) -> Any:
        looks.append(place)
        return plain(self, *place)

    monkeypatch.setattr(Scene, "valid", counted)
    densest_cuts(scene, 8, 64)
    assert len(looks) == 64
    assert {place[1][0].start // 50 for place in looks} == {0, 1, 2, 3}


def test_data_that_are_nowhere_found_are_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mask = np.zeros((100, 100), np.bool_)
    mask[50, 50] = True
    scene = made(tmp_path, mask)
    monkeypatch.setattr("hsistream.scene.cuts.PLACES", 2)
    with pytest.raises(SceneError, match="none of 2 places"):
        densest_cuts(scene, 8, 64)
