"""Stage 4: the one pass that codes every pixel and counts shared landmarks.

Each pixel gets one code per codebook; the codes are kept, because they are
smaller than the scene and the next pass needs nothing else.
"""

from __future__ import annotations

from functools import lru_cache, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hsistream.config import RunConfig
from hsistream.consensus.codebooks import Codebooks, assign, code_dtype
from hsistream.consensus.landmarks import count_landmarks
from hsistream.runs import RunDirectory
from hsistream.scene.scene import Scene
from hsistream.sections import ViewsSection
from hsistream.stages import Context, Needs, scene_tiles
from hsistream.stages import codebooks as codebooks_stage
from hsistream.stages import views as views_stage
from hsistream.stages.statistics import valid_pixels
from hsistream.stores.raster import Layer, RasterStore
from hsistream.stores.tables import Table, write_table
from hsistream.tiles import Tile, size, within

TABLE = "counts"
LAYER = "codes"


def run(context: Context) -> None:
    """Code all pixels and count."""
    scene, config = context.scene, context.config
    views_stage.check_latents(context)
    codebooks = codebooks_stage.read_codebooks(
        context.run.table(codebooks_stage.TABLE), config.views.names
    )
    task = partial(
        count_tile,
        scene=scene,
        run=context.run,
        views=config.views,
        fingerprint=context.fingerprint,
    )
    tiles = context.tiles(context.tile_px, views_stage.halo(config.views))
    store = RasterStore(context.run.codes_uri)
    ledger = context.write("count", task, tiles, store, [_layer(codebooks)])
    starts = codebooks_stage.landmark_starts(codebooks)
    counts = np.zeros((starts[-1], starts[-1]), np.int64)
    for _, table in ledger.results(tiles):
        counts[np.ix_(table["landmarks"], table["landmarks"])] += table["counts"]
    write_table(context.run.table(TABLE), {"counts": counts, "starts": starts})


def estimate(scene: Scene, config: RunConfig, tile_px: int) -> Needs:
    """Estimate what the stage needs."""
    sizes = codebooks_stage.codebook_sizes(config)
    books = len(sizes) * len(config.views.names)
    landmarks = sum(sizes) * len(config.views.names)
    pixels = min(tile_px, scene.longest_side) ** 2
    code = 1 if max(sizes) < 256 else 2
    return Needs(
        tiles=len(scene_tiles(scene, tile_px)),
        task={
            **views_stage.view_bytes(scene, config, tile_px),
            "codes": 3 * books * code * pixels,
            "counts": 3 * 8 * landmarks**2,
        },
        driver={"counts": 3 * 8 * landmarks**2},
        disk_bytes=books * code * scene.pixels // 2,
    )


def count_tile(
    tile: Tile, *, scene: Scene, run: RunDirectory, views: ViewsSection, fingerprint: str
) -> Table:
    """Code the pixels of one tile, write the codes, return the counts of its landmarks."""
    constants = views_stage.load_constants(run, views.latents, fingerprint)
    codebooks = _load_codebooks(run.table(codebooks_stage.TABLE), views.names, fingerprint)
    starts = codebooks_stage.landmark_starts(codebooks)
    valid = scene.valid(tile.frame, tile.core)
    codes = np.full((len(starts) - 1, *size(tile.core)), no_code(codebooks), code_dtype(codebooks))
    if valid.any():
        place = _places(codebooks)
        for strip, view, values in views_stage.tile_views(tile, scene, views, constants):
            books, rows = place[view]
            _assign(values, books, codes[rows, *within(strip, tile.core)])
        codes[:, ~valid] = no_code(codebooks)
    frame = scene.frames[tile.frame].name
    RasterStore(run.codes_uri).write(frame, LAYER, tile.core, codes)
    counts = count_landmarks(valid_pixels(codes, valid), starts)
    present = np.flatnonzero(counts.diagonal())
    return {"landmarks": present, "counts": counts[np.ix_(present, present)]}


def no_code(codebooks: tuple[Codebooks, ...]) -> int:
    """Code of a pixel without data."""
    return int(np.iinfo(code_dtype(codebooks)).max)


@lru_cache(maxsize=4)
def _load_codebooks(path: Path, names: tuple[str, ...], fingerprint: str) -> tuple[Codebooks, ...]:
    """Read the codebooks once per process; the fingerprint tells runs apart."""
    return codebooks_stage.read_codebooks(path, names)


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


def _layer(codebooks: tuple[Codebooks, ...]) -> Layer:
    """Describe the store of codes."""
    books = sum(each.count for each in codebooks)
    dtype = np.dtype(code_dtype(codebooks)).name
    return Layer(LAYER, dtype, no_code(codebooks), leading=("codebook", books))
