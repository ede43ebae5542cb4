"""Superpixels of every frame, cut at tiles of a fixed size.

The picture that is cut is that of the first three principal components of
unit-norm spectra, on a scale of the whole scene. Superpixels shape the result,
so their tiles belong to what is asked and not to how it is run. The id of a
superpixel is the number of its tile, times the pixels of a tile, plus its
number within the tile: unique without a second pass.
"""

from __future__ import annotations

from functools import partial
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsistream.config import RunConfig
from hsistream.runs import SUPERPIXELS, RunDirectory
from hsistream.runtime.ledger import Ledger
from hsistream.scene.scene import Scene
from hsistream.sections import SegmentSection
from hsistream.stages import Context, Needs, largest_tile, reservoir_pixels, scene_tiles
from hsistream.stages import statistics as statistics_stage
from hsistream.stages import views as views_stage
from hsistream.stages.pictures import assemble, picture_step, sample
from hsistream.stores.raster import Layer, RasterStore
from hsistream.stores.tables import Table, read_table, write_table
from hsistream.superpixels import load_segmenter
from hsistream.superpixels.base_image import eight_bit
from hsistream.tiles import Tile, TileGrid, Window

TABLE = "superpixels"

CUT = "cut"
"""Table of how frames are cut: the range of each channel, and superpixels for so many pixels."""

NO_SUPERPIXEL = -1
"""Id of a pixel without data."""

PICTURED = ("l2",)
"""What is projected for the picture that is cut: spectra of unit length."""

CHANNELS = 3
"""Principal components of the picture that is cut."""

PIXEL_BYTES = 180
"""Memory of a segmenter for each pixel, at most."""


def run(context: Context) -> None:
    """Cut all frames."""
    scene, settings = context.scene, context.config.segment
    if context.config.learnt is None:
        write_table(context.run.table(CUT), _measure(context))
    task = partial(
        segment_tile,
        scene=scene,
        run=context.run,
        settings=settings,
        fingerprint=context.fingerprint,
    )
    tiles = context.tiles(settings.tile_px)
    store = RasterStore(context.run.superpixels_uri)
    ledger = context.write("segment", task, tiles, store, [_layer()], settings.tile_px)
    write_table(context.run.table(TABLE), _collect(ledger, tiles, scene))


def estimate(scene: Scene, config: RunConfig, tile_px: int) -> Needs:
    """Estimate what the stage needs; its tiles have a fixed size."""
    fixed = config.segment.tile_px
    spectra = reservoir_pixels(scene, config) * scene.bands
    return Needs(
        tiles=len(scene_tiles(scene, fixed)),
        task={
            **views_stage.view_bytes(scene, config, fixed),
            "superpixels": PIXEL_BYTES * prod(largest_tile(scene, fixed)),
        },
        driver={"spectra of the reservoir": spectra * (scene.itemsize + 8)},
        disk_bytes=2 * scene.pixels,
    )


def segment_tile(
    tile: Tile,
    *,
    scene: Scene,
    run: RunDirectory,
    settings: SegmentSection,
    fingerprint: str,
) -> Table:
    """Cut one tile into its part of the superpixels; at least one, if it has data."""
    cut = read_table(run.table(CUT))
    valid = scene.valid(tile.frame, tile.core)
    ids = np.full(valid.shape, NO_SUPERPIXEL, np.int64)
    if valid.any():
        constants = views_stage.load_constants(run, PICTURED, fingerprint)
        scores = views_stage.window_scores(tile.frame, tile.core, valid, scene, constants)
        image = eight_bit(scores[:CHANNELS], cut["low"], cut["high"])
        wanted = int(cut["superpixels"]) * int(valid.sum()) / int(cut["pixels"])
        index = load_segmenter(settings.name)(
            image, max(1, round(wanted)), valid=valid, **settings.options()
        )
        ids[valid] = index[valid] + first_id(tile, scene, settings.tile_px)
    name = scene.frames[tile.frame].name
    RasterStore(run.superpixels_uri).write(name, SUPERPIXELS, tile.core, ids)
    return {
        "superpixels": np.asarray(len(np.unique(ids[valid]))),
        "shown": sample(ids, tile.core, picture_step(scene)),
    }


def first_id(tile: Tile, scene: Scene, tile_px: int) -> int:
    """Tell the id of the first superpixel of a tile, which is one of many of ``tile_px``."""
    grids = [TileGrid(frame.shape, tile_px) for frame in scene.frames[: tile.frame + 1]]
    before = sum(len(grid) for grid in grids[:-1])
    return (before + tile.row * grids[-1].columns + tile.column) * tile_px**2


def _measure(context: Context) -> Table:
    """Find the range of each channel in the reservoir, which is all pixels of a small scene."""
    constants = views_stage.load_constants(context.run, PICTURED, context.fingerprint)
    table = read_table(context.run.table(statistics_stage.RESERVOIR))
    scores = views_stage.reservoir_scores(table, constants)[:CHANNELS]
    pixels = context.scene.valid_pixels
    return {
        "low": scores.min(axis=1),
        "high": scores.max(axis=1),
        "pixels": np.asarray(pixels),
        "superpixels": np.asarray(context.config.segment.count(pixels)),
    }


def _collect(ledger: Ledger, tiles: list[Tile], scene: Scene) -> Table:
    """Count the superpixels of every tile, and join the pictures of their ids."""
    parts: dict[int, list[tuple[Window, NDArray[Any]]]] = {}
    counts = []
    for tile, table in ledger.results(tiles):
        counts.append(int(table["superpixels"]))
        parts.setdefault(tile.frame, []).append((tile.core, table["shown"]))
    pictures = {
        f"{SUPERPIXELS}.{frame}": assemble(
            found, scene.frames[frame].shape, picture_step(scene), NO_SUPERPIXEL
        )
        for frame, found in parts.items()
    }
    return {"counts": np.asarray(counts), **pictures}


def _layer() -> Layer:
    """Describe the store of superpixels."""
    attributes = {"long_name": "superpixel of the pixel", "no_data": NO_SUPERPIXEL}
    return Layer(SUPERPIXELS, "int64", NO_SUPERPIXEL, attributes=attributes)
