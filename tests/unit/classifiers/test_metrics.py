from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from hsistream.classifiers.metrics import class_scores, confusion

HAND = np.array([[50, 2, 3], [5, 40, 5], [0, 1, 44]])


def test_scores_of_a_confusion_matrix_are_those_done_by_hand() -> None:
    found = class_scores(HAND)
    assert found.oa == pytest.approx(134 / 150)
    assert found.aa == pytest.approx((50 / 55 + 40 / 50 + 44 / 45) / 3)
    assert found.kappa == pytest.approx(0.839840, abs=1e-6)
    assert found.iou == pytest.approx([0.833333, 0.754717, 0.830189], abs=1e-6)
    assert found.precision == pytest.approx([50 / 55, 40 / 43, 44 / 52])


def test_kappa_is_that_of_another_implementation() -> None:
    random = np.random.default_rng(3)
    number, said = random.integers(4, size=(2, 500))
    expected = cohen_kappa_score(number, said)
    assert class_scores(confusion(number, said, 4)).kappa == pytest.approx(expected)


def test_a_class_that_does_not_occur_does_not_count() -> None:
    found = class_scores(np.array([[3, 1, 0], [0, 4, 0], [0, 0, 0]]))
    assert found.aa == pytest.approx((0.75 + 1) / 2)
    assert np.isnan(found.recall[2])
    assert np.isnan(found.precision[2])


def test_pixels_of_one_class_that_are_all_right_have_kappa_1() -> None:
    assert class_scores(np.array([[7, 0], [0, 0]])).kappa == 1
