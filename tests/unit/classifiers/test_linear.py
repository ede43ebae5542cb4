from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from hsistream.classifiers import lda, logistic
from hsistream.classifiers.base import Lesson
from hsistream.sections import ClassifySection

SETTINGS = ClassifySection(labels="none")


def lesson(classes: int, pixels: int = 60) -> Lesson:
    random = np.random.default_rng(classes)
    number = np.arange(pixels) % classes
    values = random.normal(size=(pixels, 5)) + number[:, None] * [1, 0.5, 0, -0.5, 2] + 30
    return Lesson(values.astype(np.float32)[:, :, None, None], number, classes)


def shares(logits: np.ndarray) -> np.ndarray:
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))


@pytest.mark.parametrize("classes", [2, 4])
def test_logits_are_those_of_the_model_on_standardised_pixels(classes: int) -> None:
    of = replace(lesson(classes), kind=np.arange(5))
    values = StandardScaler().fit_transform(of.pixels.astype(np.float64))
    alike = np.full(classes, 1 / classes)
    models = {
        lda: LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto", priors=alike),
        logistic: LogisticRegression(class_weight="balanced", max_iter=2000),
    }
    for module, model in models.items():
        model.fit(values, of.number)
        found = shares(module.fit(SETTINGS, of, 0).judge(of.squares))
        np.testing.assert_allclose(found, model.predict_proba(values), atol=1e-3)


def test_units_of_kinds_of_features_do_not_matter() -> None:
    of = replace(lesson(3), kind=np.array([0, 0, 1, 1, 1]))
    unit = np.array([1000, 1000, 3, 3, 3], np.float32)[:, None, None]
    other = replace(of, squares=of.squares * unit - 7)
    for module in (lda, logistic):
        mine = module.fit(SETTINGS, of, 0).judge(of.squares)
        theirs = module.fit(SETTINGS, other, 0).judge(other.squares)
        np.testing.assert_allclose(mine, theirs, atol=0.02)


def test_noise_among_many_components_does_not_weigh_as_much_as_signal() -> None:
    random = np.random.default_rng(5)
    number = np.arange(400) % 2
    signal, noise = random.normal(8.0 * number, 1), random.normal(0, 0.1, (40, 400))
    squares = np.stack([signal, *noise], axis=1).astype(np.float32)[:, :, None, None]
    few = Lesson(squares[:10], number[:10], 2)
    wrong = {}
    for kind in (np.zeros(41, np.int64), np.arange(41)):
        said = logistic.fit(SETTINGS, replace(few, kind=kind), 0).judge(squares[10:])
        wrong[int(kind.max())] = int((said.argmax(axis=1) != number[10:]).sum())
    assert wrong[0] == 0
    assert wrong[40] > 0


def test_a_feature_that_does_not_vary_has_no_weight() -> None:
    of = lesson(3)
    of.squares[:, 2] = 4
    for module in (lda, logistic):
        assert not module.fit(SETTINGS, of, 0).weights[:, 2].any()


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("each", [1, 4])
def test_where_no_class_varies_the_nearest_mean_decides(classes: int, each: int) -> None:
    of = lesson(classes, pixels=classes)
    again = Lesson(np.repeat(of.squares, each, axis=0), np.repeat(of.number, each), classes)
    fitted = lda.fit(SETTINGS, again, 0)
    values = np.random.default_rng(7).normal(30, 3, (50, 5)).astype(np.float32)
    gaps = (values[:, None] - of.pixels) ** 2
    said = fitted.judge(values[:, :, None, None])
    np.testing.assert_array_equal(said.argmax(axis=1), of.number[gaps.sum(axis=2).argmin(axis=1)])
    assert len(np.unique(said.argmax(axis=1))) == classes


def test_a_class_of_one_label_is_learnt_beside_others() -> None:
    of = lesson(3)
    few = of.at(np.flatnonzero((of.number != 2) | (np.arange(60) == 2)))
    assert np.isfinite(lda.fit(SETTINGS, few, 0).judge(of.squares)).all()
