"""Classify from few labels, honestly: python benchmarks/few_labels.py [--heads lda logistic].

For every scene, number of labels and split by blocks, each head learns from the same
labels in each feature, and is tested on the same pixels, at least APART_PX from all that
it has learnt from. Scenes are ``<name>.npz`` files with a ``gt`` array in the folder
HSISTREAM_DATA. Prints one Markdown table per head: overall accuracy in percent, mean
over splits, and the paired difference to raw spectra in the same head with its standard
error; then the mean over scenes and numbers of labels. All features are of the package,
as ``hsistream classify`` makes them; latents are trained on the scene without labels.

With --fractions, fractions of the pixels of every class are drawn at random instead, as in
many papers: what is tested then lies beside what is learnt from.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from quality import data_folder

import hsistream as hs
from hsistream.classification import classify
from hsistream.classifiers import load_classifier
from hsistream.classifiers.base import Lesson
from hsistream.classifiers.metrics import class_scores, confusion
from hsistream.classifiers.splits import TEST, TRAIN, Labels, split
from hsistream.config import parse_setting
from hsistream.sections import ClassifySection
from hsistream.stages import Address
from hsistream.stages.features import feature_kinds, load_features, read_features
from hsistream.stages.gather import cut_squares

SCENES = ("salinas150", "enmap_potsdam", "muufl90", "salinasA")
PLAIN = ("raw", "pca", "mnf", "mean5")
APART_PX = 15
"""So far that nothing that a window of 9 px sees of 5 x 5 means is seen on both sides."""
TESTED = 3000
"""Pixels of a test, at most: a seeded sample of larger ones."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scenes", nargs="+", default=list(SCENES))
    parser.add_argument("--labels", type=int, nargs="+", default=[5, 10, 20])
    parser.add_argument(
        "--fractions", type=float, nargs="+", help="of the pixels at random, instead of --labels"
    )
    parser.add_argument("--splits", type=int, default=30)
    parser.add_argument("--heads", nargs="+", default=["lda", "logistic"])
    parser.add_argument("--networks", nargs="*", default=["dgc"])
    parser.add_argument("--features", nargs="+", default=list(PLAIN))
    parser.add_argument(
        "--set", nargs="*", action="extend", default=[], help="section.key=value, for networks"
    )
    parser.add_argument("--with-raw", action="store_true", help="latents beside spectra, too")
    parser.add_argument("--keep", type=Path, help="file for the accuracy of every split, JSON")
    asked = parser.parse_args()
    asked.amounts = asked.fractions or asked.labels
    found: dict[str, dict[str, list[float]]] = {head: {} for head in asked.heads}
    with tempfile.TemporaryDirectory() as scratch:
        for name in asked.scenes:
            for key, head, oa in scene_scores(name, asked, Path(scratch)):
                found[head].setdefault(key, []).append(oa)
    if asked.keep:
        asked.keep.write_text(json.dumps(found))
    for head, of_head in found.items():
        print_table(head, of_head, asked)


def scene_scores(
    name: str, asked: argparse.Namespace, scratch: Path
) -> Iterator[tuple[str, str, float]]:
    """Yield key (scene, labels, feature), head and accuracy of every split."""
    path = data_folder() / f"{name}.npz"
    scene = hs.ingest(hs.open_sources([path]), scratch / f"{name}.zarr")
    with np.load(path) as file:
        row, column = np.nonzero(file["gt"] * _valid(scene))
        number = file["gt"][row, column].astype(np.int64) - 1
    labels = Labels(np.zeros_like(row), row, column, number)
    for feature, values, kind in features(scene, path, asked, scratch):
        started = time.monotonic()
        for amount, head, seed in product(asked.amounts, asked.heads, range(asked.splits)):
            settings = section(path, head, amount)
            apart_px = APART_PX if settings.split == "blocks" else 0
            roles = split(labels, settings, apart_px, seed)
            oa = accuracy(values, labels, roles, settings, seed, kind)
            yield f"{name} {amount} {feature}", head, oa
        spent_s = time.monotonic() - started
        sys.stderr.write(f"{name} {feature}: {spent_s:.0f} s\n")


