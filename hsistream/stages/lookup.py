"""Labels of a run with prototypes: the cluster of each pixel's prototype, looked up."""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray

from hsistream.config import RunConfig
from hsistream.graph.kernels import group_margins
from hsistream.runs import CONFIDENCE_STEPS, INDEX, LATENTS, NO_CONFIDENCE, NO_LABEL
from hsistream.runtime.memory import kept
from hsistream.scene.scene import Scene
from hsistream.stages import Address, Context, Needs, scene_tiles, stored_pixels
from hsistream.stages import encode as encode_stage
from hsistream.stages.assign import (
    NO_PROTOTYPE,
    PIXELS_AT_ONCE,
    load_prototypes,
    widened,
)
from hsistream.stages.cluster import TABLE as CLUSTERS
from hsistream.stages.labelling import label_tiles, write_labels
from hsistream.stores.raster import RasterStore
from hsistream.stores.tables import Table, read_table
from hsistream.tiles import Tile, size


def run(context: Context) -> None:
    """Label all pixels."""
    scene, settings = context.scene, context.config.encoder
    assert settings is not None, "the stream has this stage only with a network"
    RasterStore(context.run.index_uri).check_complete(scene.frames, INDEX)
    task = partial(label_tile, address=context.address, softness=settings.softness)
    label_tiles(context, task)


def estimate(scene: Scene, config: RunConfig, tile_px: int) -> Needs:
    """Estimate what the stage needs."""
    latents = encode_stage.latent_count(scene, config)
    pixels = stored_pixels(scene, tile_px)
    return Needs(
        tiles=len(scene_tiles(scene, tile_px)),
        task={"latents, and decoding": 8 * latents * pixels, "labels": 32 * pixels},
        driver={},
        disk_bytes=2 * scene.pixels,
    )


def label_tile(tile: Tile, *, address: Address, softness: float) -> Table:
    """Label one tile and count the pixels of every label."""
    table, prototypes = _load_lookup(address), load_prototypes(address)
    run, name = address.run, address.scene.frames[tile.frame].name
    index = RasterStore(run.index_uri).read(name, INDEX, tile.core)
    latents = RasterStore(run.latents_uri).read(name, LATENTS, tile.core, leading=1)
    label = np.full(size(tile.core), NO_LABEL, np.uint16)
    known = index != NO_PROTOTYPE
    label[known] = table[index[known]]
    margin = cluster_margin(latents.reshape(len(latents), -1), table, prototypes)
    confidence = np.rint(np.tanh(margin / (2 * softness)) * CONFIDENCE_STEPS)
    confidence = np.where(known, confidence.reshape(known.shape), NO_CONFIDENCE).astype(np.uint8)
    return write_labels(tile, address, label, confidence, int(table.max()) + 1)


def cluster_margin(
    latents: NDArray[np.float16], table: NDArray[np.int64], prototypes: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Cosine of the best prototype of a pixel's cluster less that of any other cluster's best.

    Latents are (latent, pixel), the result (pixel,); infinite where there is
    one cluster only. Its hyperbolic tangent, over twice the softness, is by how
    much the one of the two clusters is likelier than the other.
    """
    order = np.argsort(table, kind="stable")
    ordered, sizes = prototypes[order], np.bincount(table)
    starts = np.concatenate([[0], np.cumsum(sizes[sizes > 0])])
    margin = np.empty(latents.shape[1], np.float32)
    for first in range(0, len(margin), PIXELS_AT_ONCE):
        part = slice(first, first + PIXELS_AT_ONCE)
        group_margins(ordered @ widened(latents[:, part]), starts, margin[part])
    return margin


@kept(results=4)
def _load_lookup(address: Address) -> NDArray[np.int64]:
    """Read the cluster of every prototype once for many tiles."""
    return np.asarray(read_table(address.run.table(CLUSTERS))["lookup"])
