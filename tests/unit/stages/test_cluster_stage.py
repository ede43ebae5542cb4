from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from hsistream.config import RunConfig
from hsistream.events import Event, Warned
from hsistream.execution import Execution
from hsistream.runs import RunDirectory
from hsistream.scene.scene import Scene
from hsistream.stages import Context, cluster
from hsistream.stages.cluster import SHOWN_EIGENVALUES
from hsistream.stores.tables import Table, read_table, write_table


@pytest.fixture
def own_run(finished: RunDirectory, tmp_path: Path) -> RunDirectory:
    """A copy of the finished run, to be changed."""
    return RunDirectory(shutil.copytree(finished.path, tmp_path / "run"))


def cluster_again(
    run: RunDirectory, scene: Scene, *settings: tuple[str, Any]
) -> tuple[Table, list[str]]:
    """Repeat the stage on the codebooks of a run; give its table and its warnings."""
    heard: list[Event] = []
    config = RunConfig.make(settings=settings)
    with threadpool_limits(1):  # as in every run
        cluster.run(Context(run, scene, config, Execution(), 32, 1, None, heard.append, ""))
    warnings = [event.message for event in heard if isinstance(event, Warned)]
    return read_table(run.table(cluster.TABLE)), warnings


def test_the_same_request_gives_the_same_bytes(
    scene: Scene, finished: RunDirectory, own_run: RunDirectory
) -> None:
    before = read_table(finished.table(cluster.TABLE))
    after, warnings = cluster_again(own_run, scene, ("cluster.clusters", 3))
    assert warnings == []
    assert {name: values.tobytes() for name, values in after.items()} == {
        name: values.tobytes() for name, values in before.items()
    }


@pytest.mark.parametrize("clusters", [1, 3, SHOWN_EIGENVALUES + 5])
def test_one_eigenvector_more_than_clusters_is_used(
    scene: Scene, own_run: RunDirectory, clusters: int
) -> None:
    table, _ = cluster_again(own_run, scene, ("cluster.clusters", clusters), ("cluster.starts", 1))
    assert table["centres"].shape == (clusters, clusters + 1)
    assert table["coordinates"].shape == (table["starts"][-1], clusters + 1)


def test_without_a_number_the_suggested_one_is_taken(scene: Scene, own_run: RunDirectory) -> None:
    table, warnings = cluster_again(own_run, scene)
    assert len(table["centres"]) == table["suggested"]
    assert 2 <= table["suggested"] <= RunConfig().cluster.most
    assert warnings == []


def test_a_suggestion_at_its_limit_is_worth_a_word(scene: Scene, own_run: RunDirectory) -> None:
    table, warnings = cluster_again(own_run, scene, ("cluster.most", 2))
    assert table["suggested"] == 2
    assert len(warnings) == 1
    assert "--clusters" in warnings[0]


def test_fewer_kinds_of_pixels_than_clusters_are_worth_a_word(
    scene: Scene, own_run: RunDirectory
) -> None:
    views = own_run.table("views")
    table = read_table(views)
    write_table(views, {name: np.repeat(values[:1], 50, 0) for name, values in table.items()})
    found, warnings = cluster_again(own_run, scene, ("cluster.clusters", 3))
    assert len(found["centres"]) == 1
    assert warnings == ["3 clusters were asked for, but only 1 kinds of pixels differ"]
