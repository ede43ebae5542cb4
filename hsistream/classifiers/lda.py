"""Linear discriminant analysis with shrunk covariances: the mean of each class, and how it varies.

Few labels tell little of how features vary together. The covariance of every class
is therefore drawn towards that of features without correlation, as far as the labels
themselves advise; all classes count the same, however many labels they have. Where
labels do not tell at all how a class varies, because there is one of each or they are
all alike, the nearest mean decides.

References
----------
.. [1] O. Ledoit and M. Wolf, "Honey, I shrunk the sample covariance matrix",
   Journal of Portfolio Management 30, 110-119, 2004. doi:10.3905/jpm.2004.110
"""

from __future__ import annotations

import warnings

import numpy as np
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

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

LEAST_VARIANCE = 1e-12
"""Mean variance within classes, of standardised features, below which nothing varies."""

HELD_OUT_FITS = 5
"""Fits to a part of the labels by which probabilities are calibrated on the others."""


def fit(_settings: ClassifySection, lesson: Lesson, _seed: int) -> Linear:
    """Learn from single pixels."""
    pixels = Standardised.of(lesson)
    if len(pixels.known) == 1:
        return pixels.alone()
    if pixels.variance() < LEAST_VARIANCE:
        means = pixels.means()
        return pixels.linear(means, -(means**2).sum(axis=1) / 2)
    alike = np.full(len(pixels.known), 1 / len(pixels.known))
    model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto", priors=alike)
    with warnings.catch_warnings():
        # a class of one label has no covariance, and adds none
        warnings.filterwarnings("ignore", "Only one sample available", UserWarning)
        model.fit(pixels.values, pixels.number)
    return pixels.linear(model.coef_, model.intercept_)
