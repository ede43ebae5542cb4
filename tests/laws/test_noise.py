"""Why nothing is added to what a denoiser encodes: noise costs more than all else gains."""

from __future__ import annotations

from pathlib import Path

import pytest

from hsistream.classification import classify
from hsistream.config import RunConfig
from hsistream.readers.sources import open_sources
from hsistream.scene.ingest import ingest
from hsistream.scene.scene import Scene
from hsistream.stages.class_summary import classification_summary

pytestmark = pytest.mark.slow

POINTS = 3
"""Percent of the pixels, after the training of the preset: noise that is hardly learnt hides
little (1.5 points after 300 steps, 8.4 after 800)."""


@pytest.mark.timeout(1800)
def test_features_without_noise_tell_more_of_classes(data_folder: Path, tmp_path: Path) -> None:
    path = data_folder / "salinas150.npz"
    scene = ingest(open_sources([path]), tmp_path / "scene.zarr")
    clean, noised = (accuracy(scene, path, each, tmp_path / each) for each in ("none", "hash"))
    assert clean > noised + POINTS / 100


def accuracy(scene: Scene, labels: Path, noise: str, folder: Path) -> float:
    """Of discriminant analysis of ten labels of each class, in blocks that lie apart."""
    asked = (
        ("classify.labels", str(labels)),
        ("classify.key", "gt"),
        ("classify.split", "blocks"),
        ("classify.splits", 5),
        ("classify.apart_px", 15),
        ("encoder.own_share", 0.0),
        ("encoder.noise", noise),
    )
    found = classification_summary(
        classify(scene, RunConfig.make("diffcrn", settings=asked), folder)
    )
    assert found is not None
    return float(found.scores["oa"]["mean"])
