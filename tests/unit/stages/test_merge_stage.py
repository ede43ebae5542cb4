from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from hsistream.config import RunConfig
from hsistream.events import Event, Warned
from hsistream.execution import Execution
from hsistream.graph.merging import MergeTree, cut_cost, ward_tree
from hsistream.runs import RunDirectory
from hsistream.scene.scene import Scene
from hsistream.stages import Context, merge
from hsistream.stages import assign as assign_stage
from hsistream.stages import encode as encode_stage
from hsistream.stages import train as train_stage
from hsistream.stages.cluster import TABLE
from hsistream.stages.merge import confusion
from hsistream.stores.tables import Table, read_table, write_table

MERGES = ("diffusion", "ward")


@pytest.fixture
def own_run(learnt: RunDirectory, tmp_path: Path) -> RunDirectory:
    """A copy of the finished run, to be changed."""
    return RunDirectory(shutil.copytree(learnt.path, tmp_path / "run"))


def merged(run: RunDirectory, scene: Scene, *settings: tuple[str, Any]) -> tuple[Table, list[str]]:
    """Repeat the stage on the prototypes of a run; give its table and its warnings."""
    heard: list[Event] = []
    config = RunConfig.make("dgc", settings=[("encoder.prototypes", 16), *settings])
    merge.run(Context(run, scene, config, Execution(), 32, 1, None, heard.append, ""))
    warnings = [event.message for event in heard if isinstance(event, Warned)]
    return read_table(run.table(TABLE)), warnings


def with_clusters(clusters: int | None, kind: str = "diffusion") -> list[tuple[str, Any]]:
    return [("cluster.clusters", clusters), ("cluster.merge", kind)]


def change(path: Path, **values: NDArray[Any]) -> None:
    write_table(path, read_table(path) | values)


# --- confusion -----------------------------------------------------------------------------


@given(st.integers(1, 5), st.integers(0, 40), st.integers(0, 2**31))
def test_confusion_is_the_sum_of_outer_products_of_shares(
    prototypes: int, pixels: int, seed: int
) -> None:
    logits = 5 * np.random.default_rng(seed).standard_normal((prototypes, pixels))
    expected = np.zeros((prototypes, prototypes))
    for column in logits.T:
        shares = np.exp(column) / np.exp(column).sum()
        expected += np.outer(shares, shares)
    np.testing.assert_allclose(confusion(logits), expected, atol=1e-10)


def test_confusion_is_that_of_parts_and_of_extreme_logits(monkeypatch: pytest.MonkeyPatch) -> None:
    logits = np.random.default_rng(0).uniform(-2000, 2000, (4, 33))
    expected = confusion(logits)
    assert np.isfinite(expected).all()
    assert expected.sum() == pytest.approx(33)
    monkeypatch.setattr(merge, "PIXELS_AT_ONCE", 4)
    np.testing.assert_allclose(confusion(logits), expected, atol=1e-10)


# --- the number of clusters ----------------------------------------------------------------


@pytest.mark.parametrize("kind", MERGES)
@pytest.mark.parametrize("clusters", [1, 2, 3, 7, 15, 16])
def test_there_are_as_many_clusters_as_asked_and_none_is_empty(
    scene: Scene, own_run: RunDirectory, clusters: int, kind: str
) -> None:
    table, warnings = merged(own_run, scene, *with_clusters(clusters, kind))
    used = np.count_nonzero(table["usage"])
    expected = min(clusters, used)
    assert int(table["clusters"]) == expected
    mass = np.bincount(table["lookup"], table["usage"], minlength=expected)
    assert len(mass) == expected
    assert (mass > 0).all()
    assert (np.diff(mass) <= 0).all()
    assert bool(warnings) == (clusters > used)


@pytest.mark.parametrize("kind", MERGES)
def test_without_a_number_the_suggested_one_is_taken(
    scene: Scene, own_run: RunDirectory, kind: str
) -> None:
    table, _ = merged(own_run, scene, *with_clusters(None, kind))
    assert 2 <= table["suggested"] <= 12
    assert table["clusters"] == table["suggested"]


