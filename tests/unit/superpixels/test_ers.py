from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from hsistream.superpixels.ers import LARGEST_PX, EntropyRate, entropy_rate, measure_entropy_rate
from tests.unit.superpixels.images import (
    Case,
    PlainHeap,
    assert_superpixels,
    by_first_appearance,
    cases,
    noise,
    pieces,
    salinas_a,
)

FIXTURE = np.array(
    [
        [0, 17, 34, 40, 57],
        [16, 22, 39, 56, 62],
        [21, 27, 44, 61, 67],
        [26, 43, 49, 66, 83],
        [31, 48, 54, 71, 88],
    ]
)
COLOURS = np.stack([FIXTURE, 3 * FIXTURE % 64, 5 * FIXTURE % 97]).astype(np.uint8)


def measured(case: Case, **settings: Any) -> EntropyRate:
    return measure_entropy_rate(
        case.image, case.count, valid=case.valid, neighbours=case.neighbours, **settings
    )


def assert_same_partition(found: NDArray[np.int32], expected: Any) -> None:
    np.testing.assert_array_equal(found, by_first_appearance(np.asarray(expected, np.int64)))


@pytest.mark.parametrize("channels", [1, 3])
def test_two_colours_become_two_superpixels(channels: int) -> None:
    halves = np.repeat([0, 200], 4).astype(np.uint8)
    found = measure_entropy_rate(np.tile(halves, (channels, 6, 1)), 2)
    assert_same_partition(found.numbers, np.tile(halves, (6, 1)))


def test_what_is_measured_on_two_colours() -> None:
    image = np.tile(np.repeat([0, 200], 4).astype(np.uint8), (1, 6, 1))
    found = measure_entropy_rate(image, 2)
    assert found.beta == pytest.approx(0.0333645694, abs=5e-11)
    assert found.largest_entropy_gain == pytest.approx(0.0319743790, abs=5e-11)
    assert found.balance_gain == pytest.approx(0.9583333333, abs=5e-11)
    assert found.total_weight == pytest.approx(272, abs=1e-9)
    assert found.superpixels == 2


def test_four_colours_become_four_superpixels() -> None:
    quadrants = np.kron([[0, 80], [160, 240]], np.ones((4, 4), int))
    assert_same_partition(entropy_rate(quadrants[None].astype(np.uint8), 4), quadrants)


def test_the_fixture_with_8_neighbours() -> None:
    found = measure_entropy_rate(FIXTURE[None].astype(np.uint8), 4, sigma=5.0)
    expected = ["00221", "00211", "00211", "02213", "22233"]
    assert_same_partition(found.numbers, [list(map(int, row)) for row in expected])
    assert found.beta == pytest.approx(0.2497689821, abs=5e-11)
    assert found.largest_entropy_gain == pytest.approx(0.1148937318, abs=5e-11)
    assert found.balance_gain == pytest.approx(0.92, abs=5e-11)
    assert found.total_weight == pytest.approx(43.7373953711, abs=5e-11)
    assert found.gain == pytest.approx(5.8522746398, abs=5e-11)
    assert len(found.taken) == 21


def test_the_fixture_with_4_neighbours() -> None:
    found = measure_entropy_rate(FIXTURE[None].astype(np.uint8), 4, neighbours=4)
    expected = ["00000", "11030", "11230", "12233", "22233"]
    assert_same_partition(found.numbers, [list(map(int, row)) for row in expected])
    assert found.beta == pytest.approx(0.2325595287, abs=5e-11)
    assert found.total_weight == pytest.approx(26.3516274780, abs=5e-11)
    assert found.gain == pytest.approx(5.3124582492, abs=5e-11)


def test_the_fixture_in_colour() -> None:
    found = measure_entropy_rate(COLOURS, 3)
    expected = ["00000", "01002", "01121", "11112", "11222"]
    assert_same_partition(found.numbers, [list(map(int, row)) for row in expected])
    assert found.gain == pytest.approx(1.4067702858, abs=1e-10)


