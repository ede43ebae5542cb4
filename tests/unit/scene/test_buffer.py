from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hsistream.scene.blocks import Block
from hsistream.scene.buffer import BlockPixels
from hsistream.scene.scene import Scene
from hsistream.tiles import Window
from tests.strategies import whole, windows

SHAPE = (100, 230)


def chunk_aligned(window: Window, shape: tuple[int, int]) -> Window:
    """The chunks that a window touches."""
    rows, columns = (
        slice(part.start // 16 * 16, min(-(-part.stop // 16) * 16, extent))
        for part, extent in zip(window, shape, strict=True)
    )
    return rows, columns


@given(st.lists(windows(SHAPE), min_size=1, max_size=5))
def test_every_chunk_is_claimed_once(scene: Scene, wanted: list[Window]) -> None:
    pixels = BlockPixels.empty(scene, Block(0, 0, SHAPE[0], 0, SHAPE[1]))
    claims, asked = np.zeros(SHAPE, int), np.zeros(SHAPE, np.bool_)
    for window in wanted:
        block = chunk_aligned(window, SHAPE)
        for claimed in pixels.claim(block, 16):
            claims[claimed] += 1
        asked[block] = True
        assert not pixels.claim(block, 16)
        np.testing.assert_array_equal(claims, asked)


def test_a_block_is_filled_and_cut(scene: Scene) -> None:
    pixels = BlockPixels.empty(scene, Block(0, 16, 48, 32, 70))
    pixels.fill(scene, pixels.claim(pixels.window, scene.chunk_px))
    np.testing.assert_array_equal(pixels.spectra, scene.read(0, pixels.window))
    np.testing.assert_array_equal(pixels.valid, scene.valid(0, pixels.window))
    spectra, valid = pixels.cut((20, 40), 8)
    np.testing.assert_array_equal(spectra, scene.read(0, (slice(20, 28), slice(40, 48))))
    np.testing.assert_array_equal(valid, scene.valid(0, (slice(20, 28), slice(40, 48))))


def test_a_cut_is_a_copy(scene: Scene) -> None:
    shape = scene.frames[0].shape
    pixels = BlockPixels.empty(scene, Block(0, 0, shape[0], 0, shape[1]))
    pixels.fill(scene, [whole(shape)])
    spectra, valid = pixels.cut((0, 0), 8)
    spectra[...], valid[...] = 0, True
    np.testing.assert_array_equal(pixels.spectra, scene.read(0, whole(shape)))
    np.testing.assert_array_equal(pixels.valid, scene.valid(0, whole(shape)))
