"""Labelled pixels of a scene: frame, row, column and class of each, and of no others."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsistream.errors import ConfigError
from hsistream.places import differs, inside
from hsistream.readers.labels import USUAL_KEY, Labels
from hsistream.scene.scene import Scene
from hsistream.tiles import Window

Indices = NDArray[np.int64]

UNLABELLED = ("", "0", "None", "nan")
"""What a table says of a place that is not labelled."""

WHOLE = re.compile(r"([+-]?\d+)\.0*")


@dataclass(frozen=True, slots=True)
class LabelOptions:
    """How a file of labels is read.

    ``key`` names the raster that is wanted, ``frame`` the only frame that has
    labels, ``field`` the column or the attribute that holds the class.
    """

    key: str | None = None
    frame: str | None = None
    field: str = "class"


@dataclass(frozen=True, eq=False)
class Labelled:
    """Labelled pixels, in the order of frame, row and column, none twice.

    Parameters
    ----------
    frame, row, column : (pixel,) int64
        Where they lie.
    number : (pixel,) int64
        Class of each, from 0: its place among ``names``.
    names : tuple of str
        Names of the classes; numbers by their size, then words.
    notes : tuple of str
        What a user should know of labels that were left out.
    """

    frame: Indices
    row: Indices
    column: Indices
    number: Indices
    names: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def fingerprint(self) -> str:
        """Hash of the pixels, their classes and the names of these."""
        places = np.stack([self.frame, self.row, self.column, self.number]).astype("<i8")
        digest = hashlib.blake2b("\n".join(self.names).encode(), digest_size=12)
        digest.update(places.tobytes())
        return digest.hexdigest()

    def within(self, frame: int, window: Window) -> Labelled:
        """Keep the pixels of a window of a frame."""
        places = {"frame": self.frame, "row": self.row, "column": self.column}
        return self.at(inside(places, frame, window))

    def at(self, chosen: NDArray[Any]) -> Labelled:
        """Keep some of the pixels, and all the classes."""
        return Labelled(
            self.frame[chosen],
            self.row[chosen],
            self.column[chosen],
            self.number[chosen],
            self.names,
            self.notes,
        )


def class_name(value: Any) -> str:
    """Write the class that a table holds; columns with gaps make 3.0 of 3.

    Examples
    --------
    >>> class_name(3.0), class_name(" 3.0"), class_name("v1.0"), class_name(None)
    ('3', '3', 'v1.0', '')
    """
    text = "" if value is None else str(value).strip()
    whole = WHOLE.fullmatch(text)
    return whole[1] if whole else text


def joined(
    frame: Indices, row: Indices, column: Indices, names: Sequence[str], notes: Sequence[str] = ()
) -> Labelled:
    """Sort labelled pixels by place, and leave out those of which several classes are said.

    Parameters
    ----------
    frame, row, column : (label,) int64
        Where labels lie; several may lie in one pixel.
    names : sequence of str
        Class of every label.
    notes : sequence of str
        Carried along.
    """
    known, number = _numbered(names)
    order = np.lexsort((number, column, row, frame))
    labels = np.stack([frame, row, column, number])[:, order]
    labels = labels[:, differs(labels)]
    own = differs(labels[:3])
    several = ~own
    several[:-1] |= ~own[1:]
    ambiguous = int((own & several).sum())
    if ambiguous:
        notes = (*notes, f"{ambiguous:,} pixels have labels of several classes and are left out")
    kept = labels[:, ~several]
    return Labelled(kept[0], kept[1], kept[2], kept[3], known, tuple(notes))


def _numbered(names: Sequence[str]) -> tuple[tuple[str, ...], Indices]:
    """Give classes their numbers: numbers by their size first, then words by the alphabet."""
    words, member = np.unique(np.asarray(names, np.str_), return_inverse=True)
    order = sorted(range(len(words)), key=lambda each: _rank(str(words[each])))
    place = np.empty(len(words), np.int64)
    place[order] = np.arange(len(words))
    return tuple(str(words[each]) for each in order), place[member.ravel()]


def _rank(name: str) -> tuple[bool, int, str]:
    """Rank a name among others."""
    return (False, int(name), "") if name.isdecimal() else (True, 0, name)


def by_frame(
    scene: Scene, rasters: Mapping[str, Labels], frame: str | None, what: str = "truth"
) -> dict[str, Labels]:
    """Match rasters (y, x) to the frames of a scene, by name or because there is one of each.

    Raises
    ------
    ConfigError
        If no raster is that of a frame, or one has another size.
    """
    names = [each.name for each in scene.frames] if frame is None else [frame]
    for name in names:
        scene.frame_number(name)
    found = {name: rasters[name] for name in names if name in rasters}
    others = rasters.keys() & {each.name for each in scene.frames}
    if not found and not others and len(names) == 1 and (len(rasters) == 1 or USUAL_KEY in rasters):
        found = {names[0]: rasters.get(USUAL_KEY, next(iter(rasters.values())))}
    if not found:
        raise ConfigError(
            f"The {what} must name its frames or hold one array for one frame, but it holds "
            f"{', '.join(sorted(rasters)[:8])} and the frames are {', '.join(names[:8])}. Use "
            f"--key to choose an array and --frame to choose a frame."
        )
    for name, reference in found.items():
        _check_shape(scene, name, reference, what)
    return found


def _check_shape(scene: Scene, name: str, reference: Labels, what: str) -> None:
    """Refuse a raster of another size."""
    shape = scene.frames[scene.frame_number(name)].shape
    if reference.shape != shape:
        raise ConfigError(
            f"The {what} of {name} must be as large as the frame, {shape[0]} x {shape[1]} px "
            f"(y, x), but is {' x '.join(map(str, reference.shape))}."
            + (" Is it transposed?" if reference.shape == shape[::-1] else "")
        )
