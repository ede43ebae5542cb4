"""A leaf survey: eight frames of leaves on a belt, one label space, lesions of 3 %.

Run with: python examples/leaf_survey.py [FOLDER] [--frames N] [--size PX] [--bands N]
[--clusters K] [--steps N] [--seed S]

The exposure differs from frame to frame and all frames show the same
materials, so spectra are standardised per frame. A network is trained on
overlapping crops of all frames; then each pixel has one of four labels. Prints
the agreement with the truth, which the run has not seen: tissue against
background, and the share of the lesions that share one label. The page to look
at lies in the run directory.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import hsistream as hs
from hsistream.runs import LABELS
from hsistream.scene.leaf_phantom import LAMINA, LESION, MATERIALS, LeafFrame, leaf_frames

TISSUE = (LAMINA, LESION)


def main() -> None:
    """Make the scene, cluster it, print what came out."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--size", type=int, default=256, help="height and width of a frame, px")
    parser.add_argument("--bands", type=int, default=301)
    parser.add_argument("--clusters", type=int, default=len(MATERIALS))
    parser.add_argument("--steps", type=int, help="of the training")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    frames = leaf_frames(asked.frames, asked.size, asked.bands)
    settings = [
        ("cluster.clusters", asked.clusters),
        ("statistics.by", "frame"),
        ("seed", asked.seed),
        *([] if asked.steps is None else [("training.steps", asked.steps)]),
    ]
    config = hs.RunConfig.make("dgc", settings=settings)
    if asked.folder:
        survey(asked.folder, frames, config)
        return
    with tempfile.TemporaryDirectory() as scratch:
        survey(Path(scratch), frames, config)


def survey(folder: Path, frames: list[LeafFrame], config: hs.RunConfig) -> dict[str, float]:
    """Cluster frames and compare with the truth."""
    path = folder / "leaves.zarr"
    scene = hs.Scene.open(path) if path.exists() else hs.ingest(frames, path)
    run = hs.run(scene, config, folder / f"run-{config.seed}")
    scores = hs.evaluate(run.path, {frame.header.name: frame.truth() for frame in frames})
    table = contingency(run, frames)
    found = {"overall accuracy": scores.oa, **tissue_scores(table), **two_clusters(run, frames)}
    for name, value in found.items():
        print(f"{name}: {value:.4f}")
    print(f"page: {run.page_path}")
    return found


def contingency(run: hs.RunDirectory, frames: list[LeafFrame]) -> NDArray[np.int64]:
    """Count the pixels of every material and label, (material, label)."""
    labels = np.stack([run.open(LABELS, frame.header.name).to_numpy() for frame in frames])
    truth = np.stack([frame.truth() for frame in frames]) - 1
    size = int(labels.max()) + 1
    pairs = truth.astype(np.int64) * size + labels
    return np.bincount(pairs.ravel(), minlength=len(MATERIALS) * size).reshape(-1, size)


def tissue_scores(table: NDArray[np.int64]) -> dict[str, float]:
    """Score tissue against background by the majority of each label, and lesions by one label."""
    lesion_label = table[LESION].argmax()
    return {
        "IoU of background and tissue, mean": tissue_iou(table),
        "lesion recall of one label": table[LESION, lesion_label] / table[LESION].sum(),
        "lesion precision of that label": table[LESION, lesion_label]
        / table[:, lesion_label].sum(),
    }


def tissue_iou(table: NDArray[np.int64]) -> float:
    """Mean intersection over union of background and tissue, over all pixels together."""
    tissue = np.isin(np.arange(len(MATERIALS)), TISSUE)
    split = np.stack([table[~tissue].sum(axis=0), table[tissue].sum(axis=0)])
    called = split.argmax(axis=0)
    ious = []
    for side in (0, 1):
        both = split[side, called == side].sum()
        ious.append(both / (split[side].sum() + split[:, called == side].sum() - both))
    return float(np.mean(ious))


def two_clusters(run: hs.RunDirectory, frames: list[LeafFrame]) -> dict[str, float]:
    """Ask the same run for two clusters, without training again; then for what it had."""
    clusters = run.config().cluster.clusters
    hs.relabel(run.path, 2)
    found = tissue_iou(contingency(run, frames))
    hs.relabel(run.path, clusters or len(MATERIALS))
    return {"IoU of background and tissue with two clusters": found}


if __name__ == "__main__":
    main()
