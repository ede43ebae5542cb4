"""Which labels are learnt from, and which are tested: so that none of the test is ever seen.

Labels of the test are not learnt from in any split. In a split by blocks they are,
besides, so far from all that are learnt from that nothing that is looked at for the
one is looked at for the other: neighbours are alike, and scores of neighbours flatter.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from hsistream.places import numbered
from hsistream.sections import ClassifySection, SplitName

Indices = NDArray[np.int64]

UNUSED, TRAIN, TEST = 0, 1, 2
"""What a labelled pixel is to a split."""

ANOTHER_FRAME = 2**40
"""Pixels from a frame to the next one: farther than any two of one frame."""

DRAWS = 100
"""Draws of blocks of which the one is taken that has most classes on both sides."""


@dataclass(frozen=True, eq=False)
class Labels:
    """Frame, row, column and class (pixel,) of labelled pixels, in the order of their places."""

    frame: Indices
    row: Indices
    column: Indices
    number: Indices


def split(labels: Labels, settings: ClassifySection, apart_px: int, seed: int) -> NDArray[np.uint8]:
    """Divide labels into those that are learnt from, those that are tested, and others.

    Parameters
    ----------
    labels : Labels
        Of a whole scene.
    settings : ClassifySection
        How to divide them.
    apart_px : int
        Least distance, along rows or columns, of pixels of the two sides that lie
        in one frame, for blocks.
    seed : int
        Which split.

    Returns
    -------
    (pixel,) uint8
        ``TRAIN``, ``TEST`` or ``UNUSED``. A class gives at least one label to the
        training, if it has any where is learnt; of a number of labels at most half of
        those that it has, of a share all but one. One of which the training has no
        label is not tested.
    """
    random = np.random.default_rng((seed, len(labels.number)))
    return SPLITS[settings.split](labels, settings, apart_px, random)


def without_doubt(labels: Labels, roles: NDArray[np.uint8], apart_px: int) -> NDArray[np.uint8]:
    """Test only what lies so far from the training in its frame, of classes that this has."""
    train, test = roles == TRAIN, roles == TEST
    test &= np.isin(labels.number, labels.number[train])
    if apart_px:
        test[test] = _distance_px(labels, train, test, apart_px) >= apart_px
    return np.where(train, TRAIN, np.where(test, TEST, UNUSED)).astype(np.uint8)


def least_distance_px(labels: Labels, roles: NDArray[np.uint8]) -> float:
    """Measure how near a pixel of the test comes to one of the training in its frame.

    Returns
    -------
    float
        Pixels along rows or columns, the greater of both; infinite where no frame
        has pixels of both.
    """
    distance = _distance_px(labels, roles == TRAIN, roles == TEST)
    return float(distance.min(initial=np.inf))


def chosen_of_each(
    number: Indices, count: int | float, random: np.random.Generator
) -> NDArray[np.bool_]:
    """Choose labels (pixel,) of each class: so many, but at most half; or such a share."""
    chosen = np.zeros(len(number), np.bool_)
    for each in np.unique(number):
        own = np.flatnonzero(number == each)
        some = isinstance(count, int)
        wanted, most = (count, len(own) // 2) if some else (round(count * len(own)), len(own) - 1)
        chosen[random.permutation(own)[: max(1, min(int(wanted), most))]] = True
    return chosen


def at_most(number: Indices, most: int, seed: int) -> NDArray[np.bool_]:
    """Choose at most so many labels (pixel,) of each class."""
    random, chosen = np.random.default_rng(seed), np.zeros(len(number), np.bool_)
    for each in np.unique(number):
        own = np.flatnonzero(number == each)
        chosen[random.permutation(own)[:most]] = True
    return chosen


def _random(
    labels: Labels, settings: ClassifySection, _apart_px: int, random: np.random.Generator
) -> NDArray[np.uint8]:
    """Learn from some labels of each class, wherever they lie."""
    chosen = chosen_of_each(labels.number, settings.per_class, random)
    return np.where(chosen, TRAIN, TEST).astype(np.uint8)


def _fraction(
    labels: Labels, settings: ClassifySection, _apart_px: int, random: np.random.Generator
) -> NDArray[np.uint8]:
    """Learn from a share of the labels of each class, wherever they lie."""
    chosen = chosen_of_each(labels.number, float(settings.fraction), random)
    return np.where(chosen, TRAIN, TEST).astype(np.uint8)


def _blocks(
    labels: Labels, settings: ClassifySection, apart_px: int, random: np.random.Generator
) -> NDArray[np.uint8]:
    """Learn from some labels of each class in some of the blocks; test those of the others."""
    block = _block_of(labels, settings.block_px)
    inside = _best_blocks(block, labels.number, settings.block_share, random)
    train = np.zeros(len(block), np.bool_)
    own = np.flatnonzero(inside)
    for each in np.unique(labels.number[own]):
        candidates = random.permutation(own[labels.number[own] == each])
        half = max(1, int((labels.number == each).sum()) // 2)
        train[candidates[: min(settings.per_class, half)]] = True
    roles = np.where(train, TRAIN, np.where(inside, UNUSED, TEST)).astype(np.uint8)
    return without_doubt(labels, roles, apart_px)


def classes_in_several_blocks(labels: Labels, block_px: int) -> int:
    """Count the classes of which labels lie in two blocks or more."""
    pairs = np.stack([labels.number, _block_of(labels, block_px)])
    return int((np.bincount(labels.number[numbered(pairs)[0]]) > 1).sum())


def _block_of(labels: Labels, block_px: int) -> Indices:
    """Give each label the number of its block, (pixel,)."""
    return numbered(np.stack([labels.frame, labels.row // block_px, labels.column // block_px]))[1]


def _best_blocks(
    block: Indices, number: Indices, share: float, random: np.random.Generator
) -> NDArray[np.bool_]:
    """Draw blocks until all classes lie on both sides, or else take the draw that has most."""
    count = int(block.max()) + 1
    held = np.zeros((count, int(number.max()) + 1), np.bool_)
    held[block, number] = True
    wanted = min(max(1, round(share * count)), max(1, count - 1))
    classes = held.any(axis=0).sum()
    best, most = np.zeros(count, np.bool_), -1
    for _ in range(DRAWS):
        drawn = np.zeros(count, np.bool_)
        drawn[random.permutation(count)[:wanted]] = True
        both = int((held[drawn].any(axis=0) & held[~drawn].any(axis=0)).sum())
        if both > most:
            best, most = drawn, both
        if most == classes:
            break
    return best[block]


def _distance_px(
    labels: Labels, train: NDArray[np.bool_], test: NDArray[np.bool_], near_px: float = np.inf
) -> NDArray[np.float64]:
    """Distance of each pixel of the test from the nearest of the training in its frame, (test,).

    Infinite where none is nearer than ``near_px``.
    """
    if not train.any() or not test.any():
        return np.full(int(test.sum()), np.inf)
    places = np.stack([ANOTHER_FRAME * labels.frame, labels.row, labels.column], axis=1)
    found = cKDTree(places[train]).query(places[test], p=np.inf, distance_upper_bound=near_px)[0]
    return np.where(found < ANOTHER_FRAME, found, np.inf)


Split = Callable[[Labels, ClassifySection, int, np.random.Generator], NDArray[np.uint8]]

SPLITS: Mapping[SplitName, Split] = MappingProxyType(
    {"random": _random, "fraction": _fraction, "blocks": _blocks}
)
"""What ``classify.split`` names."""
