"""Give every pixel its prototype, and count how prototypes meet.

Two prototypes meet where their pixels lie side by side. The counts are whole
numbers, so their sums do not depend on tiles or on their order.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsistream.config import RunConfig
from hsistream.consensus.codebooks import assign, stack_codebooks
from hsistream.runs import INDEX, LATENTS
from hsistream.runtime.ledger import Ledger
from hsistream.runtime.memory import kept
from hsistream.scene.scene import Scene
from hsistream.stages import Address, Context, Needs, scene_tiles
from hsistream.stages import encode as encode_stage
from hsistream.stages import train as train_stage
from hsistream.stages.pictures import assemble_frames, picture_step, sample
from hsistream.stores.raster import Layer, RasterStore
from hsistream.stores.tables import Table, read_table, write_table
from hsistream.tiles import Tile, Window, grow, within

TABLE = "assigned"

NO_PROTOTYPE = 65535
"""Index of a pixel without data."""

PIXELS_AT_ONCE = 16_384


def run(context: Context) -> None:
    """Assign all pixels."""
    scene = context.scene
    RasterStore(context.run.latents_uri).check_complete(scene.frames, LATENTS)
    task = partial(assign_tile, address=context.address)
    tiles = context.tiles(context.tile_px)
    store = RasterStore(context.run.index_uri)
    ledger = context.write("assign", task, tiles, store, [_layer()])
    write_table(context.run.table(TABLE), _collect(ledger, tiles, scene))


def estimate(scene: Scene, config: RunConfig, tile_px: int) -> Needs:
    """Estimate what the stage needs."""
    assert config.encoder is not None, "the stream has this stage only with a network"
    latents = encode_stage.latent_count(scene, config)
    prototypes = config.encoder.prototypes or 0
    edge = min(tile_px, scene.longest_side) + 2
    return Needs(
        tiles=len(scene_tiles(scene, tile_px)),
        task={
            "latents, and decoding": 10 * edge**2 * latents,
            "cosines": 3 * 4 * PIXELS_AT_ONCE * prototypes,
            "index and neighbours": 40 * edge**2,
        },
        driver={},
        disk_bytes=scene.pixels,
    )


def assign_tile(tile: Tile, *, address: Address) -> Table:
    """Assign the pixels of one tile, and count those of its core and their neighbours."""
    prototypes, scene, run = load_prototypes(address), address.scene, address.run
    frame = scene.frames[tile.frame]
    window = grow(tile.core, 1, frame.shape)
    latents = RasterStore(run.latents_uri).read(frame.name, LATENTS, window, leading=1)
    index = nearest_prototypes(latents, prototypes)
    inner = within(tile.core, window)
    own = index[inner]
    address.write(run.index_uri, frame.name, INDEX, tile.core, own)
    return {
        "usage": np.bincount(own[own != NO_PROTOTYPE], minlength=len(prototypes)),
        "neighbours": _neighbours(index, inner, len(prototypes)),
        "shown": sample(own, tile.core, picture_step(scene)),
    }


def nearest_prototypes(
    latents: NDArray[np.float16], prototypes: NDArray[np.float32]
) -> NDArray[np.uint16]:
    """Find the prototype of largest cosine, (y, x), for latents (latent, y, x); NaN has none."""
    flat = latents.reshape(len(latents), -1)
    index = np.empty((1, flat.shape[1]), np.uint16)
    book = stack_codebooks("prototypes", [prototypes])
    for first in range(0, flat.shape[1], PIXELS_AT_ONCE):
        part = slice(first, first + PIXELS_AT_ONCE)
        assign(widened(flat[:, part]), book, index[:, part])
    index[:, np.isnan(flat[0])] = NO_PROTOTYPE
    return index.reshape(latents.shape[1:])


def widened(latents: NDArray[np.float16]) -> NDArray[np.float32]:
    """Turn stored latents (latent, pixel) into float32; 0 where there is no data."""
    found = latents.astype(np.float32)
    return np.nan_to_num(found, copy=False) if np.isnan(found[0]).any() else found


@kept(results=4)
def load_prototypes(address: Address) -> NDArray[np.float32]:
    """Read the unit prototypes (prototype, latent) once for many tiles."""
    prototypes = read_table(address.run.table(train_stage.TABLE))["prototypes"][-1]
    length = np.linalg.norm(prototypes, axis=1, keepdims=True)
    return np.asarray(prototypes / np.where(length > 0, length, 1), np.float32)


def _neighbours(index: NDArray[np.uint16], inner: Window, prototypes: int) -> NDArray[np.int64]:
    """Count the prototypes of each pixel of the core and of its right and lower neighbour."""
    rows, columns = inner
    counts = np.zeros(prototypes**2, np.int64)
    for down, right in ((0, 1), (1, 0)):
        other = index[
            rows.start + down : rows.stop + down, columns.start + right : columns.stop + right
        ]
        own = index[inner][: other.shape[0], : other.shape[1]]
        both = (own != NO_PROTOTYPE) & (other != NO_PROTOTYPE)
        pairs = own[both].astype(np.int64) * prototypes + other[both]
        counts += np.bincount(pairs, minlength=prototypes**2)
    square = counts.reshape(prototypes, prototypes)
    return square + square.T


def _collect(ledger: Ledger, tiles: list[Tile], scene: Scene) -> Table:
    """Add up the counts, and join the pictures."""
    total = dict[str, Any]()
    shown: list[tuple[Tile, NDArray[Any]]] = []
    for tile, table in ledger.results(tiles):
        for name in ("usage", "neighbours"):
            total[name] = total.get(name, 0) + table[name]
        shown.append((tile, table["shown"]))
    pictures = assemble_frames(shown, scene, picture_step(scene), NO_PROTOTYPE)
    return {**total, **{f"{INDEX}.{frame}": picture for frame, picture in pictures.items()}}


def _layer() -> Layer:
    """Describe the store of prototypes."""
    attributes = {"long_name": "prototype of the pixel", "nodata": NO_PROTOTYPE}
    return Layer(INDEX, "uint16", NO_PROTOTYPE, attributes=attributes)
