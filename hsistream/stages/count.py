"""Stage 4: the one pass that codes every pixel and counts shared landmarks.

Each pixel gets one code per codebook; the codes are kept, because they are
smaller than the scene and the next pass needs nothing else.
"""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray

from hsistream.config import RunConfig
from hsistream.consensus.codebooks import Codebooks, assign, code_dtype
from hsistream.consensus.landmarks import count_landmarks
from hsistream.runs import SUPERPIXELS
from hsistream.runtime.memory import kept
from hsistream.scene.scene import Scene
from hsistream.sections import ViewsSection
from hsistream.stages import Address, Context, Needs, scene_tiles, stored_pixels
from hsistream.stages import codebooks as codebooks_stage
from hsistream.stages import views as views_stage
from hsistream.stages import walks as walks_stage
from hsistream.stages.statistics import valid_pixels
from hsistream.stages.walks import Walks
from hsistream.stores.raster import Layer, RasterStore
from hsistream.stores.tables import Table, write_table
from hsistream.tiles import Tile, size, within

TABLE = "counts"
LAYER = "codes"


def run(context: Context) -> None:
    """Code all pixels and count."""
    config = context.config
    views_stage.check_latents(context)
    codebooks = codebooks_stage.read_codebooks(
        context.run.table(codebooks_stage.TABLE), config.views.names
    )
    walks = _walks(context)
    task = partial(
        count_tile,
        address=context.address,
        views=config.views,
        of_superpixels=walks is not None,
    )
    tiles = context.tiles(context.tile_px, views_stage.halo(config.views))
    store = RasterStore(context.run.codes_uri)
    starts = codebooks_stage.landmark_starts(codebooks, walks)
    ledger = context.write("count", task, tiles, store, [_layer(starts)])
    counts = np.zeros((starts[-1], starts[-1]), np.int64)
    for _, table in ledger.results(tiles):
        counts.reshape(-1)[table["pairs"]] += table["counts"]
    counts += np.triu(counts, 1).T
    write_table(context.run.table(TABLE), {"counts": counts, "starts": starts})


def estimate(scene: Scene, config: RunConfig, tile_px: int) -> Needs:
    """Estimate what the stage needs."""
    sizes = codebooks_stage.landmark_sizes(config)
    books, landmarks = len(sizes), sum(sizes)
    pixels = stored_pixels(scene, tile_px)
    code = 1 if max(sizes) < 256 else 2
    tiles = len(scene_tiles(scene, tile_px))
    # of the pairs that there could be, tiles of real scenes have up to four in ten
    pairs = min(landmarks**2, pixels * books**2) // 4
    return Needs(
        tiles=tiles,
        task={
            **views_stage.view_bytes(scene, config, tile_px),
            "codes": 3 * books * code * pixels,
            "counts": 3 * 8 * landmarks**2,
        },
        driver={"counts": 3 * 8 * landmarks**2},
        disk_bytes=books * code * scene.pixels // 2 + 8 * tiles * pairs,
    )


def count_tile(
    tile: Tile, *, address: Address, views: ViewsSection, of_superpixels: bool = False
) -> Table:
    """Code the pixels of one tile, write the codes, return the counts of its pairs of landmarks.

    Each pair is told once, as its place in the whole table: most tiles have few of all pairs.
    """
    codes, starts = code_tile(tile, address, views, of_superpixels)
    name = address.scene.frames[tile.frame].name
    address.write(address.run.codes_uri, name, LAYER, tile.core, codes)
    counts = np.triu(count_landmarks(valid_pixels(codes, has_code(codes)), starts)).reshape(-1)
    pairs = np.flatnonzero(counts)
    return {
        "pairs": pairs.astype(np.min_scalar_type(counts.size)),
        "counts": counts[pairs].astype(np.uint32),
    }


def code_tile(
    tile: Tile, address: Address, views: ViewsSection, of_superpixels: bool
) -> tuple[NDArray[np.unsignedinteger], NDArray[np.int64]]:
    """Code the pixels of one tile, (codebook, y, x), and tell the first landmark of each codebook.

    A pixel without data has the largest value of the type of the codes.
    """
    scene, codebooks = address.scene, _load_codebooks(address, views.names)
    constants = views_stage.load_constants(address, views.spectral)
    walks = walks_stage.load_walks(address) if of_superpixels else None
    starts = codebooks_stage.landmark_starts(codebooks, walks)
    dtype, name = codes_dtype(starts), scene.frames[tile.frame].name
    none = np.iinfo(dtype).max
    valid = scene.valid(tile.frame, tile.core)
    codes = np.full((len(starts) - 1, *size(tile.core)), none, dtype)
    if walks:
        ids = RasterStore(address.run.superpixels_uri).read(name, SUPERPIXELS, tile.core)
        codes[-len(walks.codes) :, valid] = walks.of_pixels(ids[valid])
    if valid.any():
        place = _places(codebooks)
        for strip, view, values in views_stage.tile_views(tile, scene, views, constants):
            books, rows = place[view]
            _assign(values, books, codes[rows, *within(strip, tile.core)])
        codes[:, ~valid] = none
    return codes, starts


def has_code(codes: NDArray[np.unsignedinteger]) -> NDArray[np.bool_]:
    """Tell which pixels (y, x) have codes (codebook, y, x)."""
    return np.asarray(codes[0] != np.iinfo(codes.dtype).max)


def codes_dtype(starts: NDArray[np.int64]) -> type[np.unsignedinteger]:
    """Smallest type for the codes of codebooks that begin there; its largest value is no code."""
    return code_dtype(int(np.diff(starts).max()))


def _walks(context: Context) -> Walks | None:
    """Read the clusterings of superpixels, where they are codebooks."""
    if context.config.cluster.head != "joint":
        return None
    RasterStore(context.run.superpixels_uri).check_complete(context.scene.frames, SUPERPIXELS)
    return walks_stage.load_walks(context.address)


@kept(results=4)
def _load_codebooks(address: Address, names: tuple[str, ...]) -> tuple[Codebooks, ...]:
    """Read the codebooks once for many tiles."""
    return codebooks_stage.read_codebooks(address.run.table(codebooks_stage.TABLE), names)


def _places(codebooks: tuple[Codebooks, ...]) -> dict[str, tuple[Codebooks, slice]]:
    """Find the codebooks of a view and the rows of their codes."""
    ends = np.cumsum([books.count for books in codebooks])
    return {
        books.view: (books, slice(end - books.count, end))
        for books, end in zip(codebooks, ends, strict=True)
    }


def _assign(
    values: NDArray[np.float32], books: Codebooks, out: NDArray[np.unsignedinteger]
) -> None:
    """Code a view (component, y, x) into (codebook, y, x)."""
    found = np.empty((books.count, values[0].size), out.dtype)
    assign(values.reshape(len(values), -1), books, found)
    out[:] = found.reshape(out.shape)


def _layer(starts: NDArray[np.int64]) -> Layer:
    """Describe the store of codes."""
    dtype = np.dtype(codes_dtype(starts))
    return Layer(LAYER, dtype.name, int(np.iinfo(dtype).max), leading=("codebook", len(starts) - 1))
