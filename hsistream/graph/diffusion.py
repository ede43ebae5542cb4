"""A random walk on a graph of nodes: its eigenpairs, its times, and places in which it is near.

References
----------
.. [1] R. R. Coifman and S. Lafon, "Diffusion maps", ACHA 21, 5-30, 2006.
   doi:10.1016/j.acha.2006.04.006
.. [2] J. M. Murphy and S. L. Polk, "A multiscale environment for learning by
   diffusion", ACHA 57, 58-100, 2022. arXiv:2102.00500
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor, log
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, sparse
from scipy.sparse.linalg import eigsh
from threadpoolctl import threadpool_limits

Norm = Literal["pi", "unit"]
"""Length of an eigenvector: 1 under the stationary distribution, or 1 in itself."""

DENSE_NODES = 200
"""Up to this many nodes all eigenpairs are found at once."""

TIME_BASE = 2
STATIONARY_SHARE = 1e-5
"""The walk has settled where no probability is off by more than this share of the rarest node's."""

FADED = 0.05
"""Weight of an eigenpair below which it no longer tells clusters apart."""

LARGEST_EIGENVALUE = 1 - 1e-12
"""Of all but the first: the graph is connected, so that 1 could come from rounding only."""

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class WalkSpectrum:
    """Leading eigenpairs of a random walk.

    ``eigenvalues`` (k,) fall in magnitude, the first is 1; ``vectors``
    (node, k) are right eigenvectors, the first is 1 everywhere; ``stationary``
    (node,) sums to 1. Pairs below ``floor`` were not looked for.
    """

    eigenvalues: Floats
    vectors: Floats
    stationary: Floats
    floor: float = 0.0


def walk_spectrum(affinity: sparse.csr_array, size: int, norm: Norm = "pi") -> WalkSpectrum:
    """Find the eigenpairs of largest magnitude of the walk on a connected graph.

    Parameters
    ----------
    affinity : (node, node) sparse
        Symmetric, connected, every node linked to itself.
    size : int
        Number of eigenpairs, the constant one included; fewer where there are
        fewer nodes.
    norm : {"pi", "unit"}
        Length of the eigenvectors. With "pi", distances in all of them are
        diffusion distances [1]_; "unit" is what DS2DL's program does.

    Returns
    -------
    WalkSpectrum
        Repeatable: the solver starts from a fixed vector, and the entry of
        largest magnitude of every eigenvector is positive.

    Raises
    ------
    ValueError
        If there is no such norm.

    References
    ----------
    .. [1] R. R. Coifman and S. Lafon, "Diffusion maps", ACHA 21, 5-30, 2006.
       doi:10.1016/j.acha.2006.04.006
    """
    if norm not in get_args(Norm):
        raise ValueError(f"norm must be one of {get_args(Norm)}, not {norm!r}.")
    degree = np.asarray(affinity.sum(axis=1)).ravel()
    root = np.sqrt(degree)
    scaling = sparse.dia_array((1 / root[None], [0]), shape=affinity.shape)
    values, vectors = _symmetric_pairs(sparse.csr_array(scaling @ affinity @ scaling), size)
    vectors = right_eigenvectors(vectors, degree, norm)
    values[0], vectors[:, 0] = 1, 1
    values[1:] = np.clip(values[1:], -LARGEST_EIGENVALUE, LARGEST_EIGENVALUE)
    return WalkSpectrum(values, vectors, degree / degree.sum())


def right_eigenvectors(vectors: Floats, degree: Floats, norm: Norm) -> Floats:
    """Turn eigenvectors (node, k) of the symmetric form into those of the walk, of one length.

    The entry of largest magnitude of each, of nearly equals the first, is positive.
    """
    found = _fix_signs(vectors / np.sqrt(degree)[:, None])
    share = degree / degree.sum() if norm == "pi" else np.ones(len(degree))
    return np.asarray(found / np.sqrt(np.einsum("n,nk,nk->k", share, found, found)))


def diffusion_map(spectrum: WalkSpectrum, time: float) -> Floats:
    """Give nodes places whose Euclidean distances are diffusion distances at a time.

    Parameters
    ----------
    spectrum : WalkSpectrum
        Eigenpairs.
    time : float
        Steps of the walk, at least 0.

    Returns
    -------
    (node, k - 1) float64
        Without the constant eigenvector, which tells no two nodes apart.
    """
    return np.asarray(spectrum.vectors[:, 1:] * np.abs(spectrum.eigenvalues[1:]) ** time)


def diffusion_times(spectrum: WalkSpectrum) -> NDArray[np.int64]:
    """List the times at which the walk is looked at: 0 and the powers of two until it settles.

    Returns
    -------
    (time,) int64
        0, 1, 2, 4 ... The last is the first power of two at which the second
        eigenvalue has fallen to ``STATIONARY_SHARE`` times half the smallest
        stationary probability, and at least 1.
    """
    return np.concatenate([[0], TIME_BASE ** np.arange(_last_exponent(spectrum) + 1)])


