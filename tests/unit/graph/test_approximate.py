from __future__ import annotations

import warnings

import numba
import numpy as np
import pytest
from numpy.typing import NDArray

import hsistream.graph.approximate as approximate
from hsistream.graph.approximate import near_nodes
from hsistream.neighbours import nearest_rows

Floats = NDArray[np.float64]


@pytest.fixture
def features(monkeypatch: pytest.MonkeyPatch) -> Floats:
    """Nodes that count as very many."""
    monkeypatch.setattr(approximate, "EXACT_NODES", 100)
    monkeypatch.setattr(approximate, "SAMPLED", 50)
    return np.random.default_rng(0).standard_normal((600, 4))


def exact_rows(features: Floats, count: int) -> NDArray[np.int64]:
    own = np.arange(len(features))
    return nearest_rows(features, features, count, apart=(own, own)).rows


def test_few_nodes_are_compared_with_all() -> None:
    features = np.random.default_rng(0).standard_normal((60, 4))
    found = near_nodes(features, 5)
    np.testing.assert_array_equal(found.rows, exact_rows(features, 5))
    assert found.recall is None


def test_own_nodes_are_left_out_wherever_they_stand(
    features: Floats, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, rows = np.arange(len(features))[:, None], exact_rows(features, 5)
    for listed in (np.hstack([own, rows]), np.hstack([rows[:, :2], own, rows[:, 2:]])):
        monkeypatch.setattr(approximate, "_descend", lambda *_, given=listed: given)
        found = near_nodes(features, 5)
        np.testing.assert_array_equal(found.rows, rows)
        assert found.recall == 1


def test_the_recall_is_the_part_that_is_right(
    features: Floats, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = exact_rows(features, 10)
    listed = np.hstack([rows[:, :4], rows[:, 9:10], rows[:, 9:10]])
    monkeypatch.setattr(approximate, "_descend", lambda *_: listed)
    assert near_nodes(features, 5).recall == pytest.approx(0.8)


def test_of_nodes_at_one_place_any_is_right(
    features: Floats, monkeypatch: pytest.MonkeyPatch
) -> None:
    features[:300] = 0
    rows = exact_rows(features, 5)
    rows[:300] = (np.arange(300)[:, None] + np.arange(100, 105)) % 300
    monkeypatch.setattr(approximate, "_descend", lambda *_: rows)
    assert near_nodes(features, 5).recall == 1


def test_nodes_that_are_missing_are_not_right(
    features: Floats, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = exact_rows(features, 4)
    rows[:, 3] = -1
    monkeypatch.setattr(approximate, "_descend", lambda *_: rows)
    assert near_nodes(features, 4).recall == pytest.approx(0.75)


def test_a_descent_takes_one_thread_and_its_warnings_are_not_heard(
    features: Floats, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []

    class Stand:
        def __init__(self, rows: Floats, **settings: int) -> None:
            warnings.warn("Failed to find neighbours", stacklevel=1)
            numba.set_num_threads(1)
            asked.append(settings["n_jobs"])
            self.neighbor_graph = np.zeros((len(rows), settings["n_neighbors"])), None

    monkeypatch.setattr("pynndescent.NNDescent", Stand)
    before = numba.get_num_threads()
    near_nodes(features, 3)
    assert asked == [1]
    assert numba.get_num_threads() == before


@pytest.mark.slow
def test_a_descent_finds_most_neighbours_and_the_same_again(features: Floats) -> None:
    threads = numba.get_num_threads()
    first, second = near_nodes(features, 8, seed=3), near_nodes(features, 8, seed=3)
    np.testing.assert_array_equal(first.rows, second.rows)
    assert first.recall is not None
    assert first.recall > 0.9
    assert (first.rows != np.arange(len(features))[:, None]).all()
    assert numba.get_num_threads() == threads
