"""Curves as plain numbers, for a template that draws them.

The page draws its curves itself rather than embedding pictures of them: they
follow the light or dark theme of the reader, each cluster can be picked out,
and a curve costs a few kilobytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from hsistream.report.drawing import Axis, Box, axis_over, extent, path_through, rounded, runs_of
from hsistream.report.facts import counted

EIGENVALUES_SHOWN = 60


@dataclass(frozen=True, slots=True)
class Curve:
    """The mean spectrum of one cluster and its spread, as SVG paths."""

    label: int
    colour: str
    line: str
    spread: str


@dataclass(frozen=True, slots=True)
class SpectraPlot:
    """The curves of all clusters; ``gaps`` are the (start, width) of runs of bad bands."""

    x: Axis
    y: Axis
    curves: list[Curve]
    gaps: list[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Mark:
    """A vertical line with a text, which starts or ends there."""

    at: float
    text: str
    anchor: Literal["start", "end"]
    strong: bool


@dataclass(frozen=True, slots=True)
class EigenvaluePlot:
    """Eigenvalues as points (x, y, belongs to the used ones) and the number of clusters."""

    x: Axis
    y: Axis
    points: list[tuple[float, float, bool]]
    line: str
    marks: list[Mark]


def plot_spectra(
    spectra: Sequence[tuple[int, str, NDArray[Any], NDArray[Any]]],
    wavelengths_nm: Sequence[float],
    good_bands: Sequence[bool],
    box: Box,
) -> SpectraPlot | None:
    """Draw the mean spectrum of each cluster with one standard deviation on either side.

    Parameters
    ----------
    spectra : sequence of (label, colour, mean, std)
        Mean and standard deviation are (band,) in the unit of the scene.
    wavelengths_nm : sequence of float
        Centre of each band, nm; if empty or not finite, bands are numbered.
    good_bands : sequence of bool
        Bands to draw; curves have gaps at the others.
    box : (left, top, right, bottom)
        Where in the picture the axes lie.

    Returns
    -------
    SpectraPlot or None
        None where there is nothing to draw.
    """
    place, title = _band_places(wavelengths_nm, len(good_bands))
    order = np.argsort(place, kind="stable")
    place, good = place[order], np.asarray(good_bands, bool)[order]
    sorted_spectra = [
        (label, colour, mean[order], np.nan_to_num(std[order]))
        for label, colour, mean, std in spectra
    ]
    drawn = [(mean - std, mean + std) for _, _, mean, std in sorted_spectra]
    low, high = extent([edge[good] for edges in drawn for edge in edges])
    if not np.isfinite(low):
        return None
    if all(np.nanmin(mean[good], initial=0) >= 0 for _, _, mean, _ in sorted_spectra):
        low = max(low, 0.0)
    left, top, right, bottom = box
    x = axis_over(title, place[0], place[-1], (left, right), room=0)
    y = axis_over("Mean, in the unit of the scene", low, high, (bottom, top))
    curves = [
        Curve(label, colour, *_paths(x.at(place), y, mean, std, good))
        for label, colour, mean, std in sorted_spectra
    ]
    return SpectraPlot(x, y, curves, _gaps(x.at(place), good))


def plot_eigenvalues(
    eigenvalues: NDArray[Any],
    clusters_used: int,
    clusters_suggested: int | None,
    box: Box,
) -> EigenvaluePlot | None:
    """Draw eigenvalues, largest first, with a line behind the number of clusters.

    Parameters
    ----------
    eigenvalues : (eigenvalue,) float
        Decreasing; at least the first ones are finite.
    clusters_used, clusters_suggested : int
        The line lies between this eigenvalue and the next.
    box : (left, top, right, bottom)
        Where in the picture the axes lie.

    Returns
    -------
    EigenvaluePlot or None
        None where there is nothing to draw.
    """
    shown = max(EIGENVALUES_SHOWN, 2 * clusters_used)
    values = np.asarray(eigenvalues, np.float64).ravel()[:shown]
    values = values[np.isfinite(values)]
    if not values.size:
        return None
    left, top, right, bottom = box
    numbers = np.arange(1, values.size + 1)
    x = axis_over("Number of the eigenvalue", 0.5, values.size + 0.5, (left, right), room=0)
    y = axis_over("Eigenvalue", *extent([values, np.zeros(1)]), (bottom, top))
    places = list(zip(rounded(x.at(numbers)), rounded(y.at(values)), strict=True))
    points = [(*place, number <= clusters_used) for number, place in enumerate(places, 1)]
    marks = _marks(x, values.size, clusters_used, clusters_suggested)
    return EigenvaluePlot(x, y, points, path_through(places), marks)


def _band_places(wavelengths_nm: Sequence[float], bands: int) -> tuple[NDArray[Any], str]:
    """Say where on the axis each band lies."""
    places = np.asarray(wavelengths_nm, np.float64)
    if places.size == bands and np.isfinite(places).all():
        return places, "Wavelength (nm)"
    return np.arange(bands), "Band"


def _paths(
    places: NDArray[np.float64],
    y: Axis,
    mean: NDArray[Any],
    std: NDArray[Any],
    good: NDArray[np.bool_],
) -> tuple[str, str]:
    """Draw a line and the area around it, in pieces between the gaps."""
    line, area = [], []
    for piece in runs_of(good & np.isfinite(mean)):
        across = rounded(places[piece])
        middle, lower, upper = (
            rounded(y.at(edge[piece])) for edge in (mean, mean - std, mean + std)
        )
        line.append(path_through(list(zip(across, middle, strict=True))))
        there = list(zip(across, upper, strict=True))
        back = list(zip(across, lower, strict=True))[::-1]
        area.append(path_through(there + back) + "Z")
    return "".join(line), "".join(area)


def _gaps(places: NDArray[np.float64], good: NDArray[np.bool_]) -> list[tuple[float, float]]:
    """Give start and width of each run of bad bands, half a band wider than its ends."""
    edges = np.concatenate([places[:1], (places[1:] + places[:-1]) / 2, places[-1:]])
    found = [(edges[piece.start], edges[piece.stop]) for piece in runs_of(~good)]
    return [(round(start, 1), round(stop - start, 1)) for start, stop in found]


def _marks(x: Axis, values: int, used: int, suggested: int | None) -> list[Mark]:
    """Mark the number of clusters that was used, and the suggested one where it differs."""
    if used == suggested:
        wanted = {used: f"{counted(used, 'cluster')}, used and suggested"}
    else:
        wanted = {used: f"{counted(used, 'cluster')} used"}
        if suggested is not None:
            wanted[suggested] = f"{suggested} suggested"
    left = min(wanted) if len(wanted) > 1 else values
    return [
        Mark(
            at=round(float(x.at(number + 0.5)), 1),
            text=text,
            anchor="end" if number == left else "start",
            strong=number == used,
        )
        for number, text in wanted.items()
        if 0 < number <= values
    ]
