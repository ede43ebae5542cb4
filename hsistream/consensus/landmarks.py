"""Diffusion between landmarks: co-occurrence, eigenpairs, coordinates, centres.

Landmarks are the centroids of all codebooks. Two pixels are close if they
share landmarks; the diffusion between pixels has the eigenpairs of a small
matrix M over landmarks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import linalg
from threadpoolctl import threadpool_limits

from hsistream.consensus.kernels import count_pairs, nearest_two
from hsistream.consensus.projections import fix_signs
from hsistream.neighbours import few_kinds_allowed

Floats = NDArray[np.float64]
Codes = NDArray[np.unsignedinteger]


@dataclass(frozen=True, slots=True)
class LandmarkSpectrum:
    """Leading eigenpairs of M: eigenvalues (k,), landmark coordinates (landmark, k).

    The coordinate of a pixel is the sum of those of its landmarks. Landmarks
    without mass or weight have coordinate 0.
    """

    eigenvalues: Floats
    coordinates: Floats


@dataclass(frozen=True, slots=True)
class Partition:
    """Landmark coordinates (landmark, k) and centres (cluster, k) in label order."""

    coordinates: Floats
    centres: Floats


def count_landmarks(codes: Codes, starts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Count how often two landmarks share a pixel, (landmark, landmark) int64.

    Parameters
    ----------
    codes : (codebook, pixel) unsigned
        Code of every valid pixel in every codebook.
    starts : (codebook + 1,) int64
        Landmark ``starts[j] + codes[j, p]`` is code ``codes[j, p]`` of codebook j.

    Returns
    -------
    (landmark, landmark) int64
        Integers, so that the sum over tiles has one value in any order. Its
        diagonal is the mass of the landmarks.
    """
    counts = np.zeros((int(starts[-1]), int(starts[-1])), np.int64)
    if codes.shape[1]:
        count_pairs(np.ascontiguousarray(codes), starts, counts)
    diagonal = counts.diagonal().copy()
    counts = counts + counts.T
    np.fill_diagonal(counts, diagonal)
    return counts


def landmark_spectrum(
    counts: NDArray[np.int64], starts: NDArray[np.int64], weights: Sequence[float], size: int
) -> LandmarkSpectrum:
    """Find the leading eigenpairs of the diffusion between landmarks.

    With C the counts, D its diagonal and A the weight of each landmark's
    codebook (sum over codebooks 1): ``M = A^1/2 D^-1/2 C D^-1/2 A^1/2`` and the
    coordinates are ``A^1/2 D^-1/2 V``.

    Parameters
    ----------
    counts : (landmark, landmark) int64
        Of :func:`count_landmarks`, summed over the scene.
    starts : (codebook + 1,) int64
        First landmark of every codebook.
    weights : sequence of float
        One per codebook, at least one above 0.
    size : int
        Number of eigenpairs, the constant one included; fewer where M is smaller.

    Returns
    -------
    LandmarkSpectrum
        Eigenvalues from 1 downwards, in [0, 1] up to rounding.

    References
    ----------
    .. [1] X. Z. Fern and C. E. Brodley, "Solving cluster ensemble problems by
       bipartite graph partitioning", ICML 2004. doi:10.1145/1015330.1015414
    .. [2] D. Huang et al., "Ultra-scalable spectral clustering and ensemble
       clustering", IEEE TKDE 32, 1212-1226, 2020. doi:10.1109/TKDE.2019.2903410
    """
    share = np.repeat(np.asarray(weights, float) / np.sum(weights), np.diff(starts))
    mass = counts.diagonal()
    used = np.flatnonzero((mass > 0) & (share > 0))
    factor = np.sqrt(share[used] / mass[used])
    matrix = counts[np.ix_(used, used)] * factor[:, None] * factor[None, :]
    size = min(size, len(used))
    values, vectors = linalg.eigh(matrix, subset_by_index=(len(used) - size, len(used) - 1))
    coordinates = np.zeros((len(counts), size))
    coordinates[used] = factor[:, None] * fix_signs(vectors[:, ::-1])
    return LandmarkSpectrum(values[::-1].copy(), coordinates)


def pixel_coordinates(codes: Codes, starts: NDArray[np.int64], coordinates: Floats) -> Floats:
    """Sum the coordinates of each pixel's landmarks, (pixel, k), before they get unit length."""
    places = np.zeros((codes.shape[1], coordinates.shape[1]))
    for start, book in zip(starts, codes, strict=False):
        places += coordinates[start + book.astype(np.int64)]
    return places


def unit_rows(places: Floats) -> Floats:
    """Scale rows to unit length; a zero row stays zero."""
    length = np.linalg.norm(places, axis=1, keepdims=True)
    return places / np.where(length > 0, length, 1)


def find_centres(
    codes: Codes,
    starts: NDArray[np.int64],
    coordinates: Floats,
    *,
    clusters: int,
    tries: int,
    seed: Sequence[int],
) -> Partition:
    """Divide the reservoir's pixels into clusters, numbered from the largest down.

    Parameters
    ----------
    codes : (codebook, pixel) unsigned
        Codes of the reservoir.
    starts : (codebook + 1,) int64
        First landmark of every codebook.
    coordinates : (landmark, k) float64
        Of the leading ``clusters + 1`` eigenvectors.
    clusters : int
        Number of clusters; as many as there are different pixels, if fewer.
    tries : int
        k-means starts, of which the one with the lowest inertia is kept.
    seed : sequence of int
        Names the random stream.

    Returns
    -------
    Partition
        What :func:`label_pixels` needs, and nothing that grows with the scene.
    """
    places = unit_rows(pixel_coordinates(codes, starts, coordinates))
    from sklearn.cluster import KMeans

    size = min(clusters, len(np.unique(places.round(9), axis=0)))
    state = np.random.SeedSequence(seed).generate_state(1)[0]
    with threadpool_limits(1), few_kinds_allowed():
        model = KMeans(size, n_init=tries, random_state=int(state)).fit(places)
    mass = np.bincount(model.labels_, minlength=size)
    order = np.argsort(-mass, kind="stable")[: np.count_nonzero(mass)]
    return Partition(coordinates, np.ascontiguousarray(model.cluster_centers_[order]))


def label_pixels(
    codes: Codes, starts: NDArray[np.int64], partition: Partition
) -> tuple[NDArray[np.int64], Floats]:
    """Look up the label of every pixel and its margin from 0 (a tie) to 1.

    ``codes`` is (codebook, pixel); both results are (pixel,).
    """
    label = np.empty(codes.shape[1], np.int64)
    margin = np.empty(codes.shape[1])
    nearest_two(
        np.ascontiguousarray(codes), starts, partition.coordinates, partition.centres, label, margin
    )
    return label, margin


def suggest_clusters(eigenvalues: Floats, most: int) -> int:
    """Suggest a number of clusters: K where eigenvalue K + 1 falls furthest below eigenvalue K.

    Parameters
    ----------
    eigenvalues : (k,) float64
        From 1 downwards, the constant one included.
    most : int
        Largest K that may be suggested; the smallest is 2.

    Returns
    -------
    int
        The suggestion; the number of eigenvalues where there are fewer than 3.

    Examples
    --------
    >>> suggest_clusters(np.array([1.0, 0.98, 0.95, 0.6, 0.5]), most=4)
    3
    """
    if len(eigenvalues) < 3:
        return len(eigenvalues)
    values = np.clip(eigenvalues[: most + 1], 0, 1)
    gaps = values[1:-1] - values[2:]
    return int(np.argmax(gaps)) + 2