@pytest.mark.parametrize(("shape", "gain"), [((5, 5), 0.92), ((6, 8), 1 - 2 / 48), ((2, 2), 0.5)])
def test_the_balance_gained_by_a_first_merge(shape: tuple[int, int], gain: float) -> None:
    assert measure_entropy_rate(noise(shape, 0), 1).balance_gain == pytest.approx(gain, abs=1e-12)


@given(cases())
def test_superpixels_are_connected_and_as_many_as_asked_for(case: Case) -> None:
    found = measured(case)
    assert_superpixels(found.numbers, case.valid, case.neighbours)
    possible = min(case.count, int(case.valid.sum()))
    assert found.superpixels == found.numbers.max(initial=-1) + 1
    assert found.superpixels == max(possible, pieces(case.valid, case.neighbours))


@given(cases(7))
def test_every_taken_edge_is_the_best_one(case: Case) -> None:
    found, plain = measured(case), PlainHeap(case)
    gains = []
    for edge in found.taken.tolist():
        assert not plain.is_cycle(edge)
        left = [plain.gain(other) for other in plain.weights if not plain.is_cycle(other)]
        gains.append(plain.gain(edge))
        assert gains[-1] >= max(left) - 1e-12
        plain.take(edge)
        assert min(plain.loops) >= -1e-12
    assert len(gains) == case.valid.sum() - found.superpixels
    assert np.all(np.diff(gains) <= 1e-12)
    assert min(gains, default=0.0) >= -1e-12
    assert found.gain == pytest.approx(sum(gains), abs=1e-9)
    weight = 2.0 * sum(plain.weights[edge] for edge in found.taken.tolist())
    assert sum(plain.loops) + weight == pytest.approx(float(found.total_weight > 0), abs=1e-12)
    merged = np.where(case.valid, np.reshape(plain.superpixel, case.valid.shape), -1)
    assert_same_partition(found.numbers, merged)


@given(st.integers(0, 99), st.sampled_from([4, 8]))
def test_every_gain_is_positive_where_no_weight_vanishes(seed: int, neighbours: int) -> None:
    image = noise((8, 9), seed, levels=20)
    case = Case(image, np.ones((8, 9), np.bool_), 1, neighbours)
    found, plain = measured(case), PlainHeap(case)
    for edge in found.taken.tolist():
        assert plain.gain(edge) > 0.0
        plain.take(edge)


@given(cases())
def test_a_plain_heap_takes_the_same_edges(case: Case) -> None:
    found, plain = measured(case), PlainHeap(case)
    taken, parts = plain.segment()
    assert found.taken.tolist() == taken
    assert_same_partition(found.numbers, parts)


@pytest.mark.parametrize("levels", [4, 60, 256])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_plain_heap_makes_the_same_superpixels_of_random_images(
    channels: int, levels: int
) -> None:
    for seed in range(20):
        shape = (9 + seed % 4, 11 + seed % 5)
        image = noise(shape, seed, channels=channels, levels=levels)
        case = Case(image, np.ones(shape, np.bool_), 5 + seed, 8 if seed % 3 else 4)
        assert_same_partition(measured(case).numbers, PlainHeap(case).segment()[1])


def test_a_real_scene_has_as_many_small_superpixels_as_published(data_folder: Path) -> None:
    numbers = entropy_rate(salinas_a(data_folder), 1000)
    sizes = np.bincount(numbers.ravel()).tolist()
    assert [len(sizes), sizes.count(1), sum(size < 5 for size in sizes)] == [1000, 98, 249]


@pytest.mark.parametrize("count", [100, 1000])
def test_a_plain_heap_makes_the_same_superpixels_of_a_real_scene(
    data_folder: Path, count: int
) -> None:
    image = salinas_a(data_folder)
    case = Case(image, np.ones(image.shape[1:], np.bool_), count, 8)
    assert_same_partition(measured(case).numbers, PlainHeap(case).segment()[1])


@given(cases(), st.integers(1, 50))
def test_neither_an_offset_nor_the_order_of_channels_matters(case: Case, offset: int) -> None:
    image = np.floor(case.image).astype(np.float64)
    settings: dict[str, Any] = {"valid": case.valid, "neighbours": case.neighbours}
    found = entropy_rate(image, case.count, **settings)
    assert np.array_equal(found, entropy_rate(image + offset, case.count, **settings))
    assert np.array_equal(found, entropy_rate(image[::-1], case.count, **settings))


