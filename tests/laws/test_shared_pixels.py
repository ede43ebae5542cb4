"""A pixel that two frames share is one place of the walk between their nodes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from hsistream.graph.affinity import Places
from hsistream.graph.clustering import cluster_nodes
from hsistream.graph.nodes import Nodes, NodeSettings, Superpixels
from hsistream.regions.density import estimate_density

SHARED_PX, WIDTH_PX, RADIUS_PX = 20, 30, 4
"""Columns that both frames have, columns that are taken of each, half the window of a node."""

SAME_LABEL = 0.99

Floats = NDArray[np.float64]


@pytest.fixture(scope="module")
def nodes(data_folder: Path) -> Nodes:
    """Every pixel a node: the last columns of abu-urban-5, the first of abu-airport-2."""
    left, right = (
        np.load(data_folder / f"{name}.npz")["cube"].astype(np.float64)
        for name in ("abu-urban-5", "abu-airport-2")
    )
    cut = [left[:, -WIDTH_PX:], right[:, :WIDTH_PX]]
    rows = len(left)
    spectra = np.concatenate([each.reshape(-1, each.shape[2]) for each in cut])
    spectra /= np.linalg.norm(spectra, axis=1, keepdims=True)
    spectra -= spectra.mean(axis=0)
    directions = np.linalg.eigh(spectra.T @ spectra)[1][:, :-21:-1]
    features = (spectra @ directions).astype(np.float32).astype(np.float64)
    pixels = np.tile(np.stack(np.divmod(np.arange(rows * WIDTH_PX), WIDTH_PX), axis=1), (2, 1))
    places = Places(np.repeat([0, 1], rows * WIDTH_PX), pixels)
    density = estimate_density(features, neighbours=10, percentile=50)
    order = np.lexsort((places.frame, *pixels.T[::-1], -density))
    own = np.arange(len(features))
    return Nodes(places, features, density, order, own, np.ones(len(own)))


@pytest.mark.parametrize("clusters", [4, 6])
def test_shared_pixels_have_one_label(nodes: Nodes, clusters: int) -> None:
    settings = NodeSettings(
        clusters, RADIUS_PX, neighbours=10, distant_neighbours=0, alpha=0.4, landmarks=200
    )
    found = cluster_nodes(
        nodes, Superpixels(np.ones(len(nodes.order), np.int64), nodes.features), settings
    )
    left, right = found.labels.reshape(2, -1, WIDTH_PX)
    same = left[:, -SHARED_PX:] == right[:, :SHARED_PX]
    assert len(np.unique(left[:, -SHARED_PX:])) > 1
    assert same.mean() >= SAME_LABEL
    assert same[:, RADIUS_PX:-RADIUS_PX].mean() >= SAME_LABEL
