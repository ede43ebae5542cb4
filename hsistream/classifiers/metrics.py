"""Scores of a map of classes, from a table of how often each class was taken for each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class ClassScores:
    """Scores of one confusion matrix.

    ``oa`` (overall accuracy), ``aa`` (mean recall of the classes that occur) and
    ``kappa`` are shares, at most 1; ``recall``, ``precision`` and ``iou`` (class,) are
    NaN where a class does not occur, or is never said.
    """

    oa: float
    aa: float
    kappa: float
    recall: NDArray[np.float64]
    precision: NDArray[np.float64]
    iou: NDArray[np.float64]


def confusion(
    number: NDArray[np.integer], said: NDArray[np.integer], classes: int
) -> NDArray[np.int64]:
    """Count pixels by their class and by what was said of them, (class, said)."""
    cells = number.astype(np.int64) * classes + said
    return np.bincount(cells, minlength=classes**2).reshape(classes, classes)


def class_scores(table: NDArray[np.integer]) -> ClassScores:
    """Score a confusion matrix (class, said) with at least one pixel.

    Examples
    --------
    >>> found = class_scores(np.array([[50, 2, 3], [5, 40, 5], [0, 1, 44]]))
    >>> round(found.oa, 6), round(found.aa, 6), round(found.kappa, 6)
    (0.893333, 0.895623, 0.83984)
    """
    right, own, said = np.diag(table).astype(float), table.sum(axis=1), table.sum(axis=0)
    pixels = table.sum()
    recall, precision = _shares(right, own), _shares(right, said)
    oa, chance = right.sum() / pixels, float(own / pixels @ (said / pixels))
    kappa = (oa - chance) / (1 - chance) if chance < 1 else 1.0
    iou = _shares(right, own + said - right)
    return ClassScores(float(oa), float(np.nanmean(recall)), float(kappa), recall, precision, iou)


def _shares(part: NDArray[np.floating], whole: NDArray[np.number]) -> NDArray[np.float64]:
    """Divide, NaN where there is nothing."""
    return np.where(whole > 0, part / np.where(whole > 0, whole, 1), np.nan)
