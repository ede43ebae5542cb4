from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hsistream.regions.representatives import choose_representatives, nearest_to_means
from hsistream.regions.sums import RegionSums

seeds = st.integers(0, 2**31)


@given(st.integers(0, 60), st.integers(1, 9), st.integers(1, 6), seeds)
def test_they_are_the_densest_of_every_superpixel(
    pixels: int, kinds: int, size: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    superpixels = random.integers(-1, kinds, pixels)
    density = random.integers(0, 4, pixels) / 4  # many are equal
    expected = []
    for each in range(kinds):
        members = np.flatnonzero(superpixels == each)
        ranked = sorted(members.tolist(), key=lambda pixel: (-density[pixel], pixel))
        chosen = ranked[:size]
        expected += [(pixel, each, len(members) / len(chosen)) for pixel in chosen]
    found = choose_representatives(superpixels, density, size)
    triples = zip(found.pixels.tolist(), found.owner.tolist(), found.mass.tolist(), strict=True)
    assert list(triples) == sorted(expected)
    assert np.isclose(found.mass.sum(), (superpixels >= 0).sum())


@given(st.integers(1, 60), st.integers(1, 9), seeds)
def test_numbers_of_superpixels_do_not_matter(pixels: int, kinds: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    superpixels, density = random.integers(0, kinds, pixels), random.random(pixels)
    numbers = random.permutation(100)[:kinds]
    plain = choose_representatives(superpixels, density, 3)
    renamed = choose_representatives(numbers[superpixels], density, 3)
    np.testing.assert_array_equal(renamed.pixels, plain.pixels)
    np.testing.assert_array_equal(renamed.mass, plain.mass)
    np.testing.assert_array_equal(renamed.owner, numbers[plain.owner])


@given(st.integers(1, 60), st.integers(1, 5), st.integers(1, 9), st.integers(0, 2**31))
def test_pixels_nearest_to_means_are_those_of_all_pixels(
    pixels: int, regions: int, most: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    index = np.unique(random.integers(0, regions, pixels), return_inverse=True)[1]
    features = random.standard_normal((pixels, 2)).astype(np.float32)
    sums = RegionSums.from_pixels(index, features, int(index.max()) + 1)
    found = nearest_to_means(index, features, sums, most)
    assert (np.diff(found) > 0).all()
    for region in range(int(index.max()) + 1):
        own = np.flatnonzero(index == region)
        gaps = ((features[own] - sums.means()[region]) ** 2).sum(axis=1)
        expected = np.sort(own[np.argsort(gaps, kind="stable")[:most]])
        np.testing.assert_array_equal(found[index[found] == region], expected)
