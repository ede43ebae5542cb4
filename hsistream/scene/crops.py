"""Pairs of overlapping square crops, drawn from a scene of any size in constant memory.

Pair ``p`` of a run is a function of the scene, the seed and the settings: it
does not matter when it is asked for, nor where the stream was entered, so a
killed training goes on without a saved state. Which blocks they are cut from is
said by :mod:`hsistream.scene.blocks`; :mod:`hsistream.scene.buffer` holds them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsistream.errors import ConfigError, SceneError, TileError
from hsistream.scene.blocks import BlockGrid, BlockPlan, choose_grid, draw_places, make_schedule
from hsistream.scene.buffer import (
    BLOCKS_AHEAD,
    BlockBuffer,
    BlockPixels,
    Counters,
    spectrum_bytes,
)
from hsistream.scene.scene import Scene
from hsistream.tiles import Window, size

CROP_PX = 64
"""Height and width of a crop."""

STREAMED = 6
"""Blocks from which pairs are drawn at a time, at most, where not all frames are kept."""

TRIES = 8
"""Positions that a pair may try until its crops share a valid pixel."""

DECODING = 3
"""Reading a strip of chunks takes so many times its bytes, the strip included."""

PAIRS_KEY = 13

Pixel = tuple[int, int]
"""Row and column of a pixel of a frame."""


@dataclass(frozen=True, slots=True)
class CropSettings:
    """What is drawn, and with how much reading and memory.

    Parameters
    ----------
    seed : int
        Same seed, same pairs.
    steps, pairs : int
        Steps of the whole run, and pairs per step.
    crop_px : int
        Height and width of a crop.
    least_overlap : (float, float)
        Range of the share of each axis that two crops have in common at least.
    blocks : int
        Blocks from which pairs are drawn at a time if all frames fit into so
        many, else at most ``STREAMED``, or one for each pair of a step. The
        pairs of a step come from different ones.
    amplification : float
        Bytes to be read, in those of the crops.
    block_px_most, block_bytes_most : int
        Largest block; see :func:`hsistream.scene.blocks.choose_grid`.

    Raises
    ------
    ConfigError
        If a value is out of range, or a step has more pairs than there are blocks.
    """

    seed: int
    steps: int
    pairs: int
    crop_px: int = CROP_PX
    least_overlap: tuple[float, float] = (0.2, 0.8)
    blocks: int = 8
    amplification: float = 1.0
    block_px_most: int = 256
    block_bytes_most: int = 24 * 2**20

    def __post_init__(self) -> None:
        low, high = self.least_overlap
        if min(self.seed, self.steps) < 0 or self.crop_px < 1 or self.amplification <= 0:
            raise ConfigError(
                f"Crops need a seed and steps from 0, at least 1 px and a positive amplification; "
                f"found {self}."
            )
        if not 1 <= self.pairs <= self.blocks:
            raise ConfigError(
                f"The pairs of a step come from different blocks: 1 to {self.blocks} are possible, "
                f"but {self.pairs} are asked for. Ask for fewer pairs or for more blocks."
            )
        if not 0 < low <= high <= 1:
            raise ConfigError(f"least_overlap needs shares in (0, 1], not {low} to {high}.")


@dataclass(frozen=True, slots=True)
class Crop:
    """A square of a frame: spectra (band, y, x) as stored, and which pixels are valid (y, x).

    ``origin`` is its first pixel (y, x) in the frame. Where the frame is
    smaller, it goes on beyond the last row and column as its mirror image.
    """

    spectra: NDArray[Any]
    valid: NDArray[np.bool_]
    origin: Pixel


@dataclass(frozen=True, slots=True)
class CropPair:
    """Two overlapping crops of a frame; ``number`` counts from the start of the run."""

    number: int
    frame: int
    first: Crop
    second: Crop

    def overlap(self) -> tuple[Window, Window]:
        """Windows of the first and of the second crop that show the same pixels."""
        return _overlap(self.first.origin, self.second.origin, self.first.valid.shape[0])


@dataclass(frozen=True, slots=True)
class CropStream:
    """The pairs of a run; see :func:`open_crops`.

    Frames that fit into the buffer together stay there, once read.
    """

    scene: Scene
    settings: CropSettings
    plan: BlockPlan
    counters: Counters = field(default_factory=Counters)

    def batches(self, first_step: int = 0) -> Iterator[list[CropPair]]:
        """Yield the pairs of each step from ``first_step`` to the end of the run.

        Raises
        ------
        DamagedError
            If stored data fail their checksum.
        StoreError
            If they cannot be read.
        """
        pairs = self.settings.pairs
        with BlockBuffer(self.scene, self.plan, self.counters, first_step * pairs) as buffer:
            for step in range(first_step, self.settings.steps):
                numbers = range(step * pairs, (step + 1) * pairs)
                yield [self._pair(number, buffer) for number in numbers]

    def _pair(self, number: int, buffer: BlockBuffer) -> CropPair:
        """Cut a pair from its block."""
        settings, block = self.settings, self.plan.schedule.block(number)
        pixels = buffer.pixels(number, block)
        origins = _draw_origins(number, self.plan.block(block).window, pixels, settings)
        self.counters.bytes_used += 2 * settings.crop_px**2 * spectrum_bytes(self.scene)
        first, second = (Crop(*pixels.cut(origin, settings.crop_px), origin) for origin in origins)
        return CropPair(number, pixels.frame, first, second)


def open_crops(
    scene: Scene, settings: CropSettings, counts: Sequence[NDArray[np.int32]]
) -> CropStream:
    """Plan the crops of a run; nothing is read yet.

    Parameters
    ----------
    scene : Scene
        Scene to draw from.
    settings : CropSettings
        What to draw.
    counts : sequence of array (chunk row, chunk column)
        Valid pixels of each chunk, for each frame; see :func:`valid_per_chunk`.

    Returns
    -------
    CropStream
        Pairs with all bands as stored, bad ones and no data included. Frames
        are drawn by their valid pixels, one of several at most every other time.

    Raises
    ------
    SceneError
        If no frame has a valid pixel.
    TileError
        If ``counts`` are not those of the chunks of the scene.
    """
    _check_counts(scene, counts)
    grid = _grid(scene, settings)
    cost = _largest_block_px(scene, grid) / (2 * settings.crop_px**2)
    asked = settings.steps, settings.pairs, _slots(scene, grid, settings)
    schedule = make_schedule(*asked, cost, settings.amplification)
    shapes = tuple(frame.shape for frame in scene.frames)
    places = draw_places(grid, shapes, counts, schedule, settings.seed)
    plan = BlockPlan(schedule, places, shapes, keep=_fits(scene, grid, settings))
    return CropStream(scene, settings, plan)


def valid_per_chunk(mask: NDArray[np.bool_], chunk_px: int) -> NDArray[np.int32]:
    """Count the valid pixels of each chunk, (chunk row, chunk column).

    ``mask`` (y, x) is that of a frame, or of a tile whose core starts at the
    edge of a chunk: the counts of tiles, put side by side, are those of the frame.

    Examples
    --------
    >>> valid_per_chunk(np.ones((3, 5), bool), 2)
    array([[4, 4, 2],
           [2, 2, 1]], dtype=int32)
    """
    rows, columns = (np.arange(0, extent, chunk_px) for extent in mask.shape)
    by_column = np.add.reduceat(mask, columns, axis=1, dtype=np.int32)
    return np.asarray(np.add.reduceat(by_column, rows, axis=0, dtype=np.int32))


def padded_frames(scene: Scene, crop_px: int) -> list[str]:
    """Name the frames with data that are smaller than a crop, and shown with a mirrored rim."""
    drawn = (frame for frame in scene.frames if frame.valid_pixels)
    return [frame.name for frame in drawn if min(frame.shape) < crop_px]


def buffer_bytes(scene: Scene, settings: CropSettings) -> int:
    """Promise the memory of a stream: blocks, what reading them takes, and two steps of crops."""
    grid, pixel_bytes = _grid(scene, settings), spectrum_bytes(scene) + 1
    held_px = (_slots(scene, grid, settings) + BLOCKS_AHEAD) * _largest_block_px(scene, grid)
    if _fits(scene, grid, settings):
        held_px = _drawn_px(scene)
    strip_px = (grid.chunks + 1) * scene.chunk_px**2
    crops_px = 2 * settings.pairs * 2 * settings.crop_px**2
    mask_bytes = 4 * scene.shard_px**2
    return (held_px + DECODING * strip_px + crops_px) * pixel_bytes + mask_bytes


def _draw_origins(
    number: int, block: Window, pixels: BlockPixels, settings: CropSettings
) -> tuple[Pixel, Pixel]:
    """Draw the first pixels (y, x) of both crops of a pair.

    A pair whose overlap has no valid pixel is drawn again, a few times.
    """
    for attempt in range(TRIES):
        first, second = _positions((settings.seed, PAIRS_KEY, number, attempt), block, settings)
        shared, _ = _overlap(first, second, settings.crop_px)
        if pixels.cut_valid(first, settings.crop_px)[shared].any():
            break
    return first, second


def _positions(key: tuple[int, ...], block: Window, settings: CropSettings) -> tuple[Pixel, Pixel]:
    """Put a crop anywhere in a block, and a second one near it, inside the block."""
    rng = np.random.default_rng(key)
    start = block[0].start, block[1].start
    room = np.maximum(0, np.subtract(size(block), settings.crop_px))
    first = rng.integers(0, room, endpoint=True)
    farthest = int((1 - rng.uniform(*settings.least_overlap)) * settings.crop_px)
    shift = rng.integers(-farthest, farthest, size=2, endpoint=True)
    both = np.add(start, [first, np.clip(first + shift, 0, room)])
    (top, left), (second_top, second_left) = both.tolist()
    return (top, left), (second_top, second_left)


def _overlap(first: Pixel, second: Pixel, crop_px: int) -> tuple[Window, Window]:
    """Windows of two crops, given by their origins, that show the same pixels."""
    down, right = second[0] - first[0], second[1] - first[1]
    return (
        (_common(down, crop_px), _common(right, crop_px)),
        (_common(-down, crop_px), _common(-right, crop_px)),
    )


def _common(shift: int, crop_px: int) -> slice:
    """Part of an axis that lies on another one, which begins ``shift`` px later."""
    return slice(max(0, shift), crop_px + min(0, shift))


def _check_counts(scene: Scene, counts: Sequence[NDArray[np.int32]]) -> None:
    """Refuse counts of other chunks, and a scene without data."""
    if not scene.valid_pixels:
        raise SceneError(f"Crops need valid pixels, but {scene.uri} has none.")
    for frame, count in zip(scene.frames, counts, strict=True):
        grid = tuple(-(-extent // scene.chunk_px) for extent in frame.shape)
        if count.shape != grid or count.sum() != frame.valid_pixels:
            raise TileError(
                f"Frame {frame.name} of {scene.uri} has {frame.valid_pixels} valid pixels in "
                f"{grid[0]} x {grid[1]} chunks, but the counts per chunk are an array of shape "
                f"{count.shape} with the sum {count.sum()}. Count them again."
            )


def _grid(scene: Scene, settings: CropSettings) -> BlockGrid:
    """Choose the blocks of a scene."""
    limits = settings.crop_px, settings.block_px_most, settings.block_bytes_most
    return choose_grid(scene.chunk_px, spectrum_bytes(scene), *limits)


def _slots(scene: Scene, grid: BlockGrid, settings: CropSettings) -> int:
    """Count the blocks from which to draw at a time; in frames that are kept they take no room."""
    if _fits(scene, grid, settings):
        return settings.blocks
    return min(settings.blocks, max(STREAMED, settings.pairs))


def _fits(scene: Scene, grid: BlockGrid, settings: CropSettings) -> bool:
    """Tell whether all frames with data take no more room than the blocks, and are kept."""
    return _drawn_px(scene) <= settings.blocks * grid.side_px**2


def _drawn_px(scene: Scene) -> int:
    """Count the pixels of all frames with data."""
    return sum(f.shape[0] * f.shape[1] for f in scene.frames if f.valid_pixels)


def _largest_block_px(scene: Scene, grid: BlockGrid) -> int:
    """Count the pixels of the largest block."""
    shapes = [frame.shape for frame in scene.frames if frame.valid_pixels]
    return max(grid.longest_px(height) * grid.longest_px(width) for height, width in shapes)
