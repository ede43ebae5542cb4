from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from hsistream.scene import statistics
from hsistream.scene.statistics import (
    LEAST_SHARE,
    BandSums,
    in_reservoir,
    reservoir_thresholds,
)
from hsistream.tiles import Window
from tests.strategies import Shape, framed_windows, whole


def spectra(bands: int = 5, pixels: int = 400, seed: int = 0) -> NDArray[np.float64]:
    """Correlated spectra far from zero, (band, pixel)."""
    rng = np.random.default_rng(seed)
    mixing = rng.standard_normal((bands, bands))
    return 1000 + mixing @ rng.standard_normal((bands, pixels))


def assert_sums_of(sums: BandSums, values: NDArray[np.float64]) -> None:
    assert sums.count == values.shape[1]
    np.testing.assert_allclose(sums.mean, values.mean(axis=1), rtol=1e-12)
    covariance = np.atleast_2d(np.cov(values, bias=True))
    np.testing.assert_allclose(sums.outer / sums.count, covariance, rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(sums.minimum, values.min(axis=1))
    np.testing.assert_array_equal(sums.maximum, values.max(axis=1))


@pytest.mark.parametrize("bands", [1, 2, 5, 17])
def test_sums_are_mean_and_covariance(bands: int) -> None:
    values = spectra(bands)
    assert_sums_of(BandSums.from_pixels(values), values)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.float32])
def test_sums_over_small_types_are_made_in_float64(dtype: type[np.generic]) -> None:
    values = (spectra() / 8).astype(dtype)
    assert_sums_of(BandSums.from_pixels(values), values.astype(np.float64))


def test_sums_do_not_depend_on_how_many_pixels_are_taken_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    values = spectra()
    monkeypatch.setattr(statistics, "PIXELS_AT_ONCE", 7)
    assert_sums_of(BandSums.from_pixels(values), values)


def test_outer_products_are_exactly_symmetric() -> None:
    sums = BandSums.from_pixels(spectra()).merge(BandSums.from_pixels(spectra(seed=1)))
    np.testing.assert_array_equal(sums.outer, sums.outer.T)


@given(st.lists(st.integers(0, 400), max_size=8))
def test_the_sums_of_parts_merge_to_those_of_the_whole(cuts: list[int]) -> None:
    values, merged = spectra(), BandSums.empty(5)
    edges = [0, *sorted(cuts), values.shape[1]]
    for first, last in pairwise(edges):
        merged = merged.merge(BandSums.from_pixels(values[:, first:last]))
    assert_sums_of(merged, values)


@given(st.permutations(range(6)))
def test_the_order_of_merging_matters_only_to_rounding(order: list[int]) -> None:
    values = spectra()
    merged = BandSums.empty(5)
    for part in order:
        merged = merged.merge(BandSums.from_pixels(values[:, part::6]))
    assert_sums_of(merged, values)


def test_no_pixel_changes_nothing() -> None:
    sums, empty = BandSums.from_pixels(spectra()), BandSums.empty(5)
    assert sums.merge(empty) is sums
    assert empty.merge(sums) is sums
    assert empty.merge(BandSums.empty(5)).count == 0
    assert BandSums.from_pixels(np.zeros((5, 0))).count == 0


def test_a_constant_band_has_no_variance_at_all() -> None:
    values = spectra()
    values[2] = 0.1
    sums = BandSums.from_pixels(values[:, :150]).merge(BandSums.from_pixels(values[:, 150:]))
    assert sums.minimum[2] == sums.maximum[2]
    np.testing.assert_allclose(sums.outer[2], 0, atol=1e-9)


# --- reservoir -----------------------------------------------------------------------------


@given(framed_windows(), st.integers(0, 2**31 - 1), st.integers(0, 50))
def test_a_pixels_fate_does_not_depend_on_the_window(
    framed: tuple[Shape, Window], seed: int, frame: int
) -> None:
    shape, window = framed
    everywhere = in_reservoir(seed, frame, whole(shape), 0.4)
    np.testing.assert_array_equal(in_reservoir(seed, frame, window, 0.4), everywhere[window])


@pytest.mark.parametrize("threshold", [0.001, 0.1, 0.5, 0.9])
def test_the_share_of_chosen_pixels_is_the_threshold(threshold: float) -> None:
    chosen = in_reservoir(3, 1, whole((600, 500)), threshold)
    spread = np.sqrt(threshold * (1 - threshold) / chosen.size)
    assert abs(chosen.mean() - threshold) < 5 * spread


def test_all_or_no_pixels_are_chosen_at_the_ends() -> None:
    assert in_reservoir(0, 0, whole((50, 40)), 1.0).all()
    assert not in_reservoir(0, 0, whole((50, 40)), 0.0).any()


def test_a_higher_threshold_only_adds_pixels() -> None:
    few, many = (in_reservoir(0, 0, whole((90, 80)), share) for share in (0.2, 0.3))
    assert not (few & ~many).any()
    assert many.sum() > few.sum()


@pytest.mark.parametrize(("seed", "frame"), [(1, 0), (0, 1), (2**31 - 1, 0), (0, 1000)])
def test_seeds_and_frames_choose_independently(seed: int, frame: int) -> None:
    first, other = (
        in_reservoir(0, 0, whole((300, 300)), 0.3),
        in_reservoir(seed, frame, whole((300, 300)), 0.3),
    )
    assert abs((first & other).mean() - 0.09) < 0.006


@pytest.mark.parametrize("step", [(0, 1), (1, 0), (1, 1), (0, 16), (16, 0)])
def test_neighbours_are_chosen_independently(step: tuple[int, int]) -> None:
    chosen = in_reservoir(5, 0, whole((400, 400)), 0.3)
    shifted = chosen[step[0] :, step[1] :]
    other = chosen[: shifted.shape[0], : shifted.shape[1]]
    assert abs((shifted & other).mean() - 0.09) < 0.005


def test_every_row_and_column_gives_its_share() -> None:
    chosen = in_reservoir(0, 0, whole((400, 400)), 0.3)
    for axis in (0, 1):
        assert abs(chosen.mean(axis=axis) - 0.3).max() < 0.12


@given(
    st.lists(st.integers(0, 10**7), min_size=1, max_size=12).filter(any),
    st.integers(100, 2_000_000),
)
def test_frames_give_together_what_is_wanted(valid: list[int], wanted: int) -> None:
    thresholds = reservoir_thresholds(valid, wanted)
    assert ((thresholds >= 0) & (thresholds <= 1)).all()
    expected = float(thresholds @ np.asarray(valid, float))
    if sum(valid) <= wanted:
        assert expected == sum(valid)
    else:
        assert wanted * (1 - 1e-9) <= expected <= wanted * (1 + LEAST_SHARE + 1e-9)


def test_a_small_frame_gets_its_least_share_and_an_empty_one_nothing() -> None:
    thresholds = reservoir_thresholds([500, 1_000_000, 0], 3000)
    assert thresholds[0] * 500 == pytest.approx(LEAST_SHARE * 1000)
    assert thresholds[2] == 0


def test_a_tiny_frame_gives_all_of_its_pixels_and_no_more() -> None:
    assert reservoir_thresholds([3, 1_000_000], 1000)[0] == 1
