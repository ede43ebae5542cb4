"""Write the latents of every pixel, tile by tile.

Tiles are single chunks of the store: latents of a pixel are many, and memory that larger
tiles take would grow with frames up to their size.

The first part of a network looks at single pixels and follows the stored
chunks; the second part sees squares of one fixed shape, with their true halo.
Where a frame has no spectra, a network sees what it says of gaps.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsistream.config import RunConfig
from hsistream.illumination import feature_count
from hsistream.machine import give_back
from hsistream.methods import choose_device, load_method, using
from hsistream.methods.base import SQUARE_PX, Encoder, Place
from hsistream.network_sections import EncoderSection
from hsistream.places import join_places
from hsistream.runs import LATENTS
from hsistream.runtime.ledger import Ledger
from hsistream.runtime.memory import kept
from hsistream.scene.patches import filling_reach
from hsistream.scene.scene import Scene
from hsistream.scene.statistics import in_reservoir
from hsistream.stages import (
    Address,
    Context,
    Needs,
    frame_thresholds,
    reservoir_pixels,
    scene_tiles,
)
from hsistream.stages import train as train_stage
from hsistream.stages.gaps import close_gaps, reading_halo
from hsistream.stores.raster import Layer, RasterStore, storage_chunk
from hsistream.stores.tables import Table, write_table
from hsistream.tiles import Tile, Window, size, strips, within

TABLE = "latents"

ROWS_AT_ONCE_BYTES = 8 * 2**20
"""Spectra are embedded in blocks of rows of this size, as float32."""


def run(context: Context) -> None:
    """Encode all pixels."""
    scene, settings = context.scene, context.config.encoder
    assert settings is not None, "the stream has this stage only with a network"
    device = choose_device(context.execution.device)
    encoder = _load(context.address, settings, device)
    task = partial(
        encode_tile,
        address=context.address,
        settings=settings,
        device=device,
        side_px=min(encoder.square_px, context.tile_px),
        seed=context.config.seed,
        thresholds=frame_thresholds(scene, context.config),
    )
    tile_px = storage_chunk(context.tile_px)
    tiles = context.tiles(tile_px, reading_halo(encoder))
    store = RasterStore(context.run.latents_uri)
    with using(device):
        layers = [_layer(encoder.latent_size)]
        ledger = context.write("encode", task, tiles, store, layers, tile_px)
    write_table(context.run.table(TABLE), _collect(ledger, tiles))


def estimate(scene: Scene, config: RunConfig, tile_px: int) -> Needs:
    """Estimate what the stage needs."""
    settings = config.encoder
    assert settings is not None, "the stream has this stage only with a network"
    method, tile_px = load_method(settings.name), storage_chunk(tile_px)
    features = feature_count(config.statistics.illumination, scene.bands)
    latents = method.latent_size(settings, features)
    sampled = 4 * reservoir_pixels(scene, config) * latents
    edge = min(tile_px, scene.longest_side) + 2 * filling_reach(method.halo(settings))
    strip = min(scene.chunk_px, edge) * edge
    side = min(tile_px, SQUARE_PX) + 2 * method.halo(settings)
    return Needs(
        tiles=len(scene_tiles(scene, tile_px)),
        task={
            "strip as stored, and decoding": 3 * strip * scene.bands * scene.itemsize,
            "float32 rows": 4 * ROWS_AT_ONCE_BYTES,
            "embedded pixels": 4 * (edge + side) ** 2 * method.embedding_size(settings, features),
            "latents": 2 * 2 * edge**2 * latents,
            "layers of the network": method.square_bytes(settings, features, side**2),
            "masks": 2 * edge**2,
        },
        driver={"reservoir": 2 * sampled},
        disk_bytes=2 * latents * scene.pixels + sampled,
    )


def encode_tile(
    tile: Tile,
    *,
    address: Address,
    settings: EncoderSection,
    device: str,
    side_px: int,
    seed: int,
    thresholds: tuple[float, ...],
) -> Table:
    """Encode one tile, NaN where there is no data, and give the latents of the reservoir."""
    give_back()  # or what tiles before have left counts for this one
    encoder, scene = _load(address, settings, device), address.scene
    frame = scene.frames[tile.frame]
    window = tile.window(frame.shape)
    valid = scene.valid(tile.frame, window)
    inner = valid[within(tile.core, window)]
    if inner.any():
        embedded = embed_tile(tile, valid, scene, encoder, side_px)
        latents = refine_tile(embedded, tile.core, encoder, side_px, np.float16)
        latents[:, ~inner] = np.nan
    else:
        latents = np.full((encoder.latent_size, *inner.shape), np.nan, np.float16)
    address.write(address.run.latents_uri, frame.name, LATENTS, tile.core, latents)
    chosen = inner & in_reservoir(seed, tile.frame, tile.core, thresholds[tile.frame])
    row, column = np.nonzero(chosen)
    return {
        "row": (row + tile.core[0].start).astype(np.int32),
        "column": (column + tile.core[1].start).astype(np.int32),
        "latents": latents[:, row, column].T.astype(np.float32),
    }


def embed_tile(
    tile: Tile, valid: NDArray[np.bool_], scene: Scene, encoder: Encoder, side: int
) -> NDArray[np.float32]:
    """Embed a tile, strip of chunks by strip, with all that its squares see around it.

    ``valid`` is that of the tile's window, whose halo is :func:`reading_halo`.
    The result (embedding, y, x) begins a halo of the encoder before the core and
    ends one behind its last square of ``side`` px; its gaps are as the encoder
    wants them.
    """
    window = tile.window(scene.frames[tile.frame].shape)
    widths = _beyond(tile.core, window, tile.halo, side)
    shape = [sum(width) + extent for width, extent in zip(widths, valid.shape, strict=True)]
    whole = np.zeros((encoder.embedding_size, *shape), np.float32)
    (top, _), (left, _) = widths
    inside = slice(top, top + valid.shape[0]), slice(left, left + valid.shape[1])
    embedded = whole[:, *inside]
    for strip in strips(window, scene.chunk_px):
        rows, columns = within(strip, window)
        if valid[rows, columns].any():
            _embed_strip(scene.read(tile.frame, strip), tile.frame, encoder, embedded[:, rows])
    close_gaps(whole, inside, valid, encoder)
    spare = slice(tile.halo - encoder.halo, encoder.halo - tile.halo or None)
    return whole[:, spare, spare]


def refine_tile(
    embedded: NDArray[np.float32],
    core: Window,
    encoder: Encoder,
    side: int,
    dtype: type[np.floating[Any]] = np.float32,
) -> NDArray[Any]:
    """Refine what :func:`embed_tile` gives for a core, (latent, y, x)."""
    shape = size(core)
    latents = np.empty((encoder.latent_size, *shape), dtype)
    beyond = side + 2 * encoder.halo
    for top in range(0, shape[0], side):
        for left in range(0, shape[1], side):
            square = embedded[:, top : top + beyond, left : left + beyond]
            out = latents[:, top : top + side, left : left + side]
            place = Place(core[0].start + top, core[1].start + left)
            found = encoder.refine(np.ascontiguousarray(square), place, dtype)
            out[:] = found[:, : out.shape[1], : out.shape[2]]
    return latents


def latent_count(scene: Scene, config: RunConfig) -> int:
    """Count the latents of the network that is asked for."""
    assert config.encoder is not None, "asked only with a network"
    features = feature_count(config.statistics.illumination, scene.bands)
    return load_method(config.encoder.name).latent_size(config.encoder, features)


def _embed_strip(raw: NDArray[Any], frame: int, encoder: Encoder, out: NDArray[np.float32]) -> None:
    """Embed spectra (band, y, x) in blocks of rows, to ``out`` (embedding, y, x)."""
    rows = max(1, ROWS_AT_ONCE_BYTES // (4 * len(raw) * raw.shape[2]))
    for first in range(0, raw.shape[1], rows):
        place = out[:, first : first + rows]
        place[:] = encoder.embed(raw[:, first : first + rows], frame).reshape(place.shape)


def _beyond(core: Window, window: Window, halo: int, side: int) -> list[tuple[int, int]]:
    """Count the pixels that whole squares see before and behind a window, per axis."""
    widths = []
    for inner, outer in zip(core, window, strict=True):
        whole = -(-(inner.stop - inner.start) // side) * side
        before = halo - (inner.start - outer.start)
        widths.append((before, whole + 2 * halo - before - (outer.stop - outer.start)))
    return widths


def _collect(ledger: Ledger, tiles: list[Tile]) -> Table:
    """Join the latents of the reservoir, sorted by frame, row and column."""
    parts = [
        table | {"frame": np.full_like(table["row"], tile.frame)}
        for tile, table in ledger.results(tiles)
    ]
    return {"reservoir": join_places(parts)["latents"]}


@kept(results=2)
def _load(address: Address, settings: EncoderSection, device: str) -> Encoder:
    """Read the network once for many tiles, onto a device that a worker may lack."""
    choose_device(device)
    return train_stage.load_encoder(settings, address.run, device)


def _layer(latents: int) -> Layer:
    """Describe the store of latents."""
    attributes = {"long_name": "latent of the network", "units": "1"}
    # compressed, latents take 89 % of the disk and three times as long to write and read
    return Layer(
        LATENTS, "float16", float("nan"), ("latent", latents), attributes, compressed=False
    )
