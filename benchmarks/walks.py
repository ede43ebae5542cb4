"""Time the walk between nodes of many frames: python benchmarks/walks.py [--nodes 1e4 1e5 1e6].

Four frames of fields of eight materials with noise, every pixel a node. Prints
seconds of links, landmarks and their shares, eigenpairs, and labels, the peak
of resident memory, and the adjusted Rand index of the labels against the
materials. ``--exact`` clusters the first size again with eigenpairs to 1e-10
and every node joined by itself, and prints how far the labels agree. Each
size has a process of its own.
"""

from __future__ import annotations

import argparse
import math
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import adjusted_rand_score

import hsistream.graph.exemplars as exemplars
import hsistream.graph.walk as walks
from hsistream.graph.affinity import Places, link_nodes, window_neighbours, window_radius_px
from hsistream.graph.bridge import build_bridge, choose_landmarks, node_keys
from hsistream.graph.clustering import cluster_nodes
from hsistream.graph.nodes import Nodes, NodeSettings, Superpixels
from hsistream.graph.spectrum import JumpingWalk, joint_components

FRAMES, FEATURES, NOISE = 4, 16, 0.6
FIELDS_PER_SIDE = 12


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", type=float, nargs="+", default=[1e4, 1e5, 1e6])
    parser.add_argument("--neighbours", type=int, default=22)
    parser.add_argument("--landmarks", type=int, default=2000)
    parser.add_argument("--clusters", type=int, default=8)
    parser.add_argument("--assignment", default="ward", choices=["ward", "kmeans", "modes"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--exact", action="store_true")
    parser.add_argument("--here", action="store_true", help="in this process; one size")
    asked = parser.parse_args()
    if asked.here:
        measure(int(asked.nodes[0]), asked)
        return
    print("nodes, links, seconds: links, bridge, eigenpairs, labels, total | MiB | ARI", flush=True)
    for nodes in asked.nodes:
        # of an option that is given twice, the last counts
        line = [sys.executable, __file__, *sys.argv[1:], "--nodes", str(nodes), "--here"]
        subprocess.run(line, check=True)


def measure(count: int, asked: argparse.Namespace) -> None:
    """Cluster as many nodes; compiled functions are loaded by a few of them first."""
    warm, _ = field_nodes(2000)
    cluster_nodes(warm, superpixels_of(warm), settings_of(warm, asked))
    nodes, kind = field_nodes(count)
    settings, seconds = settings_of(nodes, asked), dict[str, float]()
    with timed("links", seconds):
        links = link_nodes(
            [
                window_neighbours(
                    nodes.places,
                    nodes.features,
                    settings.radius_px,
                    settings.neighbours,
                    settings.threads,
                )
            ]
        )
    with timed("bridge", seconds):
        keys = node_keys(nodes.features, nodes.places)
        landmarks = choose_landmarks(nodes.features, nodes.places.frame, keys, settings.landmarks)
        degree = np.diff(links.indptr).astype(np.float64)
        bridge = build_bridge(nodes.features, landmarks, degree, 5, settings.threads)
    with timed("eigenpairs", seconds):
        walk = JumpingWalk(links, bridge, settings.alpha, settings.threads)
        _, component = joint_components(walk)
        walks.jumping_spectrum(walk, component, keys, settings)
    del links, bridge, walk
    with timed("total", seconds):
        found = cluster_nodes(nodes, superpixels_of(nodes), settings)
    labels = seconds["total"] - sum(seconds[name] for name in ("links", "bridge", "eigenpairs"))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    print(
        f"{len(kind):9,} {found.walk.graph.affinity.nnz:11,}  {seconds['links']:6.2f} "
        f"{seconds['bridge']:6.2f} {seconds['eigenpairs']:6.2f} {labels:6.2f} "
        f"{seconds['total']:6.2f} | {peak} | {adjusted_rand_score(kind, found.labels):.4f} "
        f"(t = {found.time}, {len(found.walk.spectrum.eigenvalues)} pairs)",
        flush=True,
    )
    if asked.exact and count <= 20_000:
        walks.TOLERANCE, exemplars.ALONE = 1e-10, count + 1
        exact = cluster_nodes(nodes, superpixels_of(nodes), settings)
        print(f"  agreement with the exact way: {agreement(exact.labels, found.labels):.4f}")


def field_nodes(count: int) -> tuple[Nodes, NDArray[np.int64]]:
    """Make nodes on square fields, and their materials."""
    random, side = np.random.default_rng(0), round(math.sqrt(count / FRAMES))
    y, x = np.divmod(np.arange(side * side), side)
    cell = max(4, side // FIELDS_PER_SIDE)
    fields = [random.integers(0, 8, (side, side)) for _ in range(FRAMES)]
    kind = np.concatenate([each[y // cell, x // cell] for each in fields])
    centres = random.standard_normal((8, FEATURES))
    noise = random.standard_normal((len(kind), FEATURES), np.float32)
    features = centres[kind] + NOISE * noise
    density = np.exp(-((NOISE * noise) ** 2).sum(axis=1, dtype=np.float64) / FEATURES)
    places = Places(
        np.repeat(np.arange(FRAMES), side * side), np.tile(np.stack([y, x], axis=1), (FRAMES, 1))
    )
    order, own = np.argsort(-density, kind="stable"), np.arange(len(kind))
    return Nodes(places, features, density, order, own, np.ones(len(kind))), kind


def superpixels_of(nodes: Nodes) -> Superpixels:
    return Superpixels(np.ones(len(nodes.order), np.int64), nodes.features)


def settings_of(nodes: Nodes, asked: argparse.Namespace) -> NodeSettings:
    count = len(nodes.order)
    return NodeSettings(
        asked.clusters,
        window_radius_px(count, count, asked.neighbours),
        neighbours=asked.neighbours,
        distant_neighbours=0,
        assignment=asked.assignment,
        alpha=0.4,
        landmarks=min(asked.landmarks, count // 5),
        threads=asked.threads,
    )


def agreement(first: NDArray[np.int64], second: NDArray[np.int64]) -> float:
    return float(adjusted_rand_score(first, second))


@contextmanager
def timed(name: str, seconds: dict[str, float]) -> Iterator[None]:
    started = time.perf_counter()
    yield
    seconds[name] = time.perf_counter() - started


if __name__ == "__main__":
    main()