@pytest.mark.parametrize("kind", MERGES)
def test_a_suggestion_at_its_limit_is_worth_a_word(
    scene: Scene, own_run: RunDirectory, kind: str
) -> None:
    settings = [*with_clusters(None, kind), ("cluster.most", 2)]
    table, warnings = merged(own_run, scene, *settings)
    assert table["suggested"] == 2
    assert len(warnings) == 1
    assert "--clusters" in warnings[0]


@pytest.mark.parametrize("kind", MERGES)
def test_prototypes_in_use_that_are_fewer_than_clusters_are_worth_a_word(
    scene: Scene, own_run: RunDirectory, kind: str
) -> None:
    path = own_run.table(assign_stage.TABLE)
    usage = np.zeros(16, np.int64)
    usage[[3, 9]] = 40, 60
    change(path, usage=usage)
    found, warnings = merged(own_run, scene, *with_clusters(3, kind))
    assert int(found["clusters"]) == 2
    assert warnings == ["3 clusters were asked for, but only 2 kinds of pixels differ"]
    assert found["lookup"][[9, 3]].tolist() == [0, 1]


@pytest.mark.parametrize("kind", MERGES)
@pytest.mark.parametrize("clusters", [None, 1, 4])
def test_a_single_prototype_in_use_is_one_cluster(
    scene: Scene, own_run: RunDirectory, kind: str, clusters: int | None
) -> None:
    usage = np.zeros(16, np.int64)
    usage[5] = 7
    change(own_run.table(assign_stage.TABLE), usage=usage)
    found, _ = merged(own_run, scene, *with_clusters(clusters, kind))
    assert int(found["clusters"]) == 1
    assert found["lookup"].tolist() == [0] * 16


def linkage(*costs: float) -> MergeTree:
    """A tree of these costs, whoever is joined."""
    rows = [[0.0, 1.0, cost, 2.0] for cost in costs]
    return MergeTree(np.arange(len(costs) + 1), np.asarray(rows).reshape(-1, 4))


@pytest.mark.parametrize(
    ("costs", "most", "expected"),
    [
        ((), 12, 1),
        ((5.0,), 12, 1),
        ((1.0, 10.0), 12, 2),
        ((1.0, 10.0, 11.0), 12, 3),
        ((1.0, 1.1, 1.2, 9.0, 10.0), 12, 3),
        ((0.1, 9.0, 10.0, 11.0, 12.0), 4, 4),
        ((0.1, 9.0, 10.0, 11.0, 12.0), 5, 5),
        ((0.0, 0.0, 0.0), 12, 1),
        ((0.0, 0.0, 3.0), 12, 2),
    ],
)
def test_the_largest_ratio_of_costs_suggests_the_clusters(
    costs: tuple[float, ...], most: int, expected: int
) -> None:
    assert merge._largest_gap(linkage(*costs), most) == expected


@pytest.mark.parametrize("blobs", [2, 3, 5])
def test_clear_groups_of_prototypes_are_suggested(blobs: int) -> None:
    rng = np.random.default_rng(blobs)
    centres = 20 * rng.standard_normal((blobs, 4))
    points = np.repeat(centres, 4, axis=0) + 0.1 * rng.standard_normal((4 * blobs, 4))
    assert merge._largest_gap(ward_tree(points, np.ones(4 * blobs)), 12) == blobs


# --- who belongs to whom -------------------------------------------------------------------


@pytest.mark.parametrize("kind", MERGES)
def test_the_same_request_gives_the_same_bytes(
    scene: Scene, own_run: RunDirectory, kind: str
) -> None:
    first, _ = merged(own_run, scene, *with_clusters(3, kind))
    second, _ = merged(own_run, scene, *with_clusters(3, kind))
    assert first.keys() == second.keys()
    for name, values in first.items():
        assert values.tobytes() == second[name].tobytes()


def test_what_the_stage_gives_is_what_the_run_has(
    scene: Scene, own_run: RunDirectory, learnt: RunDirectory
) -> None:
    found, _ = merged(own_run, scene, *with_clusters(3))
    expected = read_table(learnt.table(TABLE))
    assert found.keys() == expected.keys()
    for name, values in found.items():
        np.testing.assert_array_equal(values, expected[name], err_msg=name)


