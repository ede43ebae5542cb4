"""Labels as all heads write them: their store, pictures of it, and pixels per label."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import astuple
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsistream.consensus.landmarks import Partition, label_pixels
from hsistream.regions.seams import LabelChanges
from hsistream.runs import (
    CONFIDENCE,
    CONFIDENCE_STEPS,
    LABELS,
    NO_CONFIDENCE,
    NO_LABEL,
    RunDirectory,
)
from hsistream.runtime.ledger import Ledger
from hsistream.runtime.map_tiles import TileFunction
from hsistream.runtime.memory import kept
from hsistream.scene.scene import Scene
from hsistream.stages import Address, Context
from hsistream.stages import cluster as cluster_stage
from hsistream.stages import count as count_stage
from hsistream.stages.pictures import assemble_frames, picture_step, sample
from hsistream.stages.seams import measure_seams
from hsistream.stages.statistics import valid_pixels
from hsistream.stores.raster import Layer, RasterStore
from hsistream.stores.tables import Table, read_table, write_table
from hsistream.tiles import Tile, Window, size, within

TABLE = "labels"

SEAMS = "seams"
"""Fields of the label changes at the seams of superpixels."""


def label_tiles(context: Context, task: TileFunction, halo: int = 0) -> None:
    """Label all tiles by a task that returns what :func:`write_labels` does."""
    clusters = int(read_table(context.run.table(cluster_stage.TABLE))["clusters"])
    tiles = context.tiles(context.tile_px, halo)
    store = RasterStore(context.run.labels_uri)
    ledger = context.write("label", task, tiles, store, layers(clusters))
    table = collect(ledger, tiles, context.scene, clusters)
    if context.config.has_superpixels:
        seams = measure_seams(context.address, context.config.segment.tile_px)
        table[SEAMS] = np.asarray(astuple(seams))
    write_table(context.run.table(TABLE), table)


def label_codes(
    tile: Tile, address: Address, coded: Iterable[tuple[Window, NDArray[np.unsignedinteger]]]
) -> Table:
    """Label one tile by the codes (codebook, y, x) of its parts, and count the pixels by label."""
    partition, starts = _load_partition(address)
    label = np.full(size(tile.core), NO_LABEL, np.uint16)
    confidence = np.full(size(tile.core), NO_CONFIDENCE, np.uint8)
    for window, codes in coded:
        place, valid = within(window, tile.core), count_stage.has_code(codes)
        found, margin = label_pixels(valid_pixels(codes, valid), starts, partition)
        label[place][valid] = found
        confidence[place][valid] = np.rint(np.clip(margin, 0, 1) * CONFIDENCE_STEPS)
    return write_labels(tile, address, label, confidence, len(partition.centres))


def write_labels(
    tile: Tile,
    address: Address,
    label: NDArray[np.uint16],
    confidence: NDArray[np.uint8],
    clusters: int,
) -> Table:
    """Write the core of a tile, and give its pixels per label and its part of the pictures."""
    frame, step = address.scene.frames[tile.frame].name, picture_step(address.scene)
    address.write(address.run.labels_uri, frame, LABELS, tile.core, label)
    address.write(address.run.labels_uri, frame, CONFIDENCE, tile.core, confidence)
    return {
        "pixels": np.bincount(label[label != NO_LABEL], minlength=clusters),
        LABELS: sample(label, tile.core, step),
        CONFIDENCE: sample(confidence, tile.core, step),
    }


def layers(clusters: int) -> list[Layer]:
    """Describe the store of labels, by the CF conventions."""
    numbers = list(range(clusters))
    meanings = " ".join(f"cluster_{number}" for number in numbers)
    labels = {
        "long_name": "cluster of the pixel",
        "flag_values": numbers,
        "flag_meanings": meanings,
        "nodata": NO_LABEL,
    }
    confidence = {
        "long_name": "margin between the two likeliest clusters",
        "units": "1",
        "scale_factor": 1 / CONFIDENCE_STEPS,
        "_FillValue": NO_CONFIDENCE,
    }
    return [
        Layer(LABELS, "uint16", NO_LABEL, attributes=labels),
        Layer(CONFIDENCE, "uint8", NO_CONFIDENCE, attributes=confidence),
    ]


def collect(ledger: Ledger, tiles: list[Tile], scene: Scene, clusters: int) -> Table:
    """Join pixel counts (frame, cluster) and the pictures of every frame."""
    pixels = np.zeros((len(scene.frames), clusters), np.int64)
    parts: dict[str, list[tuple[Tile, NDArray[Any]]]] = {LABELS: [], CONFIDENCE: []}
    for tile, table in ledger.results(tiles):
        pixels[tile.frame] += table["pixels"]
        for layer, found in parts.items():
            found.append((tile, table[layer]))
    step = picture_step(scene)
    pictures = {layer: assemble_frames(found, scene, step, 0) for layer, found in parts.items()}
    named = {f"{layer}.{f}": pictures[layer][f] for f in pictures[LABELS] for layer in pictures}
    return {"pixels": pixels, **named}


def cluster_pixels(run: RunDirectory) -> NDArray[np.int64]:
    """Read how many pixels each cluster of a finished run has, (cluster,)."""
    return np.asarray(read_table(run.table(TABLE))["pixels"].sum(axis=0))


def seam_changes(run: RunDirectory) -> LabelChanges | None:
    """Read how often labels change at the seams of superpixels; None where there are none."""
    table = read_table(run.table(TABLE))
    found = LabelChanges(*table[SEAMS].tolist()) if SEAMS in table else LabelChanges()
    return found if found.seam_pairs else None


@kept(results=4)
def _load_partition(address: Address) -> tuple[Partition, NDArray[np.int64]]:
    """Read the centres once for many tiles."""
    table = read_table(address.run.table(cluster_stage.TABLE))
    return Partition(table["coordinates"], table["centres"]), table["starts"]
