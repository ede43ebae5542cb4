from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import hsistream.regions.sample_index as module
from hsistream.neighbours import nearest_rows
from hsistream.regions.sample_index import SampleIndex


def made_points(count: int, seed: int, lattice: bool) -> NDArray[np.float64]:
    random = np.random.default_rng(seed)
    points = random.standard_normal((count, 3)) * np.array([5.0, 1.0, 0.1])
    return np.asarray(np.round(points) if lattice else points)


@given(
    st.integers(1, 200),
    st.integers(1, 40),
    st.integers(0, 12),
    st.booleans(),
    st.sampled_from([0.0, 1.0, 1e4]),
    st.integers(0, 2**31),
)
def test_distances_are_those_of_all_rows_to_the_bit(
    rows: int, queries: int, count: int, lattice: bool, away: float, seed: int
) -> None:
    sample = made_points(rows, seed, lattice)
    asked = made_points(queries, seed + 1, lattice) + away
    patch = pytest.MonkeyPatch()
    with patch.context() as patched:
        patched.setattr(module, "ROWS_PER_GROUP", 9)
        found = SampleIndex.of(sample).distances(asked, count)
    expected = nearest_rows(asked, sample, count).distances
    np.testing.assert_array_equal(found, expected)


def test_groups_hold_every_row_once_from_the_middle_outwards() -> None:
    sample = made_points(2000, 0, lattice=False)
    index = SampleIndex.of(sample)
    assert len(index.centres) == 2000 // module.ROWS_PER_GROUP
    np.testing.assert_array_equal(np.sort(index.points, axis=0), np.sort(sample, axis=0))
    for group, centre in enumerate(index.centres):
        part = slice(*index.starts[group : group + 2])
        radii = np.linalg.norm(index.points[part] - centre, axis=1)
        np.testing.assert_allclose(index.radii[part], radii, atol=1e-12)
        assert (np.diff(index.radii[part]) >= 0).all()
