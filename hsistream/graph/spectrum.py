r"""The walk with jumps between frames, as an operator, and its leading eigenpairs.

A step leads to a linked node with probability :math:`1 - \alpha`, and over a landmark to a
node of any frame with probability :math:`\alpha`:

.. math:: P = (1 - \alpha) D^{-1} W + \alpha Z \Lambda^{-1} Z^\top D

with W the links, D their degrees, Z the shares of nodes in landmarks and
:math:`\Lambda = \mathrm{diag}(Z^\top d)`. It is reversible with the stationary law of the
graph without jumps, proportional to the degrees, and with :math:`\alpha = 0` it is that walk.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, sparse
from scipy.sparse.csgraph import connected_components
from threadpoolctl import threadpool_limits

from hsistream.graph.affinity import link_degrees
from hsistream.graph.bridge import Bridge, Keys
from hsistream.graph.kernels import add_bridge, step_of_walk
from hsistream.graph.parts import on_threads

log = logging.getLogger(__name__)

DENSE_NODES = 400
"""Up to this many nodes all eigenpairs are found at once."""

EXACT_NODES = 300_000
"""Up to this many nodes vectors are float64, beyond it float32."""

LEAST_MARGIN = 0.02
"""Part of alpha by which an eigenvalue must exceed 1 - alpha: others may live inside a frame."""

SPARE = 8
"""Vectors of a block beside those that are wanted, or half as many; they let these settle."""

DEGREE = 10
"""Products with the walk between two orthonormalisations of a block."""

MOST_ROUNDS = 40
"""Rounds of a block, at most; each is ``DEGREE`` products."""

Floats = NDArray[np.float64]
Vectors = NDArray[Any]  # float32 or float64, as the walk has many nodes or few
Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class JumpingWalk:
    """A walk on links (node, node), 0 or 1, that jumps over a bridge with probability ``alpha``.

    Every node has a link. ``threads`` share its products; their number changes no result.
    """

    links: sparse.csr_array
    bridge: Bridge
    alpha: float
    threads: int = 1

    @property
    def nodes(self) -> int:
        """Number of nodes."""
        return int(self.links.shape[0])

    @property
    def degree(self) -> Floats:
        """Links of every node, (node,)."""
        return link_degrees(self.links)

    def margin(self, tolerance: float) -> float:
        """Tell above which eigenvalue pairs are kept; below, they may live inside one frame."""
        return 1 - self.alpha + max(10 * tolerance, LEAST_MARGIN * self.alpha)

    def product(self, dtype: type[np.floating] = np.float64) -> Callable[[Vectors], Vectors]:
        r"""Give the function that multiplies (node, column) by the symmetric form of the walk.

        :math:`M = (1 - \alpha) D^{-1/2} W D^{-1/2} + \alpha U U^\top` with
        :math:`U = D^{1/2} Z \Lambda^{-1/2}`; nothing of it is ever laid out.
        """
        root = np.sqrt(self.degree).astype(dtype)
        shares, mass = self.bridge.shares, self.bridge.mass[:, None]
        weights = shares.weights.astype(dtype, copy=False)
        links = self.links.indptr.astype(np.int32, copy=False), self.links.indices
        factors = root, dtype(1 - self.alpha).item(), dtype(self.alpha).item()
        scale = 1 / root

        def multiply(values: Vectors) -> Vectors:
            values = np.ascontiguousarray(values, dtype)
            out = np.empty_like(values)
            total = shares.gathered(values * root[:, None], len(mass), self.threads) / mass
            total = total.astype(dtype)

            def one(part: tuple[int, int]) -> None:
                step_of_walk(links, scale, values, part, out)
                add_bridge((shares.landmarks, weights), factors, total, part, out)

            on_threads(one, self.nodes, self.threads)
            return out

        return multiply


def joint_components(walk: JumpingWalk) -> tuple[int, Rows]:
    """Count the components of nodes and landmarks together; number that of every node, (node,).

    Landmarks alone join most nodes; only what is still apart is looked for among links.
    """
    shares = walk.bridge.shares
    count, ranks = len(walk.bridge.mass), shares.landmarks.shape[1]
    first = np.repeat(shares.landmarks[:, 0], max(0, ranks - 1))
    met = sparse.coo_array(
        (np.ones(len(first), np.bool_), (first, shares.landmarks[:, 1:].ravel())),
        shape=(count, count),
    )
    groups, of_landmark = connected_components(met.tocsr(), directed=False)
    member = of_landmark[shares.landmarks[:, 0]]
    begins = np.repeat(member, np.diff(walk.links.indptr)) if groups > 1 else member[:0]
    ends = member[walk.links.indices] if groups > 1 else member[:0]
    linked = sparse.coo_array(
        (np.ones(len(ends), np.bool_), (begins, ends)), shape=(groups, groups)
    )
    found, of_group = connected_components(linked.tocsr(), directed=False)
    return int(found), np.asarray(of_group[member], np.int64)


def leading_pairs(
    walk: JumpingWalk, known: Floats, size: int, start: Keys, tolerance: float
) -> tuple[Floats, Floats]:
    """Find the largest eigenvalues of the symmetric form, and their vectors, beside known ones.

    Parameters
    ----------
    walk : JumpingWalk
        The walk.
    known : (node, known) float64
        Orthonormal eigenvectors of eigenvalue 1.
    size : int
        Pairs that are wanted; fewer where there are fewer nodes.
    start : (node,) uint64
        Keys from which the start of the solver is made.
    tolerance : float
        Largest length of ``M v - lambda v`` of a pair that is kept; the error of the
        eigenvalue is about its square.

    Returns
    -------
    (pair,) float64 and (node, pair) float64
        From the largest eigenvalue down; vectors of unit length.
    """
    size = min(size, walk.nodes - known.shape[1])
    if size < 1:
        return np.zeros(0), np.zeros((walk.nodes, 0))
    with threadpool_limits(1):
        if walk.nodes <= DENSE_NODES or size >= walk.nodes - known.shape[1] - 1:
            return _dense_pairs(walk, known, size)
        return _block_pairs(walk, known, size, start, tolerance)


def _block_pairs(
    walk: JumpingWalk, known: Floats, size: int, start: Keys, tolerance: float
) -> tuple[Floats, Floats]:
    """Iterate a block of vectors, damped by Chebyshev polynomials, until the kept ones settle [1]_.

    References
    ----------
    .. [1] Y. Zhou and Y. Saad, "A Chebyshev-Davidson algorithm for large symmetric
       eigenproblems", SIAM J. Matrix Anal. Appl. 29, 954-971, 2007. doi:10.1137/050630404
    """
    dtype = np.float32 if walk.nodes > EXACT_NODES else np.float64
    multiply, known = walk.product(dtype), known.astype(dtype)
    block = _random_block(
        start, min(size + max(SPARE, size // 2), walk.nodes - known.shape[1])
    ).astype(dtype)
    for _ in range(MOST_ROUNDS):
        block = _orthonormal(_without(block, known))
        image = _without(multiply(block), known)
        values, turn = linalg.eigh(_gram(block, image))
        values, turn = values[::-1], turn[:, ::-1].astype(dtype)
        block, image = block @ turn, image @ turn
        asked = slice(0, max(1, min(size, int((values > walk.margin(tolerance)).sum()))))
        off = image[:, asked] - block[:, asked] * values[asked].astype(dtype)
        residual = float(np.sqrt(_squares(off).max()))
        if residual < tolerance:
            break
        block = _filtered(multiply, (block, image), -(1 - walk.alpha), float(values[-1]))
    else:
        log.info("eigenpairs are off by up to %.1e after %d rounds", residual, MOST_ROUNDS)
    return values[:size].copy(), block[:, :size].astype(np.float64)


def _dense_pairs(walk: JumpingWalk, known: Floats, size: int) -> tuple[Floats, Floats]:
    """Find all pairs at once; known ones are moved out of the way."""
    matrix = walk.product()(np.eye(walk.nodes)) - 3 * known @ known.T
    values, vectors = linalg.eigh((matrix + matrix.T) / 2)
    return values[::-1][:size].copy(), vectors[:, ::-1][:, :size].copy()


def _filtered(
    multiply: Callable[[Vectors], Vectors], pair: tuple[Vectors, Vectors], low: float, high: float
) -> Vectors:
    """Damp eigenvalues between low and high by a Chebyshev polynomial; pair = (X, M X)."""
    centre, half = np.float32((high + low) / 2), np.float32((high - low) / 2)
    before, image = pair
    now = (image - centre * before) / half
    for _ in range(DEGREE - 1):
        following = multiply(now)
        following -= centre * now
        following *= 2 / half
        following -= before
        before, now = now, following
    return now


def _random_block(start: Keys, columns: int) -> Floats:
    """Make numbers from -0.5 to 0.5 of keys, (node, column); equal keys have equal rows."""
    block = np.empty((len(start), columns))
    with np.errstate(over="ignore"):
        for column in range(columns):
            mixed = (start + np.uint64(column + 1)) * np.uint64(0xBF58476D1CE4E5B9)
            mixed ^= mixed >> np.uint64(31)
            mixed *= np.uint64(0x94D049BB133111EB)
            block[:, column] = (mixed >> np.uint64(11)) / 2.0**53 - 0.5
    return block


def _orthonormal(block: Vectors) -> Vectors:
    """Make columns orthonormal, twice by the Cholesky factor of their products.

    Columns that depend on each other have none; then by reflections, which take longer.
    """
    for _ in range(2):
        block = block / np.sqrt(_squares(block)).astype(block.dtype)
        try:
            factor = linalg.cholesky(_gram(block, block))
        except linalg.LinAlgError:
            return np.asarray(linalg.qr(block, mode="economic")[0])
        turn = linalg.solve_triangular(factor, np.eye(len(factor)))
        block = block @ turn.astype(block.dtype)
    return block


def _without(vectors: Vectors, known: Vectors) -> Vectors:
    """Take the directions of orthonormal vectors out of others."""
    return np.asarray(vectors - known @ _gram(known, vectors).astype(vectors.dtype))


def _gram(first: Vectors, second: Vectors) -> Floats:
    """Products of columns, (column, column), summed in float64 over pieces of nodes."""
    total = np.zeros((first.shape[1], second.shape[1]))
    for begin in range(0, len(first), 65_536):
        part = slice(begin, begin + 65_536)
        total += first[part].T @ second[part]
    return total


def _squares(vectors: Vectors) -> Floats:
    """Sum of squares of every column, in float64."""
    return np.asarray(np.einsum("nk,nk->k", vectors, vectors, dtype=np.float64))
