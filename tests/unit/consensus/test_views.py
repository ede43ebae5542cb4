from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from hsistream.consensus.projections import edge_scale
from hsistream.consensus.views import EDGE_STEPS, HALO, RADIUS_PX, SIGMA_PX, spatial_view
from hsistream.tiles import TileGrid, within
from tests.strategies import Shape, shapes

NAMES = sorted(HALO)
Image = NDArray[np.float32]


def scene_of(shape: Shape, seed: int, components: int = 3) -> tuple[Image, NDArray[np.bool_]]:
    """Scores and a mask; scores are 0 where there is no data."""
    rng = np.random.default_rng(seed)
    valid = rng.random(shape) < 0.8
    scores = rng.standard_normal((components, *shape)).astype(np.float32)
    return scores * valid, valid


def squared_steps(scores: Image, valid: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Squared differences of all valid neighbours."""
    right = ((scores[:, :, 1:] - scores[:, :, :-1]) ** 2).sum(axis=0)[valid[:, 1:] & valid[:, :-1]]
    lower = ((scores[:, 1:] - scores[:, :-1]) ** 2).sum(axis=0)[valid[1:] & valid[:-1]]
    return np.concatenate([right, lower]).astype(float)


def test_the_plain_view_is_the_scores() -> None:
    scores, valid = scene_of((9, 8), 0)
    np.testing.assert_array_equal(spatial_view("plain", scores, valid, 1.0), scores)


@given(shapes(16), st.integers(0, 99))
def test_the_gaussian_view_is_the_mean_over_valid_pixels(shape: Shape, seed: int) -> None:
    scores, valid = scene_of(shape, seed)
    found = spatial_view("gaussian", scores, valid, 1.0)
    sigma, reach = (0, SIGMA_PX, SIGMA_PX), RADIUS_PX / SIGMA_PX
    total = ndimage.gaussian_filter(scores.astype(float), sigma, mode="constant", truncate=reach)
    mass = ndimage.gaussian_filter(
        valid[None].astype(float), sigma, mode="constant", truncate=reach
    )
    expected = (total / np.maximum(mass, 1e-300))[:, valid]
    np.testing.assert_allclose(found[:, valid], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_a_field_without_structure_stays_as_it_is(name: str) -> None:
    _, valid = scene_of((12, 15), 4)
    scores = np.where(valid, np.float32(2.5), np.float32(0))[None].repeat(2, axis=0)
    found = spatial_view(name, scores, valid, 0.5)
    np.testing.assert_allclose(found[:, valid], 2.5, rtol=1e-6)


def test_the_edge_view_smooths_fields_and_keeps_their_border() -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(0, 0.1, (2, 20, 20)).astype(np.float32)
    scores[:, :, 10:] += 5
    valid = np.ones((20, 20), bool)
    scale = edge_scale(squared_steps(scores, valid))
    found = spatial_view("edge", scores, valid, scale)
    for side in (slice(0, 10), slice(10, 20)):
        assert found[:, :, side].std() < 0.6 * scores[:, :, side].std()
    np.testing.assert_allclose(found[:, :, 10].mean() - found[:, :, 9].mean(), 5, atol=0.1)


def test_the_edge_view_is_three_steps_of_its_formula() -> None:
    scores, valid = scene_of((9, 11), 5)
    expected = scores.astype(float)
    for _ in range(3):
        expected = edge_step_by_formula(expected, valid, 0.8)
    found = spatial_view("edge", scores, valid, 0.8)
    np.testing.assert_allclose(found[:, valid], expected[:, valid], rtol=1e-4, atol=1e-5)


def edge_step_by_formula(
    scores: NDArray[np.float64], valid: NDArray[np.bool_], scale: float
) -> NDArray[np.float64]:
    """``(f + sum w g) / (1 + sum w)`` over valid 4-neighbours g, pixel by pixel."""
    moved = scores.copy()
    for row, column in np.argwhere(valid):
        own, mass = scores[:, row, column], 1.0
        total = own.copy()
        for down, right in ((-1, 0), (1, 0), (0, -1), (0, 1)):
            y, x = row + down, column + right
            if 0 <= y < valid.shape[0] and 0 <= x < valid.shape[1] and valid[y, x]:
                weight = np.exp(-((own - scores[:, y, x]) ** 2).sum() / (2 * scale))
                total, mass = total + weight * scores[:, y, x], mass + weight
        moved[:, row, column] = total / mass
    return moved


def test_the_gaussian_has_a_sigma_of_one_pixel_and_ends_after_four() -> None:
    scores, valid = np.zeros((1, 21, 21), np.float32), np.ones((21, 21), bool)
    scores[0, 10, 10] = 1
    line = spatial_view("gaussian", scores, valid, 1.0)[0, 10]
    distance = abs(np.arange(21) - 10.0)
    expected = np.exp(-0.5 * distance**2) * (distance <= 4)
    np.testing.assert_allclose(line / line.max(), expected, atol=1e-6)


def test_a_scene_that_is_constant_by_parts_has_a_positive_edge_scale() -> None:
    scores = np.zeros((2, 20, 20), np.float32)
    scores[0, :, 7:] = 3
    scores[1, 4:] = 4
    valid = np.ones((20, 20), bool)
    steps = squared_steps(scores, valid)
    assert np.median(steps) == 0
    scale = edge_scale(steps)
    assert 9 <= scale <= 16
    assert np.isfinite(spatial_view("edge", scores, valid, scale)).all()


@pytest.mark.parametrize("name", NAMES)
def test_scores_are_not_changed_in_place(name: str) -> None:
    scores, valid = scene_of((12, 15), 1)
    before = scores.copy()
    spatial_view(name, scores, valid, 0.7)
    np.testing.assert_array_equal(scores, before)


@given(shapes(40), st.integers(1, 45), st.integers(0, 99))
@pytest.mark.parametrize("name", NAMES)
def test_views_by_tile_are_exactly_those_of_the_whole(
    name: str, shape: Shape, tile_px: int, seed: int
) -> None:
    scores, valid = scene_of(shape, seed)
    everywhere = spatial_view(name, scores, valid, 0.9)
    for tile in TileGrid(shape, tile_px, HALO[name]):
        window = tile.window(shape)
        part = np.ascontiguousarray(scores[:, *window])
        found = spatial_view(name, part, np.ascontiguousarray(valid[window]), 0.9)
        seen = valid[tile.core]
        np.testing.assert_array_equal(
            found[:, *within(tile.core, window)][:, seen], everywhere[:, *tile.core][:, seen]
        )


@pytest.mark.parametrize("name", NAMES)
def test_the_halo_is_honest(name: str) -> None:
    scores, valid = scene_of((31, 31), 2)
    valid[:], middle = True, (15, 15)
    before = spatial_view(name, scores, valid, 2.0)[:, *middle]
    changed = np.zeros((31, 31), bool)
    for row in range(31):
        for column in range(31):
            other = scores.copy()
            other[:, row, column] += 1
            after = spatial_view(name, other, valid, 2.0)[:, *middle]
            changed[row, column] = (after != before).any()
    rows, columns = np.nonzero(changed)
    assert max(abs(rows - 15).max(), abs(columns - 15).max()) == HALO[name]


@pytest.mark.parametrize(("name", "reach"), [("gaussian", RADIUS_PX), ("edge", EDGE_STEPS)])
def test_invalid_pixels_have_no_effect_and_valid_ones_within_the_halo_do(
    name: str, reach: int
) -> None:
    scores, valid = scene_of((25, 25), 3)
    valid[:] = True
    before = spatial_view(name, scores, valid, 2.0)[:, 12, 12]
    for distance, expected in ((reach, True), (reach + 1, False)):
        masked, without = valid.copy(), scores.copy()
        masked[12, 12 + distance] = False
        without[:, 12, 12 + distance] = 0
        after = spatial_view(name, without, masked, 2.0)[:, 12, 12]
        assert (after != before).any() == expected


@pytest.mark.parametrize("name", NAMES)
def test_a_lone_pixel_keeps_its_scores(name: str) -> None:
    scores, valid = np.zeros((2, 11, 11), np.float32), np.zeros((11, 11), bool)
    scores[:, 5, 5], valid[5, 5] = (3, -4), True
    found = spatial_view(name, scores, valid, 1.0)
    np.testing.assert_allclose(found[:, 5, 5], (3, -4), rtol=1e-6)
