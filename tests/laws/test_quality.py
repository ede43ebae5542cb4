"""The map on real scenes: slow, because all methods run on all scenes with three seeds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hsistream.config import RunConfig
from hsistream.evaluation import evaluate
from hsistream.pipeline import run
from hsistream.readers.labels import read_labels
from hsistream.readers.sources import open_sources
from hsistream.scene.ingest import ingest

pytestmark = pytest.mark.slow

# z-score, PCA 20, k-means: figures of scikit-learn alone, mean of two starts.
BASELINE = {
    "salinasA": 0.770,
    "salinas150": 0.724,
    "samson": 0.869,
    "muufl90": 0.716,
    "moffett50": 0.962,
    "hysu": 0.610,
    "enmap_potsdam": 0.617,
}
LEAST_OF_A_SEED = 0.82
LEAST_OF_THE_MEAN = 0.835


def accuracy(data: Path, name: str, method: str, seed: int, folder: Path) -> float:
    truth = read_labels(data / f"{name}.npz", "gt")
    classes = len(np.unique(truth["gt"][truth["gt"] > 0]))
    scene = ingest(open_sources([data / f"{name}.npz"]), folder / f"{name}-{method}-{seed}.zarr")
    config = RunConfig.make(method, settings=[("cluster.clusters", classes), ("seed", seed)])
    done = run(scene, config, folder / f"{name}-{method}-{seed}.run")
    return float(evaluate(done.path, truth).to_json()["oa"])


@pytest.mark.parametrize("name", list(BASELINE))
def test_the_baseline_is_the_known_one(data_folder: Path, tmp_path: Path, name: str) -> None:
    found = accuracy(data_folder, name, "kmeans", 0, tmp_path)
    assert found == pytest.approx(BASELINE[name], abs=0.01)


def test_the_consensus_is_as_good_as_promised(data_folder: Path, tmp_path: Path) -> None:
    found = [
        np.mean([accuracy(data_folder, name, "consensus", seed, tmp_path) for name in BASELINE])
        for seed in (0, 1, 2)
    ]
    assert min(found) >= LEAST_OF_A_SEED
    assert np.mean(found) >= LEAST_OF_THE_MEAN