def test_ward_keeps_prototypes_together_that_lie_together(
    scene: Scene, own_run: RunDirectory
) -> None:
    found, _ = merged(own_run, scene, *with_clusters(3, "ward"))
    places = read_table(own_run.table(train_stage.TABLE))["prototypes"][-1]
    usage = found["usage"].astype(float)
    cost = cut_cost(places, usage, found["lookup"])
    rng = np.random.default_rng(0)
    for _ in range(20):
        assert cost < cut_cost(places, usage, rng.integers(0, 3, 16))


def test_diffusion_keeps_prototypes_together_that_meet_and_are_alike(
    scene: Scene, own_run: RunDirectory
) -> None:
    blocks = np.repeat([0, 1, 2], [6, 5, 5])
    together = blocks[:, None] == blocks
    axes = np.eye(11)[blocks]
    rng = np.random.default_rng(0)
    places = axes + 0.05 * rng.standard_normal((16, 11))
    places /= np.linalg.norm(places, axis=1, keepdims=True)
    change(own_run.table(train_stage.TABLE), prototypes=places[None], masses=np.ones((1, 16)))
    change(
        own_run.table(assign_stage.TABLE),
        usage=np.full(16, 100),
        neighbours=np.where(together, 1000, 1) * (1 - np.eye(16, dtype=np.int64)),
        reservoir=np.repeat(places, 10, axis=0).astype(np.float32),
    )
    found, _ = merged(own_run, scene, *with_clusters(3))
    assert len(set(zip(blocks.tolist(), found["lookup"].tolist(), strict=True))) == 3
    automatic, _ = merged(own_run, scene, *with_clusters(None))
    assert int(automatic["suggested"]) == 3


def test_eigenvalues_fall_from_one(scene: Scene, own_run: RunDirectory) -> None:
    values = merged(own_run, scene, *with_clusters(3))[0]["eigenvalues"]
    assert values[0] == pytest.approx(1)
    assert (np.diff(values) <= 0).all()
    assert values[-1] >= -1 - 1e-9


@pytest.mark.parametrize("softness", [1e-4, 0.05, 10.0])
def test_any_softness_gives_clusters(scene: Scene, own_run: RunDirectory, softness: float) -> None:
    settings = [*with_clusters(3), ("encoder.student_temperature", softness)]
    assert int(merged(own_run, scene, *settings)[0]["clusters"]) == 3


def test_a_prototype_that_the_reservoir_lacks_is_merged_too(
    scene: Scene, own_run: RunDirectory
) -> None:
    path = own_run.table(encode_stage.TABLE)
    prototypes = read_table(own_run.table(train_stage.TABLE))["prototypes"][-1]
    reservoir = read_table(path)["reservoir"]
    far = (reservoir @ prototypes.T).argmax(axis=1) != 4
    change(path, reservoir=reservoir[far][:50])
    settings = [*with_clusters(5), ("encoder.student_temperature", 2e-4)]
    assert int(merged(own_run, scene, *settings)[0]["clusters"]) == 5


def test_the_clusters_of_the_reservoir_are_those_of_its_prototypes(
    scene: Scene, own_run: RunDirectory
) -> None:
    found, _ = merged(own_run, scene, *with_clusters(3))
    prototypes = read_table(own_run.table(train_stage.TABLE))["prototypes"][-1]
    reservoir = read_table(own_run.table(encode_stage.TABLE))["reservoir"]
    expected = found["lookup"][(reservoir @ prototypes.T).argmax(axis=1)]
    np.testing.assert_array_equal(found["reservoir_label"], expected)


def test_the_last_prototypes_have_the_masses_of_the_scene(learnt: RunDirectory) -> None:
    training = read_table(learnt.table(train_stage.TABLE))
    usage = read_table(learnt.table(assign_stage.TABLE))["usage"]
    history = merge._history(training, usage)
    assert len(history) == len(training["masses"]) + 1
    np.testing.assert_array_equal(history[-1].prototypes, history[-2].prototypes)
    np.testing.assert_array_equal(history[-1].masses, usage)
    np.testing.assert_array_equal(history[0].masses, training["masses"][0])
