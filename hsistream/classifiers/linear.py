"""What linear classifiers share: one weight for every feature and class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsistream.classifiers.base import UNKNOWN_LOGIT, Lesson
from hsistream.sections import ClassifySection

PIXELS_AT_ONCE = 65_536
"""Pixels that are judged together."""

FLOAT32 = 4


@dataclass(frozen=True, eq=False)
class Linear:
    """Logits of features x: ``weights @ x + offsets``; (class, feature) and (class,) float64."""

    weights: NDArray[np.float64]
    offsets: NDArray[np.float64]

    @property
    def losses(self) -> NDArray[np.float32]:
        """None: it is not learnt in steps."""
        return np.zeros(0, np.float32)

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """Give weights and offsets."""
        return {"weights": self.weights, "offsets": self.offsets}

    def judge(self, squares: NDArray[np.float32]) -> NDArray[np.float32]:
        """Judge the pixels (pixel, feature, 1, 1), (pixel, class)."""
        return self._logits(np.ascontiguousarray(squares[:, :, 0, 0].T))

    def judge_window(
        self, features: NDArray[np.float32], wanted: NDArray[np.bool_]
    ) -> NDArray[np.float32]:
        """Judge the wanted pixels of (feature, y, x), each by itself, (pixel, class)."""
        return self._logits(features[:, wanted])

    def _logits(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Weigh features (feature, pixel), (pixel, class)."""
        found = np.empty((pixels.shape[1], len(self.weights)), np.float32)
        weights, offsets = self.weights.astype(np.float32), self.offsets.astype(np.float32)
        for first in range(0, pixels.shape[1], PIXELS_AT_ONCE):
            part = slice(first, first + PIXELS_AT_ONCE)
            found[part] = (weights @ pixels[:, part]).T + offsets
        return found


def reach(_settings: ClassifySection) -> int:
    """Pixels around a pixel that are looked at: none."""
    return 0


def restore(_settings: ClassifySection, arrays: Mapping[str, NDArray[Any]]) -> Linear:
    """Make of weights and offsets what they are of."""
    return Linear(arrays["weights"], arrays["offsets"])


def training_bytes(_settings: ClassifySection, features: int, classes: int) -> int:
    """Memory of a fit: covariances of the features, and what the solver keeps of the weights."""
    return 8 * (6 * features**2 + 40 * features * classes)


def judging_bytes(_settings: ClassifySection, _features: int, classes: int, pixels: int) -> int:
    """Memory of logits, and of those of a part."""
    return FLOAT32 * 2 * classes * pixels


@dataclass(frozen=True, eq=False)
class Standardised:
    """A lesson of single pixels: their mean taken off, and one scale for all features of a kind.

    Features of one kind keep their sizes to each other: the last of many components are
    mostly noise, and would weigh as much as the first if each had a scale of its own.

    ``values`` is (pixel, feature) float64, ``number`` (pixel,) the place of the class
    of each among ``known`` (known class,).
    """

    values: NDArray[np.float64]
    number: NDArray[np.int64]
    known: NDArray[np.int64]
    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    classes: int

    @classmethod
    def of(cls, lesson: Lesson) -> Standardised:
        """Standardise the pixels of a lesson; a feature that does not vary becomes 0."""
        pixels = lesson.pixels.astype(np.float64)
        mean, scale = pixels.mean(axis=0), _scale(pixels.var(axis=0), lesson.kind)
        known, number = np.unique(lesson.number, return_inverse=True)
        return cls((pixels - mean) * scale, number, known, mean, scale, lesson.classes)

    def means(self) -> NDArray[np.float64]:
        """Mean of every known class, (known class, feature)."""
        sums = np.zeros((len(self.known), self.values.shape[1]))
        np.add.at(sums, self.number, self.values)
        return sums / np.bincount(self.number)[:, None]

    def variance(self) -> float:
        """Mean square of a feature's deviation from the mean of its class."""
        return float(((self.values - self.means()[self.number]) ** 2).mean())

    def linear(self, weights: NDArray[np.float64], offsets: NDArray[np.float64]) -> Linear:
        """Take weights of standardised features and of known classes to all features and classes.

        Of two classes, one row of weights may stand for the difference of both.
        """
        if len(weights) == 1 and len(self.known) == 2:
            weights, offsets = (
                np.concatenate([-weights, weights]) / 2,
                np.array([-1, 1]) * offsets / 2,
            )
        whole = np.zeros((self.classes, len(self.mean)))
        shift = np.full(self.classes, UNKNOWN_LOGIT)
        whole[self.known] = weights * self.scale
        shift[self.known] = offsets - (weights * self.scale) @ self.mean
        return Linear(whole, shift)

    def alone(self) -> Linear:
        """Say the one known class of every pixel."""
        return self.linear(np.zeros((1, len(self.mean))), np.zeros(1))


def _scale(variance: NDArray[np.float64], kind: NDArray[np.int64] | None) -> NDArray[np.float64]:
    """Scale features so that the mean variance of their kind is 1; 0 for constant ones."""
    kinds = np.zeros(len(variance), np.int64) if kind is None else kind
    mean = (np.bincount(kinds, variance) / np.bincount(kinds))[kinds]
    return np.where((mean > 0) & (variance > 0), 1 / np.sqrt(np.where(mean > 0, mean, 1)), 0.0)
