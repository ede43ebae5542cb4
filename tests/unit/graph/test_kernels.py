"""Compiled loops over the pixels of a graph."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from hsistream.graph.kernels import group_margins


@pytest.mark.parametrize("sizes", [[1], [5], [1, 1], [3, 1, 4], [2, 2, 2, 9]])
def test_margins_are_those_between_the_best_of_two_groups(sizes: list[int]) -> None:
    values = np.random.default_rng(len(sizes)).integers(0, 6, (sum(sizes), 500)).astype(np.float32)
    starts = np.concatenate([[0], np.cumsum(sizes)])
    found = np.empty(500, np.float32)
    group_margins(values, starts, found)
    parts = [values[a:b].max(axis=0) for a, b in pairwise(starts)]
    ranked = np.sort([np.full(500, -np.inf), *parts], axis=0)
    np.testing.assert_array_equal(found, ranked[-1] - ranked[-2])
