"""Affine maps from spectra to scores: z-scored PCA, unit-norm PCA and MNF.

All of them are made of scene-wide sums, so a tile never normalises by itself.
Spectra are standardised per *statistics group* (the scene, each frame, or a
named set of frames); the directions are shared by all groups, so that scores
of different frames can be compared.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

NOISE_SHARE = 0.7
"""Share of the neighbour differences, the quieter ones, that count as noise."""

NOISE_FLOOR = 1e-8
"""Smallest noise eigenvalue, relative to the largest."""

MNF_EXPONENT = -0.25
"""Power of its eigenvalue by which a MNF score is scaled."""

LEAST_DEVIATION = 1e-32
"""Standard deviation below which a band is constant: scores are of single precision, which can
hold neither its inverse nor that times a whitening."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Moments:
    """Count (group,), mean (group, band) and covariance (group, band, band) of spectra.

    ``varies`` (group, band) is False where all pixels of a group share one value.
    """

    count: NDArray[np.int64]
    mean: Floats
    covariance: Floats
    varies: NDArray[np.bool_]

    def scale(self) -> Floats:
        """Inverse standard deviation, (group, band); 0 for a band that does not vary."""
        deviation = np.sqrt(np.einsum("gbb->gb", self.covariance))
        usable = self.varies & (deviation > LEAST_DEVIATION)
        return np.where(usable, 1 / np.where(usable, deviation, 1), 0.0)

    def pooled(self, scale: Floats) -> Floats:
        """Covariance within groups, (band, band), of spectra times ``scale`` (group, band)."""
        scaled = self.covariance * scale[:, :, None] * scale[:, None, :]
        return np.tensordot(self.count / self.count.sum(), scaled, 1)


@dataclass(frozen=True, slots=True)
class Projection:
    """Scores of a spectrum x of group g: ``directions.T @ (scale[g] * (u(x) - mean[g]))``.

    ``u`` divides a spectrum by its length if ``unit_norm``, and else does
    nothing. ``mean`` and ``scale`` are (group, band), ``directions``, which all
    groups share, (band, component); ``variance`` (component,) is that of the
    scores within groups.
    """

    name: str
    mean: Floats
    scale: Floats
    directions: Floats
    variance: Floats
    unit_norm: bool = False

    @property
    def components(self) -> int:
        """Number of scores."""
        return int(self.directions.shape[1])

    @property
    def plain(self) -> bool:
        """Whether the scores are the standardised features themselves."""
        bands, components = self.directions.shape
        return bands == components and np.array_equal(self.directions, np.eye(bands))

    def leading(self, components: int) -> Projection:
        """Leave out all components but the first ones."""
        kept = slice(components)
        return replace(self, directions=self.directions[:, kept], variance=self.variance[kept])

    def matrix(self, group: int) -> Floats:
        """Give the matrix (band, component) by which centred spectra of a group become scores."""
        return np.asarray(self.scale[group][:, None] * self.directions)

    def scores(self, spectra: NDArray[np.floating], group: int) -> NDArray[np.floating]:
        """Project spectra (band, pixel) to scores (component, pixel) of the same type."""
        kind = spectra.dtype
        if self.unit_norm:
            spectra = unit_length(spectra)
        centred = spectra - self.mean[group].astype(kind)[:, None]
        return np.asarray(self.matrix(group).T.astype(kind) @ centred)


def fit_z(moments: Moments, components: int) -> Projection:
    """Fit principal components of z-scored spectra, at their natural variances.

    Parameters
    ----------
    moments : Moments
        Of the spectra, per group.
    components : int
        How many to keep; as many as there are varying bands, if that is fewer.

    Returns
    -------
    Projection
        Named ``"z"``.
    """
    scale = moments.scale()
    variance, directions = leading(moments.pooled(scale), components)
    return Projection("z", moments.mean, scale, directions, variance)


def fit_l2(moments: Moments, components: int) -> Projection:
    """Fit principal components of unit-norm spectra; ``moments`` are those of the unit spectra."""
    scale = np.ones_like(moments.mean)
    variance, directions = leading(moments.pooled(scale), components)
    return Projection("l2", moments.mean, scale, directions, variance, unit_norm=True)


