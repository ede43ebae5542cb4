"""Logistic regression of all classes at once, with a penalty on large weights.

Labels weigh so that all classes count the same, however many labels they have.
"""

from __future__ import annotations

from sklearn.linear_model import LogisticRegression

from hsistream.classifiers.base import Lesson
from hsistream.classifiers.linear import (
    Linear,
    Standardised,
    judging_bytes,
    reach,
    restore,
    training_bytes,
)
from hsistream.sections import ClassifySection

__all__ = ["HELD_OUT_FITS", "fit", "judging_bytes", "reach", "restore", "training_bytes"]

HELD_OUT_FITS = 5
"""Fits to a part of the labels by which probabilities are calibrated on the others."""

STEPS_MOST = 2000
"""Steps of the solver; it stops long before where classes can be told apart."""


def fit(settings: ClassifySection, lesson: Lesson, _seed: int) -> Linear:
    """Learn from single pixels."""
    pixels = Standardised.of(lesson)
    if len(pixels.known) == 1:
        return pixels.alone()
    model = LogisticRegression(
        C=settings.penalty, class_weight="balanced", max_iter=STEPS_MOST, tol=1e-4
    )
    model.fit(pixels.values, pixels.number)
    return pixels.linear(model.coef_, model.intercept_)
