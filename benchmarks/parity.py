"""Repeat the published DS2DL: python benchmarks/parity.py [--seeds 0 1 2] [--method s2dl-paper].

The settings are those published for SalinasA, with the number of clusters equal to the
number of classes. The published program clusters at every time and keeps the one that
the truth likes best; the row says what that gives ("oracle"), beside the time of the
preset, which has not seen the truth. Scenes are ``<name>.npz`` files with a ``gt`` array
in the folder HSISTREAM_DATA. The network takes about ten minutes for every seed. The
last columns are the processor seconds of the graph and all clusterings, and the seconds
of cutting and describing the superpixels, as stages of the run: without a network,
everything was compiled before.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import hsistream as hs
from hsistream.graph.clustering import partition_at
from hsistream.graph.walk import start_walk
from hsistream.readers.labels import read_labels
from hsistream.report.scores import score
from hsistream.runs import NO_LABEL, SUPERPIXELS
from hsistream.stages import describe
from hsistream.stages.nodes import node_settings, read_nodes
from hsistream.stores.raster import RasterStore
from hsistream.stores.tables import read_table

PUBLISHED = (
    ("segment.superpixels", 1000),
    ("graph.representatives", 5),
    ("graph.neighbours", 50),
    ("graph.percentile", 10.0),
    ("graph.radius_px", 7),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--scene", default="salinasA")
    parser.add_argument("--method", default="ds2dl-paper")
    asked = parser.parse_args()
    if "HSISTREAM_DATA" not in os.environ:
        sys.exit("HSISTREAM_DATA must name the folder of the scenes.")
    path = Path(os.environ["HSISTREAM_DATA"]) / f"{asked.scene}.npz"
    truth = read_labels(path, "gt")
    print("| seed | oracle OA | time | OA of the preset | OA at all times | graph, s | before, s |")
    print("|---|---|---|---|---|---|---|")
    for seed in asked.seeds:
        with tempfile.TemporaryDirectory() as scratch:
            scene = hs.ingest(hs.open_sources([path]), Path(scratch) / "scene.zarr")
            config = configured(asked.method, seed, truth)
            if config.encoder is None:
                hs.run(scene, config, Path(scratch) / "compiled")
            run = hs.run(scene, config, Path(scratch) / "run")
            preset = hs.evaluate(run.path, truth).oa
            times, found, graph_s = accuracies(run, scene, truth["gt"])
            stages = run.manifest().stages
        before_s = sum(stages[name].elapsed_s for name in ("cut", "segment", "describe"))
        best, every = int(np.argmax(found)), " ".join(f"{value:.3f}" for value in found)
        print(
            f"| {seed} | {found[best]:.4f} | {times[best]} | {preset:.4f} | {every} "
            f"| {graph_s:.2f} | {before_s:.2f} |",
            flush=True,
        )


def configured(method: str, seed: int, truth: dict[str, NDArray[np.int64]]) -> hs.RunConfig:
    """Ask for the published settings, and as many clusters as classes."""
    classes = len(np.unique(truth["gt"][truth["gt"] > 0]))
    settings = [("seed", seed), ("cluster.clusters", classes), *PUBLISHED]
    return hs.RunConfig.make(method, settings=settings)


def accuracies(
    run: hs.RunDirectory, scene: hs.Scene, truth: NDArray[np.int64]
) -> tuple[NDArray[np.int64], list[float], float]:
    """Cluster the nodes of a run at every time, score each clustering, and take the time."""
    table, config = read_table(run.table(describe.TABLE)), run.config()
    nodes = read_nodes(table)
    settings = node_settings(config, scene, len(nodes.order))
    start, frame = time.process_time(), scene.frames[0]
    walk = start_walk(nodes, settings)
    every = [
        partition_at(nodes, walk, steps, config.cluster.clusters, settings.neighbours)
        for steps in walk.times.tolist()
    ]
    elapsed_s = time.process_time() - start
    window = (slice(0, frame.shape[0]), slice(0, frame.shape[1]))
    ids = RasterStore(run.superpixels_uri).read(frame.name, SUPERPIXELS, window)
    regions = describe.region_numbers(ids[ids >= 0], table["first"], config.segment.tile_px)
    found = []
    for labels in every:
        shown = np.full(ids.shape, NO_LABEL, np.int64)
        shown[ids >= 0] = labels[regions]
        found.append(float(score(truth, shown).oa))
    return walk.times, found, elapsed_s


if __name__ == "__main__":
    main()