def fit_mnf(moments: Moments, noise: Floats, components: int) -> Projection:
    """Fit minimum noise fractions: principal components after the noise is whitened.

    Parameters
    ----------
    moments : Moments
        Of the spectra, per group.
    noise : (band, band) float64
        Noise covariance of the z-scored spectra: half of that of the quiet differences of
        neighbours, see :func:`noise_threshold`.
    components : int
        How many to keep.

    Returns
    -------
    Projection
        Named ``"mnf"``; each score is multiplied by its eigenvalue to the power
        ``MNF_EXPONENT``, so that components count by their signal-to-noise
        ratio but the first does not drown the others.

    References
    ----------
    .. [1] A. A. Green et al., "A transformation for ordering multispectral data
       in terms of image quality", IEEE TGRS 26, 65-74, 1988. doi:10.1109/36.3001
    """
    scale = moments.scale()
    used = np.asarray(scale.any(axis=0))
    signal = moments.pooled(scale)[np.ix_(used, used)]
    level, axes = linalg.eigh(noise[np.ix_(used, used)])
    if level[-1] <= 0:  # no two neighbours differ: nothing to whiten
        level = np.ones_like(level)
    whitening = axes / np.sqrt(np.maximum(level, NOISE_FLOOR * level[-1]))
    variance, directions = leading(whitening.T @ signal @ whitening, components)
    kept = np.zeros((len(used), len(variance)))
    kept[used] = whitening @ directions * variance**MNF_EXPONENT
    return Projection("mnf", moments.mean, scale, kept, variance ** (1 + 2 * MNF_EXPONENT))


def leading(covariance: Floats, components: int) -> tuple[Floats, Floats]:
    """Find the leading eigenpairs of a covariance, (component,) and (band, component).

    Eigenvalues that are zero to rounding are dropped, so there may be fewer
    than asked for. Signs are fixed: the largest entry of a vector is positive.
    """
    values, vectors = linalg.eigh(covariance)
    values, vectors = values[::-1][:components], vectors[:, ::-1][:, :components]
    kept = values > max(values[0], 0) * len(covariance) * np.finfo(float).eps
    kept[0] = True
    return np.maximum(values[kept], np.finfo(float).tiny), fix_signs(vectors[:, kept])


def fix_signs(vectors: Floats) -> Floats:
    """Flip columns so that the entry of largest magnitude is positive."""
    peaks = vectors[np.abs(vectors).argmax(axis=0), np.arange(vectors.shape[1])]
    return vectors * np.where(peaks < 0, -1.0, 1.0)


def unit_length(spectra: NDArray[np.floating]) -> NDArray[np.floating]:
    """Divide spectra (band, ...) by their Euclidean length; a zero spectrum stays zero."""
    length = np.sqrt(np.einsum("b...,b...->...", spectra, spectra))
    return spectra / np.where(length > 0, length, 1)


def noise_threshold(squared_lengths: Floats) -> float:
    """Find the squared length below which a z-scored neighbour difference is noise.

    It is the ``NOISE_SHARE`` quantile; of the differences that are not zero,
    where most are (a scene that is constant by parts, or padded).
    """
    if not len(squared_lengths):
        return 0.0
    threshold = float(np.quantile(squared_lengths, NOISE_SHARE))
    positive = squared_lengths[squared_lengths > 0]
    return (
        threshold
        if threshold > 0 or not len(positive)
        else float(np.quantile(positive, NOISE_SHARE))
    )


def noise_sums(differences: Floats, threshold: float) -> tuple[Floats, int]:
    """Sum the outer products of the quiet differences (pair, band); and count them."""
    lengths = np.einsum("pb,pb->p", differences, differences)
    quiet = differences[lengths <= threshold]
    return quiet.T @ quiet, len(quiet)


def edge_scale(squared_differences: Floats) -> float:
    """Median squared score difference of neighbours; of the non-zero ones if that is 0."""
    if not len(squared_differences):
        return 1.0
    middle = float(np.median(squared_differences))
    positive = squared_differences[squared_differences > 0]
    if middle > 0 or not len(positive):
        return middle or 1.0
    return float(np.median(positive))
