from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from hsistream.classifiers import load_classifier
from hsistream.classifiers.base import Lesson
from hsistream.classifiers.calibration import (
    LIMITS,
    PARTS,
    calibrated,
    parts_of,
    probabilities,
    temperature,
)
from hsistream.sections import ClassifySection


def drawn(pixels: int = 40_000) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Logits, and classes drawn by their probabilities."""
    random = np.random.default_rng(0)
    logits = random.normal(scale=2, size=(pixels, 3)).astype(np.float32)
    shares = probabilities(logits, 1.0).cumsum(axis=1)
    return logits, (random.random((pixels, 1)) > shares).sum(axis=1)


@pytest.mark.parametrize("factor", [0.5, 1.0, 4.0])
def test_the_temperature_takes_a_factor_of_the_logits_back(factor: float) -> None:
    logits, number = drawn()
    assert temperature(factor * logits, number) == pytest.approx(factor, rel=0.05)


def test_the_temperature_has_limits() -> None:
    logits, _ = drawn(500)
    assert temperature(logits, logits.argmax(axis=1)) == pytest.approx(LIMITS[0], rel=1e-3)
    assert temperature(logits, logits.argmin(axis=1)) == pytest.approx(LIMITS[1], rel=1e-3)


def test_parts_hold_as_much_of_every_class() -> None:
    number = np.repeat([0, 1, 2], [50, 20, 3])
    part = parts_of(number, 0)
    assert np.bincount(part[number == 0]).tolist() == [10] * PARTS
    assert np.bincount(part[number == 1]).tolist() == [4] * PARTS
    assert len(set(part[number == 2])) == 3


def test_probabilities_of_noise_are_drawn_towards_each_other() -> None:
    """A classifier that has learnt noise by heart is sure of it; labels it has not seen tell."""
    random = np.random.default_rng(1)
    squares = random.normal(size=(60, 40, 1, 1)).astype(np.float32)
    lesson = Lesson(squares, random.integers(2, size=60), 2)
    settings = ClassifySection(labels="none", classifier="logistic")
    assert calibrated(load_classifier("logistic"), settings, lesson, 0) > 2


def test_too_few_labels_tell_nothing() -> None:
    lesson = Lesson(np.zeros((2, 3, 1, 1), np.float32), np.array([0, 1]), 2)
    assert calibrated(load_classifier("lda"), ClassifySection(labels="none"), lesson, 0) == 1