@pytest.mark.parametrize("dtype", ["u1", "i4", "f4", "f8"])
def test_the_type_of_the_values_does_not_matter(dtype: str) -> None:
    image = noise((12, 13), 3)
    assert np.array_equal(entropy_rate(image.astype(dtype), 9), entropy_rate(image, 9))


@given(cases())
def test_pixels_without_data_are_not_looked_at(case: Case) -> None:
    image = case.image.astype(np.float64)
    image[:, ~case.valid] = np.nan
    assert np.array_equal(
        measured(Case(image, case.valid, case.count, case.neighbours)).numbers,
        measured(case).numbers,
    )


@given(cases(), st.integers(1, 3))
def test_no_data_around_an_image_changes_nothing(case: Case, border_px: int) -> None:
    image = np.pad(case.image, ((0, 0), (border_px, 0), (0, border_px)))
    valid = np.pad(case.valid, ((border_px, 0), (0, border_px)))
    wide = measured(Case(image, valid, case.count, case.neighbours))
    assert np.array_equal(wide.numbers[border_px:, :-border_px], measured(case).numbers)


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (2, 2), (1, 2), (0, 4)])
@pytest.mark.parametrize("neighbours", [4, 8])
@pytest.mark.parametrize("count", [1, 2, 3, 9, 50])
def test_smallest_images(shape: tuple[int, int], neighbours: int, count: int) -> None:
    image = noise(shape, 1, levels=9)
    numbers = entropy_rate(image, count, neighbours=neighbours)
    assert numbers.shape == shape
    assert numbers.max(initial=-1) + 1 == min(count, shape[0] * shape[1])


def test_as_many_superpixels_as_pixels_are_the_pixels() -> None:
    numbers = entropy_rate(noise((4, 5), 0), 20)
    assert np.array_equal(numbers, np.arange(20).reshape(4, 5))


def test_no_valid_pixel_gives_no_superpixel() -> None:
    numbers = entropy_rate(noise((4, 5), 0), 3, valid=np.zeros((4, 5), np.bool_))
    assert np.all(numbers == -1)


def test_edges_are_taken_in_rows_where_all_weights_vanish() -> None:
    checks = 1000.0 * (np.indices((6, 6)) * [[[1]], [[2]]]).sum(axis=0)
    found = measure_entropy_rate(checks[None] * 1000, 4)
    assert found.total_weight == 0.0
    assert found.superpixels == 4


def test_threads_do_not_disturb_each_other() -> None:
    images = [noise((40, 50), seed, levels=40) for seed in range(8)]
    alone = [entropy_rate(image, 30) for image in images]
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(lambda image: entropy_rate(image, 30), images))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("image", "settings", "message"),
    [
        (np.zeros((4, 4)), {}, "axes (channel, y, x)"),
        (np.zeros((0, 4, 4)), {}, "at least one channel"),
        (np.full((2, 4, 4), np.nan), {}, "Channel 0 of the image has values that are not finite"),
        (np.zeros((1, 4, 4)), {"valid": np.ones((4, 5), np.bool_)}, "its shape is (4, 5)"),
        (np.zeros((1, 4, 4)), {"count": 0}, "not count=0"),
        (np.zeros((1, 4, 4)), {"neighbours": 6}, "not neighbours=6"),
        (np.zeros((1, 4, 4)), {"balance": -1.0}, "balance must be 0 or more, and finite, not -1.0"),
        (np.zeros((1, 4, 4)), {"sigma": 0.0}, "sigma must be at least 1e-100, not 0.0"),
        (np.zeros((1, 4, 4)), {"sigma": np.nan}, "not nan"),
        (np.broadcast_to(np.uint8(0), (1, 2**15, 2**15)), {}, f"at most {LARGEST_PX} pixels"),
    ],
)
def test_refusals(image: NDArray[Any], settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        entropy_rate(image, **{"count": 2, **settings})
