"""The superpixels in numbers: their means, and the densest pixels of each."""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray

from hsistream.config import RunConfig
from hsistream.places import join_places
from hsistream.regions.representatives import choose_representatives, nearest_to_means
from hsistream.regions.sums import RegionSums
from hsistream.runs import LATENTS, SUPERPIXELS
from hsistream.runtime.ledger import Ledger
from hsistream.scene.scene import Scene
from hsistream.scene.statistics import in_reservoir
from hsistream.sections import GraphSection
from hsistream.stages import (
    Address,
    Context,
    Needs,
    frame_thresholds,
    largest_tile,
    reservoir_pixels,
    scene_tiles,
    widest_tile,
)
from hsistream.stages import reference as reference_table
from hsistream.stages.reference import (
    feature_size,
    load_reference,
    make_reference,
    place_keys,
    window_features,
)
from hsistream.stages.segment import first_id
from hsistream.stores.raster import RasterStore
from hsistream.stores.tables import Table, write_table
from hsistream.tiles import Tile

TABLE = "regions"

CANDIDATES = 32
"""Pixels of a superpixel, those most like its mean, among which its densest are looked for."""

PIXELS_AT_ONCE = 65_536
"""Pixels that are summed up together."""

REGION_COLUMNS = ("ids", "count", "feature_sum")
"""What it keeps of each superpixel, in the order of their ids, which increase."""

NODE_COLUMNS = ("frame", "row", "column", "region", "mass", "density", "features")
"""What the table keeps of each node."""


def run(context: Context) -> None:
    """Describe the superpixels of all tiles."""
    scene, config = context.scene, context.config
    RasterStore(context.run.superpixels_uri).check_complete(scene.frames, SUPERPIXELS)
    if config.encoder is not None:
        RasterStore(context.run.latents_uri).check_complete(scene.frames, LATENTS)
    if config.learnt is None:
        write_table(context.run.table(reference_table.TABLE), make_reference(context))
    task = partial(
        describe_tile,
        address=context.address,
        settings=config.graph,
        segment_px=config.segment.tile_px,
        seed=config.seed,
        thresholds=frame_thresholds(scene, config),
    )
    tiles = context.tiles(config.segment.tile_px, config.segment.margin_px)
    ledger = context.work("describe", task, tiles, config.segment.tile_px)
    write_table(context.run.table(TABLE), _collect(ledger, tiles))


def estimate(scene: Scene, config: RunConfig, tile_px: int) -> Needs:
    """Estimate what the stage needs; its tiles have a fixed size."""
    fixed = config.segment.tile_px
    window = fixed + 2 * config.segment.margin_px
    rows, columns = largest_tile(scene, window)
    pixels = rows * columns
    strip = min(scene.chunk_px, scene.longest_side) * widest_tile(scene, window)
    share = min(1.0, pixels / scene.valid_pixels)
    likely = min(pixels, int(CANDIDATES * share * config.segment.count(scene.valid_pixels)) + 1)
    features = feature_size(scene, config)
    sample = min(config.graph.reference_pixels, reservoir_pixels(scene, config))
    regions = config.segment.count(scene.valid_pixels)
    nodes = regions * config.graph.representatives
    return Needs(
        tiles=len(scene_tiles(scene, fixed)),
        task={
            "strip as stored, and decoding": 3 * strip * scene.bands * scene.itemsize,
            "features of a strip": 3 * 4 * strip * features,
            "features": 4 * pixels * features,
            "distances": 16 * likely * (config.graph.neighbours + 1),
            "superpixels and places": 72 * pixels,
        },
        driver={
            "reference sample, and its groups": 36 * sample * features,
            "distances": 64 * 2**20,
            "spectra of the reservoir": 2 * reservoir_pixels(scene, config) * features * 4,
            "nodes and superpixels": 24 * (nodes + regions) * features,
        },
        disk_bytes=4 * sample * features + 8 * (nodes + regions) * features,
    )


def describe_tile(
    tile: Tile,
    *,
    address: Address,
    settings: GraphSection,
    segment_px: int,
    seed: int,
    thresholds: tuple[float, ...],
) -> Table:
    """Measure one tile: sums and nodes of the superpixels that it keeps, and their sample."""
    reference, scene = load_reference(address), address.scene
    frame = scene.frames[tile.frame]
    window = tile.window(frame.shape)
    ids = RasterStore(address.run.superpixels_uri).read(frame.name, SUPERPIXELS, window)
    first = first_id(tile, scene, segment_px)
    mine = (ids >= first) & (ids < first + segment_px**2)
    row, column = (place + edge.start for place, edge in zip(np.nonzero(mine), window, strict=True))
    kept, own = np.unique(ids[mine], return_inverse=True)
    features = window_features(tile.frame, window, address, reference, mine)
    sums = _sums(own, features, len(kept))
    likely = nearest_to_means(own, features, sums, CANDIDATES)
    keys = place_keys(scene, tile.frame, row[likely], column[likely])
    density = reference.densities(features[likely], keys, settings.neighbours)
    nodes = choose_representatives(own[likely], density, settings.representatives)
    chosen = likely[nodes.pixels]
    sampled = in_reservoir(seed, tile.frame, window, thresholds[tile.frame])[mine]
    return {
        "row": row[chosen].astype(np.int32),
        "column": column[chosen].astype(np.int32),
        "region": nodes.owner,
        "mass": sums.count[nodes.owner] / np.bincount(nodes.owner)[nodes.owner],
        "density": density[nodes.pixels],
        "features": features[chosen],
        "ids": kept,
        "count": sums.count,
        "feature_sum": sums.feature_sum,
        "sampled": own[sampled],
        "sampled_row": row[sampled],
        "sampled_column": column[sampled],
    }


def _sums(index: NDArray[np.int64], features: NDArray[np.float32], regions: int) -> RegionSums:
    """Sum the features (pixel, feature) of superpixels, a part of the pixels at a time."""
    sums = RegionSums.empty(regions, features.shape[1])
    for first in range(0, len(index), PIXELS_AT_ONCE):
        part = slice(first, first + PIXELS_AT_ONCE)
        sums += RegionSums.from_pixels(index[part], features[part], regions)
    return sums


def _collect(ledger: Ledger, tiles: list[Tile]) -> Table:
    """Join nodes and reservoir, sorted by frame, row and column, and superpixels, by their ids."""
    nodes, reservoir, regions, before = [], [], [], 0
    for tile, table in ledger.results(tiles):
        frame = np.full(len(table["row"]), tile.frame, np.int32)
        found = table | {"frame": frame, "region": table["region"] + before}
        nodes.append({name: found[name] for name in NODE_COLUMNS})
        reservoir.append(
            {
                "frame": np.full(len(table["sampled"]), tile.frame, np.int32),
                "row": table["sampled_row"],
                "column": table["sampled_column"],
                "region": table["sampled"] + before,
            }
        )
        regions.append({name: table[name] for name in REGION_COLUMNS})
        before += len(table["ids"])
    return {
        **join_places(nodes),
        **{name: np.concatenate([each[name] for each in regions]) for name in regions[0]},
        "reservoir_region": join_places(reservoir)["region"],
    }
