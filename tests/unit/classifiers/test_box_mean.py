from __future__ import annotations

import numpy as np

from hsistream.classifiers.box_mean import box_mean


def test_the_mean_is_that_of_the_pixels_with_data_in_the_square() -> None:
    random = np.random.default_rng(0)
    values, valid = random.normal(size=(2, 11, 9)).astype(np.float32), random.random((11, 9)) > 0.3
    values[:, ~valid] = 0
    found = box_mean(values, valid, 2)
    for row in range(11):
        for column in range(9):
            square = slice(max(0, row - 2), row + 3), slice(max(0, column - 2), column + 3)
            expected = values[:, *square].sum(axis=(1, 2)) / max(1, valid[square].sum())
            np.testing.assert_allclose(found[:, row, column], expected, rtol=1e-4, atol=1e-6)


def test_means_do_not_depend_on_where_an_array_begins() -> None:
    values = np.random.default_rng(1).normal(size=(3, 40, 30)).astype(np.float32)
    valid = np.ones((40, 30), np.bool_)
    whole = box_mean(values, valid, 2)
    part = box_mean(values[:, 7:30, 5:], valid[7:30, 5:], 2)
    np.testing.assert_array_equal(part[:, 2:-2, 2:-2], whole[:, 9:28, 7:-2])
