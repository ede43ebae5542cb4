"""Downsampled pictures, gathered tile by tile while the pixels pass by.

A picture keeps the pixels whose row and column are multiples of one step, so
it does not depend on the tiles, and the report never reads the scene.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsistream.scene.scene import Scene
from hsistream.tiles import Tile, Window

PICTURE_PIXELS = 1_500_000
"""Pixels of all pictures of a scene together, about."""


def picture_step(scene: Scene) -> int:
    """Choose the step of a scene's pictures, px."""
    return max(1, math.ceil(math.sqrt(scene.pixels / PICTURE_PIXELS)))


def sample(values: NDArray[Any], window: Window, step: int) -> NDArray[Any]:
    """Keep the pixels of a window (..., y, x) that belong to the picture."""
    rows, columns = window
    return values[..., -rows.start % step :: step, -columns.start % step :: step]


def assemble(
    parts: Iterable[tuple[Window, NDArray[Any]]], shape: tuple[int, int], step: int, fill: float
) -> NDArray[Any]:
    """Put the sampled parts of a frame of ``shape`` together, (..., y, x)."""
    height, width = -(-shape[0] // step), -(-shape[1] // step)
    picture: NDArray[Any] | None = None
    for (rows, columns), part in parts:
        if picture is None:
            picture = np.full((*part.shape[:-2], height, width), fill, part.dtype)
        top, left = -(-rows.start // step), -(-columns.start // step)
        picture[..., top : top + part.shape[-2], left : left + part.shape[-1]] = part
    assert picture is not None, "a frame has at least one tile"
    return picture


def assemble_frames(
    parts: Iterable[tuple[Tile, NDArray[Any]]], scene: Scene, step: int, fill: float
) -> dict[int, NDArray[Any]]:
    """Put the sampled parts of all tiles together, (..., y, x) by the number of the frame."""
    of_frame: dict[int, list[tuple[Window, NDArray[Any]]]] = {}
    for tile, part in parts:
        of_frame.setdefault(tile.frame, []).append((tile.core, part))
    return {
        frame: assemble(found, scene.frames[frame].shape, step, fill)
        for frame, found in of_frame.items()
    }
