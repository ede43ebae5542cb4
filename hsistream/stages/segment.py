"""Superpixels of every frame, from the tiles that were cut one by one.

Every pixel belongs to the superpixel that the first of the tiles around it, in their
order, keeps there; so superpixels meet where those of the earlier tile end, and not in a
straight line at the edge of a tile. The id of a superpixel is the number of its tile, times
the pixels of a tile, plus its number within the tile: unique without a second pass.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import product
from math import prod

import numpy as np
from numpy.typing import NDArray

from hsistream.config import RunConfig
from hsistream.runs import CUTS, SUPERPIXELS
from hsistream.runtime.ledger import Ledger
from hsistream.scene.scene import Scene
from hsistream.sections import SegmentSection
from hsistream.stages import Address, Context, Needs, largest_tile, scene_tiles
from hsistream.stages.cut import Slots
from hsistream.stages.pictures import assemble_frames, picture_step, sample
from hsistream.stores.raster import Layer, RasterStore
from hsistream.stores.tables import Table, write_table
from hsistream.superpixels.overlaps import NONE, settle
from hsistream.tiles import Tile, TileGrid, Window, overlap, size, within

TABLE = "superpixels"

AROUND_PX = 16
"""Pixels around a tile whose superpixels are known there, so that what no tile keeps is given
to the same superpixels on both sides of an edge."""

PIXEL_BYTES = 64
"""Memory for each pixel of a tile: ids, those of other tiles, and where the nearest one is."""


def run(context: Context) -> None:
    """Join the cuts of all frames."""
    scene, settings = context.scene, context.config.segment
    cuts = RasterStore(context.run.cuts_uri)
    cuts.check_complete(Slots.of(settings).frames(scene), CUTS)
    task = partial(join_tile, address=context.address, settings=settings)
    tiles = context.tiles(settings.tile_px, AROUND_PX)
    store = RasterStore(context.run.superpixels_uri)
    ledger = context.write("segment", task, tiles, store, [_layer()], settings.tile_px)
    write_table(context.run.table(TABLE), _collect(ledger, tiles, scene))


def estimate(scene: Scene, config: RunConfig, tile_px: int) -> Needs:
    """Estimate what the stage needs; its tiles have a fixed size."""
    fixed = config.segment.tile_px
    return Needs(
        tiles=len(scene_tiles(scene, fixed)),
        task={"superpixels": PIXEL_BYTES * prod(largest_tile(scene, fixed + 2 * AROUND_PX))},
        driver={},
        disk_bytes=2 * scene.pixels,
    )


def join_tile(tile: Tile, *, address: Address, settings: SegmentSection) -> Table:
    """Give every pixel of one tile to a superpixel."""
    scene, run, frame = address.scene, address.run, address.scene.frames[tile.frame]
    window = tile.window(frame.shape)
    valid = scene.valid(tile.frame, window)
    offers = _offers(tile.frame, window, address, settings)
    spare = first_id(tile, scene, settings.tile_px)
    ids = settle(valid, offers, spare)[within(tile.core, window)]
    address.write(run.superpixels_uri, frame.name, SUPERPIXELS, tile.core, ids)
    return {"shown": sample(ids, tile.core, picture_step(scene))}


def _offers(
    frame: int, window: Window, address: Address, settings: SegmentSection
) -> Iterator[NDArray[np.int64]]:
    """Yield the ids (y, x) that tiles keep in a window of a frame, in the order of the tiles."""
    scene, slots = address.scene, Slots.of(settings)
    name, shape = scene.frames[frame].name, scene.frames[frame].shape
    store = RasterStore(address.run.cuts_uri)
    for near in _around(window, TileGrid(shape, settings.tile_px, settings.margin_px, frame)):
        part = overlap(window, near.window(shape))
        if part is not None:
            ids = np.full(size(window), NONE, np.int64)
            found = store.read(name, CUTS, slots.place(part, near))
            first = first_id(near, scene, settings.tile_px)
            ids[within(part, window)] = np.where(found >= 0, found + first, NONE)
            yield ids


def _around(window: Window, grid: TileGrid) -> Iterator[Tile]:
    """Yield the tiles that see pixels of a window, with their halo."""
    rows, columns = (
        range(
            max(0, span.start - grid.halo) // grid.tile,
            min(count, (span.stop - 1 + grid.halo) // grid.tile + 1),
        )
        for span, count in zip(window, (grid.rows, grid.columns), strict=True)
    )
    for row, column in product(rows, columns):
        yield grid[row, column]


def first_id(tile: Tile, scene: Scene, tile_px: int) -> int:
    """Tell the id of the first superpixel of a tile, which is one of many of ``tile_px``."""
    tiles = -(-scene.sizes[: tile.frame + 1] // tile_px)  # rows and columns of every frame
    before = int(tiles[:-1].prod(axis=1).sum())
    return (before + tile.row * int(tiles[-1, 1]) + tile.column) * tile_px**2


def _collect(ledger: Ledger, tiles: list[Tile], scene: Scene) -> Table:
    """Join the pictures of the ids of superpixels."""
    parts = ((tile, table["shown"]) for tile, table in ledger.results(tiles))
    pictures = assemble_frames(parts, scene, picture_step(scene), NONE)
    return {f"{SUPERPIXELS}.{frame}": picture for frame, picture in pictures.items()}


def _layer() -> Layer:
    """Describe the store of superpixels."""
    attributes = {"long_name": "superpixel of the pixel", "nodata": NONE}
    return Layer(SUPERPIXELS, "int64", NONE, attributes=attributes)
