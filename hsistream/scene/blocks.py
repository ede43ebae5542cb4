"""Blocks of a scene: which are read, in which order, and for how many pairs.

A *block* is a square of whole chunks, so that no chunk is decoded for a part
of its pixels; where a frame ends, it ends too. Blocks stand in *slots*: pair
``p`` of a run comes from slot ``p % slots``, and a block stays in its slot for
many pairs in a row. What block that is follows from ``p`` alone, by arithmetic.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count, repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsistream.tiles import Window

LEAST_CHUNKS = 2
"""Chunks per side of a block, at least: a grid of single chunks could never be shifted."""

LEAST_CROPS = 2
"""A block is at least so many crops wide, or the second crop could not move."""

LARGEST_SHARE = 0.5
"""Most of the blocks that one frame of several may give."""

MOST_RAISED = 4.0
"""A frame is drawn at most so many times as often as its valid pixels ask for."""

MOST_USES = 4
"""A block gives at most so many pairs per crop that fits into it, or they repeat themselves."""

SLACK = 1.1
"""Factor by which a run may read more than its amplification asks for."""

ROUNDS_AT_ONCE = 1_000
"""Rounds of a frame of one block that are drawn at once."""

FRAMES_KEY = 11
BLOCKS_KEY = 12


@dataclass(frozen=True, slots=True)
class BlockGrid:
    """How frames are cut into blocks of ``chunks`` x ``chunks`` chunks.

    A block that the end of a frame would cut is moved inward by whole chunks:
    blocks of a frame may share chunks, but none is narrower than ``least_px``
    unless its frame is.

    Examples
    --------
    >>> grid = BlockGrid(chunk_px=64, chunks=3, least_px=128)
    >>> grid.spans(500, origin=0).tolist()
    [[0, 3], [3, 6], [5, 8]]
    >>> grid.spans(500, origin=2).tolist()
    [[0, 3], [2, 5], [5, 8]]
    """

    chunk_px: int
    chunks: int
    least_px: int

    @property
    def side_px(self) -> int:
        """Height and width of a block that no frame cuts, px."""
        return self.chunks * self.chunk_px

    def spans(self, extent_px: int, origin: int) -> NDArray[np.int64]:
        """First and last chunk (exclusive) of every block along one axis, (block, 2).

        ``origin`` is the chunk, below ``chunks``, at which one of them starts.
        """
        total, last = -(-extent_px // self.chunk_px), self._last(extent_px)
        cells = np.arange(origin - self.chunks, total, self.chunks)
        starts = np.unique(np.clip(cells, 0, last))
        stops = np.where(starts == last, total, starts + self.chunks)
        return np.stack([starts, stops], axis=1)

    def longest_px(self, extent_px: int) -> int:
        """Longest side of a block along an axis of a frame, px."""
        at_the_end = extent_px - self._last(extent_px) * self.chunk_px
        return max(min(extent_px, self.side_px), at_the_end)

    def _last(self, extent_px: int) -> int:
        """First chunk of the block at the end of an axis."""
        last = max(0, -(-extent_px // self.chunk_px) - self.chunks)
        too_short = extent_px - last * self.chunk_px < self.least_px
        return last - 1 if last and too_short else last


def choose_grid(
    chunk_px: int, spectrum_bytes: int, crop_px: int, px_most: int, bytes_most: int
) -> BlockGrid:
    """Choose the largest block of at most ``px_most`` px per side and ``bytes_most`` bytes.

    It has at least two chunks and two crops per side, whatever the limits.

    Examples
    --------
    >>> choose_grid(64, 602, 64, px_most=256, bytes_most=24 * 2**20).side_px
    192
    """
    side_px = min(px_most, math.isqrt(bytes_most // spectrum_bytes))
    least_px = LEAST_CROPS * crop_px
    chunks = max(LEAST_CHUNKS, -(-least_px // chunk_px), side_px // chunk_px)
    return BlockGrid(chunk_px, chunks, least_px)


@dataclass(frozen=True, slots=True)
class Schedule:
    """Which block each of ``uses`` pairs comes from.

    Block ``b`` is number ``b // slots`` of the ``generations`` that stand in
    slot ``b % slots``. The slots change their blocks in turn, at even
    distances, so that blocks are needed in the order of their numbers and
    never many at once; the first and the last of a slot give between half and
    one and a half times as many pairs as the others.

    Examples
    --------
    >>> schedule = Schedule(uses=16, slots=2, generations=2)
    >>> [schedule.block(pair) for pair in range(16)]
    [0, 1, 0, 1, 0, 1, 2, 1, 2, 1, 2, 3, 2, 3, 2, 3]
    """

    uses: int
    slots: int
    generations: int

    @property
    def blocks(self) -> int:
        """Number of blocks that all slots get in turn."""
        return self.slots * self.generations

    def block(self, pair: int) -> int:
        """Give the number of the block from which a pair is cut."""
        slot = pair % self.slots
        # Block b takes its slot from pair (b - (slots - 1) / 2) * uses / blocks on.
        latest = (2 * pair * self.blocks + (self.slots - 1) * self.uses) // (2 * self.uses)
        generation = (latest - slot) // self.slots
        return slot + self.slots * min(max(0, generation), self.generations - 1)

    def needs(self, first_pair: int) -> Iterator[int]:
        """Yield blocks in the order in which the pairs from ``first_pair`` on need them."""
        in_slot: dict[int, int] = {}
        for pair in range(first_pair, self.uses):
            block = self.block(pair)
            if in_slot.get(pair % self.slots) != block:
                in_slot[pair % self.slots] = block
                yield block


def make_schedule(
    steps: int, pairs: int, slots: int, cost: float, amplification: float
) -> Schedule:
    """Choose how many blocks a run reads: no more than its amplification allows.

    Parameters
    ----------
    steps, pairs : int
        Steps of the run, and pairs per step.
    slots : int
        Most slots. A run too short to use that many blocks gets fewer, but
        one for every pair of a step.
    cost : float
        Pixels of a block, in those of a pair.
    amplification : float
        Pixels to be read, in those used.

    Returns
    -------
    Schedule
        Reading all its blocks keeps to ``amplification``, and to ``SLACK``
        times it where blocks would else give too many pairs; a run of fewer
        steps than the pairs that a block must give reads ``pairs`` blocks.
    """
    uses, wanted = steps * pairs, math.ceil(cost / amplification)
    slots = min(slots, max(pairs, uses // wanted))
    most_uses = slots * math.ceil(MOST_USES * 2 * cost)
    allowed = int(SLACK * amplification * uses / cost)
    mixed = min(-(-uses // most_uses), allowed // slots, uses // slots)
    return Schedule(uses, slots, max(1, uses // (wanted * slots), mixed))


@dataclass(frozen=True, slots=True)
class Block:
    """A rectangle of whole chunks of a frame: rows from ``top`` up to ``bottom``, and so on, px."""

    frame: int
    top: int
    bottom: int
    left: int
    right: int

    @property
    def window(self) -> Window:
        """Its pixels."""
        return slice(self.top, self.bottom), slice(self.left, self.right)


@dataclass(frozen=True, slots=True)
class BlockPlan:
    """The blocks of a run: when each is needed, and where each lies.

    ``places`` (block, 5) are the fields of each :class:`Block`. Blocks are
    held one by one or, with ``keep``, as parts of their frames, of ``shapes``.
    """

    schedule: Schedule
    places: NDArray[np.int32]
    shapes: tuple[tuple[int, int], ...]
    keep: bool

    def block(self, number: int) -> Block:
        """Give the place of a block."""
        return Block(*self.places[number].tolist())

    def held(self, number: int) -> Block:
        """Give what is held in memory for the sake of a block."""
        block = self.block(number)
        height, width = self.shapes[block.frame]
        return Block(block.frame, 0, height, 0, width) if self.keep else block


def draw_places(
    grid: BlockGrid,
    shapes: Sequence[tuple[int, int]],
    counts: Sequence[NDArray[np.int32]],
    schedule: Schedule,
    seed: int,
) -> NDArray[np.int32]:
    """Draw the blocks of a run from frames of ``shapes``, (block, 5).

    Frames are drawn by :func:`frame_shares`, the blocks of a frame in random
    permutations of a grid whose origin is drawn again for each. Blocks with
    data in less than half of their pixels are left out, unless the grid has no
    better one. ``counts`` are the valid pixels of the chunks of each frame,
    (chunk row, chunk column); at least one frame has some.
    """
    frames = _draw_frames([int(valid.sum()) for valid in counts], schedule, seed)
    places = np.empty((schedule.blocks, 5), np.int32)
    places[:, 0] = frames
    for frame in np.unique(frames).tolist():
        chosen = np.flatnonzero(frames == frame)
        rounds = _rounds(grid, shapes[frame], counts[frame], (seed, BLOCKS_KEY, frame))
        places[chosen, 1:] = _take(rounds, len(chosen))
    return places


def frame_shares(valid_pixels: Sequence[int]) -> NDArray[np.float64]:
    """Probability of each frame: by its valid pixels, but at most half where there are others.

    No frame gets more than ``MOST_RAISED`` times its share for that: a frame of a
    few pixels would be seen over and over.

    Examples
    --------
    >>> frame_shares([100, 300, 0])
    array([0.5, 0.5, 0. ])
    >>> frame_shares([0, 300])
    array([0., 1.])
    >>> frame_shares([1, 99])
    array([0.04, 0.96])
    """
    valid = np.asarray(valid_pixels, float)
    share: NDArray[np.float64] = valid / valid.sum()
    largest = int(share.argmax())
    if share[largest] <= LARGEST_SHARE or np.count_nonzero(valid) == 1:
        return share
    raised = min((1 - LARGEST_SHARE) / (1 - share[largest]), MOST_RAISED)
    share *= raised
    share[largest] = 1 - (share.sum() - share[largest])
    return share


def _draw_frames(valid_pixels: Sequence[int], schedule: Schedule, seed: int) -> NDArray[np.int64]:
    """Draw the frame of every block, (block,).

    The blocks of one generation share one random number, at even distances, so
    that frames take their share in each of them.
    """
    known = np.flatnonzero(valid_pixels)
    edges = frame_shares(valid_pixels)[known].cumsum()[:-1]
    drawn = []
    for generation in range(schedule.generations):
        rng = np.random.default_rng((seed, FRAMES_KEY, generation))
        drawn.append((rng.permutation(schedule.slots) + rng.random()) / schedule.slots)
    return np.asarray(known[np.searchsorted(edges, np.concatenate(drawn), side="right")])


def _rounds(
    grid: BlockGrid,
    shape: tuple[int, int],
    counts: NDArray[np.int32],
    key: tuple[int, int, int],
) -> Iterator[NDArray[np.int64]]:
    """Yield permutation after permutation of the blocks of a frame, (block, 4) px."""
    if all(grid.longest_px(extent) == extent for extent in shape):
        yield from repeat(np.tile([0, shape[0], 0, shape[1]], (ROUNDS_AT_ONCE, 1)))
    sums = np.pad(counts.cumsum(0, dtype=np.int64).cumsum(1), ((1, 0), (1, 0)))
    for number in count():
        rng = np.random.default_rng((*key, number))
        origin = rng.integers(grid.chunks, size=2).tolist()
        rows, columns = map(grid.spans, shape, origin)
        rows_px = np.minimum(rows * grid.chunk_px, shape[0])
        columns_px = np.minimum(columns * grid.chunk_px, shape[1])
        valid = _window_sums(sums, rows, columns)
        area = np.outer(np.diff(rows_px), np.diff(columns_px))
        row, column = np.divmod(rng.permutation(_good_enough(valid, area)), len(columns))
        yield np.concatenate([rows_px[row], columns_px[column]], axis=1)


def _window_sums(
    sums: NDArray[np.int64], rows: NDArray[np.int64], columns: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Add up chunks over windows, (row window, column window), from their running sums."""
    across = sums[rows[:, 1]] - sums[rows[:, 0]]
    return np.asarray(across[:, columns[:, 1]] - across[:, columns[:, 0]])


def _good_enough(valid: NDArray[np.int64], area: NDArray[np.int64]) -> NDArray[np.intp]:
    """Choose blocks at least half of which has data or, if there is none, those with any."""
    good = np.flatnonzero(2 * valid >= area)
    return good if len(good) else np.flatnonzero(valid)


def _take(rounds: Iterator[NDArray[Any]], wanted: int) -> NDArray[Any]:
    """Join the first ``wanted`` rows of a stream of arrays."""
    parts, found = [], 0
    while found < wanted:
        parts.append(next(rounds))
        found += len(parts[-1])
    return np.concatenate(parts)[:wanted]
