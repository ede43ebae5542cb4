"""What the page shows of classes learnt from labels, as plain values for its template."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hsistream.classifiers.metrics import ClassScores, class_scores
from hsistream.report.facts import ClassificationSummary

CELLS_MOST = 40
"""Classes of a confusion matrix that can be read."""


@dataclass(frozen=True, slots=True)
class ClassRow:
    """One class: its labels, those the map has learnt from, and mean shares over the splits.

    A share is None where the class was never tested, or never said.
    """

    label: int
    name: str
    labelled: int
    learnt: int
    recall: float | None
    recall_sd: float | None
    precision: float | None
    iou: float | None


@dataclass(frozen=True, slots=True)
class Cell:
    """Pixels of one class that were taken for another, and their share of the class."""

    pixels: int
    share: float


@dataclass(frozen=True, slots=True)
class Step:
    """Pixels of the tests whose class had a probability of about this, and how often it was right.

    ``low`` and ``high`` limit the probability.
    """

    low: float
    high: float
    pixels: int
    confidence: float
    right: float


@dataclass(frozen=True, slots=True)
class ClassView:
    """Classes as the template draws them; ``matrix`` is empty where it could not be read."""

    words: str
    rows: list[ClassRow]
    matrix: list[list[Cell]]
    steps: list[Step]
    error: float | None


def class_view(found: ClassificationSummary) -> ClassView:
    """Write what there is to say of classes."""
    steps = _steps(found)
    judged = sum(step.pixels for step in steps)
    missed = sum(step.pixels * abs(step.confidence - step.right) for step in steps)
    total = found.confusion.sum(axis=0)
    readable = len(found.names) <= CELLS_MOST and len(found.confusion)
    return ClassView(
        describe(found),
        _rows(found),
        _matrix(total) if readable else [],
        steps,
        missed / judged if judged else None,
    )


def describe(found: ClassificationSummary) -> str:
    """Say in sentences what was learnt from, and of what the scores are."""
    learnt = (
        f"The map was learnt from {int(found.learnt.sum()):,} of "
        f"{int(found.labelled.sum()):,} labelled pixels, by {found.classifier} on the features "
        f"{found.features}."
    )
    splits = len(found.confusion)
    if not splits:
        return f"{learnt} No labels were held back, so nothing is known of how right it is."
    return (
        f"{learnt} The scores are not those of this map, but of {splits} others, each learnt from "
        f"fewer labels: {found.split}. Only labels that were not learnt from are tested."
    )


def _rows(found: ClassificationSummary) -> list[ClassRow]:
    """Describe every class."""
    scores = [class_scores(table) for table in found.confusion]
    return [
        ClassRow(
            label=label,
            name=name,
            labelled=int(found.labelled[label]),
            learnt=int(found.learnt[label]),
            recall=_mean(scores, "recall", label),
            recall_sd=_deviation(scores, label),
            precision=_mean(scores, "precision", label),
            iou=_mean(scores, "iou", label),
        )
        for label, name in enumerate(found.names)
    ]


def _mean(scores: list[ClassScores], share: str, label: int) -> float | None:
    """Mean of a share of one class over the splits in which there is one."""
    values = np.array([getattr(each, share)[label] for each in scores])
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else None


def _deviation(scores: list[ClassScores], label: int) -> float | None:
    """Deviation of the recall of one class over the splits."""
    values = np.array([each.recall[label] for each in scores])
    known = values[np.isfinite(values)]
    return float(known.std(ddof=1)) if len(known) > 1 else None


def _matrix(total: np.ndarray) -> list[list[Cell]]:
    """Write a confusion matrix (class, said)."""
    own = np.maximum(total.sum(axis=1, keepdims=True), 1)
    shares = total / own
    return [
        [Cell(int(pixels), float(share)) for pixels, share in zip(*line, strict=True)]
        for line in zip(total, shares, strict=True)
    ]


def _steps(found: ClassificationSummary) -> list[Step]:
    """Compare how likely classes were said to be with how often they were right."""
    bins = len(found.judged)
    return [
        Step(
            number / bins,
            (number + 1) / bins,
            int(pixels),
            float(found.confidence[number] / pixels),
            float(found.right[number] / pixels),
        )
        for number, pixels in enumerate(found.judged)
        if pixels
    ]
