"""Collect the features of all labelled pixels that are learnt from, and of those around them."""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray

from hsistream.config import RunConfig
from hsistream.places import inside, numbered
from hsistream.runs import LATENTS
from hsistream.scene.scene import Scene
from hsistream.sections import FeatureName
from hsistream.stages import Address, Context, Needs, scene_tiles
from hsistream.stages import divide as divide_stage
from hsistream.stages.divide import load_places
from hsistream.stages.features import (
    asked,
    feature_total,
    load_features,
    reach_of,
    read_features,
    strip_bytes,
    tile_strips,
)
from hsistream.stores.raster import RasterStore
from hsistream.stores.tables import Table, read_table, write_table
from hsistream.tiles import Tile, Window

TABLE = "lesson"


def run(context: Context) -> None:
    """Collect from all tiles that hold such pixels."""
    scene, settings = context.scene, asked(context.config)
    if LATENTS in settings.features:
        RasterStore(context.run.latents_uri).check_complete(scene.frames, LATENTS)
    places = read_table(context.run.table(divide_stage.TABLE))
    tiles = tiles_of(context, places, places["learnt"])
    task = partial(
        gather_tile,
        address=context.address,
        names=settings.features,
        reach=reach_of(settings),
    )
    ledger = context.work("gather", task, tiles, context.tile_px)
    parts = [table for _, table in ledger.results(tiles)]
    pixel = np.concatenate([part["pixel"] for part in parts])
    order = np.argsort(pixel)
    squares = np.concatenate([part["squares"] for part in parts])[order]
    write_table(context.run.table(TABLE), {"pixel": pixel[order], "squares": squares})


def estimate(scene: Scene, config: RunConfig, tile_px: int) -> Needs:
    """Estimate what the stage needs, for a lesson of the usual size."""
    lesson = lesson_bytes(scene, config)
    return Needs(
        tiles=len(scene_tiles(scene, tile_px)),
        task=strip_bytes(scene, config, tile_px),
        driver={"squares of features": 3 * lesson},
        disk_bytes=2 * lesson,
    )


def lesson_bytes(scene: Scene, config: RunConfig) -> int:
    """Memory of the squares of all pixels that are learnt from, at most."""
    settings = asked(config)
    pixels = settings.lesson_pixels
    side = 2 * reach_of(settings) + 1
    return 4 * pixels * feature_total(scene, config) * side**2


def gather_tile(
    tile: Tile, *, address: Address, names: tuple[FeatureName, ...], reach: int
) -> Table:
    """Cut the squares around the pixels of one tile that are learnt from."""
    table, features, scene = load_places(address), load_features(address, names), address.scene
    pixels, squares = [], []
    for strip in tile_strips(scene, tile.core):
        here = inside(table, tile.frame, strip)
        here = here[table["learnt"][here]]
        if len(here):
            window = _around(table, here)
            found = read_features(tile.frame, window, reach, scene, features)
            rows = table["row"][here] - window[0].start
            columns = table["column"][here] - window[1].start
            pixels.append(here)
            squares.append(cut_squares(found, rows, columns, reach))
    return {"pixel": np.concatenate(pixels), "squares": np.concatenate(squares)}


def cut_squares(
    features: NDArray[np.float32],
    rows: NDArray[np.integer],
    columns: NDArray[np.integer],
    reach: int,
) -> NDArray[np.float32]:
    """Cut squares around pixels of a window (feature, y + 2 reach, x + 2 reach).

    Returns
    -------
    (pixel, feature, side, side) float32
        Rows and columns are those of the window, without what is around it.
    """
    steps = np.arange(2 * reach + 1)
    down = rows[:, None, None] + steps[:, None]
    right = columns[:, None, None] + steps
    return np.ascontiguousarray(features[:, down, right].swapaxes(0, 1))


def tiles_of(context: Context, places: Table, chosen: NDArray[np.bool_]) -> list[Tile]:
    """List the tiles that hold at least one of the chosen pixels (pixel,)."""
    tile_px = context.tile_px
    keys = np.stack([places["frame"], places["row"] // tile_px, places["column"] // tile_px])
    keys = keys[:, chosen]
    held = {tuple(key) for key in keys[:, numbered(keys)[0]].T.tolist()}
    tiles = context.tiles(tile_px)
    return [tile for tile in tiles if (tile.frame, tile.row, tile.column) in held]


def _around(places: Table, here: NDArray[np.int64]) -> Window:
    """Window that holds some places."""
    rows, columns = places["row"][here], places["column"][here]
    return (
        slice(int(rows.min()), int(rows.max()) + 1),
        slice(int(columns.min()), int(columns.max()) + 1),
    )
