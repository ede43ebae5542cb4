"""One picture of the map, beside the scene in false colour."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsistream.files import replacing
from hsistream.report.facts import FramePicture, largest_label
from hsistream.report.folding import Fold
from hsistream.report.palette import NO_DATA_RGB, css_colour, palette
from hsistream.report.quicklook import label_image
from hsistream.runs import NO_LABEL

TITLE_CHARACTERS = 132
"""Characters of the titles of one row."""
LEGEND_PARTS = 6
"""Names of classes in one row of the legend."""
NO_SIGN = "\N{WHITE SQUARE}"
"""What stands for a sign that the font does not have."""
PICTURE_FRAMES, PICTURE_LABELS = 6, 40
"""At most so many frames and legend entries in the picture."""


def write_picture(frames: Sequence[FramePicture], path: Path, classes: Sequence[str] = ()) -> None:
    """Write false colour and label map of the first six frames as one PNG.

    Parameters
    ----------
    frames : sequence of FramePicture
        The frames, side by side; a single frame has its map beside it, several
        have theirs below.
    path : Path
        The PNG file; it is replaced once the new one is whole.
    classes : sequence of str
        Names of the labels, where they are classes; none for clusters.

    Raises
    ------
    StoreError
        If the file cannot be written.
    """
    from matplotlib.figure import Figure

    shown = list(frames[:PICTURE_FRAMES])
    colours = palette(largest_label(shown) + 1)
    rows, columns = (1, 2) if len(shown) == 1 else (2, max(1, len(shown)))
    figure = Figure(figsize=_picture_inches(shown, rows, columns), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for frame, photograph, label_map in zip(shown, axes, axes[len(shown) :], strict=False):
        fold = Fold.of(frame.labels.shape)
        photograph.imshow(fold.apply(frame.colour, NO_DATA_RGB))
        photograph.set_title(_plain(_short(_drawn(frame.name), columns)), fontsize=10)
        photograph.set_xlabel(fold.words, fontsize=8)
        labels = fold.apply(frame.labels, NO_LABEL)
        label_map.imshow(label_image(labels, colours), interpolation="nearest")
        label_map.set_facecolor(css_colour(NO_DATA_RGB))
        label_map.set_title("classes" if classes else "clusters", fontsize=10)
    for each in axes:
        each.set(xticks=[], yticks=[], anchor="N")
        each.spines[:].set_visible(False)
    _add_legend(figure, shown, colours, classes)
    with replacing(path) as partial:
        figure.savefig(partial, format="png", dpi=120)


def _drawn(name: str) -> str:
    """Put a white square for every sign of a name that the font does not have."""
    known = _signs()
    return "".join(sign if ord(sign) in known else NO_SIGN for sign in " ".join(name.split()))


@cache
def _signs() -> Collection[int]:
    """Give the code points of the signs that the font of the picture has."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    return get_font(findfont(FontProperties())).get_charmap().keys()


def _plain(name: str) -> str:
    """Keep matplotlib from reading a formula between two dollars."""
    return name.replace("$", r"\$")


def _short(name: str, columns: int) -> str:
    """Cut a long name in its middle, so that neighbours do not meet."""
    most = TITLE_CHARACTERS // columns
    return name if len(name) <= most else f"{name[: most // 2 - 1]}…{name[-(most // 2) :]}"


def _picture_inches(frames: Sequence[FramePicture], rows: int, columns: int) -> tuple[float, float]:
    """Choose the size of the picture from those of its frames."""
    folded = [Fold.of(frame.labels.shape).shape for frame in frames]
    tallest = max((height / width for height, width in folded), default=1.0)
    width = max(2.4, 9.6 / columns)
    height = min(9.0, max(0.6, width * tallest)) + 0.25
    return columns * width, rows * height + 0.4


def _add_legend(
    figure: Any,
    frames: Sequence[FramePicture],
    colours: NDArray[np.uint8],
    classes: Sequence[str],
) -> None:
    """Name the labels below the pictures."""
    from matplotlib.patches import Patch

    found: set[int] = set().union(*(np.unique(frame.labels).tolist() for frame in frames))
    known = sorted(found - {NO_LABEL})[:PICTURE_LABELS]
    patches = [
        Patch(
            color=css_colour(colours[label].tolist()),
            label=_legend_name(label, classes),
        )
        for label in known
    ]
    if patches:
        columns = min(len(patches), LEGEND_PARTS if classes else 12)
        figure.legend(
            handles=patches, loc="outside lower center", ncols=columns,
            frameon=False, fontsize=9, handlelength=1.1, handleheight=1.1, columnspacing=1.2,
        )  # fmt: skip


def _legend_name(label: int, classes: Sequence[str]) -> str:
    """Name a label by its class; by its number if the font cannot write that, as the page says."""
    name = _drawn(classes[label]) if classes else str(label)
    return str(label) if NO_SIGN in name else _plain(_short(name, LEGEND_PARTS))
