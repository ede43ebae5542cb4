"""The superpixels in numbers: their means, and the densest pixels of each.

Densities are measured against a reference sample, the same for all tiles; it
holds all pixels of a small scene. Features are latents on a common scale where
there is a network, and spectra otherwise, both of unit length.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsistream.config import RunConfig
from hsistream.illumination import feature_count, illuminated
from hsistream.regions.density import density_scale, kernel_density, neighbour_distances
from hsistream.regions.representatives import choose_representatives
from hsistream.regions.sums import RegionSums
from hsistream.runs import LATENTS, SUPERPIXELS, RunDirectory
from hsistream.runtime.ledger import Ledger
from hsistream.scene.scene import Scene
from hsistream.scene.statistics import in_reservoir
from hsistream.sections import GraphSection
from hsistream.stages import Context, Needs, frame_thresholds, reservoir_pixels, scene_tiles
from hsistream.stages import encode as encode_stage
from hsistream.stages import statistics as statistics_stage
from hsistream.stages import views as views_stage
from hsistream.stages.segment import first_id
from hsistream.stages.statistics import Constants
from hsistream.stores.raster import RasterStore
from hsistream.stores.tables import Table, read_table, write_table
from hsistream.tiles import Tile, Window, strips, within

TABLE = "regions"
REFERENCE = "reference"

NODE_COLUMNS = ("frame", "row", "column", "region", "mass", "density", "features")
"""What the table keeps of each node."""

LEAST_LENGTH = 1e-6
"""Vectors that are shorter are divided by this instead of by their length."""


@dataclass(frozen=True, slots=True)
class Reference:
    """The reference sample, sorted by place, and how features are made.

    ``features`` (pixel, feature); ``keys`` (pixel,) number its places; ``density``
    (pixel,) are theirs, and ``scale`` that of all; ``centre`` and ``spread``
    (latent,) put latents on a common scale, and are empty where features are spectra.
    """

    features: NDArray[np.float32]
    keys: NDArray[np.int64]
    density: NDArray[np.float64]
    scale: float
    centre: NDArray[np.float64]
    spread: NDArray[np.float64]

    def rows(
        self, scene: Scene, tile: Tile, inner: Window, known: NDArray[np.bool_]
    ) -> NDArray[np.int64]:
        """Find the known pixels of a part of a tile in the sample, (pixel,); -1 if not there."""
        row, column = np.nonzero(known)
        row += inner[0].start + tile.core[0].start
        column += inner[1].start + tile.core[1].start
        keys = place_keys(scene, tile.frame, row, column)
        found = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return np.where(self.keys[found] == keys, found, -1)


def run(context: Context) -> None:
    """Describe the superpixels of all tiles."""
    scene, config = context.scene, context.config
    RasterStore(context.run.superpixels_uri).check_complete(scene.frames, SUPERPIXELS)
    if config.encoder is not None:
        RasterStore(context.run.latents_uri).check_complete(scene.frames, LATENTS)
    write_table(context.run.table(REFERENCE), _make_reference(context))
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
    spectral = feature_count(config.statistics.illumination, scene.bands)
    features = spectral if config.encoder is None else encode_stage.latent_count(scene, config)
    sample = min(config.graph.reference_pixels, reservoir_pixels(scene, config))
    regions = config.segment.count(scene.valid_pixels)
    nodes = regions * config.graph.representatives
    return Needs(
        tiles=len(scene_tiles(scene, fixed)),
        task={
            "strip as stored, and decoding": 3 * strip * scene.bands * scene.itemsize,
            "features of a strip": 4 * 4 * strip * features,
            "distances": 64 * 2**20 + 16 * strip * config.graph.neighbours,
            "reference sample": 12 * sample * features,
            "superpixels and densities": 40 * edge**2,
        },
        driver={
            "reference sample": 24 * sample * features,
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
    read = partial(_features, tile, scene, run, reference)
    sums = RegionSums.empty(int(index.max()) + 1, reference.features.shape[1])
    density = np.zeros(index.shape)
    for inner, known, features in read(index >= 0):
        rows = reference.rows(scene, tile, inner, known)
        density[inner][known] = _densities(features, rows, reference, settings.neighbours)
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


def _densities(
    features: NDArray[np.float32], rows: NDArray[np.int64], reference: Reference, neighbours: int
) -> NDArray[np.float64]:
    """Densities (pixel,) of pixels with features; those of the sample, by ``rows``, are known."""
    found = reference.density[rows]
    other = rows < 0
    if other.any():
        near = neighbour_distances(features[other], reference.features, neighbours)
        found[other] = kernel_density(near, reference.scale)
    return found


def region_numbers(
    ids: NDArray[np.int64], first: NDArray[np.int64], segment_px: int
) -> NDArray[np.int64]:
    """Turn ids of superpixels into their numbers; ``first`` (tile,) are those of every tile."""
    tile, within_tile = np.divmod(ids, segment_px**2)
    return np.asarray(first[tile] + within_tile)


@lru_cache(maxsize=4)
def load_reference(run: RunDirectory, fingerprint: str) -> Reference:
    """Read the reference sample once per process; the fingerprint tells runs apart."""
    table = read_table(run.table(REFERENCE))
    return Reference(
        table["features"],
        table["keys"],
        table["density"],
        float(table["scale"]),
        table["centre"],
        table["spread"],
    )


def _make_reference(context: Context) -> Table:
    """Choose the reference sample from the reservoir, and measure the scale of the density."""
    settings, run = context.config.graph, context.run
    table = read_table(run.table(statistics_stage.RESERVOIR))
    centre = spread = np.zeros(0)
    if context.config.encoder is None:
        features = _spectral(table["spectra"].T, views_stage.load_constants(run, (), ""))
    else:
        latents = read_table(run.table(encode_stage.TABLE))["reservoir"].T
        centre = latents.mean(axis=1, dtype=np.float64)
        spread = latents.std(axis=1, dtype=np.float64, ddof=min(1, latents.shape[1] - 1))
        features = _latent(latents, centre, spread)
    rows = _chosen_rows(features.shape[1], settings.reference_pixels, context.config.seed)
    sample = np.ascontiguousarray(features[:, rows].T)
    near = neighbour_distances(sample, sample, settings.neighbours, own=np.arange(len(sample)))
    scale = density_scale(near, settings.percentile)
    return {
        "features": sample,
        "keys": place_keys(context.scene, table["frame"], table["row"], table["column"])[rows],
        "density": kernel_density(near, scale),
        "scale": np.asarray(scale),
        "centre": centre,
        "spread": spread,
    }


def _chosen_rows(available: int, wanted: int, seed: int) -> NDArray[np.int64]:
    """Choose rows of the reservoir at random, in order; all if there are no more than wanted."""
    if available <= wanted:
        return np.arange(available)
    return np.sort(np.random.default_rng((seed, 7)).choice(available, wanted, replace=False))


def _features(
    tile: Tile,
    scene: Scene,
    run: RunDirectory,
    reference: Reference,
    wanted: NDArray[np.bool_],
) -> Iterator[tuple[Window, NDArray[np.bool_], NDArray[np.float32]]]:
    """Yield (place within the tile, wanted pixels there, their features) for strips of a tile."""
    for strip in strips(tile.core, scene.chunk_px):
        inner = within(strip, tile.core)
        known = wanted[inner]
        if known.any():
            yield inner, known, _read(tile.frame, strip, known, scene, run, reference).T


def _read(
    frame: int,
    window: Window,
    known: NDArray[np.bool_],
    scene: Scene,
    run: RunDirectory,
    reference: Reference,
) -> NDArray[np.float32]:
    """Read the features of the known pixels of a window, (feature, pixel)."""
    if not len(reference.centre):
        constants = views_stage.load_constants(run, (), "")
        return _spectral(scene.read(frame, window)[:, known], constants)
    name = scene.frames[frame].name
    latents = RasterStore(run.latents_uri).read(name, LATENTS, window, leading=1)
    return _latent(latents[:, known].astype(np.float32), reference.centre, reference.spread)


def _spectral(raw: NDArray[Any], constants: Constants) -> NDArray[np.float32]:
    """Turn spectra (band, pixel) as stored into features of unit length, (feature, pixel)."""
    good = raw[constants.good]
    found = illuminated(constants.illumination, good, constants.wavelengths_nm)
    return _unit(found.astype(np.float32))


def _latent(
    latents: NDArray[np.float32], centre: NDArray[np.float64], spread: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Put latents (latent, pixel) on a common scale, and give them unit length."""
    scale = np.where(spread > 0, spread, 1).astype(np.float32)
    return _unit((latents - centre.astype(np.float32)[:, None]) / scale[:, None])


def _unit(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Divide the columns of values (feature, pixel) by their length."""
    length = np.sqrt(np.einsum("fp,fp->p", values, values))
    return np.asarray(values / np.maximum(length, LEAST_LENGTH), np.float32)


def place_keys(
    scene: Scene,
    frame: NDArray[np.integer[Any]] | int,
    row: NDArray[np.integer[Any]],
    column: NDArray[np.integer[Any]],
) -> NDArray[np.int64]:
    """Give places a number by frame, row and column, in this order."""
    sizes = [frame.shape[0] * frame.shape[1] for frame in scene.frames]
    widths = np.asarray([frame.shape[1] for frame in scene.frames])
    before = np.concatenate([[0], np.cumsum(sizes)])
    return np.asarray(before[frame] + row.astype(np.int64) * widths[frame] + column)


def _joined(parts: list[NDArray[np.float32]], reference: Reference) -> NDArray[np.float32]:
    """Join the features of nodes, (node, feature); a tile without data has none."""
    return np.concatenate([np.zeros((0, reference.features.shape[1]), np.float32), *parts])


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
