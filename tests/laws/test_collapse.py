"""A training that collapses is noticed and taken back: no map is worse than a warning."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hsistream.config import RunConfig
from hsistream.execution import Execution
from hsistream.pipeline import run
from hsistream.readers.sources import open_sources
from hsistream.runs import RunDirectory
from hsistream.scene.ingest import ingest
from hsistream.scene.scene import Scene
from hsistream.stores.tables import Table, read_table
from tests.laws.results import layer, pixel_bytes

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

CLUSTERS, PROTOTYPES = 6, 24
ALARM = 0.5
"""Share of the usage entropy of the start."""

FRAGILE = (("training.momentum", 0.0), ("encoder.guard", False))
"""The teacher is the student, and nothing balances what it says."""


@pytest.fixture(scope="module")
def salinas(data_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Scene:
    folder = tmp_path_factory.mktemp("salinas")
    return ingest(open_sources([data_folder / "salinasA.npz"]), folder / "scene.zarr")


def trained(scene: Scene, folder: Path, *settings: tuple[str, Any]) -> RunDirectory:
    asked = [("cluster.clusters", CLUSTERS), ("encoder.prototypes", PROTOTYPES), *settings]
    return run(scene, RunConfig.make("dgc", settings=asked), folder, execution=Execution(threads=2))


def training_of(done: RunDirectory) -> Table:
    return read_table(done.table("training"))


def entropy_shares(done: RunDirectory) -> list[float]:
    """Usage entropy at every check, relative to the start."""
    entropy = training_of(done)["check.usage entropy"]
    return list(entropy / entropy[0])


def collapses(done: RunDirectory) -> list[str]:
    """What the manifest says of collapses."""
    return [text for text in done.manifest().warnings if "the training collapsed" in text]


def is_a_map_of_all_clusters(done: RunDirectory, scene: Scene) -> bool:
    (labels,) = layer(done, scene)
    return set(np.unique(labels)) >= set(range(CLUSTERS))


@pytest.mark.parametrize("seed", [0, 1])
def test_a_training_that_collapses_again_and_again_returns_its_start(
    salinas: Scene, tmp_path: Path, seed: int
) -> None:
    settings = (*FRAGILE, ("encoder.train_stem", True), ("seed", seed))
    done = trained(salinas, tmp_path / "run", *settings)
    assert entropy_shares(done)[1] < ALARM, "the first check sees it"
    assert str(training_of(done)["ending"]) == "floor"
    first, second, last = collapses(done)
    assert "at step 30" in first
    assert "It went back to step 0" in first
    assert "It went back to step 0" in second
    assert "The result is the start, step 0" in last

    start = trained(salinas, tmp_path / "start", *settings, ("training.steps", 0))
    assert pixel_bytes(done, salinas) == pixel_bytes(start, salinas)
    assert is_a_map_of_all_clusters(done, salinas)


@pytest.mark.parametrize("seed", [0, 1])
def test_a_training_of_the_spatial_part_alone_that_collapses_goes_back(
    salinas: Scene, tmp_path: Path, seed: int
) -> None:
    """It falls more slowly: the alarm rings at the second check, and a lower rate helps."""
    done = trained(salinas, tmp_path / "run", *FRAGILE, ("seed", seed))
    shares = entropy_shares(done)
    assert min(shares[:3]) < ALARM
    assert len(collapses(done)) >= 1
    ending = str(training_of(done)["ending"])
    assert ending == "floor" or shares[-1] >= ALARM
    assert is_a_map_of_all_clusters(done, salinas)


@pytest.mark.parametrize("seed", range(10))
def test_the_usual_training_never_collapses(salinas: Scene, tmp_path: Path, seed: int) -> None:
    done = trained(salinas, tmp_path / "run", ("seed", seed))
    assert collapses(done) == []
    assert str(training_of(done)["ending"]) in ("finished", "stable")
    assert min(entropy_shares(done)) >= ALARM
    assert training_of(done)["check.prototypes in use"].min() >= CLUSTERS
    assert is_a_map_of_all_clusters(done, salinas)
