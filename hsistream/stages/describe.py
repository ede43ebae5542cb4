"""The superpixels in numbers: their means, and the densest pixels of each."""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray

from hsistream.config import RunConfig
from hsistream.regions.representatives import choose_representatives
from hsistream.regions.sums import RegionSums
from hsistream.runs import LATENTS, SUPERPIXELS, RunDirectory
from hsistream.runtime.ledger import Ledger
from hsistream.scene.scene import Scene
from hsistream.scene.statistics import in_reservoir
from hsistream.sections import GraphSection
from hsistream.stages import Context, Needs, frame_thresholds, reservoir_pixels, scene_tiles
from hsistream.stages import reference as reference_table
from hsistream.stages.reference import (
    Reference,
    feature_size,
    load_reference,
    make_reference,
    place_keys,
    tile_features,
)
from hsistream.stages.segment import first_id
from hsistream.stores.raster import RasterStore
from hsistream.stores.tables import Table, write_table
from hsistream.tiles import Tile, Window

TABLE = "regions"

NODE_COLUMNS = ("frame", "row", "column", "region", "mass", "density", "features")
"""What the table keeps of each node."""


def run(context: Context) -> None:
    """Describe the superpixels of all tiles."""
    scene, config = context.scene, context.config
    RasterStore(context.run.superpixels_uri).check_complete(scene.frames, SUPERPIXELS)
    if config.encoder is not None:
        RasterStore(context.run.latents_uri).check_complete(scene.frames, LATENTS)
    write_table(context.run.table(reference_table.TABLE), make_reference(context))
    task = partial(
        describe_tile,
        scene=scene,
        run=context.run,
        settings=config.graph,
        segment_px=config.segment.tile_px,
        seed=config.seed,
        thresholds=frame_thresholds(scene, config),
        fingerprint=context.fingerprint,
    )
    tiles = context.tiles(config.segment.tile_px)
    ledger = context.work("describe", task, tiles, config.segment.tile_px)
    write_table(context.run.table(TABLE), _collect(ledger, tiles))


def estimate(scene: Scene, config: RunConfig, tile_px: int) -> Needs:
    """Estimate what the stage needs; its tiles have a fixed size."""
    fixed = config.segment.tile_px
    edge = min(fixed, scene.longest_side)
    strip = min(scene.chunk_px, edge) * edge
    features = feature_size(scene, config)
    sample = min(config.graph.reference_pixels, reservoir_pixels(scene, config))
    regions = config.segment.count(scene.valid_pixels)
    nodes = regions * config.graph.representatives
    return Needs(
        tiles=len(scene_tiles(scene, fixed)),
        task={
            "strip as stored, and decoding": 3 * strip * scene.bands * scene.itemsize,
            "features of a strip": 4 * 4 * strip * features,
            "distances of a strip": 16 * strip * (config.graph.neighbours + 1),
            "superpixels and densities": 40 * edge**2,
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
    scene: Scene,
    run: RunDirectory,
    settings: GraphSection,
    segment_px: int,
    seed: int,
    thresholds: tuple[float, ...],
    fingerprint: str,
) -> Table:
    """Measure one tile: sums and nodes of its superpixels, and those of reservoir pixels."""
    reference, name = load_reference(run, fingerprint), scene.frames[tile.frame].name
    ids = RasterStore(run.superpixels_uri).read(name, SUPERPIXELS, tile.core)
    index = np.where(ids >= 0, ids - first_id(tile, scene, segment_px), -1)
    read = partial(tile_features, tile, scene, run, reference)
    sums = RegionSums.empty(int(index.max()) + 1, reference.size)
    density = np.zeros(index.shape)
    for inner, known, features in read(index >= 0):
        keys = place_keys(scene, tile.frame, *places_of(tile, inner, known))
        density[inner][known] = reference.densities(features, keys, settings.neighbours)
        sums += RegionSums.from_pixels(index[inner][known], features, len(sums.count))
    nodes = choose_representatives(index.ravel(), density.ravel(), settings.representatives)
    chosen = np.isin(np.arange(index.size), nodes.pixels).reshape(index.shape)
    row, column = np.divmod(nodes.pixels, index.shape[1])
    sampled = in_reservoir(seed, tile.frame, tile.core, thresholds[tile.frame]) & (index >= 0)
    return {
        "row": (row + tile.core[0].start).astype(np.int32),
        "column": (column + tile.core[1].start).astype(np.int32),
        "region": nodes.owner,
        "mass": nodes.mass,
        "density": density.ravel()[nodes.pixels],
        "features": _joined([features for _, _, features in read(chosen)], reference),
        "count": sums.count,
        "feature_sum": sums.feature_sum,
        "sampled": index[sampled],
        "sampled_row": np.nonzero(sampled)[0] + tile.core[0].start,
        "sampled_column": np.nonzero(sampled)[1] + tile.core[1].start,
    }


def places_of(
    tile: Tile, inner: Window, known: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows and columns (pixel,) in the frame of the known pixels of a part of a tile."""
    row, column = np.nonzero(known)
    return row + inner[0].start + tile.core[0].start, column + inner[1].start + tile.core[1].start


def region_numbers(
    ids: NDArray[np.int64], first: NDArray[np.int64], segment_px: int
) -> NDArray[np.int64]:
    """Turn ids of superpixels into their numbers; ``first`` (tile,) are those of every tile."""
    tile, within_tile = np.divmod(ids, segment_px**2)
    return np.asarray(first[tile] + within_tile)


def _joined(parts: list[NDArray[np.float32]], reference: Reference) -> NDArray[np.float32]:
    """Join the features of nodes, (node, feature); a tile without data has none."""
    return np.concatenate([np.zeros((0, reference.size), np.float32), *parts])


def _collect(ledger: Ledger, tiles: list[Tile]) -> Table:
    """Join nodes and reservoir, sorted by frame, row and column, and superpixels, by tile."""
    parts, first = [], [0]
    for tile, table in ledger.results(tiles):
        found = dict(table)
        for name in ("region", "sampled"):
            found[name] = table[name] + first[-1]
        found["frame"] = np.full(len(table["row"]), tile.frame, np.int32)
        found["sampled_frame"] = np.full(len(table["sampled"]), tile.frame, np.int32)
        first.append(first[-1] + len(table["count"]))
        parts.append(found)
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    of_nodes = np.lexsort((joined["column"], joined["row"], joined["frame"]))
    at = ("sampled_column", "sampled_row", "sampled_frame")
    of_reservoir = np.lexsort(tuple(joined[name] for name in at))
    return {
        **{name: joined[name][of_nodes] for name in NODE_COLUMNS},
        "count": joined["count"],
        "feature_sum": joined["feature_sum"],
        "first": np.asarray(first),
        "reservoir_region": joined["sampled"][of_reservoir],
    }
