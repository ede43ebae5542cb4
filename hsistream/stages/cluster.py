"""Stage 5: from counts to cluster centres; nothing here grows with the scene."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hsistream.config import RunConfig
from hsistream.consensus.codebooks import Codebooks, assign
from hsistream.consensus.landmarks import (
    find_centres,
    label_pixels,
    landmark_spectrum,
    suggest_clusters,
)
from hsistream.events import Notify, StageStarted, Warned
from hsistream.scene.scene import Scene
from hsistream.stages import Context, Needs, reservoir_pixels
from hsistream.stages import codebooks as codebooks_stage
from hsistream.stages import count as count_stage
from hsistream.stages import views as views_stage
from hsistream.stages import walks as walks_stage
from hsistream.stores.tables import Table, read_table, write_table

TABLE = "clusters"

SHOWN_EIGENVALUES = 40
"""Eigenvalues that the page shows."""


def run(context: Context) -> None:
    """Find the eigenpairs, choose the number of clusters if it is not given, find the centres."""
    config = context.config
    context.notify(StageStarted("cluster", 1))
    table = read_table(context.run.table(count_stage.TABLE))
    codebooks = codebooks_stage.read_codebooks(
        context.run.table(codebooks_stage.TABLE), config.views.names
    )
    starts = table["starts"]
    spectrum = landmark_spectrum(
        table["counts"], starts, codebook_weights(config), spectrum_size(config)
    )
    suggested = suggest_clusters(spectrum.eigenvalues, config.cluster.most)
    wanted = config.cluster.clusters or suggested
    if config.cluster.clusters is None:
        warn_of_limit(suggested, config.cluster.most, context.notify)
    codes = reservoir_codes(read_table(context.run.table(views_stage.TABLE)), codebooks)
    if config.cluster.head == "joint":
        walked = read_table(context.run.table(walks_stage.TABLE))
        of_regions = walked["codes"][:, walked["reservoir_region"]]
        codes = np.concatenate([codes, of_regions]).astype(count_stage.codes_dtype(starts))
    partition = find_centres(
        codes,
        starts,
        np.ascontiguousarray(spectrum.coordinates[:, : wanted + 1]),
        clusters=wanted,
        tries=config.cluster.starts,
        seed=(config.seed, 2),
    )
    found = len(partition.centres)
    warn_of_few(found, wanted, context.notify)
    write_table(
        context.run.table(TABLE),
        {
            "eigenvalues": spectrum.eigenvalues,
            "clusters": np.asarray(found),
            "suggested": np.asarray(suggested),
            "starts": starts,
            "coordinates": partition.coordinates,
            "centres": partition.centres,
            "reservoir_label": label_pixels(codes, starts, partition)[0].astype(np.uint16),
        },
    )


def warn_of_limit(suggested: int, most: int, notify: Notify) -> None:
    """Say so if the suggested number of clusters is the largest that may be suggested."""
    if suggested == most:
        notify(
            Warned(
                f"The data suggest {suggested} clusters, as many as may be suggested; there may be "
                f"more: give --clusters, or --set cluster.most={2 * suggested}"
            )
        )


def warn_of_few(found: int, wanted: int, notify: Notify) -> None:
    """Say so if there are fewer clusters than were asked for."""
    if found < wanted:
        notify(Warned(f"{wanted} clusters were asked for, but only {found} kinds of pixels differ"))


def estimate(scene: Scene, config: RunConfig, tile_px: int) -> Needs:
    """Estimate what the stage needs."""
    landmarks = sum(codebooks_stage.landmark_sizes(config))
    pixels = reservoir_pixels(scene, config)
    clusters = config.cluster.largest
    values = views_stage.components(config, scene) * len(config.views.spatial)
    return Needs(
        tiles=0,
        task={},
        driver={
            "counts and eigenvectors": 5 * 8 * landmarks**2,
            "views of the reservoir": 4 * pixels * values,
            "coordinates of the reservoir": 4 * 8 * pixels * (clusters + 1),
        },
    )


def spectrum_size(config: RunConfig) -> int:
    """Eigenpairs to compute: enough for the clusters, the estimate and the page."""
    return max(SHOWN_EIGENVALUES, config.cluster.most + 1, (config.cluster.clusters or 0) + 1)


def codebook_weights(config: RunConfig) -> list[float]:
    """Weight of every codebook: that of its view, shared among the view's codebooks.

    All clusterings of superpixels together weigh as much as the views of one spectral
    name, times a setting.
    """
    of_views = [
        config.views.weights.get(view, 1.0)
        for view in config.views.names
        for _ in codebooks_stage.codebook_sizes(config)
    ]
    walks = len(walks_stage.landmark_sizes(config))
    of_walks = config.graph.weight * sum(of_views) / len(config.views.spectral) / max(walks, 1)
    return of_views + walks * [of_walks]


def reservoir_codes(views: Table, codebooks: tuple[Codebooks, ...]) -> NDArray[np.unsignedinteger]:
    """Code the reservoir's pixels, (codebook, pixel)."""
    dtype = count_stage.codes_dtype(codebooks_stage.landmark_starts(codebooks))
    parts = []
    for books in codebooks:
        values = np.ascontiguousarray(views[books.view].T)
        part = np.empty((books.count, values.shape[1]), dtype)
        assign(values, books, part)
        parts.append(part)
    return np.concatenate(parts)
