"""Score the methods on real scenes: python benchmarks/quality.py [--seeds 0 1 2] [--scenes ...].

One configuration per method, the number of clusters equal to the number of
classes, and no truth before the labels are written. Scenes are ``<name>.npz``
files with a ``gt`` array in the folder HSISTREAM_DATA. Prints one Markdown
table of overall accuracy (one-to-one matching) per method: mean over seeds,
standard deviation, and the mean over scenes of every seed.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import hsistream as hs
from hsistream.config import parse_setting
from hsistream.readers.labels import read_labels

SCENES = ("salinasA", "salinas150", "samson", "muufl90", "moffett50", "hysu", "enmap_potsdam")
METHODS = ("kmeans", "consensus", "consensus-dgc", "dgc", "s2dl", "ds2dl")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--scenes", nargs="+", default=list(SCENES))
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--set", nargs="*", default=[], help="settings, section.key=value")
    parser.add_argument("--metric", default="oa", choices=["oa", "ari", "nmi", "aa", "mean_iou"])
    asked = parser.parse_args()
    folder = data_folder()
    print(f"| {asked.metric} | " + " | ".join(asked.scenes) + " | mean | by seed |")
    print("|---" * (len(asked.scenes) + 3) + "|")
    for method in asked.methods:
        with tempfile.TemporaryDirectory() as scratch:
            found = np.array(
                [
                    [score(folder / f"{s}.npz", method, seed, asked, scratch) for s in asked.scenes]
                    for seed in asked.seeds
                ]
            )
        print(row(method, found), flush=True)


def data_folder() -> Path:
    if "HSISTREAM_DATA" not in os.environ:
        sys.exit("HSISTREAM_DATA must name the folder of the scenes.")
    return Path(os.environ["HSISTREAM_DATA"])


def configured(method: str, seed: int, clusters: int, settings: Sequence[str]) -> hs.RunConfig:
    """Ask for a method, with settings as ``section.key=value``."""
    given = [("seed", seed), ("cluster.clusters", clusters), *map(parse_setting, settings)]
    return hs.RunConfig.make(method, settings=given)


def score(path: Path, method: str, seed: int, asked: argparse.Namespace, scratch: str) -> float:
    uri = Path(scratch) / f"{path.stem}.zarr"
    scene = hs.Scene.open(uri) if uri.exists() else hs.ingest(hs.open_sources([path]), uri)
    truth = read_labels(path, "gt")
    classes = len(np.unique(truth["gt"][truth["gt"] > 0]))
    config = configured(method, seed, classes, asked.set)
    run = hs.run(scene, config, Path(scratch) / f"{path.stem}-{method}-{seed}")
    return float(hs.evaluate(run.path, truth).to_json()[asked.metric])


def row(method: str, found: np.ndarray) -> str:
    cells = [f"{m:.3f} ± {s:.3f}" for m, s in zip(found.mean(0), found.std(0), strict=True)]
    seeds = ", ".join(f"{value:.4f}" for value in found.mean(axis=1))
    return f"| {method} | " + " | ".join(cells) + f" | **{found.mean():.4f}** | {seeds} |"


if __name__ == "__main__":
    main()
