from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hsistream.regions.sums import RegionSums

seeds = st.integers(0, 2**31)


@given(st.integers(0, 40), st.integers(1, 6), seeds)
def test_sums_are_those_of_every_region_by_itself(pixels: int, regions: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    index = random.integers(-1, regions, pixels)
    features = random.standard_normal((pixels, 3)).astype(np.float32)
    features[index < 0] = np.nan
    found = RegionSums.from_pixels(index, features, regions)
    assert found.feature_sum.dtype == np.float64
    for region in range(regions):
        inside = features[index == region].astype(float)
        assert found.count[region] == len(inside)
        np.testing.assert_allclose(found.feature_sum[region], inside.sum(axis=0), atol=1e-12)
        expected = inside.mean(axis=0) if len(inside) else np.zeros(3)
        np.testing.assert_allclose(found.means()[region], expected, atol=1e-12)


@given(st.integers(0, 40), st.integers(0, 40), seeds)
def test_sums_of_tiles_add_up(pixels: int, cut: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    index, features = random.integers(-1, 4, pixels), random.integers(0, 9, (pixels, 2))
    whole = RegionSums.from_pixels(index, features.astype(float), 4)
    parts = [
        RegionSums.from_pixels(index[part], features[part].astype(float), 4)
        for part in (slice(0, cut), slice(cut, None))
    ]
    np.testing.assert_array_equal((parts[0] + parts[1]).count, whole.count)
    np.testing.assert_array_equal((parts[0] + parts[1]).feature_sum, whole.feature_sum)
