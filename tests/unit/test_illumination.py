from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray

from hsistream.illumination import (
    BLOCK_PX,
    BRIGHTNESS_FLOOR,
    HULL_BLOCK_PX,
    brightness_feature,
    feature_count,
    features,
    illuminated,
)

SHAPES = ("snv", "l2", "continuum")
"""Changes that leave nothing of the brightness."""

BRIGHT = ("snv+brightness", "l2+brightness")
CHANGES = (*SHAPES, *BRIGHT)
NAMES = ("none", *CHANGES)


def spectra(bands: int = 12, pixels: int = 40, seed: int = 0) -> NDArray[np.float32]:
    """Positive spectra of differing brightness, (band, pixel)."""
    rng = np.random.default_rng(seed)
    values = rng.uniform(0.05, 0.9, (bands, pixels)) * rng.lognormal(0, 1, pixels)
    return values.astype(np.float32)


def hull(values: NDArray[Any], wavelengths_nm: NDArray[Any]) -> NDArray[np.float64]:
    """Upper hull of one spectrum: the highest chord over every wavelength."""
    height: NDArray[np.float64] = np.maximum(values.astype(float), 0)
    found = height.copy()
    for i, at in enumerate(wavelengths_nm):
        for a, left in enumerate(wavelengths_nm):
            for b, right in enumerate(wavelengths_nm):
                if left == right == at:
                    found[i] = max(found[i], height[a])
                elif left <= at <= right:
                    share = (at - left) / (right - left)
                    found[i] = max(found[i], height[a] * (1 - share) + height[b] * share)
    return found


# --- closed forms --------------------------------------------------------------------------


def test_none_leaves_values_as_they_are() -> None:
    values = spectra()
    assert features("none", values) is values
    counts = np.array([[0, 65_535]], np.uint16)
    found = features("none", counts)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, counts)
    assert illuminated("none", counts, np.zeros(0)) is counts


@pytest.mark.parametrize("bands", [2, 3, 50])
@pytest.mark.parametrize(("start", "slope"), [(0.0, 1.0), (-7.0, 0.25), (30_000.0, 64.0)])
def test_the_standard_normal_variate_of_a_ramp(bands: int, start: float, slope: float) -> None:
    ramp = np.arange(bands)
    expected = (ramp - (bands - 1) / 2) / np.sqrt((bands**2 - 1) / 12)
    found = features("snv", (start + slope * ramp)[:, None])[:, 0]
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)


def test_unit_length_keeps_directions_and_signs() -> None:
    found = features("l2", np.array([[3.0, -3.0], [-4.0, 4.0]]))
    np.testing.assert_allclose(found, [[0.6, -0.6], [-0.8, 0.8]], rtol=1e-7)


def test_the_continuum_of_an_absorption() -> None:
    reflectance = np.array([[0.2], [0.15], [0.4], [0.1], [0.6]])
    lines = np.array([0.2, 0.3, 0.4, 0.5, 0.6])
    found = features("continuum", reflectance, [400, 500, 600, 700, 800])
    np.testing.assert_allclose(found[:, 0], reflectance[:, 0] / lines, rtol=1e-6)


@pytest.mark.parametrize("name", BRIGHT)
def test_brightness_is_one_more_feature(name: str) -> None:
    values = spectra()
    found = features(name, values)
    np.testing.assert_array_equal(found[:-1], features(name.split("+")[0], values))
    np.testing.assert_allclose(found[-1], np.log(values.mean(axis=0)), rtol=1e-6, atol=1e-6)


def test_brightness_of_negative_values_is_that_of_their_size() -> None:
    values = np.array([[-2.0, 0.25, 0.0], [4.0, -0.25, 0.0]])
    found = features("l2+brightness", values)[-1]
    np.testing.assert_allclose(found, np.log([3.0, 0.25, BRIGHTNESS_FLOOR]), rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "count", "brightness"),
    [("none", 7, None), *((n, 7, None) for n in SHAPES), *((n, 8, 7) for n in BRIGHT)],
)
def test_features_are_counted(name: str, count: int, brightness: int | None) -> None:
    assert feature_count(name, 7) == count
    assert brightness_feature(name, 7) == brightness
    assert features(name, spectra(7)).shape == (count, 40)


# --- what does not matter ------------------------------------------------------------------


@pytest.mark.parametrize("gain", [1.3, 1e-4, 2e4])
@pytest.mark.parametrize("name", CHANGES)
def test_a_gain_moves_the_brightness_alone(name: str, gain: float) -> None:
    values = spectra()
    before, after = features(name, values), features(name, values * gain)
    expected = before.astype(float)
    brightness = brightness_feature(name, len(values))
    if brightness is not None:
        expected[brightness] += np.log(gain)
    np.testing.assert_allclose(after, expected, rtol=2e-6, atol=2e-6)


