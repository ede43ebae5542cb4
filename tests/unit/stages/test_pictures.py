from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsistream.scene.scene import Scene
from hsistream.stages import scene_tiles
from hsistream.stages.pictures import (
    PICTURE_PIXELS,
    assemble,
    assemble_frames,
    picture_step,
    sample,
)
from hsistream.tiles import TileGrid, strips
from tests.strategies import grids


@given(grids(), st.integers(1, 12), st.integers(0, 2), st.randoms(use_true_random=False))
def test_pictures_put_together_from_tiles_are_the_strided_whole(
    grid: TileGrid, step: int, leading: int, random: st.DataObject
) -> None:
    shape = (*(2, 3)[:leading], *grid.shape)
    values = np.arange(np.prod(shape)).reshape(shape)
    tiles = list(grid)
    random.shuffle(tiles)  # type: ignore[attr-defined]
    parts = [(tile.core, sample(values[..., *tile.core], tile.core, step)) for tile in tiles]
    picture = assemble(parts, grid.shape, step, -1)
    np.testing.assert_array_equal(picture, values[..., ::step, ::step])


@given(grids(), st.integers(1, 12), st.integers(1, 20))
def test_samples_of_strips_join_to_the_sample_of_their_tile(
    grid: TileGrid, step: int, height: int
) -> None:
    values = np.arange(grid.shape[0] * grid.shape[1]).reshape(grid.shape)
    for tile in grid:
        parts = [sample(values[strip], strip, step) for strip in strips(tile.core, height)]
        np.testing.assert_array_equal(
            np.concatenate(parts), sample(values[tile.core], tile.core, step)
        )


def test_parts_that_are_missing_hold_the_fill_value() -> None:
    first = TileGrid((10, 20), 10)[0, 0]
    picture = assemble([(first.core, np.ones((5, 5), np.uint8))], (10, 20), 2, 9)
    assert picture.dtype == np.uint8
    assert (picture[:, :5] == 1).all()
    assert (picture[:, 5:] == 9).all()


@pytest.mark.parametrize("step", [1, 3])
def test_frames_are_put_together_each_by_itself(scene: Scene, step: int) -> None:
    whole = [np.random.default_rng(0).integers(0, 9, (2, *each.shape)) for each in scene.frames]
    tiles = scene_tiles(scene, 16)[::-1]
    parts = [(t, sample(whole[t.frame][:, *t.core], t.core, step)) for t in tiles]
    found = assemble_frames(iter(parts), scene, step, -1)
    assert sorted(found) == [0, 1]
    for frame, values in enumerate(whole):
        np.testing.assert_array_equal(found[frame], values[:, ::step, ::step])


@pytest.mark.parametrize(
    "shapes", [[(10, 10)], [(3000, 2000)], [(20_000, 31_000)], [(900, 1200)] * 40]
)
def test_the_pictures_of_a_scene_have_about_the_wanted_size(
    scene: Scene, shapes: list[tuple[int, int]]
) -> None:
    frames = tuple(replace(scene.frames[0], shape=shape) for shape in shapes)
    step = picture_step(replace(scene, frames=frames))
    shown = sum((shape[0] / step) * (shape[1] / step) for shape in shapes)
    assert shown <= PICTURE_PIXELS
    assert step == 1 or shown > PICTURE_PIXELS / 4
