"""Labels of new frames by codebooks and centres that are known already.

A pixel is coded and labelled at once: nothing is counted, and no codes are kept.
"""

from __future__ import annotations

from functools import partial

from hsistream.config import RunConfig
from hsistream.runs import SUPERPIXELS
from hsistream.scene.scene import Scene
from hsistream.sections import ViewsSection
from hsistream.stages import Address, Context, Needs, scene_tiles, stored_pixels
from hsistream.stages import codebooks as codebooks_stage
from hsistream.stages import views as views_stage
from hsistream.stages.count import code_tile
from hsistream.stages.labelling import label_codes, label_tiles
from hsistream.stores.raster import RasterStore
from hsistream.stores.tables import Table
from hsistream.tiles import Tile


def run(context: Context) -> None:
    """Label all pixels."""
    views_stage.check_latents(context)
    if context.config.has_superpixels:
        RasterStore(context.run.superpixels_uri).check_complete(context.scene.frames, SUPERPIXELS)
    views = context.config.views
    task = partial(
        label_tile,
        address=context.address,
        views=views,
        of_superpixels=context.config.has_superpixels,
    )
    label_tiles(context, task, views_stage.halo(views))


def estimate(scene: Scene, config: RunConfig, tile_px: int) -> Needs:
    """Estimate what the stage needs."""
    sizes = codebooks_stage.landmark_sizes(config)
    pixels = stored_pixels(scene, tile_px)
    code = 1 if max(sizes) < 256 else 2
    return Needs(
        tiles=len(scene_tiles(scene, tile_px)),
        task={
            **views_stage.view_bytes(scene, config, tile_px),
            "codes": 3 * len(sizes) * code * pixels,
            "labels": 24 * pixels,
        },
        driver={},
        disk_bytes=2 * scene.pixels,
    )


def label_tile(
    tile: Tile, *, address: Address, views: ViewsSection, of_superpixels: bool = False
) -> Table:
    """Label one tile, and count the pixels of every label."""
    codes, _ = code_tile(tile, address, views, of_superpixels)
    return label_codes(tile, address, [(tile.core, codes)])
