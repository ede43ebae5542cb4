from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hsistream.regions.density import density_scale, kernel_density, neighbour_distances
from hsistream.regions.sample_index import SampleIndex
from hsistream.stages.reference import Features, Reference

seeds = st.integers(0, 2**31)

NO_KEYS = np.zeros(0, np.int64)


def reference_of(sample: Features, neighbours: int) -> Reference:
    """Measure densities of a sample, none a neighbour of its own, at every third place."""
    near = neighbour_distances(sample, sample, neighbours, own=np.arange(len(sample)))
    scale, none = density_scale(near, 50), np.zeros(0)
    index, keys = SampleIndex.of(sample), 3 * np.arange(len(sample))
    return Reference(index, keys, kernel_density(near, scale), scale, "bands", none, none)


@given(st.integers(1, 60), st.integers(1, 9), st.booleans(), seeds)
def test_pixels_of_the_sample_have_one_density_whether_or_not_their_places_are_known(
    pixels: int, neighbours: int, lattice: bool, seed: int
) -> None:
    random = np.random.default_rng(seed)
    drawn = random.integers(0, 3, (pixels, 2)) if lattice else random.standard_normal((pixels, 2))
    sample = drawn.astype(np.float32)
    known = reference_of(sample, neighbours)
    asked = random.permutation(pixels)
    at_home = known.densities(sample[asked], known.keys[asked], neighbours)
    elsewhere = replace(known, keys=NO_KEYS).densities(sample[asked], asked, neighbours)
    np.testing.assert_array_equal(at_home, known.density[asked])
    np.testing.assert_array_equal(elsewhere, at_home)


def test_other_pixels_are_compared_with_the_whole_sample() -> None:
    random = np.random.default_rng(0)
    sample, other = (random.standard_normal((count, 3)).astype(np.float32) for count in (80, 9))
    known = reference_of(sample, 5)
    keys = np.concatenate([known.keys[:4], 3 * np.arange(9) + 1, [10**9]])
    found = known.densities(np.concatenate([sample[:4], other, sample[:1]]), keys, 5)
    expected = kernel_density(neighbour_distances(other, sample, 5), known.scale)
    np.testing.assert_array_equal(found[4:-1], expected)
    np.testing.assert_array_equal(found[:4], known.density[:4])
    assert found[-1] == known.density[0]
