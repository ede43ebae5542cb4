"""Probabilities that mean what they say: one temperature for all logits.

The temperature is found on labels that the fits it judges have not seen; all of
them are of the training side, and none of the test.

References
----------
.. [1] C. Guo et al., "On calibration of modern neural networks", ICML 2017.
   arXiv:1706.04599
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from hsistream.classifiers.base import Classifier, Lesson
from hsistream.sections import ClassifySection

PARTS = 5
"""Parts into which the labels of every class are divided: one is held out at a time."""

LIMITS = (0.2, 20.0)
"""Least and greatest temperature: few labels tell no more than that."""


def calibrated(
    classifier: Classifier, settings: ClassifySection, lesson: Lesson, seed: int
) -> float:
    """Find the temperature of a classifier; 1 where too few labels tell anything.

    Parameters
    ----------
    classifier : Classifier
        Fitted to parts of the lesson, ``HELD_OUT_FITS`` times.
    settings : ClassifySection
        Of the classifier.
    lesson : Lesson
        All labels that may be learnt from.
    seed : int
        Decides which labels are held out together.

    Returns
    -------
    float
        Logits are to be divided by it.
    """
    part = parts_of(lesson.number, seed)
    logits, numbers = [], []
    for held in range(classifier.HELD_OUT_FITS):
        inner = part != held
        judged = ~inner & np.isin(lesson.number, lesson.number[inner])
        if judged.any() and _enough(lesson.number[inner]):
            fitted = classifier.fit(settings, lesson.at(inner), seed)
            logits.append(fitted.judge(lesson.squares[judged]))
            numbers.append(lesson.number[judged])
    return temperature(np.concatenate(logits), np.concatenate(numbers)) if logits else 1.0


def parts_of(number: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """Divide labels (pixel,) into parts (pixel,) that hold as much of every class."""
    random = np.random.default_rng((seed, len(number)))
    part = np.empty(len(number), np.int64)
    for each in np.unique(number):
        own = np.flatnonzero(number == each)
        part[random.permutation(own)] = np.arange(len(own)) % PARTS
    return part


def temperature(logits: NDArray[np.floating], number: NDArray[np.int64]) -> float:
    """Find the temperature at which logits (pixel, class) make classes (pixel,) likeliest."""

    def surprise(log_temperature: float) -> float:
        scores = log_softmax(logits.astype(np.float64) / np.exp(log_temperature), axis=1)
        return -float(scores[np.arange(len(number)), number].mean())

    low, high = np.log(LIMITS)
    return float(np.exp(minimize_scalar(surprise, bounds=(low, high), method="bounded").x))


def probabilities(logits: NDArray[np.float32], temperature: float) -> NDArray[np.float32]:
    """Turn logits (pixel, class) into probabilities (pixel, class)."""
    return np.asarray(softmax(logits / np.float32(temperature), axis=1))


def _enough(number: NDArray[np.int64]) -> bool:
    """Tell whether labels are of two classes, and one has two."""
    counts = np.bincount(number)
    return bool((counts > 0).sum() > 1 and counts.max() > 1)
