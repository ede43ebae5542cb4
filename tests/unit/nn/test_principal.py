"""Principal scores of features in their ranges."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from hsistream.nn.principal import Part, principal_map, turn


def features_of(size: int = 12, pixels: int = 5000, seed: int = 0) -> NDArray[np.float32]:
    random = np.random.default_rng(seed)
    mixed = random.standard_normal((size, 4)) @ random.standard_normal((4, pixels))
    return (5 + mixed + 0.1 * random.standard_normal((size, pixels))).astype(np.float32)


def scores_of(
    features: NDArray[np.float32], components: int, *, whiten: bool = False
) -> NDArray[np.float64]:
    found = principal_map(features, components, whiten=whiten)
    return np.asarray(found.matrix.astype(np.float64) @ features + found.offset[:, None])


def test_scores_are_those_of_a_plain_decomposition() -> None:
    features = features_of()
    low, high = features.min(axis=1, keepdims=True), features.max(axis=1, keepdims=True)
    ranged = ((features - low) / (high - low)).astype(np.float64)
    ranged -= ranged.mean(axis=1, keepdims=True)
    left, singular, right = np.linalg.svd(ranged, full_matrices=False)
    expected = singular[:3, None] * right[:3]
    expected *= np.sign(left[np.abs(left).argmax(axis=0), np.arange(12)])[:3, None]
    expected /= np.sqrt((expected**2).mean(axis=1).sum())
    np.testing.assert_allclose(scores_of(features, 3), turn(3) @ expected, atol=1e-4)


def test_scores_share_one_scale() -> None:
    scores = scores_of(features_of(), 4)
    np.testing.assert_allclose(scores.mean(axis=1), 0, atol=1e-4)
    np.testing.assert_allclose(scores.var(axis=1).sum(), 1, atol=1e-4)
    variance = (turn(4) @ scores).var(axis=1)
    assert (np.diff(variance) < 0).all()


@pytest.mark.parametrize("size", [1, 2, 5, 64, 300])
def test_turning_keeps_distances_and_spreads_what_varies(size: int) -> None:
    matrix = turn(size)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(size), atol=1e-12)
    assert np.abs(matrix).max() <= np.sqrt(2 / size) + 1e-12
    steep = np.exp(-np.arange(size))
    shared = matrix**2 @ steep
    assert shared.max() < 4 * shared.min()


def test_noise_is_not_made_large_by_standardising_scores() -> None:
    """Two places far from each other in what varies most stay so, whatever noise there is."""
    features = features_of(12, 4000)
    scores = scores_of(features, 12)
    standardised = scores / scores.std(axis=1, keepdims=True)
    before = np.linalg.norm(scores[:, 1:] - scores[:, :1], axis=0)
    after = np.linalg.norm(standardised[:, 1:] - standardised[:, :1], axis=0)
    assert np.corrcoef(before, after)[0, 1] > 0.98
    components = turn(12) @ scores
    whitened = components / components.std(axis=1, keepdims=True)
    lost = np.linalg.norm(whitened[:, 1:] - whitened[:, :1], axis=0)
    assert np.corrcoef(before, lost)[0, 1] < 0.9


def test_parts_have_their_shares_of_the_variance() -> None:
    first, second = features_of(6, seed=1), 1000 * features_of(3, seed=2)
    features = np.concatenate([first, second])
    found = principal_map(features, 9, parts=(Part(6, 0.25), Part(3, 0.75)))
    own = [found.matrix[:, part] @ features[part] for part in (slice(0, 6), slice(6, 9))]
    shares = [part.var(axis=1, dtype=np.float64).sum() for part in own]
    np.testing.assert_allclose(shares, [0.25, 0.75], rtol=1e-3)


def test_features_of_an_even_part_vary_as_much() -> None:
    features = features_of(5) * np.asarray([[1], [10], [0.1], [3], [0]], np.float32)
    features[0, 7] = 1e3  # a single bright pixel
    found = principal_map(features, 5, parts=(Part(5, 1.0, even=True),))
    deviation = features.std(axis=1, dtype=np.float64)
    shares = np.linalg.norm(found.matrix, axis=0) * deviation
    np.testing.assert_allclose(shares, [0.5, 0.5, 0.5, 0.5, 0], rtol=1e-3)


def test_a_part_without_a_share_counts_for_nothing() -> None:
    features = features_of(6)
    both = np.concatenate([features, features_of(3, seed=2)])
    parts = (Part(6, 1.0), Part(3, 0.0))
    found = principal_map(both, 4, parts=parts)
    assert not found.matrix[:, 6:].any()
    assert not principal_map(np.ones_like(both), 4, parts=parts).matrix.any()


def test_whitened_scores_have_variance_one_and_are_uncorrelated() -> None:
    np.testing.assert_allclose(
        np.cov(scores_of(features_of(), 4, whiten=True)), np.eye(4), atol=1e-3
    )


def test_whitening_does_not_blow_up_what_hardly_varies() -> None:
    features = features_of()
    features[:] = features[:1]
    assert np.abs(scores_of(features, 5, whiten=True)[1:]).max() < 1e-2


def test_features_that_are_constant_count_for_nothing() -> None:
    features = features_of(4)
    wide = np.concatenate([features, np.full_like(features[:1], 7)])
    np.testing.assert_allclose(scores_of(wide, 3), scores_of(features, 3), atol=1e-4)
    assert not scores_of(np.full((3, 9), 2, np.float32), 2).any()


def test_one_pixel_and_few_pixels_are_enough() -> None:
    assert not scores_of(features_of(6, 1), 6).any()
    assert np.isfinite(scores_of(features_of(9, 3), 9)).all()
