"""Labels of a run with superpixels: the cluster of each pixel's superpixel, looked up."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from hsistream.config import RunConfig
from hsistream.runs import CONFIDENCE_STEPS, NO_CONFIDENCE, NO_LABEL, SUPERPIXELS
from hsistream.runtime.memory import kept
from hsistream.scene.scene import Scene
from hsistream.stages import Address, Context, Needs, scene_tiles, stored_pixels
from hsistream.stages import describe as describe_stage
from hsistream.stages.cluster import TABLE as CLUSTERS
from hsistream.stages.labelling import label_tiles, write_labels
from hsistream.stages.seams import seam_bytes
from hsistream.stores.raster import RasterStore
from hsistream.stores.tables import Table, read_table
from hsistream.tiles import Tile


@dataclass(frozen=True, slots=True)
class _Lookup:
    """Ids, labels and confidence (region,) of all superpixels, in the order of their ids."""

    ids: NDArray[np.int64]
    labels: NDArray[np.uint16]
    confidence: NDArray[np.uint8]
    clusters: int


def run(context: Context) -> None:
    """Label all pixels."""
    RasterStore(context.run.superpixels_uri).check_complete(context.scene.frames, SUPERPIXELS)
    label_tiles(context, partial(label_tile, address=context.address))


def estimate(scene: Scene, config: RunConfig, tile_px: int) -> Needs:
    """Estimate what the stage needs."""
    pixels = stored_pixels(scene, tile_px)
    regions = config.segment.count(scene.valid_pixels)
    return Needs(
        tiles=len(scene_tiles(scene, tile_px)),
        task={"superpixels, and decoding": 32 * pixels, "labels": 32 * pixels},
        driver={"superpixels": 24 * regions, "labels at seams": seam_bytes(scene)},
        disk_bytes=2 * scene.pixels,
    )


def label_tile(tile: Tile, *, address: Address) -> Table:
    """Label one tile and count the pixels of every label."""
    table, name = _load(address), address.scene.frames[tile.frame].name
    ids = RasterStore(address.run.superpixels_uri).read(name, SUPERPIXELS, tile.core)
    label = np.full(ids.shape, NO_LABEL, np.uint16)
    confidence = np.full(ids.shape, NO_CONFIDENCE, np.uint8)
    known = ids >= 0
    region = np.searchsorted(table.ids, ids[known])
    label[known], confidence[known] = table.labels[region], table.confidence[region]
    return write_labels(tile, address, label, confidence, table.clusters)


@kept(results=4)
def _load(address: Address) -> _Lookup:
    """Read the labels of the superpixels once for many tiles."""
    clusters = read_table(address.run.table(CLUSTERS))
    confidence = np.rint(clusters["margins"] * CONFIDENCE_STEPS).astype(np.uint8)
    ids = read_table(address.run.table(describe_stage.TABLE))["ids"]
    return _Lookup(ids, clusters["labels"], confidence, int(clusters["clusters"]))
