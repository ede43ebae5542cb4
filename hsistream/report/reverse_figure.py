"""A picture of a diffusion model at work: noise added to a square, and taken away again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hsistream.files import replacing
from hsistream.report.quicklook import false_colour

if TYPE_CHECKING:  # its module loads the networks
    from hsistream.methods.reverse import Reversal

SHOWN = (5, 3, 1)
"""Sixths of the way along the bands at which red, green and blue lie."""

INCHES = 1.7
"""Side of one picture."""


def save_reversal(shown: Reversal, path: Path) -> None:
    """Draw both ways as rows of pictures, with the spectrum of the middle pixel below each.

    Parameters
    ----------
    shown : Reversal
        What is drawn.
    path : Path
        The PNG file; it is replaced once the new one is whole.

    Raises
    ------
    StoreError
        If the file cannot be written.
    """
    from matplotlib.figure import Figure

    there = [shown.clean, *shown.noised]
    back = [shown.last, *shown.restored]
    titles = ["clean", *(f"noise of step {step}" for step in shown.steps)]
    ends = ["restored", *(f"back at step {step}" for step in shown.steps)]
    columns = len(there)
    figure = Figure(figsize=(INCHES * columns, INCHES * 4.6), layout="constrained")
    axes = figure.subplots(4, columns, squeeze=False)
    for row, (squares, names) in enumerate(((there, titles), (back, ends))):
        for column, (square, name) in enumerate(zip(squares, names, strict=True)):
            _draw(axes[2 * row : 2 * row + 2, column], square, shown.clean, name)
    with replacing(path) as partial:
        figure.savefig(partial, format="png", dpi=120)


def _draw(axes: Any, square: NDArray[np.float32], clean: NDArray[np.float32], name: str) -> None:
    """Draw one square, and the spectrum of its middle beside that without noise."""
    picture, spectrum = axes
    bands = [len(square) * sixth // 6 for sixth in SHOWN]
    known = np.ones(square.shape[1:], np.bool_)
    picture.imshow(false_colour([square[bands]], [known])[0], interpolation="nearest")
    picture.set(xticks=[], yticks=[])
    picture.set_title(name, fontsize=9)
    row, column = square.shape[1] // 2, square.shape[2] // 2
    spectrum.plot(clean[:, row, column], color="0.6", linewidth=1)
    spectrum.plot(square[:, row, column], color="C0", linewidth=1)
    spectrum.set(ylim=(-2.2, 2.2), xticks=[])
    spectrum.tick_params(labelsize=7)
