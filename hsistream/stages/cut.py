"""Superpixels of every tile and the pixels around it, cut by itself.

The picture that is cut is that of the first three principal components of
unit-norm spectra, on a scale of the whole scene. Superpixels shape the result,
so their tiles belong to what is asked and not to how it is run. Each tile keeps
the superpixels that are its own, and writes them to a slot of its own: slots lie
side by side as tiles do, and are larger, so that no two tasks write one file.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from hsistream.config import RunConfig
from hsistream.runs import CUTS
from hsistream.runtime.memory import kept
from hsistream.scene.scene import Scene
from hsistream.sections import SegmentSection, SpectralName
from hsistream.stages import Address, Context, Needs, largest_tile, reservoir_pixels, scene_tiles
from hsistream.stages import statistics as statistics_stage
from hsistream.stages import views as views_stage
from hsistream.stages.statistics import Constants
from hsistream.stores.raster import Layer, RasterStore
from hsistream.stores.tables import Table, read_table, write_table
from hsistream.superpixels import load_segmenter
from hsistream.superpixels.base_image import eight_bit
from hsistream.superpixels.overlaps import NONE, kept_superpixels
from hsistream.tiles import Tile, TileGrid, Window, within

TABLE = "cut"
"""How frames are cut: the range of each channel, and superpixels for so many pixels."""

PICTURED: tuple[SpectralName, ...] = ("l2",)
"""What is projected for the picture that is cut: spectra of unit length."""

CHANNELS = 3
"""Principal components of the picture that is cut."""

PIXEL_BYTES = 180
"""Memory of a segmenter for each pixel, at most."""


@dataclass(frozen=True, slots=True)
class SlotFrame:
    """The slots of a frame's tiles: a frame of the store of cuts."""

    name: str
    shape: tuple[int, int]
    georeference: None = None


@dataclass(frozen=True, slots=True)
class Slots:
    """Where tiles of a side and a margin, px, keep their windows."""

    tile_px: int
    margin_px: int

    @classmethod
    def of(cls, settings: SegmentSection) -> Slots:
        """Take the slots that settings ask for."""
        return cls(settings.tile_px, settings.margin_px)

    @property
    def side_px(self) -> int:
        """Side of a slot: of a tile with its margin, px."""
        return self.tile_px + 2 * self.margin_px

    def tiles(self, scene: Scene) -> list[Tile]:
        """List the tiles of a scene, with their margins."""
        return scene_tiles(scene, self.tile_px, self.margin_px)

    def frames(self, scene: Scene) -> list[SlotFrame]:
        """List the frames of the store."""
        grids = [TileGrid(frame.shape, self.tile_px) for frame in scene.frames]
        return [
            SlotFrame(frame.name, (grid.rows * self.side_px, grid.columns * self.side_px))
            for frame, grid in zip(scene.frames, grids, strict=True)
        ]

    def slot(self, tile: Tile) -> Window:
        """Give the slot of a tile."""
        row, column = tile.row * self.side_px, tile.column * self.side_px
        return slice(row, row + self.side_px), slice(column, column + self.side_px)

    def place(self, part: Window, tile: Tile) -> Window:
        """Give the place in the store of a part of a tile's window."""
        rows, columns = (
            edge * self.side_px - edge * self.tile_px + self.margin_px
            for edge in (tile.row, tile.column)
        )
        return (
            slice(part[0].start + rows, part[0].stop + rows),
            slice(part[1].start + columns, part[1].stop + columns),
        )


def run(context: Context) -> None:
    """Cut all tiles."""
    scene, slots = context.scene, Slots.of(context.config.segment)
    if context.config.learnt is None:
        write_table(context.run.table(TABLE), _measure(context))
    task = partial(cut_tile, address=context.address, settings=context.config.segment)
    tiles, store = slots.tiles(scene), RasterStore(context.run.cuts_uri)
    context.write("cut", task, tiles, store, [_layer()], slots.side_px, slots.frames(scene))


