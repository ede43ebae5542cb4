from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hsistream.scene import synthetic
from hsistream.scene.synthetic import BLIND_BANDS, SyntheticFrame, synthetic_frames
from hsistream.tiles import Window
from tests.strategies import whole, windows

SHAPE = (45, 38)
FRAME = SyntheticFrame(1, SHAPE, bands=7, classes=4, seed=3, field_px=9)


@settings(max_examples=25)
@given(windows(SHAPE))
def test_a_window_is_part_of_the_whole(window: Window) -> None:
    np.testing.assert_array_equal(FRAME.read(window), FRAME.read(whole(SHAPE))[:, *window])
    np.testing.assert_array_equal(FRAME.valid(window), FRAME.valid(whole(SHAPE))[window])
    np.testing.assert_array_equal(FRAME.materials(window), FRAME.materials(whole(SHAPE))[window])


def test_windows_meet_across_the_tiles_of_the_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthetic, "NOISE_TILE_PX", 10)
    everywhere = FRAME.read(whole(SHAPE))
    for window in [(slice(8, 23), slice(9, 31)), (slice(10, 20), slice(0, 38))]:
        np.testing.assert_array_equal(FRAME.read(window), everywhere[:, *window])


def test_the_truth_numbers_the_materials_and_leaves_the_blind_corner() -> None:
    truth, valid = FRAME.truth(), FRAME.valid(whole(SHAPE))
    assert set(np.unique(truth)) == {0, 1, 2, 3, 4}
    np.testing.assert_array_equal(truth == 0, ~valid)
    np.testing.assert_array_equal(truth[valid] - 1, FRAME.materials(whole(SHAPE))[valid])
    assert not valid[0, 0]


def test_pixels_of_a_material_resemble_each_other_more_than_others() -> None:
    frame = SyntheticFrame(shape=(60, 60), classes=3, noise=0.002)
    spectra, materials = frame.read(whole((60, 60))).astype(float), frame.materials(whole((60, 60)))
    good = np.asarray(frame.header.good_bands)
    means = np.stack([spectra[good][:, materials == label].mean(axis=1) for label in range(3)])
    within = np.mean([spectra[good][:, materials == label].std() for label in range(3)])
    apart = np.linalg.norm(means[:, None] - means[None], axis=2)[np.triu_indices(3, 1)]
    assert apart.min() > within


def test_a_frame_can_be_made_again_and_others_differ() -> None:
    again = SyntheticFrame(1, SHAPE, bands=7, classes=4, seed=3, field_px=9)
    np.testing.assert_array_equal(again.read(whole(SHAPE)), FRAME.read(whole(SHAPE)))
    for other in (
        SyntheticFrame(2, SHAPE, bands=7, classes=4, seed=3, field_px=9),
        SyntheticFrame(1, SHAPE, bands=7, classes=4, seed=4, field_px=9),
    ):
        assert (other.materials(whole(SHAPE)) != FRAME.materials(whole(SHAPE))).any()
        assert (other.read(whole(SHAPE)) != FRAME.read(whole(SHAPE))).mean() > 0.9


def test_gain_scales_the_reflectance() -> None:
    plain, bright = (SyntheticFrame(shape=SHAPE, noise=0, gain=gain) for gain in (1.0, 1.5))
    good = np.asarray(plain.header.good_bands)
    ratio = bright.read(whole(SHAPE))[good] / plain.read(whole(SHAPE))[good]
    np.testing.assert_allclose(ratio, 1.5, rtol=5e-3)


@given(st.integers(1, 12), st.integers(1, 6))
@settings(max_examples=10)
def test_any_number_of_bands_and_classes(bands: int, classes: int) -> None:
    frame = SyntheticFrame(shape=(12, 9), bands=bands, classes=classes)
    found = frame.read(whole((12, 9)))
    assert found.shape == (bands, 12, 9)
    assert found.dtype == frame.header.dtype == np.uint16
    assert (found > 0).all()
    assert frame.header.good_bands.count(False) == min(BLIND_BANDS, bands - 1)
    assert frame.truth().max() <= classes


def test_frames_lie_side_by_side() -> None:
    first, second = (frame.header for frame in synthetic_frames(2, (40, 50)))
    assert first.georeference is not None
    assert first.georeference.shifted(0, 50) == second.georeference
    assert (first.name, second.name) == ("frame0", "frame1")
