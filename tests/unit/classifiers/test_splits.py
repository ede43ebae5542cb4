from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from hsistream.classifiers.splits import (
    SPLITS,
    TEST,
    TRAIN,
    Labels,
    at_most,
    classes_in_several_blocks,
    least_distance_px,
    split,
)
from hsistream.sections import ClassifySection, SplitName


def field(shape: tuple[int, int], classes: int = 3, frames: int = 1) -> Labels:
    """Labels of all pixels of square fields, in every frame."""
    row, column = np.divmod(np.arange(shape[0] * shape[1]), shape[1])
    number = (row // 7 + column // 9) % classes
    frame = np.repeat(np.arange(frames), len(row))
    return Labels(frame, *(np.tile(each, frames) for each in (row, column, number)))


def asked(name: SplitName = "blocks", **settings: object) -> ClassifySection:
    return ClassifySection.model_validate({"labels": "none", "split": name, **settings})


def counts(labels: Labels, roles: NDArray[np.uint8], role: int) -> list[int]:
    return [int(each) for each in np.bincount(labels.number[roles == role], minlength=3)]


@pytest.mark.parametrize("name", list(SPLITS))
def test_a_split_depends_on_its_seed_alone(name: SplitName) -> None:
    labels = field((60, 60))
    first, again, other = (split(labels, asked(name), 5, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_as_many_labels_of_each_class_are_learnt_from_as_asked() -> None:
    labels = field((60, 60))
    roles = split(labels, asked("random", per_class=7), 0, 0)
    assert counts(labels, roles, TRAIN) == [7, 7, 7]
    assert sum(counts(labels, roles, TEST)) == 3600 - 21


def test_a_share_of_each_class_is_learnt_from() -> None:
    labels = field((60, 60))
    roles = split(labels, asked("fraction", fraction=0.05), 0, 0)
    expected = np.round(0.05 * np.bincount(labels.number)).tolist()
    assert counts(labels, roles, TRAIN) == expected


@pytest.mark.parametrize(("there", "learnt"), [(1, 1), (2, 1), (10, 9), (100, 90)])
def test_a_large_share_leaves_one_to_the_test(there: int, learnt: int) -> None:
    place = np.arange(there)
    roles = split(Labels(0 * place, place, place, 0 * place), asked("fraction", fraction=0.9), 0, 0)
    assert (roles == TRAIN).sum() == learnt
    assert (roles == TEST).sum() == there - learnt


def test_classes_of_one_block_are_told() -> None:
    labels = field((60, 60))
    assert classes_in_several_blocks(labels, 12) == 3
    assert classes_in_several_blocks(labels, 60) == 0


@pytest.mark.parametrize(("there", "learnt", "tested"), [(1, 1, 0), (2, 1, 1), (5, 2, 3)])
def test_a_class_of_few_labels_keeps_half_of_them_for_the_test(
    there: int, learnt: int, tested: int
) -> None:
    number = np.zeros(there, np.int64)
    place = np.arange(there)
    roles = split(Labels(number, place, place, number), asked("random", per_class=10), 0, 0)
    assert (roles == TRAIN).sum() == learnt
    assert (roles == TEST).sum() == tested


@given(
    apart_px=st.integers(0, 15),
    block_px=st.integers(4, 30),
    frames=st.integers(1, 2),
    seed=st.integers(0, 99),
)
def test_no_tested_pixel_is_nearer_than_asked_to_one_that_is_learnt_from(
    apart_px: int, block_px: int, frames: int, seed: int
) -> None:
    labels = field((50, 40), frames=frames)
    roles = split(labels, asked(block_px=block_px, per_class=4), apart_px, seed)
    assert least_distance_px(labels, roles) >= apart_px


@pytest.mark.parametrize("reach", [3, 6])
def test_windows_of_training_and_test_share_no_pixel(reach: int) -> None:
    labels = field((80, 80))
    roles = split(labels, asked(block_px=20, per_class=5), 2 * reach + 1, 4)
    seen = {TRAIN: np.zeros((80, 80), bool), TEST: np.zeros((80, 80), bool)}
    for role, mask in seen.items():
        for at in np.flatnonzero(roles == role):
            row, column = labels.row[at], labels.column[at]
            top, left = max(0, row - reach), max(0, column - reach)
            mask[top : row + reach + 1, left : column + reach + 1] = True
    assert seen[TEST].any()
    assert not (seen[TRAIN] & seen[TEST]).any()


def test_the_distance_is_that_of_rows_or_columns_within_one_frame() -> None:
    zero = np.zeros(3, np.int64)
    labels = Labels(np.array([0, 0, 1]), np.array([0, 4, 0]), np.array([0, 7, 1]), zero)
    assert least_distance_px(labels, np.array([TRAIN, TEST, TEST])) == 7
    assert least_distance_px(labels, np.array([TRAIN, 0, TEST])) == np.inf


def test_blocks_of_the_test_hold_no_label_that_is_learnt_from() -> None:
    labels = field((60, 60))
    roles = split(labels, asked(block_px=12, per_class=5), 0, 2)
    block = labels.row // 12 * 100 + labels.column // 12
    assert not set(block[roles == TRAIN]) & set(block[roles == TEST])


def test_a_class_that_is_not_learnt_from_is_not_tested() -> None:
    labels = field((30, 30), classes=2)
    labels.number[:3] = 2  # three pixels, all in one block
    for seed in range(10):
        roles = split(labels, asked(block_px=10, per_class=3), 3, seed)
        assert set(labels.number[roles == TEST]) <= set(labels.number[roles == TRAIN])


def test_at_most_so_many_labels_of_each_class_are_chosen() -> None:
    number = np.repeat([0, 1], [3, 50])
    chosen = at_most(number, 10, 0)
    assert np.bincount(number[chosen]).tolist() == [3, 10]
