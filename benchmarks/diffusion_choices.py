"""Compare choices of the diffusion clustering: python benchmarks/diffusion_choices.py [--norm ...].

Features are spectra of unit length, the number of clusters is that of the
classes, and settings depend on the number of pixels only; no choice but the
row named oracle has seen the truth. Scenes are ``<name>.npz`` files with a
``gt`` array in the folder HSISTREAM_DATA. Prints one Markdown table of scores
per choice; the rows without links are baselines on the same superpixels.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans

import hsistream as hs
from hsistream.graph.affinity import Places, window_radius_px
from hsistream.graph.clustering import cluster_nodes, partition_at
from hsistream.graph.merging import ward_tree_of_many
from hsistream.graph.nodes import Nodes, NodeSettings, Superpixels
from hsistream.graph.walk import start_walk
from hsistream.readers.labels import read_labels
from hsistream.regions.density import density_order, estimate_density
from hsistream.regions.representatives import choose_representatives
from hsistream.regions.sums import RegionSums
from hsistream.report.scores import score
from hsistream.runs import NO_LABEL
from hsistream.superpixels import load_segmenter
from hsistream.superpixels.base_image import eight_bit

SCENES = ("salinasA", "salinas150", "samson", "muufl90", "moffett50", "hysu", "enmap_potsdam")
FEWEST_SUPERPIXELS, MOST_SUPERPIXELS = 200, 2000
CHOICES = (
    ("modes", "settled"),
    ("modes", "central"),
    ("merge", "settled"),
    ("merge", "central"),
    ("kmeans", "settled"),
    ("ward", "settled"),
)

Labels = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Case:
    """A scene cut into superpixels: index (y, x), truth (y, x), and what is clustered."""

    index: Labels
    truth: Labels
    nodes: Nodes
    superpixels: Superpixels
    settings: NodeSettings

    def score(self, labels: Labels, metric: str) -> float:
        """Score labels of superpixels (region,)."""
        known = np.where(self.index >= 0, labels[self.index], NO_LABEL)
        return float(score(self.truth, known).to_json()[metric])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scenes", nargs="+", default=list(SCENES))
    parser.add_argument("--norm", default="pi", choices=["pi", "unit"])
    parser.add_argument("--segmenter", default="ers")
    parser.add_argument("--neighbours", type=int, default=30, help="of a pixel and of a node")
    parser.add_argument("--percentile", type=float, default=50, help="of distances: the scale")
    parser.add_argument("--nodes", type=int, default=3, help="per superpixel")
    parser.add_argument("--modes", type=int, default=6, help="per cluster, where they are merged")
    parser.add_argument("--pixels", type=int, default=20, help="per superpixel")
    parser.add_argument("--metric", default="oa", choices=["oa", "ari", "nmi", "aa", "mean_iou"])
    asked = parser.parse_args()
    if "HSISTREAM_DATA" not in os.environ:
        sys.exit("HSISTREAM_DATA must name the folder of the scenes.")
    folder = Path(os.environ["HSISTREAM_DATA"])
    columns = []
    for name in asked.scenes:
        case = prepare(folder / f"{name}.npz", asked)
        columns.append(dict(scores(case, asked.metric)))
        print(f"{name}: {columns[-1]}", file=sys.stderr, flush=True)
    print(f"| {asked.metric} | " + " | ".join(asked.scenes) + " | mean |")
    print("|---" * (len(asked.scenes) + 2) + "|")
    for choice in columns[0]:
        found = [column[choice] for column in columns]
        cells = [f"{value:.3f}" for value in found]
        print(f"| {choice} | " + " | ".join(cells) + f" | **{np.mean(found):.4f}** |")


def prepare(path: Path, asked: argparse.Namespace) -> Case:
    spectra, valid, truth = read(path)
    features = np.zeros((valid.size, spectra.shape[1]))
    features[valid.ravel()] = spectra / np.linalg.norm(spectra, axis=1, keepdims=True).clip(1e-6)
    unit = features[valid.ravel()]
    wanted = len(unit) // asked.pixels
    image = base_image(unit, valid)
    index = load_segmenter(asked.segmenter)(
        image, int(np.clip(wanted, FEWEST_SUPERPIXELS, MOST_SUPERPIXELS)), valid=valid
    ).astype(np.int64)
    density = np.zeros(valid.size)
    density[valid.ravel()] = estimate_density(
        unit, neighbours=asked.neighbours, percentile=asked.percentile
    )
    chosen = choose_representatives(index.ravel(), density, asked.nodes)
    pixels = np.stack(np.divmod(chosen.pixels, valid.shape[1]), axis=1)
    nodes = Nodes(
        Places(np.zeros(len(pixels), np.int64), pixels),
        features[chosen.pixels],
        density[chosen.pixels],
        density_order(density[chosen.pixels]),
        chosen.owner,
        chosen.mass,
    )
    sums = RegionSums.from_pixels(index.ravel(), features, int(index.max()) + 1)
    radius_px = window_radius_px(len(unit), len(pixels), asked.neighbours)
    clusters = len(np.unique(truth[truth > 0]))
    settings = NodeSettings(
        clusters,
        radius_px,
        neighbours=asked.neighbours,
        norm=asked.norm,
        modes_per_cluster=asked.modes,
    )
    return Case(index, truth, nodes, Superpixels(sums.count, sums.means()), settings)


def read(path: Path) -> tuple[Floats, NDArray[np.bool_], Labels]:
    """Read valid spectra (pixel, good band), where they are (y, x), and the truth (y, x)."""
    with tempfile.TemporaryDirectory() as scratch:
        scene = hs.ingest(hs.open_sources([path]), Path(scratch) / "scene.zarr")
        window = slice(0, scene.frames[0].shape[0]), slice(0, scene.frames[0].shape[1])
        valid = scene.valid(0, window)
        spectra = scene.read(0, window)[np.array(scene.good_bands)][:, valid].T
    return spectra.astype(np.float64), valid, read_labels(path, "gt")["gt"].astype(np.int64)


def base_image(unit: Floats, valid: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Scale three principal scores of unit spectra to 8 bits, (channel, y, x)."""
    centred = unit - unit.mean(axis=0)
    found = centred @ np.linalg.eigh(centred.T @ centred)[1][:, :-4:-1]
    scores = np.full((found.shape[1], *valid.shape), np.nan)
    scores[:, valid] = found.T
    return eight_bit(scores, found.min(axis=0), found.max(axis=0))


def scores(case: Case, metric: str) -> Iterator[tuple[str, float]]:
    """Score the baselines, and every choice without and with links across the scene."""
    means, pixels = case.superpixels.means, case.superpixels.pixels.astype(np.float64)
    clusters = int(case.settings.clusters or 0)
    model = KMeans(clusters, n_init=10, random_state=0).fit(means, sample_weight=pixels)
    yield "superpixels, k-means", case.score(model.labels_.astype(np.int64), metric)
    tree = ward_tree_of_many(means, pixels)
    yield "superpixels, Ward", case.score(tree.cut(clusters), metric)
    for links in (0, 3):
        settings = replace(case.settings, distant_neighbours=links)
        walk = start_walk(case.nodes, settings)
        for assignment, time in CHOICES:
            chosen = replace(settings, assignment=assignment, time=time)
            found = cluster_nodes(case.nodes, case.superpixels, chosen)
            yield f"{links} links, {assignment}, {time}", case.score(found.labels, metric)
        every = [
            partition_at(case.nodes, walk, time, clusters, settings.neighbours)
            for time in walk.times.tolist()
        ]
        best = max(case.score(labels, metric) for labels in every)
        yield f"{links} links, modes, oracle", best


if __name__ == "__main__":
    main()
