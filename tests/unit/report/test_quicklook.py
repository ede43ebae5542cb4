from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hsistream.report.palette import NO_DATA_RGB, palette
from hsistream.report.quicklook import (
    MARK_RGB,
    OUTLINE_RGB,
    confidence_levels,
    false_colour,
    false_colour_bands,
    label_image,
    outlined,
    stride_for,
)
from hsistream.runs import NO_LABEL


@given(st.tuples(st.integers(1, 10**6), st.integers(1, 10**6)), st.integers(1, 5000))
def test_stride_is_the_smallest_that_fits(shape: tuple[int, int], limit: int) -> None:
    step = stride_for(shape, limit)
    assert len(range(0, max(shape), step)) <= limit
    assert step == 1 or len(range(0, max(shape), step - 1)) > limit


def test_bands_follow_the_wavelengths_and_avoid_bad_bands() -> None:
    wavelengths = np.arange(400, 1000, 10)
    good = wavelengths != 860
    bands = false_colour_bands(wavelengths.tolist(), good.tolist())
    assert wavelengths[list(bands)].tolist() == [850, 650, 550]


def test_bands_are_spread_where_wavelengths_do_not_help() -> None:
    good = [True] * 11
    assert false_colour_bands([], good) == (8, 5, 2)
    assert false_colour_bands(list(range(1100, 2200, 100)), good) == (8, 5, 2)
    assert false_colour_bands([float("nan")] * 11, good) == (8, 5, 2)
    assert false_colour_bands([], [False, True, False]) == (1, 1, 1)
    assert false_colour_bands([], [False] * 3) == (1, 1, 0)


def test_frames_are_stretched_together() -> None:
    ramp = np.linspace(0, 1, 400, dtype=np.float32).reshape(20, 20)
    dark, bright = (np.stack([ramp + start] * 3) for start in (0, 1))
    all_valid = np.ones((20, 20), bool)
    first, second = false_colour([dark, bright], [all_valid, all_valid])
    assert first.dtype == np.uint8
    assert first.shape == (20, 20, 3)
    assert first[0, 0, 0] == 0
    assert second[-1, -1, 0] == 255
    assert first.max() <= second.min() + 1


def test_pixels_without_data_do_not_touch_the_stretch() -> None:
    bands = np.stack([np.linspace(5, 6, 100).reshape(10, 10)] * 3)
    bands[:, 0, 0], bands[1, 0, 1] = -9999, np.nan
    valid = np.ones((10, 10), bool)
    valid[0, 0] = False
    (image,) = false_colour([bands], [valid])
    assert image[0, 0].tolist() == image[0, 1].tolist() == list(NO_DATA_RGB)
    assert 100 < image[5, 0, 0] < 155


def test_empty_and_constant_frames_have_pictures() -> None:
    empty, valid = np.zeros((3, 4, 4), np.uint16), np.zeros((4, 4), bool)
    assert (false_colour([empty], [valid])[0] == NO_DATA_RGB).all()
    assert (false_colour([empty], [~valid])[0] == 0).all()
    assert false_colour([], []) == []


def test_no_data_is_transparent() -> None:
    labels = np.array([[0, 3], [NO_LABEL, 1]], np.uint16)
    image = label_image(labels, palette(4))
    assert image[0, 1].tolist() == [*palette(4)[3].tolist(), 255]
    assert image[1, 0, 3] == 0


def test_confidence_is_rounded_to_steps() -> None:
    assert confidence_levels(np.array([0, 0.019, 0.5, 2, np.nan])).tolist() == [0, 1, 25, 50, 51]


def test_outlines_run_between_regions_and_marks_lie_on_their_pixels() -> None:
    regions = np.array([[0, 0, 1], [0, 0, 1], [2, 2, 2]])
    grey = np.full((3, 3, 3), 90, np.uint8)
    plain = outlined(grey, regions, np.zeros((0, 2), np.int64), 8)
    assert plain.shape == (24, 24, 3)
    assert (plain[4, 16] == OUTLINE_RGB).all()
    assert (plain[16, 4] == OUTLINE_RGB).all()
    assert (plain[8, 8] == 90).all()
    marked = outlined(grey, regions, np.array([[1, 0]]), 8)
    assert (marked[12, 4] == MARK_RGB).all()
    assert (marked != plain).any(axis=2).sum() <= 11 * 11
    assert (marked[:, 12:] == plain[:, 12:]).all()


def test_marks_are_seen_in_large_pictures() -> None:
    regions = np.zeros((600, 900), np.int64)
    marked = outlined(np.zeros((600, 900, 3), np.uint8), regions, np.array([[0, 899], [300, 5]]), 1)
    assert (marked == MARK_RGB).all(axis=2).sum() == 7 * 7 + 12 * 13