def section(path: Path, head: str, amount: float) -> ClassifySection:
    """Ask for labels of each class in blocks, or for a fraction of all, which is below 1."""
    of: dict[str, Any] = {"split": "blocks", "per_class": amount}
    if amount < 1:
        of = {"split": "fraction", "fraction": amount}
    return ClassifySection(labels=str(path), classifier=head, **of)


def _valid(scene: hs.Scene) -> NDArray[np.bool_]:
    height, width = scene.frames[0].shape
    return scene.valid(0, (slice(0, height), slice(0, width)))


def features(
    scene: hs.Scene, path: Path, asked: argparse.Namespace, scratch: Path
) -> Iterator[tuple[str, NDArray[np.float32], NDArray[np.int64]]]:
    """Yield features (feature, y, x) of the whole scene, by name; NaN = no data; and their kind."""
    height, width = scene.frames[0].shape
    whole = slice(0, height), slice(0, width)
    besides = [["latents"], ["raw", "latents"]] if asked.with_raw else [["latents"]]
    sets = [(each, "raw", [each], [[each]]) for each in asked.features]
    sets += [(each, each, ["latents"], besides) for each in asked.networks]
    for title, method, names, wanted in sets:
        given = asked.set if method in asked.networks else ()
        settings: list[tuple[str, Any]] = [
            *map(parse_setting, given),
            ("classify.labels", str(path)),
            ("classify.key", "gt"),
            ("classify.splits", 0),
            ("classify.features", names),
            ("views.mnf_components", 20),
        ]
        config = hs.RunConfig.make(method, settings=settings)
        run = classify(scene, config, scratch / f"{path.stem}-{title}")
        for every in wanted:
            read = load_features(Address(scene, run, ""), tuple(every))
            beside = "raw+" if len(every) > 1 else ""
            values = read_features(0, whole, 0, scene, read)
            yield f"{beside}{title}", values, feature_kinds(read, len(values))


def accuracy(
    values: NDArray[np.float32],
    labels: Labels,
    roles: NDArray[np.uint8],
    settings: ClassifySection,
    seed: int,
    kind: NDArray[np.int64] | None = None,
) -> float:
    """Learn from the training of a split, and test on its test; percent."""
    classifier = load_classifier(settings.classifier)
    reach = classifier.reach(settings)
    around = ((0, 0), (reach, reach), (reach, reach))
    padded = np.pad(values, around, constant_values=np.nan)
    classes = int(labels.number.max()) + 1
    train = np.flatnonzero(roles == TRAIN)
    test = np.random.default_rng(seed).permutation(np.flatnonzero(roles == TEST))[:TESTED]
    squares = cut_squares(padded, labels.row[train], labels.column[train], reach)
    fitted = classifier.fit(settings, Lesson(squares, labels.number[train], classes, kind), seed)
    tested = cut_squares(padded, labels.row[test], labels.column[test], reach)
    said = fitted.judge(tested).argmax(axis=1)
    return 100 * class_scores(confusion(labels.number[test], said, classes)).oa


def print_table(head: str, found: dict[str, list[float]], asked: argparse.Namespace) -> None:
    """Print the accuracies of one head, by scene and number of labels."""
    names = list(dict.fromkeys(key.split(" ")[2] for key in found))
    print(f"\n| {head} | " + " | ".join(names) + " |\n" + "|---" * (len(names) + 1) + "|")
    for scene in asked.scenes:
        for amount in asked.amounts:
            of = [np.array(found[f"{scene} {amount} {name}"]) for name in names]
            print(f"| {scene}, {amount} | " + " | ".join(cell(each, of[0]) for each in of) + " |")
    pairs = list(product(asked.scenes, asked.amounts))
    means = [
        np.mean([np.mean(found[f"{scene} {amount} {name}"]) for scene, amount in pairs])
        for name in names
    ]
    print("| **mean** | " + " | ".join(f"**{each:.1f}**" for each in means) + " |", flush=True)


def cell(of: NDArray[np.float64], raw: NDArray[np.float64]) -> str:
    """Write a mean over splits, and the difference to raw spectra with its standard error."""
    difference = of - raw
    if not difference.any():
        return f"{of.mean():.1f} ± {of.std(ddof=1):.1f}"
    error = difference.std(ddof=1) / np.sqrt(len(of))
    return f"{of.mean():.1f} ({difference.mean():+.1f} ± {error:.1f})"


if __name__ == "__main__":
    main()
