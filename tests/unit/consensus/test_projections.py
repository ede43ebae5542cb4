from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.decomposition import PCA

from hsistream.consensus.projections import (
    Moments,
    Projection,
    edge_scale,
    fit_l2,
    fit_mnf,
    fit_z,
    fix_signs,
    leading,
    noise_sums,
    noise_threshold,
    unit_length,
)
from tests.oracles import noise_covariance

Floats = NDArray[np.float64]
BANDS, HEIGHT, WIDTH = 9, 24, 20
QUIET = 0.7
"""Share of the differences that count as noise."""


def cube(seed: int = 0) -> Floats:
    """Fields of a few materials with band-dependent noise, positive, (band, y, x)."""
    rng = np.random.default_rng(seed)
    spectra = rng.uniform(0.2, 0.9, (4, BANDS))
    materials = rng.integers(0, 4, (HEIGHT // 4, WIDTH // 4)).repeat(4, 0).repeat(4, 1)
    brightness = rng.normal(1, 0.1, (HEIGHT, WIDTH))
    noise = (
        rng.standard_normal((BANDS, HEIGHT, WIDTH)) * np.linspace(0.01, 0.05, BANDS)[:, None, None]
    )
    return np.asarray(spectra[materials].transpose(2, 0, 1) * brightness + noise + 1)


def moments(*groups: Floats) -> Moments:
    """Moments of spectra (band, pixel), one array per group."""
    return Moments(
        np.array([pixels.shape[1] for pixels in groups]),
        np.stack([pixels.mean(axis=1) for pixels in groups]),
        np.stack([np.atleast_2d(np.cov(pixels, bias=True)) for pixels in groups]),
        np.stack([np.ptp(pixels, axis=1) > 0 for pixels in groups]),
    )


def neighbour_steps(values: Floats) -> Floats:
    """Differences of right and lower neighbours, (pair, band)."""
    right, lower = values[:, :, 1:] - values[:, :, :-1], values[:, 1:] - values[:, :-1]
    return np.concatenate([step.reshape(len(values), -1).T for step in (right, lower)])


def z_scores(values: Floats) -> Floats:
    found = fit_z(moments(values.reshape(len(values), -1)), 20)
    return np.asarray(found.scores(values.reshape(len(values), -1), 0))


def l2_scores(values: Floats) -> Floats:
    pixels = values.reshape(len(values), -1)
    found = fit_l2(moments(np.asarray(unit_length(pixels))), 20)
    return np.asarray(found.scores(pixels, 0))


def mnf(values: Floats, components: int = 12) -> tuple[Projection, Moments, Floats]:
    found = moments(values.reshape(len(values), -1))
    noise = noise_covariance(neighbour_steps(values) * found.scale()[0])
    return fit_mnf(found, noise, components), found, noise


def mnf_scores(values: Floats) -> Floats:
    return np.asarray(mnf(values)[0].scores(values.reshape(len(values), -1), 0))


SCORES: dict[str, Callable[[Floats], Floats]] = {"z": z_scores, "l2": l2_scores, "mnf": mnf_scores}


def assert_same_up_to_sign(found: Floats, expected: Floats) -> None:
    assert found.shape == expected.shape
    sign = np.sign((found * expected).sum(axis=1))[:, None]
    np.testing.assert_allclose(found * sign, expected, atol=1e-9 * abs(expected).max())


# --- invariances ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(SCORES))
def test_permuting_bands_changes_nothing(name: str) -> None:
    values, order = cube(), np.random.default_rng(1).permutation(BANDS)
    assert_same_up_to_sign(SCORES[name](values[order]), SCORES[name](values))


@pytest.mark.parametrize("name", sorted(SCORES))
def test_scaling_the_scene_changes_nothing(name: str) -> None:
    assert_same_up_to_sign(SCORES[name](1.3 * cube()), SCORES[name](cube()))


@pytest.mark.parametrize("name", ["z", "mnf"])
def test_scaling_and_shifting_single_bands_changes_nothing(name: str) -> None:
    rng, values = np.random.default_rng(2), cube()
    factor, offset = rng.uniform(0.1, 50, (BANDS, 1, 1)), rng.uniform(-20, 20, (BANDS, 1, 1))
    assert_same_up_to_sign(SCORES[name](factor * values + offset), SCORES[name](values))


@pytest.mark.parametrize("name", sorted(SCORES))
def test_scores_of_float32_are_those_of_float64(name: str) -> None:
    values = cube()
    pixels = values.reshape(BANDS, -1)
    projection = {
        "z": lambda: fit_z(moments(pixels), 20),
        "l2": lambda: fit_l2(moments(np.asarray(unit_length(pixels))), 20),
        "mnf": lambda: mnf(values)[0],
    }[name]()
    narrow = projection.scores(pixels.astype(np.float32), 0)
    assert narrow.dtype == np.float32
    wide = projection.scores(pixels, 0)
    np.testing.assert_allclose(narrow, wide, atol=2e-4 * abs(wide).max())


# --- z and l2 ------------------------------------------------------------------------------


def test_z_is_pca_of_standardised_spectra() -> None:
    pixels = cube().reshape(BANDS, -1)
    standard = (pixels - pixels.mean(axis=1, keepdims=True)) / pixels.std(axis=1, keepdims=True)
    expected = PCA(4, svd_solver="full").fit_transform(standard.T).T
    assert_same_up_to_sign(np.asarray(fit_z(moments(pixels), 4).scores(pixels, 0)), expected)


def test_l2_is_pca_of_unit_spectra() -> None:
    pixels = cube().reshape(BANDS, -1)
    expected = (
        PCA(4, svd_solver="full").fit_transform((pixels / np.linalg.norm(pixels, axis=0)).T).T
    )
    found = fit_l2(moments(np.asarray(unit_length(pixels))), 4).scores(pixels, 0)
    assert_same_up_to_sign(np.asarray(found), expected)


@pytest.mark.parametrize("name", sorted(SCORES))
def test_the_stated_variance_is_that_of_the_scores(name: str) -> None:
    values = cube()
    pixels = values.reshape(BANDS, -1)
    projection = {
        "z": lambda: fit_z(moments(pixels), 20),
        "l2": lambda: fit_l2(moments(np.asarray(unit_length(pixels))), 20),
        "mnf": lambda: mnf(values)[0],
    }[name]()
    covariance = np.cov(projection.scores(pixels, 0), bias=True)
    np.testing.assert_allclose(covariance, np.diag(projection.variance), atol=1e-9)


def test_a_zero_spectrum_has_unit_length_zero() -> None:
    spectra = np.array([[3.0, 0.0], [4.0, 0.0]])
    np.testing.assert_allclose(unit_length(spectra), [[0.6, 0], [0.8, 0]])


# --- mnf -----------------------------------------------------------------------------------


def test_the_noise_covariance_is_that_of_the_quiet_differences() -> None:
    steps = neighbour_steps(cube())
    length = (steps**2).sum(axis=1)
    quiet = steps[length <= np.quantile(length, QUIET)]
    expected = sum(np.outer(step, step) for step in quiet) / (2 * len(quiet))
    np.testing.assert_allclose(noise_covariance(steps), expected, rtol=1e-10)
    assert len(quiet) == pytest.approx(QUIET * len(steps), abs=1)


def test_the_noise_covariance_of_pure_noise_is_a_quieter_one() -> None:
    rng = np.random.default_rng(0)
    level = np.array([1.0, 2.0, 3.0])
    values = rng.standard_normal((3, 150, 150)) * level[:, None, None]
    found = noise_covariance(neighbour_steps(values))
    assert (found.diagonal() < level**2).all()
    assert (found.diagonal() > 0.2 * level**2).all()


def test_noise_sums_of_parts_add_up() -> None:
    steps = neighbour_steps(cube())
    threshold = noise_threshold((steps**2).sum(axis=1))
    whole, count = noise_sums(steps, threshold)
    parts = [noise_sums(part, threshold) for part in np.array_split(steps, 5)]
    np.testing.assert_allclose(sum(total for total, _ in parts), whole, rtol=1e-12)
    assert sum(number for _, number in parts) == count


def test_where_most_neighbours_are_equal_the_others_tell_the_noise() -> None:
    lengths = np.concatenate([np.zeros(90), np.arange(1.0, 11.0)])
    assert noise_threshold(lengths) == pytest.approx(np.quantile(np.arange(1.0, 11.0), QUIET))
    assert noise_threshold(np.zeros(5)) == 0
    assert noise_threshold(np.zeros(0)) == 0


def test_without_differences_there_is_no_noise() -> None:
    np.testing.assert_array_equal(noise_covariance(np.zeros((0, 3))), np.zeros((3, 3)))


def test_mnf_whitens_the_noise_and_weighs_by_its_eigenvalue() -> None:
    values = cube()
    projection, _, noise = mnf(values)
    matrix = projection.directions
    ratio = projection.variance**2  # signal to noise; a score is scaled by its power -1/4
    np.testing.assert_allclose(matrix.T @ noise @ matrix, np.diag(ratio**-0.5), atol=1e-9)
    assert (np.diff(ratio) <= 0).all()


def test_mnf_without_any_noise_is_finite() -> None:
    pixels = np.repeat(np.eye(3), 5, axis=1)
    projection = fit_mnf(moments(pixels), np.zeros((3, 3)), 12)
    assert np.isfinite(projection.scores(pixels, 0)).all()
    assert projection.components == 2  # three spectra span a plane


def test_mnf_with_noise_in_one_band_only_is_finite() -> None:
    noise = np.zeros((BANDS, BANDS))
    noise[0, 0] = 1
    pixels = cube().reshape(BANDS, -1)
    assert np.isfinite(fit_mnf(moments(pixels), noise, 5).scores(pixels, 0)).all()


# --- few bands -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(SCORES))
def test_fewer_bands_than_components_give_as_many_as_bands(name: str) -> None:
    assert len(SCORES[name](cube()[:3])) == 3


def test_one_band_gives_one_score() -> None:
    band = cube()[:1]
    standard = (band.reshape(1, -1) - band.mean()) / band.std()
    np.testing.assert_allclose(abs(z_scores(band)), abs(standard), atol=1e-12)
    assert mnf_scores(band).shape == (1, HEIGHT * WIDTH)
    assert mnf_scores(band).std() > 0
    assert np.isfinite(l2_scores(band)).all()


@pytest.mark.parametrize("name", ["z", "mnf"])
@pytest.mark.parametrize("value", [0.0, 0.1, 1e6])
def test_a_constant_band_is_as_if_it_were_not_there(name: str, value: float) -> None:
    values = cube()
    without, constant = np.delete(values, 4, axis=0), values.copy()
    constant[4] = value
    assert_same_up_to_sign(SCORES[name](constant), SCORES[name](without))


def test_a_repeated_band_adds_no_component() -> None:
    values = cube()[:3]
    assert len(z_scores(np.concatenate([values, 2 * values]))) == 3


# --- groups --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["z", "mnf"])
def test_frames_that_are_standardised_apart_may_differ_in_exposure(name: str) -> None:
    pixels = cube().reshape(BANDS, -1)
    other = 2.5 * pixels + np.linspace(0, 5, BANDS)[:, None]
    both, noise = moments(pixels, other), np.diag(np.linspace(0.1, 0.4, BANDS))
    found = fit_z(both, 6) if name == "z" else fit_mnf(both, noise, 6)
    first, second = found.scores(pixels, 0), found.scores(other, 1)
    np.testing.assert_allclose(second, first, atol=1e-9 * abs(first).max())


def test_groups_share_directions_weighted_by_their_pixels() -> None:
    pixels = cube().reshape(BANDS, -1)
    cut = 100
    both = moments(pixels[:, :cut], pixels[:, cut:])
    scale = both.scale()
    expected = sum(
        count * covariance * factor[:, None] * factor[None, :]
        for count, covariance, factor in zip(both.count, both.covariance, scale, strict=True)
    )
    np.testing.assert_allclose(both.pooled(scale), expected / pixels.shape[1], rtol=1e-12)


def test_a_band_that_varies_in_one_group_only_counts_there_only() -> None:
    pixels = cube().reshape(BANDS, -1)
    still = pixels.copy()
    still[2] = 7
    scale = moments(pixels, still).scale()
    assert scale[0, 2] > 0
    assert scale[1, 2] == 0


# --- parts ---------------------------------------------------------------------------------


@given(st.integers(1, 8), st.integers(1, 12), st.integers(0, 99))
def test_leading_eigenpairs_are_those_of_the_matrix(size: int, wanted: int, seed: int) -> None:
    root = np.random.default_rng(seed).standard_normal((size, size + 2))
    covariance = root @ root.T
    values, vectors = leading(covariance, wanted)
    expected = np.linalg.eigvalsh(covariance)[::-1][:wanted]
    np.testing.assert_allclose(values, expected, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(covariance @ vectors, vectors * values, atol=1e-9 * expected[0])
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(len(values)), atol=1e-10)


def test_signs_are_fixed_by_the_largest_entry() -> None:
    vectors = np.array([[0.1, -0.9], [-0.8, 0.2]])
    fixed = fix_signs(vectors)
    np.testing.assert_array_equal(fixed, [[-0.1, 0.9], [0.8, -0.2]])
    np.testing.assert_array_equal(fix_signs(-vectors), fixed)


@pytest.mark.parametrize(
    ("lengths", "expected"),
    [([], 1.0), ([0, 0, 0], 1.0), ([1, 2, 9], 2.0), ([0, 0, 0, 4, 6], 5.0), ([0, 3, 3], 3.0)],
)
def test_the_edge_scale_is_a_positive_median(lengths: list[float], expected: float) -> None:
    assert edge_scale(np.array(lengths, float)) == expected


def test_the_leading_scores_are_the_first_ones() -> None:
    pixels = cube().reshape(BANDS, -1)
    found = fit_z(moments(pixels), 20)
    fewer = found.leading(3)
    assert fewer.components == len(fewer.variance) == 3
    np.testing.assert_allclose(fewer.scores(pixels, 0), found.scores(pixels, 0)[:3], atol=1e-12)


def test_only_scores_that_are_the_features_are_plain() -> None:
    one, count = np.ones((1, BANDS)), np.ones(BANDS)
    assert Projection("raw", one, one, np.eye(BANDS), count).plain
    assert not Projection("raw", one, one, np.eye(BANDS)[:, ::-1], count).plain
    assert not Projection("raw", one, one, np.eye(BANDS)[:, :3], count[:3]).plain
