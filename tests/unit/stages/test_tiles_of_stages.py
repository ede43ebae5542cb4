from __future__ import annotations

from dataclasses import replace
from math import prod

import pytest

from hsistream.scene.scene import Scene
from hsistream.stages import largest_tile, stored_pixels


@pytest.mark.parametrize(
    ("shapes", "tile_px", "expected"),
    [
        ([(600, 600)], 600, 600**2),
        ([(600, 600)], 1024, 600**2),
        ([(2000, 3000)], 1024, 1024**2),
        ([(10, 4000)], 1024, 512 * 1024),
        ([(4000, 10), (100, 100)], 4000, 4000 * 500),
        ([(10, 300)], 512, 300**2),
        ([(10, 3000), (700, 1300)], 1024, 1024**2),
    ],
)
def test_the_largest_tile_is_stored_in_whole_chunks(
    scene: Scene, shapes: list[tuple[int, int]], tile_px: int, expected: int
) -> None:
    frames = tuple(replace(scene.frames[0], shape=shape) for shape in shapes)
    of_these = replace(scene, frames=frames)
    assert stored_pixels(of_these, tile_px) == expected
    assert prod(largest_tile(of_these, tile_px)) <= expected
    assert expected <= min(tile_px, of_these.longest_side) ** 2
