"""What a classifier is given and what it owes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hsistream.sections import ClassifySection

UNKNOWN_LOGIT = -1e4
"""Logit of a class of which no label was learnt from."""


@dataclass(frozen=True, eq=False)
class Lesson:
    """Labelled pixels to learn from.

    Parameters
    ----------
    squares : (pixel, feature, side, side) float32
        Features of a pixel, in the middle, and of those around it that its
        classifier looks at; NaN where there is no data, or no frame.
    number : (pixel,) int64
        Class of each pixel, from 0.
    classes : int
        How many classes there are, with those of which no pixel is here.
    kind : (feature,) int64, optional
        Which features are of one kind, from 0, and so have one unit, such as the
        components of one projection; by default all are.
    """

    squares: NDArray[np.float32]
    number: NDArray[np.int64]
    classes: int
    kind: NDArray[np.int64] | None = None

    @property
    def pixels(self) -> NDArray[np.float32]:
        """Features of the pixels alone, (pixel, feature)."""
        middle = self.squares.shape[2] // 2
        return self.squares[:, :, middle, middle]

    def at(self, chosen: NDArray[Any]) -> Lesson:
        """Keep some of the pixels."""
        return replace(self, squares=self.squares[chosen], number=self.number[chosen])


class Fitted(Protocol):
    """A classifier that has learnt."""

    @property
    def losses(self) -> NDArray[np.float32]:
        """Loss of every step, (step,); none where there are no steps."""

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """Give all that it has learnt; the module's ``restore`` takes it."""

    def judge(self, squares: NDArray[np.float32]) -> NDArray[np.float32]:
        """Judge the pixels in the middle of squares (pixel, feature, side, side).

        Returns
        -------
        (pixel, class) float32
            Logits before calibration.
        """

    def judge_window(
        self, features: NDArray[np.float32], wanted: NDArray[np.bool_]
    ) -> NDArray[np.float32]:
        """Judge pixels of a window.

        Parameters
        ----------
        features : (feature, y + 2 reach, x + 2 reach) float32
            With all that is looked at around the window; NaN where there is no
            data, or no frame.
        wanted : (y, x) bool
            Pixels to judge; all have data.

        Returns
        -------
        (wanted pixel, class) float32
            Logits before calibration, in row-major order; those that ``judge`` gives.
        """


class Classifier(Protocol):
    """A module of this package."""

    HELD_OUT_FITS: int
    """Fits to a part of the labels by which probabilities are calibrated on the others."""

    def reach(self, settings: ClassifySection) -> int:
        """Pixels around a pixel whose features are looked at."""

    def fit(self, settings: ClassifySection, lesson: Lesson, seed: int) -> Fitted:
        """Learn; the same lesson, settings and seed give the same.

        Raises
        ------
        ValueError
            If it cannot learn from such labels or features; the message ends with what
            to do, without a full stop.
        """

    def restore(self, settings: ClassifySection, arrays: Mapping[str, NDArray[Any]]) -> Fitted:
        """Make of what :meth:`Fitted.arrays` gave what gave it."""

    def training_bytes(self, settings: ClassifySection, features: int, classes: int) -> int:
        """Memory of a fit beside that of its lesson.

        Raises
        ------
        ValueError
            If it cannot learn from so many features, as for ``fit``.
        """

    def judging_bytes(
        self, settings: ClassifySection, features: int, classes: int, pixels: int
    ) -> int:
        """Memory of judging a window of so many pixels, beside that of its features."""
