from __future__ import annotations

import numpy as np
import pytest

from hsistream.report.figures import plot_eigenvalues, plot_spectra

BOX = (0.0, 0.0, 100.0, 50.0)


def test_curves_have_gaps_at_bad_bands() -> None:
    good = [True, True, False, False, True, True]
    mean, std = np.arange(6.0), np.full(6, 0.5)
    mean[2] = 1e6
    plot = plot_spectra([(3, "#123456", mean, std)], [], good, BOX)
    assert plot is not None
    (curve,) = plot.curves
    assert (curve.label, curve.colour) == (3, "#123456")
    assert curve.line.count("M") == 2
    assert curve.spread.count("Z") == 2
    assert plot.gaps == [(30.0, 40.0)]
    assert plot.y.high < 10
    assert plot.x.title == "Band"


def test_bands_are_drawn_in_order_of_wavelength() -> None:
    plot = plot_spectra(
        [(0, "#000", np.array([2.0, 1.0, 3.0]), np.zeros(3))], [500, 400, 600], [True] * 3, BOX
    )
    assert plot is not None
    assert plot.x.title == "Wavelength (nm)"
    ends = [piece.split(",")[0] for piece in plot.curves[0].line[1:].split("L")]
    assert ends == ["0.0", "50.0", "100.0"]


@pytest.mark.parametrize("wavelengths", [[400.0, np.nan], [400.0]])
def test_useless_wavelengths_become_band_numbers(wavelengths: list[float]) -> None:
    plot = plot_spectra([(0, "#000", np.ones(2), np.zeros(2))], wavelengths, [True, True], BOX)
    assert plot is not None
    assert plot.x.title == "Band"


def test_single_bands_constants_and_unknown_values_can_be_drawn() -> None:
    single = plot_spectra([(0, "#000", np.ones(1), np.array([np.nan]))], [], [True], BOX)
    assert single is not None
    assert single.curves[0].line.endswith("h0")
    assert plot_spectra([], [], [True, True], BOX) is None
    unknown = plot_spectra([(0, "#000", np.full(2, np.nan), np.zeros(2))], [], [True, True], BOX)
    assert unknown is None


def test_eigenvalues_mark_the_number_of_clusters() -> None:
    plot = plot_eigenvalues(np.linspace(1, 0, 20), 4, 6, BOX)
    assert plot is not None
    assert [used for _, _, used in plot.points] == [True] * 4 + [False] * 16
    texts = [(mark.text, mark.anchor, mark.strong) for mark in plot.marks]
    assert texts == [("4 clusters used", "end", True), ("6 suggested", "start", False)]
    assert plot.points[3][0] < plot.marks[0].at < plot.points[4][0]


def test_agreeing_numbers_of_clusters_share_a_mark() -> None:
    plot = plot_eigenvalues(np.linspace(1, 0, 20), 4, 4, BOX)
    assert plot is not None
    assert [mark.text for mark in plot.marks] == ["4 clusters, used and suggested"]


def test_eigenvalues_may_be_few_or_none() -> None:
    assert plot_eigenvalues(np.zeros(0), 4, None, BOX) is None
    few = plot_eigenvalues(np.ones(2), 4, 90, BOX)
    assert few is not None
    assert few.marks == []
