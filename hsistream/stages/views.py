"""Stage 2: the views of the reservoir's pixels, computed with their true halo.

The tiles of this pass have a fixed size: what is learnt here is a constant of
the scene, and must not depend on how a run is executed. :func:`tile_views` is
shared with the stage that codes every pixel.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsistream.config import RunConfig
from hsistream.consensus.projections import unit_length
from hsistream.consensus.views import HALO, spatial_view
from hsistream.illumination import illuminated
from hsistream.places import join_places
from hsistream.runs import LATENTS
from hsistream.runtime.memory import kept
from hsistream.scene.scene import Scene
from hsistream.scene.statistics import in_reservoir
from hsistream.sections import SpectralName, ViewsSection
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
from hsistream.stages import statistics as statistics_stage
from hsistream.stages import train as train_stage
from hsistream.stages.encode import latent_count
from hsistream.stages.statistics import Constants, Latents
from hsistream.stores.raster import CHUNK_PX, RasterStore
from hsistream.stores.tables import Table, read_table, write_table
from hsistream.tiles import Tile, Window, grow, size, strips, within

TABLE = "views"

TILE_PX = 1024
"""Tiles of the pass over the reservoir; wide, because their halo is read twice."""

STRIP_PX = 128
"""Rows that are filtered at once; bounds memory, and keeps it near the processor."""

ROWS_AT_ONCE_BYTES = 4 * 2**20
"""Spectra are turned to float32 in blocks of rows of this size."""


def run(context: Context) -> None:
    """Compute the views of the reservoir."""
    scene, config = context.scene, context.config
    check_latents(context)
    tile_px = fixed_tile_px(scene)
    task = partial(
        view_tile,
        address=context.address,
        views=config.views,
        seed=config.seed,
        thresholds=frame_thresholds(scene, config),
    )
    tiles = context.tiles(tile_px, halo(config.views))
    ledger = context.work("views", task, tiles, tile_px)
    write_table(context.run.table(TABLE), _collect(ledger.results(tiles)))


def estimate(scene: Scene, config: RunConfig, tile_px: int) -> Needs:
    """Estimate what the stage needs; its tiles have a fixed size."""
    fixed = fixed_tile_px(scene)
    pixels = reservoir_pixels(scene, config)
    values = 4 * pixels * components(config, scene) * len(config.views.spatial)
    return Needs(
        tiles=len(scene_tiles(scene, fixed)),
        task=view_bytes(scene, config, fixed),
        driver={"views of the reservoir": 2 * values},
        disk_bytes=2 * values,
    )


def check_latents(context: Context) -> None:
    """Find missing storage files of the latents, where they are viewed.

    Raises
    ------
    DamagedError
        If a frame lacks a part of them: it would be read as no data.
    """
    if context.config.views.latents:
        RasterStore(context.run.latents_uri).check_complete(context.scene.frames, LATENTS)


def fixed_tile_px(scene: Scene) -> int:
    """Tile of this pass: whole chunks, about ``TILE_PX``."""
    return max(1, TILE_PX // scene.chunk_px) * scene.chunk_px


def halo(views: ViewsSection) -> int:
    """Pixels around a tile on which its views depend."""
    return max(HALO[name] for name in views.spatial)


def components(config: RunConfig, scene: Scene) -> int:
    """Upper bound of the values of all sources of views together."""
    return sum(_sizes(config, scene))


def _sizes(config: RunConfig, scene: Scene) -> list[int]:
    """Upper bounds of the values of each source; the brightness may be one more feature."""
    views = config.views
    wanted = {"z": views.z_components, "l2": views.l2_components, "mnf": views.mnf_components}
    latents = [latent_count(scene, config)] if views.latents else []
    return [min(wanted[name], scene.bands + 1) for name in views.scored] + latents


def view_bytes(scene: Scene, config: RunConfig, tile_px: int) -> dict[str, int]:
    """Memory of :func:`tile_views`, term by term."""
    views = config.views
    rows, columns = (edge + 2 * halo(views) for edge in largest_tile(scene, tile_px))
    across = widest_tile(scene, tile_px) + 2 * halo(views)
    strip = min(scene.chunk_px, scene.longest_side) * across
    largest = max(_sizes(config, scene))
    return {
        "strip as stored, and decoding": 3 * strip * scene.bands * scene.itemsize,
        "float32 rows and their features": 4 * ROWS_AT_ONCE_BYTES,
        **_stored_latents(scene, config, across),
        "scores": 4 * rows * columns * components(config, scene),
        "strips of views": 4 * 4 * (STRIP_PX + 2 * halo(views)) * across * largest,
        "masks": 3 * rows * columns,
    }


def _stored_latents(scene: Scene, config: RunConfig, across: int) -> dict[str, int]:
    """Memory of a strip of latents as they are read, where they are viewed."""
    if not config.views.latents:
        return {}
    strip = min(CHUNK_PX, scene.longest_side) * across
    return {"latents as stored, and decoding": 2 * 2 * strip * latent_count(scene, config)}


def view_tile(
    tile: Tile,
    *,
    address: Address,
    views: ViewsSection,
    seed: int,
    thresholds: tuple[float, ...],
) -> Table:
    """Compute the views of the reservoir pixels of one tile."""
    scene = address.scene
    chosen = in_reservoir(seed, tile.frame, tile.core, thresholds[tile.frame])
    chosen &= scene.valid(tile.frame, tile.core)
    table: Table = {"pixels": np.asarray(int(chosen.sum()))}
    row, column = np.nonzero(chosen)
    table["row"] = (row + tile.core[0].start).astype(np.int32)
    table["column"] = (column + tile.core[1].start).astype(np.int32)
    table["frame"] = np.full(len(row), tile.frame, np.int32)
    constants = load_constants(address, views.spectral)
    if len(row):
        table |= _views_of(tile, chosen, tile_views(tile, scene, views, constants))
    return table


def tile_views(
    tile: Tile, scene: Scene, views: ViewsSection, constants: Constants
) -> Iterator[tuple[Window, str, NDArray[np.float32]]]:
    """Yield (strip, name, view) for all strips of a tile's core and all views of each.

    A view is (component, y, x) over its strip; pixels without data hold no
    meaning. Memory is that of the scores of the tile and of two filtered
    strips, whatever the number of bands.
    """
    window = tile.window(scene.frames[tile.frame].shape)
    valid = scene.valid(tile.frame, window)
    sources = _sources(tile.frame, window, valid, scene, constants)
    for strip in strips(tile.core, STRIP_PX):
        outer = grow(strip, tile.halo, scene.frames[tile.frame].shape)
        there, inner = within(outer, window), within(strip, outer)
        mask = np.ascontiguousarray(valid[there])
        for source, scores, scale in sources:
            part = np.ascontiguousarray(scores[:, *there])
            for name in views.spatial:
                view = spatial_view(name, part, mask, scale)
                yield strip, f"{source}.{name}", view[:, *inner]


def _views_of(
    tile: Tile,
    chosen: NDArray[np.bool_],
    views: Iterator[tuple[Window, str, NDArray[np.float32]]],
) -> Table:
    """Pick the chosen pixels of every view, (pixel, component), in row-major order."""
    parts: dict[str, list[NDArray[np.float32]]] = {}
    for strip, name, values in views:
        row, column = np.nonzero(chosen[within(strip, tile.core)])
        parts.setdefault(name, []).append(values[:, row, column].T)
    return {name: np.concatenate(found) for name, found in parts.items()}


def window_scores(
    frame: int, window: Window, valid: NDArray[np.bool_], scene: Scene, constants: Constants
) -> NDArray[np.float32]:
    """Project the spectra of a window, strip of chunks by strip, (component, y, x); 0 = no data."""
    scores = np.zeros((constants.components, *size(window)), np.float32)
    group = int(constants.group_of_frame[frame])
    for strip in strips(window, scene.chunk_px):
        inner = within(strip, window)
        if valid[inner].any():
            _project(scene.read(frame, strip), valid[inner], group, constants, scores[:, *inner])
    return scores


def reservoir_scores(reservoir: Table, constants: Constants) -> NDArray[np.float32]:
    """Project the spectra (pixel, band) of the reservoir, (component, pixel)."""
    scores = np.zeros((constants.components, 1, len(reservoir["frame"])), np.float32)
    for frame in np.unique(reservoir["frame"]):
        own = np.flatnonzero(reservoir["frame"] == frame)
        found = np.zeros((constants.components, 1, len(own)), np.float32)
        raw = reservoir["spectra"][own].T[:, None]
        group = int(constants.group_of_frame[frame])
        _project(raw, np.ones((1, len(own)), np.bool_), group, constants, found)
        scores[:, :, own] = found
    return scores[:, 0]


@kept(results=4)
def load_constants(address: Address, spectral: tuple[SpectralName, ...]) -> Constants:
    """Read the constants of the sources of these names, once for many tiles."""
    run = address.run
    table = read_table(run.table(statistics_stage.TABLE))
    constants = statistics_stage.from_table(table).only(spectral)
    if LATENTS not in spectral:
        return constants
    scale = float(read_table(run.table(train_stage.TABLE))["edge_scale"])
    return replace(constants, latents=Latents(run.latents_uri, scale))


def _sources(
    frame: int, window: Window, valid: NDArray[np.bool_], scene: Scene, constants: Constants
) -> list[tuple[str, NDArray[np.float32], float]]:
    """List what views are made of: name, values (component, y, x) of a window, edge scale."""
    scores, first, found = window_scores(frame, window, valid, scene, constants), 0, []
    for projection, scale in zip(constants.projections, constants.edge_scales, strict=True):
        last = first + projection.components
        found.append((projection.name, scores[first:last], scale))
        first = last
    if constants.latents:
        store, name = RasterStore(constants.latents.uri), scene.frames[frame].name
        latents = store.read_floats(name, LATENTS, window, leading=1)
        np.copyto(latents, 0, where=~valid)
        found.append((LATENTS, latents, constants.latents.edge_scale))
    return found


def _project(
    raw: NDArray[Any],
    valid: NDArray[np.bool_],
    group: int,
    constants: Constants,
    out: NDArray[np.float32],
) -> None:
    """Project spectra (band, y, x) to scores (component, y, x), a few rows at a time."""
    good = constants.good
    rows = max(1, ROWS_AT_ONCE_BYTES // (4 * len(raw) * raw.shape[2]))
    for first in range(0, raw.shape[1], rows):
        part = slice(first, first + rows)
        spectra = raw[:, part] if good.all() else raw[good, part]
        spectra = spectra.reshape(len(spectra), -1)
        place, at = out[:, part], 0
        with np.errstate(invalid="ignore", over="ignore"):  # pixels without data hold anything
            values = illuminated(constants.illumination, spectra, constants.wavelengths_nm)
            for found in _project_all(values, group, constants):
                place[at : at + len(found)] = found.reshape(len(found), *place.shape[1:])
                at += len(found)
        if not valid[part].all():
            np.copyto(place, 0, where=~valid[part])


def _project_all(
    values: NDArray[Any], group: int, constants: Constants
) -> Iterator[NDArray[np.float32]]:
    """Project features (feature, pixel); neighbours in the list that share a mean are as one."""
    for unit_norm, alike in groupby(constants.projections, lambda each: each.unit_norm):
        together = list(alike)
        mean = together[0].mean[group].astype(np.float32)[:, None]
        if unit_norm:
            centred = unit_length(values.astype(np.float32, copy=False)) - mean
        else:
            centred = np.subtract(values, mean, dtype=np.float32)
        if len(together) == 1 and together[0].plain:
            yield centred * together[0].scale[group].astype(np.float32)[:, None]
        else:
            matrix = np.concatenate([each.matrix(group) for each in together], axis=1).T
            yield matrix.astype(np.float32) @ centred


def _collect(results: Iterator[tuple[Tile, Table]]) -> Table:
    """Join the reservoir's views, sorted by frame, row and column."""
    parts = [
        {name: values for name, values in table.items() if name != "pixels"}
        for _, table in results
        if int(table["pixels"])
    ]
    return join_places(parts)
