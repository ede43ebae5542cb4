"""The verbs of a run: each stage reads stores, calls algorithms, writes one store."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from math import prod
from typing import Any

from numpy.typing import NDArray

from hsistream.config import RunConfig
from hsistream.events import Notify, Progress, StageStarted
from hsistream.execution import Execution
from hsistream.runs import RunDirectory
from hsistream.runtime.ledger import Ledger
from hsistream.runtime.map_tiles import TileFunction, map_tiles
from hsistream.scene.scene import Scene
from hsistream.scene.statistics import reservoir_thresholds
from hsistream.stores.raster import GridFrame, Layer, RasterStore, storage_chunk
from hsistream.tiles import Tile, TileGrid, Window


@dataclass(frozen=True, slots=True)
class Address:
    """Where a task finds all that it reads and puts all that it makes; it travels with tiles.

    Two addresses are the same if run, fingerprint and holder are. So what is read once per
    process is kept by its address: a worker that outlives a run takes no table of another one,
    nor of the same run as it was asked for before. The fingerprint stands for the scene as well,
    but not for the place where it lies: nothing that is kept may depend on that. The holder is
    the command: workers may outlive that, too, and so may a task that was in work when it ended.
    """

    scene: Scene = field(compare=False)
    run: RunDirectory
    fingerprint: str
    holder: str = ""

    def write(self, uri: str, frame: str, layer: str, core: Window, values: NDArray[Any]) -> None:
        """Write one core of a store of the run, see :meth:`RasterStore.write`.

        Raises
        ------
        IncompleteError
            If the command of this task ended, and another one works in the run.
        """
        if self.holder:
            self.run.check_holder(self.holder)
        RasterStore(uri).write(frame, layer, core, values)


@dataclass(frozen=True, slots=True)
class Context:
    """All that a stage may know: what is asked, of what, where, and how to run it."""

    run: RunDirectory
    scene: Scene
    config: RunConfig
    execution: Execution
    tile_px: int
    threads: int
    client: Any
    notify: Notify
    fingerprint: str
    holder: str = ""

    @property
    def address(self) -> Address:
        """What the tasks of the stage carry."""
        return Address(self.scene, self.run, self.fingerprint, self.holder)

    def tiles(self, tile_px: int, halo: int = 0) -> list[Tile]:
        """Tiles of all frames, in order."""
        return scene_tiles(self.scene, tile_px, halo)

    def work(self, stage: str, function: TileFunction, tiles: list[Tile], tile_px: int) -> Ledger:
        """Do the tiles of a stage that are not done yet, and give what they returned."""
        ledger = Ledger.open(self.run.ledger(stage), self.fingerprint, tile_px)
        finished = ledger.finished()
        todo = [tile for tile in tiles if tile.key not in finished]
        done = len(tiles) - len(todo)
        self.notify(StageStarted(stage, len(tiles), done))
        asked = map_tiles(
            function, todo, client=self.client, threads=self.threads, notify=self.notify
        )
        for tile, result in asked:
            ledger.note(tile, result)
            done += 1
            self.notify(Progress(stage, done, len(tiles)))
        return ledger

    def write(
        self,
        stage: str,
        function: TileFunction,
        tiles: list[Tile],
        store: RasterStore,
        layers: Sequence[Layer],
        tile_px: int | None = None,
        frames: Sequence[GridFrame] | None = None,
    ) -> Ledger:
        """Do the tiles of a stage whose tasks write their cores to a raster store.

        The store is created when no tile is done; without it none is. Tiles are
        as large as the run's, or of a size of their own; so are frames.
        """
        tile_px, frames = tile_px or self.tile_px, frames or self.scene.frames
        if not store.exists:
            self.run.forget(stage)
        ledger = Ledger.open(self.run.ledger(stage), self.fingerprint, tile_px)
        if not ledger.finished():
            RasterStore.create(store.uri, layers, frames, tile_px)
        for frame, layer in product(frames, layers):
            store.check(frame.name, layer.name, TileGrid(frame.shape, tile_px))
        return self.work(stage, function, tiles, tile_px)


Bytes = Mapping[str, int]
"""Named terms of an amount of memory, bytes."""


@dataclass(frozen=True, slots=True)
class Needs:
    """What a stage needs: tiles, memory per task and of the driver, disk, all in bytes."""

    tiles: int
    task: Bytes
    driver: Bytes
    disk_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Stage:
    """One row of the table of stages.

    ``needs`` names the stages whose results it reads, ``sections`` the parts
    of the configuration that change its result, ``writes`` what it leaves in
    the run directory. ``version`` is raised when its code changes the result.
    """

    name: str
    version: int
    needs: tuple[str, ...]
    sections: tuple[str, ...]
    writes: tuple[str, ...]
    run: Callable[[Context], None]
    estimate: Callable[[Scene, RunConfig, int], Needs]


def reservoir_pixels(scene: Scene, config: RunConfig) -> int:
    """Count the pixels of the reservoir, about: all of a small scene."""
    return min(scene.valid_pixels, config.reservoir.pixels)


def frame_thresholds(scene: Scene, config: RunConfig) -> tuple[float, ...]:
    """Share of its pixels that each frame gives to the reservoir."""
    valid = [frame.valid_pixels for frame in scene.frames]
    return tuple(reservoir_thresholds(valid, config.reservoir.pixels))


def scene_tiles(scene: Scene, tile_px: int, halo: int = 0) -> list[Tile]:
    """Tiles of all frames of a scene, in order."""
    return [
        tile
        for number, frame in enumerate(scene.frames)
        for tile in TileGrid(frame.shape, tile_px, halo, number)
    ]


def largest_tile(scene: Scene, tile_px: int) -> tuple[int, int]:
    """Size (y, x) of the largest tile of a scene, px: frames may be narrower than tiles."""
    cut = [(min(tile_px, y), min(tile_px, x)) for y, x in (each.shape for each in scene.frames)]
    return max(cut, key=lambda shape: shape[0] * shape[1])


def widest_tile(scene: Scene, tile_px: int) -> int:
    """Columns of the widest tile of a scene, px; it need not be the largest."""
    return min(tile_px, max(frame.shape[1] for frame in scene.frames))


def stored_pixels(scene: Scene, tile_px: int) -> int:
    """Pixels of the largest tile as it is stored, in whole chunks: narrow frames fill a part.

    A chunk is read and written whole, so this bounds the memory of a task, and not the
    size of its core; it is at most the square of the longest side.
    """
    chunk, most = storage_chunk(tile_px), min(tile_px, scene.longest_side)
    return max(
        prod(min(most, -(-edge // chunk) * chunk) for edge in frame.shape) for frame in scene.frames
    )