def test_an_offset_does_not_move_the_standard_normal_variate() -> None:
    values = spectra()
    np.testing.assert_allclose(
        features("snv", values), features("snv", values + 0.25), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_pixel_does_not_see_the_others(name: str) -> None:
    values = spectra(20, 2 * BLOCK_PX + HULL_BLOCK_PX + 5)
    expected = features(name, values)
    order = np.random.default_rng(1).permutation(values.shape[1])
    np.testing.assert_array_equal(features(name, values[:, order]), expected[:, order])
    for part in (slice(0, 1), slice(7, 8), slice(3, 40), slice(5, None, 3)):
        np.testing.assert_array_equal(features(name, values[:, part]), expected[:, part])


@pytest.mark.parametrize("name", NAMES)
def test_the_layout_of_an_array_does_not_matter(name: str) -> None:
    values = spectra(9, 24)
    expected = features(name, values)
    by_row = features(name, values.reshape(9, 4, 6))
    np.testing.assert_array_equal(by_row, expected.reshape(-1, 4, 6))
    np.testing.assert_array_equal(features(name, np.asfortranarray(values)), expected)
    np.testing.assert_array_equal(features(name, values[:, 3]), expected[:, 3])
    assert features(name, values[:, :0]).shape == (len(expected), 0)


@pytest.mark.parametrize("name", CHANGES)
def test_the_values_given_are_not_changed(name: str) -> None:
    values = spectra()
    features(name, values)
    np.testing.assert_array_equal(values, spectra())


@pytest.mark.parametrize("dtype", [np.int16, np.uint16, np.int32, np.float32, np.float64])
@pytest.mark.parametrize("name", NAMES)
def test_the_type_of_the_values_does_not_matter(name: str, dtype: Any) -> None:
    values = np.random.default_rng(0).integers(0, 32_768, (30, 25))
    values[:, 0] = 32_767
    found = features(name, values.astype(dtype))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, features(name, values.astype(np.float64)))


@pytest.mark.parametrize("dtype", [np.int16, np.uint16])
def test_large_values_of_little_contrast_keep_it(dtype: Any) -> None:
    top = np.iinfo(dtype).max
    values = np.array([[top, top, top - 1, top]], dtype).T
    expected = np.array([1, 1, -3, 1]) / np.sqrt(3)
    np.testing.assert_allclose(features("snv", values)[:, 0], expected, rtol=1e-6)


# --- spectra at the edge -------------------------------------------------------------------


@pytest.mark.parametrize("value", [0.1, 1.0, 65_535.0, -0.3])
def test_a_constant_spectrum_has_no_shape(value: float) -> None:
    values = np.full((11, 3), value, np.float32)
    np.testing.assert_array_equal(features("snv", values), 0)
    np.testing.assert_array_equal(features("continuum", values), 1)


def test_a_zero_spectrum_has_no_direction() -> None:
    nothing = np.zeros((5, 2), np.int16)
    np.testing.assert_array_equal(features("snv", nothing), 0)
    np.testing.assert_array_equal(features("l2", nothing), 0)
    np.testing.assert_array_equal(features("continuum", nothing), 1)


@pytest.mark.parametrize("name", CHANGES)
def test_a_single_band_is_a_spectrum(name: str) -> None:
    found = features(name, np.array([[4.0, 0.0, -2.0]]))
    expected = {"snv": [0, 0, 0], "l2": [1, 0, -1], "continuum": [1, 1, 1]}
    np.testing.assert_array_equal(found[0], expected[name.split("+")[0]])


@pytest.mark.parametrize("name", CHANGES)
def test_pixels_without_data_harm_no_other(name: str) -> None:
    values = spectra(9, 30)
    expected = features(name, values)
    values[:, 3] = np.nan
    values[4, 5] = np.nan
    values[2, 7], values[3, 7] = np.inf, -np.inf
    others = np.delete(np.arange(30), [3, 5, 7])
    np.testing.assert_array_equal(features(name, values)[:, others], expected[:, others])


# --- hulls ---------------------------------------------------------------------------------


@st.composite
def spectra_with_wavelengths(draw: st.DrawFn) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """One spectrum of small whole numbers, and wavelengths unsorted and partly equal."""
    bands = draw(st.integers(1, 9))
    values = draw(npst.arrays(np.int16, bands, elements=st.integers(-3, 9)))
    wavelengths_nm = draw(npst.arrays(np.float64, bands, elements=st.integers(1, 12)))
    return values, 100 * wavelengths_nm


@given(spectra_with_wavelengths())
def test_the_hull_is_the_highest_chord(drawn: tuple[NDArray[Any], NDArray[np.float64]]) -> None:
    values, wavelengths_nm = drawn
    over = hull(values, wavelengths_nm)
    expected = np.where(over > 0, np.maximum(values, 0) / np.where(over > 0, over, 1), 1)
    found = features("continuum", values[:, None], wavelengths_nm)[:, 0]
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)


def test_the_hull_of_many_bands_is_the_highest_chord() -> None:
    wavelengths_nm = np.sort(np.random.default_rng(3).uniform(400, 2500, 60))
    values = spectra(60, 3)
    expected = [one / hull(one, wavelengths_nm) for one in values.T]
    found = features("continuum", values, wavelengths_nm)
    np.testing.assert_allclose(found.T, expected, rtol=1e-5)
    assert found.max() == 1


def test_the_hull_does_not_depend_on_the_order_of_the_bands() -> None:
    values, wavelengths_nm = spectra(25), np.linspace(400, 2500, 25)
    expected = features("continuum", values, wavelengths_nm)
    order = np.random.default_rng(2).permutation(25)
    found = features("continuum", values[order], wavelengths_nm[order])
    np.testing.assert_array_equal(found, expected[order])


def test_without_wavelengths_the_number_of_a_band_stands_for_its_own() -> None:
    values = spectra()
    np.testing.assert_array_equal(
        features("continuum", values), features("continuum", values, np.arange(12.0))
    )
