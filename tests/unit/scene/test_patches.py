from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from hsistream.scene.ingest import ingest
from hsistream.scene.patches import fill_gaps, filling_reach, mirrored, read_patches, repeated
from hsistream.scene.scene import Scene
from tests.strategies import Shape, array_source, whole


def nearest(valid: NDArray[np.bool_], row: int, column: int) -> tuple[int, int]:
    """Nearest pixel with data, the first of equally near ones."""
    places = np.argwhere(valid)
    lengths = ((places - (row, column)) ** 2).sum(axis=1)
    found = places[lengths.argmin()]
    return int(found[0]), int(found[1])


def square(values: NDArray[Any], valid: NDArray[np.bool_], at: Shape, reach: int) -> NDArray[Any]:
    """The square around a pixel with data of a whole frame, with its gaps filled."""
    filled = values.copy()
    for row, column in np.argwhere(~valid):
        filled[:, row, column] = values[:, *nearest(valid, row, column)]
    wide = np.pad(filled, ((0, 0), (reach, reach), (reach, reach)), mode="symmetric")
    side = 2 * reach + 1
    return wide[:, at[0] : at[0] + side, at[1] : at[1] + side]


# --- edges ---------------------------------------------------------------------------------


@given(st.integers(1, 20), st.integers(0, 50), st.integers(0, 50))
def test_a_frame_goes_on_as_numpy_pads_it(extent: int, before: int, behind: int) -> None:
    places = np.arange(-before, extent + behind)
    for go_on, mode in ((mirrored, "symmetric"), (repeated, "edge")):
        expected = np.pad(np.arange(extent), (before, behind), mode=mode)  # type: ignore[call-overload]  # mode is one of its literals
        np.testing.assert_array_equal(go_on(places, extent), expected)


# --- gaps ----------------------------------------------------------------------------------


@pytest.mark.parametrize("reach", [1, 2, 3])
@pytest.mark.parametrize("share", [0.05, 0.3, 0.8])
def test_gaps_near_data_take_the_values_of_the_nearest_pixel(reach: int, share: float) -> None:
    rng = np.random.default_rng((reach, int(100 * share)))
    valid = rng.random((23, 31)) < share
    values = np.where(valid, rng.standard_normal((2, 23, 31)), np.nan)
    filled = values.copy()
    fill_gaps(filled, valid, reach)
    for row, column in np.ndindex(valid.shape):
        rows = slice(max(0, row - reach), row + reach + 1)
        if valid[rows, max(0, column - reach) : column + reach + 1].any():
            expected = values[:, *nearest(valid, row, column)]
            np.testing.assert_array_equal(filled[:, row, column], expected)


def test_a_frame_without_data_stays_as_it_is() -> None:
    values = np.ones((2, 5, 5))
    fill_gaps(values, np.zeros((5, 5), np.bool_), 3)
    assert (values == 1).all()


@given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 2**20))
def test_what_a_pixel_sees_is_the_same_in_any_window(top: int, left: int, seed: int) -> None:
    rng, reach = np.random.default_rng(seed), 3
    halo = filling_reach(reach)
    valid = rng.random((50, 50)) < rng.uniform(0.05, 1)
    row, column = top + halo, left + halo
    valid[row, column] = True
    values = rng.standard_normal((1, 50, 50))
    part = slice(row - halo, row + halo + 1), slice(column - halo, column + halo + 1)
    own = values[:, *part].copy()
    fill_gaps(own, valid[part], reach)
    fill_gaps(values, valid, reach)
    seen = slice(row - reach, row + reach + 1), slice(column - reach, column + reach + 1)
    inner = slice(halo - reach, halo + reach + 1)
    np.testing.assert_array_equal(own[:, inner, inner], values[:, *seen])


# --- patches -------------------------------------------------------------------------------


def everywhere(scene: Scene) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    found = [
        (frame, row, column)
        for frame, each in enumerate(scene.frames)
        for row, column in np.argwhere(scene.valid(frame, whole(each.shape)))
    ]
    frame, row, column = np.asarray(found, np.int64).T
    return frame, row, column


@pytest.mark.parametrize("reach", [0, 1, 3])
def test_patches_are_those_of_the_whole_frame(scene: Scene, reach: int) -> None:
    frame, row, column = (each[::7] for each in everywhere(scene))
    found = read_patches(scene, (frame, row, column), reach)
    assert found.shape == (len(frame), scene.bands, 2 * reach + 1, 2 * reach + 1)
    assert found.dtype == scene.dtype
    images = [
        (scene.read(number, whole(each.shape)), scene.valid(number, whole(each.shape)))
        for number, each in enumerate(scene.frames)
    ]
    for number, patch in enumerate(found):
        values, valid = images[frame[number]]
        expected = square(values, valid, (int(row[number]), int(column[number])), reach)
        np.testing.assert_array_equal(patch, expected)


def test_the_order_of_pixels_is_kept(scene: Scene) -> None:
    places = everywhere(scene)
    order = np.random.default_rng(0).permutation(len(places[0]))[:40]
    frame, row, column = (each[order] for each in places)
    found = read_patches(scene, (frame, row, column), 2)
    for number in range(len(order)):
        alone = (frame[[number]], row[[number]], column[[number]])
        np.testing.assert_array_equal(read_patches(scene, alone, 2)[0], found[number])


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (2, 3), (3, 2)])
def test_small_frames_are_mirrored_as_often_as_needed(tmp_path: Path, shape: Shape) -> None:
    values = np.random.default_rng(0).integers(1, 99, (3, *shape)).astype(np.uint16)
    scene = ingest([array_source(values)], tmp_path / "scene.zarr")
    frame, row, column = everywhere(scene)
    found = read_patches(scene, (frame, row, column), 3)
    for number, patch in enumerate(found):
        at = (int(row[number]), int(column[number]))
        np.testing.assert_array_equal(patch, square(values, np.ones(shape, np.bool_), at, 3))
