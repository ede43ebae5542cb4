"""Blocks in memory: which are held, and the thread that reads them ahead of their use."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from hsistream.machine import give_back
from hsistream.scene.blocks import Block, BlockPlan
from hsistream.scene.scene import Scene
from hsistream.tiles import Window, area, size, strips, within

BLOCKS_AHEAD = 1
"""Blocks that are read before they are needed; one thread reads, so more would only take room."""


@dataclass(slots=True)
class Counters:
    """What a stream has read and given, in bytes of spectra, and how it came by its blocks."""

    bytes_read: int = 0
    bytes_used: int = 0
    blocks_read: int = 0
    hits: int = 0

    @property
    def amplification(self) -> float:
        """Bytes read, in bytes used; each crop counts once."""
        return self.bytes_read / max(1, self.bytes_used)


@dataclass(frozen=True, slots=True)
class BlockPixels:
    """Spectra (band, y, x) and mask (y, x) of a window, filled strip by strip of its chunks.

    ``missing`` (chunk row, chunk column) tells which chunks nobody has claimed yet.
    """

    frame: int
    window: Window
    spectra: NDArray[Any]
    valid: NDArray[np.bool_]
    missing: NDArray[np.bool_]

    @classmethod
    def empty(cls, scene: Scene, block: Block) -> BlockPixels:
        """Make room for a block or a whole frame."""
        height, width = size(block.window)
        spectra = np.empty((scene.bands, height, width), scene.dtype)
        valid = np.empty((height, width), np.bool_)
        missing = np.ones((-(-height // scene.chunk_px), -(-width // scene.chunk_px)), np.bool_)
        return cls(block.frame, block.window, spectra, valid, missing)

    def claim(self, block: Window, chunk_px: int) -> list[Window]:
        """List what must be read to fill a block, and count it as filled from now on."""
        claimed = []
        for rows, columns in strips(block, chunk_px):
            top, left = (part.start for part in within((rows, columns), self.window))
            chunks = -(-(columns.stop - columns.start) // chunk_px)
            row = self.missing[top // chunk_px, left // chunk_px :][:chunks]
            edges = np.flatnonzero(np.diff(row, prepend=False, append=False)) * chunk_px
            for first, stop in (columns.start + edges).reshape(-1, 2).tolist():
                claimed.append((rows, slice(first, min(stop, columns.stop))))
            row[:] = False
        return claimed

    def fill(self, scene: Scene, windows: Sequence[Window]) -> None:
        """Read windows of the frame."""
        for window in windows:
            rows, columns = within(window, self.window)
            self.spectra[:, rows, columns] = scene.read(self.frame, window)
            self.valid[rows, columns] = scene.valid(self.frame, window)

    def cut(self, origin: tuple[int, int], side_px: int) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Copy the spectra (band, y, x) and the mask (y, x) of a square."""
        spectra = self.spectra[:, *self._square(origin, side_px)]
        return _mirrored(spectra, side_px), self.cut_valid(origin, side_px)

    def cut_valid(self, origin: tuple[int, int], side_px: int) -> NDArray[np.bool_]:
        """Copy the mask of a square, (y, x)."""
        return _mirrored(self.valid[self._square(origin, side_px)], side_px)

    def _square(self, origin: tuple[int, int], side_px: int) -> Window:
        """Find a square of the frame in the arrays; it ends where they do."""
        top, left = origin[0] - self.window[0].start, origin[1] - self.window[1].start
        return slice(top, top + side_px), slice(left, left + side_px)


class BlockBuffer:
    """The blocks in the slots and the next few, and the thread that reads them, until it is left.

    What is read is decided where pairs are asked for, in their order; the
    thread only fills arrays, so that its pace does not matter.
    """

    def __init__(self, scene: Scene, plan: BlockPlan, counters: Counters, first_pair: int) -> None:
        self._scene, self._plan, self._counters = scene, plan, counters
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="crops")
        self._needs = plan.schedule.needs(first_pair)
        self._ahead: deque[tuple[int, Future[None] | None]] = deque()
        self._in_slot: dict[int, int] = {}
        self._held: dict[Block, BlockPixels] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown(cancel_futures=True)

    def pixels(self, pair: int, number: int) -> BlockPixels:
        """Give what holds block ``number`` for a pair; wait until it has been read."""
        slot = pair % self._plan.schedule.slots
        if self._in_slot.get(slot) != number:
            self._look_ahead()
            _, reading = self._ahead.popleft()
            self._in_slot[slot] = number
            self._drop_unused()
            self._look_ahead()
            if reading is not None:
                reading.result()
        return self._held[self._plan.held(number)]

    def _look_ahead(self) -> None:
        """Have the next blocks read."""
        for number in islice(self._needs, BLOCKS_AHEAD - len(self._ahead)):
            self._ahead.append((number, self._request(number)))

    def _request(self, number: int) -> Future[None] | None:
        """Have the thread read what is missing of a block; None if nothing is."""
        scene, counters, held = self._scene, self._counters, self._plan.held(number)
        if held not in self._held:
            self._held[held] = BlockPixels.empty(scene, held)
        missing = self._held[held].claim(self._plan.block(number).window, scene.chunk_px)
        if not missing:
            counters.hits += 1
            return None
        counters.blocks_read += 1
        counters.bytes_read += sum(map(area, missing)) * spectrum_bytes(scene)
        return self._thread.submit(self._held[held].fill, scene, missing)

    def _drop_unused(self) -> None:
        """Forget the blocks that are neither in a slot nor among the next."""
        if not self._plan.keep:
            ahead = (number for number, _ in self._ahead)
            used = {self._plan.held(number) for number in (*self._in_slot.values(), *ahead)}
            self._held = {block: self._held[block] for block in used}
            give_back()


def spectrum_bytes(scene: Scene) -> int:
    """Bytes of the spectrum of a pixel, as stored."""
    return scene.bands * scene.itemsize


def _mirrored(values: NDArray[Any], side_px: int) -> NDArray[Any]:
    """Copy an array (..., y, x), continued to a full square by its mirror image."""
    height, width = values.shape[-2:]
    rim = [(0, 0)] * (values.ndim - 2) + [(0, side_px - height), (0, side_px - width)]
    return np.pad(values, rim, mode="symmetric")
