"""Colours of the labels and of a scale: fixed, so that a label looks the same everywhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

BASE = (
    "#0072B2", "#E69F00", "#009E73", "#B20020", "#59BBFB", "#A264F6",
    "#760F72", "#650200", "#242BB6", "#F14634", "#68595A", "#B1A0A0",
)  # fmt: skip
"""Twelve colours, each at least 2:1 against white, chosen so that the smallest distance of two of
them stays large (in OKLab) also when seen without red, green or blue cones; ordered so that the
first few differ most."""

GOLDEN_ANGLE_RAD = np.pi * (3 - np.sqrt(5))
LIGHTNESS = (0.62, 0.45, 0.76)
"""Lightness (OKLab) of the colours after the twelfth, in turn."""
CHROMA = (0.15, 0.11)
"""Distance from grey (OKLab) of the colours after the twelfth, in turn."""

SHADE_STEP, SHADE_SPAN = 0.07, 0.3
"""Difference in lightness (OKLab) of two shades of a colour, and of the first and the last."""
SHADE_LIMITS = (0.25, 0.92)
"""Lightness of the darkest and of the lightest shade."""

NO_DATA_RGB = (236, 236, 232)
"""What pixels without data look like where a picture has no transparency."""

COARSE, FINE = 0.9, 0.98
"""By what the chroma of a colour shrinks in turn until the screen has it: of labels, of shades."""
IN_GAMUT = 1e-6
"""Rounding that a colour of the screen may have, linear sRGB."""

# M1 and M2 of OKLab: linear sRGB to cone responses, and their cube roots to (L, a, b).
_TO_CONES = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
_TO_LAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)


def palette(count: int) -> NDArray[np.uint8]:
    """Choose colours for labels.

    A longer palette begins with the shorter one, so a label keeps its colour
    in every picture.

    Parameters
    ----------
    count : int
        Number of colours; label ``i`` has colour ``i``.

    Returns
    -------
    (count, 3) uint8
        Red, green, blue (sRGB); no two colours are equal.

    References
    ----------
    .. [1] B. Ottosson, "A perceptual color space for image processing", 2020.
       https://bottosson.github.io/posts/oklab/

    Examples
    --------
    >>> palette(2)
    array([[  0, 114, 178],
           [230, 159,   0]], dtype=uint8)
    """
    colours = [_from_hex(text) for text in BASE]
    used, number = {*colours, NO_DATA_RGB}, 0
    while len(colours) < count:
        colour = _turned(number)
        number += 1
        if colour not in used:
            used.add(colour)
            colours.append(colour)
    return np.array(colours[:count], np.uint8).reshape(-1, 3)


def shades(colours: NDArray[np.uint8], labels: NDArray[np.integer[Any]]) -> NDArray[np.uint8]:
    """Choose a shade of its label's colour for every member of a label.

    Parameters
    ----------
    colours : (label, 3) uint8
        Colours of the labels.
    labels : (member,) int
        Label of every member; those of one label go from dark to light in
        their order. A single member has the colour itself.

    Returns
    -------
    (member, 3) uint8
        No two are equal, so that a member can be told by its colour.

    Examples
    --------
    >>> shades(palette(2), np.array([0, 1, 0]))
    array([[  4, 104, 162],
           [230, 159,   0],
           [ 25, 125, 189]], dtype=uint8)
    """
    found = np.zeros((len(labels), 3), np.uint8)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        found[members] = _shades_of(colours[label], len(members))
    used: set[tuple[int, ...]] = set()
    for member, colour in enumerate(found.tolist()):
        while tuple(colour) in used:
            colour[2] = (colour[2] + 1) % 256
        used.add(tuple(colour))
        found[member] = colour
    return found


def css_colours(count: int) -> list[str]:
    """Write a palette as CSS colours.

    Examples
    --------
    >>> css_colours(2)
    ['#0072b2', '#e69f00']
    """
    return [css_colour(colour) for colour in palette(count).tolist()]


def css_colour(colour: Sequence[int]) -> str:
    """Write red, green and blue from 0 to 255 as a CSS colour."""
    return "#{:02x}{:02x}{:02x}".format(*colour)


def scale_colours(steps: int) -> NDArray[np.uint8]:
    """Choose colours of a scale from low to high, (steps, 3) uint8: matplotlib's viridis."""
    from matplotlib import colormaps

    return colormaps["viridis"](np.linspace(0, 1, steps), bytes=True)[:, :3]


def _from_hex(text: str) -> tuple[int, int, int]:
    """Read #RRGGBB."""
    return int(text[1:3], 16), int(text[3:5], 16), int(text[5:7], 16)


def _turned(number: int) -> tuple[int, int, int]:
    """Turn the hue by the golden angle."""
    lightness = LIGHTNESS[number % len(LIGHTNESS)]
    chroma = CHROMA[number % len(CHROMA)]
    return _on_screen(lightness, chroma, number * GOLDEN_ANGLE_RAD, COARSE)


def _shades_of(colour: NDArray[np.uint8], count: int) -> NDArray[np.uint8]:
    """Vary the lightness of a colour, (count, 3) from dark to light."""
    if count == 1:
        return colour[None]
    lightness, green_red, blue_yellow = _lab(colour)
    chroma, hue = float(np.hypot(green_red, blue_yellow)), float(np.arctan2(blue_yellow, green_red))
    half = min(SHADE_SPAN, SHADE_STEP * (count - 1)) / 2
    middle = min(max(lightness, SHADE_LIMITS[0] + half), SHADE_LIMITS[1] - half)
    steps = np.linspace(middle - half, middle + half, count)
    return np.array([_on_screen(step, chroma, hue, FINE) for step in steps], np.uint8)


def _on_screen(
    lightness: float, chroma: float, hue_rad: float, shrinking: float
) -> tuple[int, int, int]:
    """Turn OKLab in polar form to sRGB; the chroma shrinks until the screen has the colour."""
    linear = _linear(lightness, chroma, hue_rad)
    while linear.min() < -IN_GAMUT or linear.max() > 1 + IN_GAMUT:
        chroma *= shrinking
        linear = _linear(lightness, chroma, hue_rad)
    linear = linear.clip(0, 1)
    bent = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    red, green, blue = np.round(255 * bent).astype(int).tolist()
    return red, green, blue


def _lab(colour: NDArray[np.uint8]) -> tuple[float, float, float]:
    """Turn sRGB to OKLab."""
    bent = colour / 255
    linear = np.where(bent <= 0.04045, bent / 12.92, ((bent + 0.055) / 1.055) ** 2.4)
    lightness, green_red, blue_yellow = (_TO_LAB @ np.cbrt(_TO_CONES @ linear)).tolist()
    return lightness, green_red, blue_yellow


def _linear(lightness: float, chroma: float, hue_rad: float) -> NDArray[np.float64]:
    """Turn OKLab in polar form to linear sRGB, which may lie outside [0, 1]."""
    lab = np.array([lightness, chroma * np.cos(hue_rad), chroma * np.sin(hue_rad)])
    cones: NDArray[np.float64] = np.linalg.solve(_TO_LAB, lab) ** 3
    return np.linalg.solve(_TO_CONES, cones)
