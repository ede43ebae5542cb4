"""What every classifier owes, over the table of them."""

from __future__ import annotations

from types import ModuleType
from typing import cast, get_args

import numpy as np
import pytest
from numpy.typing import NDArray

from hsistream.classifiers import CLASSIFIERS, load_classifier
from hsistream.classifiers.base import UNKNOWN_LOGIT, Classifier, Lesson
from hsistream.sections import ClassifierName, ClassifySection
from hsistream.stages.gather import cut_squares

pytestmark = pytest.mark.parametrize("name", list(CLASSIFIERS))

FEATURES = {"ctssfm": 512}
"""Of those that do not take any number."""

SHAPE = (14, 17)


def asked(name: str) -> ClassifySection:
    few = {"window_px": 5, "steps": 40, "batch": 16}
    return ClassifySection.model_validate(
        {"labels": "none", "classifier": name, "transformer": few, "ctssfm": few}
    )


def scene(name: str, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Features (feature, y, x) of two halves that differ, and the class of each pixel."""
    random = np.random.default_rng(seed)
    number = np.repeat([[0] * 9 + [2] * 8], SHAPE[0], axis=0)
    values = random.normal(size=(FEATURES.get(name, 6), *SHAPE)) * 3 + 10
    values[::2] += 12 * (number == 2)
    return values.astype(np.float32), number


def padded(values: NDArray[np.float32], reach: int) -> NDArray[np.float32]:
    around = ((0, 0), (reach, reach), (reach, reach))
    return np.pad(values, around, constant_values=np.nan)


def lesson(classifier: Classifier, settings: ClassifySection, pixels: int = 40) -> Lesson:
    values, number = scene(settings.classifier)
    reach = classifier.reach(settings)
    chosen = np.random.default_rng(1).permutation(number.size)[:pixels]
    row, column = np.unravel_index(chosen, SHAPE)
    squares = cut_squares(padded(values, reach), row, column, reach)
    return Lesson(squares, number[row, column], 4)


def test_classes_that_differ_are_told_apart(name: str) -> None:
    classifier, settings = load_classifier(name), asked(name)
    fitted = classifier.fit(settings, lesson(classifier, settings), 0)
    values, number = scene(name, 5)
    everywhere = np.ones(SHAPE, np.bool_)
    seen = padded(values, classifier.reach(settings))
    said = fitted.judge_window(seen, everywhere).argmax(axis=1)
    assert (said == number.ravel()).mean() > 0.9


def test_a_class_without_a_label_is_never_said(name: str) -> None:
    classifier, settings = load_classifier(name), asked(name)
    of = lesson(classifier, settings)
    logits = classifier.fit(settings, of, 0).judge(of.squares)
    assert logits.shape == (40, 4)
    assert (logits[:, [1, 3]] == UNKNOWN_LOGIT).all()


def test_a_window_is_judged_as_its_squares_are(name: str) -> None:
    classifier, settings = load_classifier(name), asked(name)
    fitted = classifier.fit(settings, lesson(classifier, settings), 0)
    values, _ = scene(name, 5)
    values[:, 3:5, 6:9] = np.nan  # no data
    reach = classifier.reach(settings)
    wanted = ~np.isnan(values[0])
    wanted[::2] = False
    seen = padded(values, reach)
    row, column = np.nonzero(wanted)
    squares = cut_squares(seen, row, column, reach)
    expected = fitted.judge(squares)
    assert np.isfinite(expected).all()
    np.testing.assert_allclose(fitted.judge_window(seen, wanted), expected, atol=2e-4)


def test_pixels_beyond_the_reach_change_nothing(name: str) -> None:
    classifier, settings = load_classifier(name), asked(name)
    fitted = classifier.fit(settings, lesson(classifier, settings), 0)
    values, _ = scene(name, 5)
    reach = classifier.reach(settings)
    wanted = np.zeros(SHAPE, np.bool_)
    wanted[7, 8] = True
    before = fitted.judge_window(padded(values, reach), wanted)
    near = np.zeros(SHAPE, np.bool_)
    near[7 - reach : 8 + reach, 8 - reach : 9 + reach] = True
    far = np.where(near, values, values + 50)
    np.testing.assert_array_equal(fitted.judge_window(padded(far, reach), wanted), before)
    values[:3, 7 - reach, 8 - reach] += 50
    assert (fitted.judge_window(padded(values, reach), wanted) != before).any()


def test_the_same_lesson_gives_the_same_bytes(name: str) -> None:
    classifier, settings = load_classifier(name), asked(name)
    of = lesson(classifier, settings)
    first, again = (classifier.fit(settings, of, 3).arrays() for _ in range(2))
    for key, values in first.items():
        np.testing.assert_array_equal(again[key], values)


def test_what_was_kept_judges_the_same(name: str) -> None:
    classifier, settings = load_classifier(name), asked(name)
    of = lesson(classifier, settings)
    fitted = classifier.fit(settings, of, 0)
    kept = {**fitted.arrays(), "losses": fitted.losses}
    again = classifier.restore(settings, kept)
    np.testing.assert_array_equal(again.judge(of.squares), fitted.judge(of.squares))


def test_one_known_class_is_said_everywhere(name: str) -> None:
    classifier, settings = load_classifier(name), asked(name)
    of = lesson(classifier, settings)
    alone = of.at(of.number == 2)
    assert (classifier.fit(settings, alone, 0).judge(of.squares).argmax(axis=1) == 2).all()


def test_it_has_a_name_among_the_settings(name: str) -> None:
    assert set(get_args(ClassifierName)) == set(CLASSIFIERS)
    module = cast("ModuleType", load_classifier(name))
    assert module.__name__ == CLASSIFIERS[name]
