from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from numpy.typing import NDArray

from hsistream.superpixels.slic import slic
from tests.unit.superpixels.images import Case, assert_superpixels, cases, noise


@given(cases(12))
def test_superpixels_are_connected_and_cut_by_no_data(case: Case) -> None:
    image = case.image.astype(np.float64)
    image[:, ~case.valid] = np.nan
    numbers = slic(image, case.count, valid=case.valid)
    assert_superpixels(numbers, case.valid, 4)
    assert np.array_equal(numbers, slic(image, case.count, valid=case.valid))


def test_about_as_many_as_asked_for() -> None:
    valid = np.ones((60, 80), np.bool_)
    valid[:, :40] = False
    for there in (None, valid):
        numbers = slic(noise((60, 80), 0, levels=9), 100, valid=there)
        assert 70 <= numbers.max() + 1 <= 140


def test_superpixels_follow_an_edge() -> None:
    image = np.zeros((3, 40, 40), np.uint8)
    image[:, :, 17:] = 200
    numbers = slic(image, 25)
    assert not set(numbers[:, :17].ravel()) & set(numbers[:, 17:].ravel())


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_only_the_scale_of_the_scene_matters(channels: int) -> None:
    image = noise((30, 40), 1, channels=channels, levels=64).astype(np.float64)
    found = slic(image, 30, low=0.0, high=256.0)
    assert np.array_equal(slic(image * 4, 30, low=0.0, high=1024.0), found)
    assert np.array_equal(slic(image - 512, 30, low=-512.0, high=-256.0), found)


def test_low_contrast_is_not_stretched() -> None:
    flat = np.full((3, 60, 60), 100, np.uint8)
    faint = flat + noise((60, 60), 2, levels=3)
    squares = slic(flat, 36)
    assert np.mean(slic(faint, 36) == squares) > 0.95
    assert np.mean(slic(faint, 36, low=100.0, high=102.0) == squares) < 0.7


def test_what_lies_far_away_in_a_tile_does_not_matter() -> None:
    quiet = noise((24, 600), 3, levels=40)
    loud = quiet.copy()
    loud[:, :, 400:] = noise((24, 200), 4)
    loud[:, 0, -1] = 255
    one, other = (slic(image, 225)[:, :150] for image in (quiet, loud))
    assert np.array_equal(_pairs(one), _pairs(other))


def _pairs(numbers: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Whether each pixel and the next one right, and down, share a superpixel."""
    right, down = np.diff(numbers, axis=1) == 0, np.diff(numbers, axis=0) == 0
    return np.concatenate([right.ravel(), down.ravel()])


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (2, 2), (0, 4)])
@pytest.mark.parametrize("count", [1, 3, 50])
def test_smallest_images(shape: tuple[int, int], count: int) -> None:
    numbers = slic(noise(shape, 0), count)
    assert numbers.shape == shape
    assert_superpixels(numbers, np.ones(shape, np.bool_), 4)


def test_no_valid_pixel_gives_no_superpixel() -> None:
    assert np.all(slic(noise((4, 5), 0), 3, valid=np.zeros((4, 5), np.bool_)) == -1)


@pytest.mark.parametrize(
    ("image", "settings", "message"),
    [
        (np.zeros((4, 4)), {}, "axes (channel, y, x)"),
        (np.full((2, 4, 4), np.nan), {}, "Channel 0 of the image has values that are not finite"),
        (np.zeros((1, 4, 4)), {"valid": np.ones((4, 5), np.bool_)}, "its shape is (4, 5)"),
        (np.zeros((1, 4, 4)), {"count": 0}, "not count=0"),
        (np.zeros((1, 4, 4)), {"compactness": 0.0}, "compactness must be above 0, not 0.0"),
        (np.zeros((1, 4, 4)), {"low": 1.0, "high": 0.0}, "not end below their start"),
    ],
)
def test_refusals(image: NDArray[Any], settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        slic(image, **{"count": 2, **settings})
