"""Stage 6: the label and the confidence of every pixel, looked up from its codes."""

from __future__ import annotations

from functools import partial

from hsistream.config import RunConfig
from hsistream.scene.scene import Scene
from hsistream.stages import Address, Context, Needs, scene_tiles, stored_pixels
from hsistream.stages import codebooks as codebooks_stage
from hsistream.stages import count as count_stage
from hsistream.stages.labelling import label_codes, label_tiles
from hsistream.stages.seams import seam_bytes
from hsistream.stores.raster import RasterStore
from hsistream.stores.tables import Table
from hsistream.tiles import Tile


def run(context: Context) -> None:
    """Label all pixels."""
    store = RasterStore(context.run.codes_uri)
    store.check_complete(context.scene.frames, count_stage.LAYER)
    label_tiles(context, partial(label_tile, address=context.address))


def estimate(scene: Scene, config: RunConfig, tile_px: int) -> Needs:
    """Estimate what the stage needs."""
    books = len(codebooks_stage.codebook_sizes(config)) * len(config.views.names)
    pixels = stored_pixels(scene, tile_px)
    return Needs(
        tiles=len(scene_tiles(scene, tile_px)),
        task={"codes, and decoding": 4 * books * pixels, "labels": 24 * pixels},
        driver={"labels at seams": seam_bytes(scene)} if config.has_superpixels else {},
        disk_bytes=2 * scene.pixels,
    )


def label_tile(tile: Tile, *, address: Address) -> Table:
    """Label one tile by its codes, and count the pixels of every label."""
    frame, store = address.scene.frames[tile.frame].name, RasterStore(address.run.codes_uri)
    return label_codes(
        tile, address, store.read_strips(frame, count_stage.LAYER, tile.core, leading=1)
    )