def settled_time(spectrum: WalkSpectrum, clusters: int, times: NDArray[np.int64]) -> int:
    """Choose the first time at which only as many eigenpairs as clusters are left.

    Parameters
    ----------
    spectrum : WalkSpectrum
        Eigenpairs, more than there are clusters.
    clusters : int
        Number of clusters.
    times : (time,) int64
        To choose from, increasing.

    Returns
    -------
    int
        The first time at which eigenpair ``clusters + 1`` weighs less than
        ``FADED``; the last time, if none.
    """
    faded = np.power(_following(spectrum, clusters), times) < FADED
    return int(times[faded.argmax()] if faded.any() else times[-1])


def faded_time(spectrum: WalkSpectrum, clusters: int) -> int:
    """Choose the first time, from 1 on, at which eigenpair ``clusters + 1`` is below ``FADED``.

    Eigenvalues of 1, of components beside each other, never fade and are passed over.
    """
    following = _following(spectrum, clusters)
    if following > LARGEST_EIGENVALUE:
        below = np.abs(spectrum.eigenvalues)
        following = float(below[below <= LARGEST_EIGENVALUE].max(initial=spectrum.floor))
    return 1 if following < FADED else floor(log(FADED) / log(following)) + 1


def suggest_pairs(spectrum: WalkSpectrum, most: int) -> int:
    """Suggest a number of clusters: where the eigenvalues fall by most, from 2 to ``most``.

    Examples
    --------
    >>> values = np.array([1.0, 0.98, 0.97, 0.8, 0.79])
    >>> suggest_pairs(WalkSpectrum(values, np.ones((1, 5)), np.ones(1), floor=0.7), 12)
    3
    """
    values = np.append(np.abs(spectrum.eigenvalues), spectrum.floor)[: most + 1]
    return 2 + int((values[1:-1] - values[2:]).argmax()) if len(values) > 2 else 1


def central_partition(partitions: Labels, weights: Floats, nodes: int) -> int:
    """Choose the partition that all others are nearest to, by variation of information.

    Parameters
    ----------
    partitions : (time, region) int64
        Labels from 0.
    weights : (region,) float64
        Pixels of every region.
    nodes : int
        Number of nodes. A partition with one cluster, or with as many as half
        of the nodes, is trivial: it is not chosen and not compared with.

    Returns
    -------
    int
        Number of the partition with the smallest sum, of equals the first;
        sums are rounded to 1e-9. 0 where all are trivial.
    """
    sizes = np.array([len(np.unique(labels)) for labels in partitions])
    candidates = np.flatnonzero((sizes > 1) & (sizes < nodes / 2))
    if not len(candidates):
        return 0
    gaps = np.zeros((len(candidates),) * 2)
    for a, first in enumerate(candidates):
        for b, second in enumerate(candidates[:a]):
            gaps[a, b] = gaps[b, a] = variation_of_information(
                partitions[first], partitions[second], weights
            )
    return int(candidates[gaps.sum(axis=1).round(9).argmin()])


def variation_of_information(first: Labels, second: Labels, weights: Floats) -> float:
    """Measure how far apart two partitions of weighted regions are, in bits.

    Examples
    --------
    >>> variation_of_information(np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1]), np.ones(4))
    2.0
    """
    joint = first * (second.max(initial=0) + 1) + second
    return 2 * _entropy_bits(joint, weights) - (
        _entropy_bits(first, weights) + _entropy_bits(second, weights)
    )


def _symmetric_pairs(matrix: sparse.csr_array, size: int) -> tuple[Floats, Floats]:
    """Find the eigenpairs of largest magnitude, from the largest down; of opposites, positive."""
    nodes = matrix.shape[0]
    size = min(size, nodes)
    with threadpool_limits(1):
        if nodes <= DENSE_NODES or size >= nodes - 1:
            values, vectors = linalg.eigh(matrix.toarray())
        else:
            start = np.random.default_rng(0).standard_normal(nodes)
            values, vectors = eigsh(matrix, size, which="LM", v0=start)
    order = np.lexsort((-values, -np.abs(values).round(12)))[:size]
    return values[order].copy(), vectors[:, order].copy()


def _fix_signs(vectors: Floats) -> Floats:
    """Flip columns so that the entry of largest magnitude, of nearly equals the first, is > 0."""
    size = np.abs(vectors)
    peaks = (size >= (1 - 1e-9) * size.max(axis=0)).argmax(axis=0)
    return vectors * np.where(vectors[peaks, np.arange(vectors.shape[1])] < 0, -1.0, 1.0)


def _following(spectrum: WalkSpectrum, clusters: int) -> float:
    """Tell the eigenvalue after that of the last cluster; the floor, if it was not found."""
    return float(np.abs(spectrum.eigenvalues[clusters : clusters + 1]).max(initial=spectrum.floor))


def _last_exponent(spectrum: WalkSpectrum) -> int:
    """Find the power of the base at which the walk has settled, at least 0."""
    below = np.abs(spectrum.eigenvalues[1:])
    second = float(below[below <= LARGEST_EIGENVALUE].max(initial=spectrum.floor))
    if second == 0:
        return 0
    steps = log(STATIONARY_SHARE * float(spectrum.stationary.min()) / 2) / log(second)
    return max(0, ceil(log(steps, TIME_BASE)))


def _entropy_bits(labels: Labels, weights: Floats) -> float:
    """Entropy of a partition of weighted regions, in bits."""
    mass = np.bincount(np.unique(labels, return_inverse=True)[1], weights)
    share = mass[mass > 0] / mass.sum()
    return float(-(share * np.log2(share)).sum())