def estimate(scene: Scene, config: RunConfig, tile_px: int) -> Needs:
    """Estimate what the stage needs; its tiles have a fixed size."""
    slots = Slots.of(config.segment)
    rows, columns = largest_tile(scene, slots.side_px)
    strip = min(scene.chunk_px, scene.longest_side) * columns
    spectra = reservoir_pixels(scene, config) * scene.bands
    return Needs(
        tiles=len(slots.tiles(scene)),
        task={
            "strip as stored, and decoding": 3 * strip * scene.bands * scene.itemsize,
            "float32 rows and their features": 4 * views_stage.ROWS_AT_ONCE_BYTES,
            "scores and picture": 6 * CHANNELS * rows * columns,
            "superpixels": PIXEL_BYTES * rows * columns,
            "a slot": 8 * slots.side_px**2,
        },
        driver={"spectra of the reservoir": spectra * (scene.itemsize + 8)},
        disk_bytes=2 * scene.pixels,
    )


def cut_tile(tile: Tile, *, address: Address, settings: SegmentSection) -> Table:
    """Cut one tile and its margin, and write the superpixels that are its own to its slot."""
    slots, frame = Slots.of(settings), address.scene.frames[tile.frame]
    window = tile.window(frame.shape)
    kept = _cut(tile, window, address, settings)
    whole = np.full((slots.side_px, slots.side_px), NONE, np.int32)
    whole[within(slots.place(window, tile), slots.slot(tile))] = kept
    address.write(address.run.cuts_uri, frame.name, CUTS, slots.slot(tile), whole)
    return {}


def _cut(
    tile: Tile, window: Window, address: Address, settings: SegmentSection
) -> NDArray[np.int32]:
    """Cut the window (y, x) of a tile, and keep its own superpixels."""
    scene = address.scene
    valid = scene.valid(tile.frame, window)
    if not valid.any():
        return np.full(valid.shape, NONE, np.int32)
    how = _how(address)
    image = _picture(tile.frame, window, valid, address)
    wanted = int(how["superpixels"]) * int(valid.sum()) / int(how["pixels"])
    index = load_segmenter(settings.name)(
        image, max(1, round(wanted)), valid=valid, **settings.options()
    )
    columns = TileGrid(scene.frames[tile.frame].shape, settings.tile_px).columns
    row, column = (np.arange(each.start, each.stop) // settings.tile_px for each in window)
    return kept_superpixels(
        index, row[:, None] * columns + column, tile.row * columns + tile.column
    )


def _picture(
    frame: int, window: Window, valid: NDArray[np.bool_], address: Address
) -> NDArray[np.uint8]:
    """Make the picture (channel, y, x) of a window that is cut."""
    how, constants = _how(address), _constants(address)
    scores = views_stage.window_scores(frame, window, valid, address.scene, constants)
    return eight_bit(scores, how["low"], how["high"])


@kept(results=4)
def _how(address: Address) -> Table:
    """Read how frames are cut once for many tiles."""
    return read_table(address.run.table(TABLE))


def _constants(address: Address) -> Constants:
    """Read the constants of the picture."""
    return views_stage.load_constants(address, PICTURED).leading(CHANNELS)


def _measure(context: Context) -> Table:
    """Find the range of each channel in the reservoir, which is all pixels of a small scene."""
    constants = _constants(context.address)
    table = read_table(context.run.table(statistics_stage.RESERVOIR))
    scores = views_stage.reservoir_scores(table, constants)
    pixels = context.scene.valid_pixels
    return {
        "low": scores.min(axis=1),
        "high": scores.max(axis=1),
        "pixels": np.asarray(pixels),
        "superpixels": np.asarray(context.config.segment.count(pixels)),
    }


def _layer() -> Layer:
    """Describe the store of cuts."""
    attributes = {"long_name": "superpixel that the tile keeps", "nodata": NONE}
    return Layer(CUTS, "int32", NONE, attributes=attributes)
