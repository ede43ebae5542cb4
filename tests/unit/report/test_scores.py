from __future__ import annotations

import json
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray
from sklearn import metrics

from hsistream.errors import SceneError
from hsistream.report.scores import Contingency, Matching, Scores, score, score_table
from hsistream.runs import NO_LABEL

KEYS = {
    "oa", "oa_majority", "aa", "kappa", "nmi", "ari", "purity", "mean_iou", "per_class",
    "matching", "pixels",
}  # fmt: skip

Pair = tuple[NDArray[np.int64], NDArray[np.uint16]]


def digits(text: str) -> NDArray[np.int64]:
    return np.array([int(digit) for digit in text])


# Values confirmed by running the evaluation published with DS2DL in Octave.
L1 = digits("111122233000"), digits("555111122995").astype(np.uint16)
L2 = digits("111111222200"), digits("112333222177").astype(np.uint16)


def pairs(*, no_data: bool = False) -> st.SearchStrategy[Pair]:
    labels = [0, 1, 2, 3, 7, 900, *([NO_LABEL] if no_data else [])]

    def both(size: int) -> st.SearchStrategy[Pair]:
        truth = npst.arrays(np.int64, size, elements=st.integers(0, 4))
        of = npst.arrays(np.uint16, size, elements=st.sampled_from(labels))
        return st.tuples(truth.filter(lambda array: bool(array.any())), of)

    return st.integers(1, 40).flatmap(both)


def test_l1_of_the_published_evaluation() -> None:
    for matching in get_args(Matching):
        found = score(*L1, matching=matching)
        assert found.oa == pytest.approx(8 / 9)
        assert found.aa == pytest.approx(0.916667, abs=1e-6)
        assert found.kappa == pytest.approx(0.830189, abs=1e-6)
        assert found.purity == pytest.approx(8 / 9)
        assert found.nmi == pytest.approx(0.764411, abs=1e-6)


def test_l2_of_the_published_evaluation() -> None:
    found = score(*L2, matching="square")
    assert found.oa == pytest.approx(0.5)
    assert found.aa == pytest.approx(0.541667, abs=1e-6)
    assert found.kappa == pytest.approx(0.242424, abs=1e-6)
    assert found.purity == pytest.approx(0.8)
    assert found.nmi == pytest.approx(0.291869, abs=1e-6)
    assert score(*L2).oa == pytest.approx(0.6)


def test_classes_are_scored_one_by_one() -> None:
    classes = score(*L1, class_names={1: "soil"}).per_class
    assert (classes[1].pixels, classes[1].cluster, classes[1].name) == (4, 5, "soil")
    assert (classes[1].recall, classes[1].precision, classes[1].iou) == (0.75, 1.0, 0.75)
    assert (classes[2].recall, classes[2].precision, classes[2].iou) == (1.0, 0.75, 0.75)
    assert classes[3].name is None


def test_labelled_pixels_without_data_are_errors() -> None:
    found = score(digits("1122"), np.array([3, NO_LABEL, NO_LABEL, NO_LABEL], np.uint16))
    assert found.oa == found.purity == found.oa_majority == 0.25
    assert found.no_data_pixels == 3
    assert found.per_class[2].cluster is None
    assert found.clusters == 1


def test_a_map_without_any_data_scores_zero() -> None:
    found = score(digits("1122"), np.full(4, NO_LABEL, np.uint16))
    assert (found.oa, found.aa, found.kappa, found.purity, found.nmi) == (0, 0, 0, 0, 0)


def test_json_has_the_agreed_keys_and_is_json() -> None:
    plain = score(*L1).to_json()
    assert plain.keys() >= KEYS
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    assert plain["per_class"]["2"]["cluster"] == 1


@pytest.mark.parametrize(
    ("truth", "labels", "message"),
    [
        (np.zeros(3, int), np.zeros(3, int), "0 everywhere"),
        (np.ones(3, int), np.ones(2, int), "shape"),
    ],
)
def test_useless_truth_is_refused(
    truth: NDArray[np.int64], labels: NDArray[np.int64], message: str
) -> None:
    with pytest.raises(SceneError, match=message):
        score(truth, labels)


def test_unknown_matching_is_refused() -> None:
    with pytest.raises(ValueError, match="matching"):
        score(*L1, matching="best")  # type: ignore[arg-type]


def test_counts_beyond_64_bit_pairs() -> None:
    ids = np.array([1, 2])
    table = Contingency(ids, ids, np.array([[6 * 10**9, 0], [0, 6 * 10**9]]))
    assert score_table(table).ari == 1.0


@given(pairs())
def test_scores_equal_those_of_scikit_learn(pair: Pair) -> None:
    truth, labels = pair
    known = truth > 0
    found = score(truth, labels)
    expected = metrics.normalized_mutual_info_score(truth[known], labels[known])
    assert found.nmi == pytest.approx(expected, abs=1e-9)
    assert found.ari == pytest.approx(metrics.adjusted_rand_score(truth[known], labels[known]))


@given(pairs(no_data=True))
def test_accuracy_is_at_most_the_purity(pair: Pair) -> None:
    found = score(*pair)
    assert score(*pair, matching="square").oa <= found.oa <= found.purity <= 1
    assert found.oa_majority == found.purity
    assert found.mean_iou <= found.aa <= 1


@given(pairs(no_data=True), st.permutations(range(901)))
def test_numbering_of_clusters_does_not_matter(pair: Pair, order: list[int]) -> None:
    truth, labels = pair
    renumber = np.concatenate([order, np.arange(901, NO_LABEL + 1)]).astype(np.uint16)

    def scores(of: NDArray[np.uint16]) -> Scores:
        found = score(truth, of)
        classes = {key: replace(value, cluster=None) for key, value in found.per_class.items()}
        return replace(found, per_class=classes, nmi=round(found.nmi, 12))

    assert scores(renumber[labels]) == scores(labels)


@given(npst.arrays(np.int64, st.integers(1, 40), elements=st.integers(1, 4)))
def test_a_perfect_map_scores_one(truth: NDArray[np.int64]) -> None:
    found = score(truth, (9 - truth).astype(np.uint16))
    values = (found.oa, found.aa, found.kappa, found.ari, found.purity, found.mean_iou)
    assert values == (1, 1, 1, 1, 1, 1)
    assert found.nmi == pytest.approx(1)


@given(pairs(no_data=True), st.integers(0, 40))
def test_tables_of_parts_add_up(pair: Pair, cut: int) -> None:
    truth, labels = pair
    parts = [
        Contingency.from_pixels(truth[piece], labels[piece])
        for piece in (slice(0, cut), slice(cut, None))
    ]
    whole = sum(parts, Contingency.empty())
    assert score_table(whole) == score(truth, labels)
