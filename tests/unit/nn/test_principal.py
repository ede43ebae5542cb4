"""Principal scores of features in their ranges."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hsistream.nn.principal import principal_map


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
    np.testing.assert_allclose(scores_of(features, 3), expected, atol=1e-4)


def test_scores_share_one_scale() -> None:
    scores = scores_of(features_of(), 4)
    np.testing.assert_allclose(scores.mean(axis=1), 0, atol=1e-4)
    variance = scores.var(axis=1)
    np.testing.assert_allclose(variance.sum(), 1, atol=1e-4)
    assert (np.diff(variance) < 0).all()


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
