"""Stage 3: codebooks of every view, learnt on the reservoir."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor, as_completed
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hsistream.config import RunConfig
from hsistream.consensus.codebooks import (
    Codebooks,
    fit_codebook,
    stack_codebooks,
)
from hsistream.events import Progress, StageStarted
from hsistream.neighbours import few_kinds_allowed
from hsistream.scene.scene import Scene
from hsistream.stages import Context, Needs, reservoir_pixels
from hsistream.stages import views as views_stage
from hsistream.stages import walks as walks_stage
from hsistream.stages.walks import Walks
from hsistream.stores.tables import Table, read_table, write_table

TABLE = "codebooks"


def run(context: Context) -> None:
    """Fit one codebook per view and multiple, several at once."""
    config = context.config
    views = read_table(context.run.table(views_stage.TABLE))
    sizes = codebook_sizes(config)
    jobs = list(product(enumerate(config.views.names), enumerate(sizes)))
    context.notify(StageStarted("codebooks", len(jobs)))
    found: dict[tuple[str, int], NDArray[np.float32]] = {}
    with few_kinds_allowed(), ThreadPoolExecutor(context.threads) as pool:
        futures = {
            pool.submit(
                fit_codebook,
                views[view],
                centroids,
                starts=config.codebooks.starts,
                seed=(config.seed, 1, number, which),
            ): (view, which)
            for (number, view), (which, centroids) in jobs
        }
        for done, future in enumerate(as_completed(futures), 1):
            found[futures[future]] = future.result()
            context.notify(Progress("codebooks", done, len(jobs), "codebooks"))
    table: Table = {}
    for view in config.views.names:
        books = stack_codebooks(view, [found[view, which] for which in range(len(sizes))])
        table |= {f"{view}.centroids": books.centroids, f"{view}.starts": books.starts}
    write_table(context.run.table(TABLE), table)


def estimate(scene: Scene, config: RunConfig, tile_px: int) -> Needs:
    """Estimate what the stage needs: the views of the reservoir, and k-means on one of them."""
    pixels = reservoir_pixels(scene, config)
    values = views_stage.components(config, scene) * len(config.views.spatial)
    centroids = max(codebook_sizes(config))
    return Needs(
        tiles=0,
        task={
            "k-means on a view": pixels * (3 * 4 * config.views.z_components + 24)
            + 2048 * centroids
        },
        driver={"views of the reservoir": 4 * pixels * values},
    )


def codebook_sizes(config: RunConfig) -> list[int]:
    """Centroids of the codebooks of one view: multiples of the number of clusters."""
    clusters = config.cluster.largest
    books = config.codebooks
    return [multiple * clusters for multiple in books.multiples for _ in range(books.draws)]


def read_codebooks(path: Path, names: tuple[str, ...]) -> tuple[Codebooks, ...]:
    """Read what this stage wrote, in the order of the views."""
    table = read_table(path)
    return tuple(
        Codebooks(name, table[f"{name}.centroids"], table[f"{name}.starts"]) for name in names
    )


def landmark_sizes(config: RunConfig) -> list[int]:
    """Landmarks of every codebook, at most: of those of views, then of those of superpixels."""
    return len(config.views.names) * codebook_sizes(config) + walks_stage.landmark_sizes(config)


def landmark_starts(
    codebooks: tuple[Codebooks, ...], walks: Walks | None = None
) -> NDArray[np.int64]:
    """First landmark of every codebook, and the number of landmarks."""
    sizes = [np.diff(books.starts) for books in codebooks]
    if walks:
        sizes.append(walks.sizes)
    return np.concatenate([[0], np.cumsum(np.concatenate(sizes))]).astype(np.int64)
