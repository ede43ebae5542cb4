"""Long frames in pictures: cut into pieces that lie side by side, or a flight line is a thread."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

LONG = 4.0
"""A frame whose sides differ by this factor is folded."""
GAP_SHARE = 0.06
"""Width of the gaps between pieces, in that of a piece."""


@dataclass(frozen=True, slots=True)
class Fold:
    """How the picture of a frame is folded.

    Parameters
    ----------
    tall : bool
        Whether rows are cut, so that pieces follow each other from left to right; if
        not, columns are, and pieces follow each other downwards.
    pieces : int
        Number of pieces; one leaves the picture as it is.
    length : int
        Pixels of a piece along the side that is cut; the last piece may be shorter.
    width : int
        Pixels of a piece along the other side.
    gap : int
        Pixels between two pieces.
    """

    tall: bool
    pieces: int
    length: int
    width: int
    gap: int

    @classmethod
    def of(cls, shape: tuple[int, ...]) -> Self:
        """Choose how to fold a picture (y, x), so that it becomes about as wide as it is high.

        Examples
        --------
        >>> Fold.of((6400, 100))
        Fold(tall=True, pieces=8, length=800, width=100, gap=6)
        >>> Fold.of((300, 100)).pieces
        1
        """
        tall = shape[0] >= shape[1]
        longer, width = (shape[0], shape[1]) if tall else (shape[1], shape[0])
        ratio = longer / max(1, width)
        pieces = round(ratio**0.5) if ratio >= LONG else 1
        return cls(tall, pieces, -(-longer // pieces), width, max(1, round(GAP_SHARE * width)))

    @property
    def pitch(self) -> int:
        """Pixels from the beginning of a piece to that of the next."""
        return self.width + self.gap

    @property
    def shape(self) -> tuple[int, int]:
        """Size (y, x) of the folded picture."""
        across = self.pieces * self.pitch - self.gap
        return (self.length, across) if self.tall else (across, self.length)

    def apply(self, picture: NDArray[Any], fill: Any) -> NDArray[Any]:
        """Fold a picture (y, x) or (y, x, channel); ``fill`` is seen where there is no piece."""
        if self.pieces == 1:
            return picture
        folded = np.full((*self.shape, *picture.shape[2:]), fill, picture.dtype)
        # along the side that is cut first, whichever it is
        source, target = (each if self.tall else each.swapaxes(0, 1) for each in (picture, folded))
        for piece in range(self.pieces):
            part = source[piece * self.length : (piece + 1) * self.length]
            start = piece * self.pitch
            target[: len(part), start : start + self.width] = part
        return folded

    def place(self, pixels: NDArray[np.integer[Any]]) -> NDArray[np.integer[Any]]:
        """Tell where pixels (pixel, 2) of a picture, rows and columns, are when it is folded."""
        cut, other = (0, 1) if self.tall else (1, 0)
        piece, placed = pixels[:, cut] // self.length, pixels.copy()
        placed[:, cut] -= piece * self.length
        placed[:, other] += piece * self.pitch
        return placed

    @property
    def words(self) -> str:
        """Say how the picture is folded; nothing if it is not.

        Examples
        --------
        >>> Fold.of((100, 6400)).words, Fold.of((100, 100)).words
        ('in 8 pieces from top to bottom', '')
        """
        if self.pieces == 1:
            return ""
        return f"in {self.pieces} pieces from {'left to right' if self.tall else 'top to bottom'}"
