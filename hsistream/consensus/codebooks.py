"""Codebooks: small k-means partitions of one view, learnt on the reservoir."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from hsistream.consensus.kernels import best_rows
from hsistream.neighbours import few_kinds_allowed

ITERATIONS = 300
TOLERANCE = 1e-6
PIXELS_AT_ONCE = 8_192
"""Columns of one matrix product of :func:`assign`; bounds its memory."""


@dataclass(frozen=True, slots=True)
class Codebooks:
    """All codebooks of one view: centroids (centroid, component) in groups.

    Codebook j holds centroids ``starts[j]`` to ``starts[j + 1]``.
    """

    view: str
    centroids: NDArray[np.float32]
    starts: NDArray[np.int64]

    @property
    def count(self) -> int:
        """Number of codebooks."""
        return len(self.starts) - 1


def fit_codebook(
    values: NDArray[np.float32], centroids: int, *, starts: int, seed: Sequence[int]
) -> NDArray[np.float32]:
    """Learn one codebook with k-means.

    Parameters
    ----------
    values : (pixel, component) float32
        A view of the reservoir, in the order (frame, row, column).
    centroids : int
        Number of centroids; as many as there are different pixels, if fewer.
    starts : int
        k-means++ starts, of which the one with the lowest inertia is kept.
    seed : sequence of int
        Names the random stream.

    Returns
    -------
    (centroid, component) float32
        Centroids; those that no pixel is nearest to are dropped.

    Notes
    -----
    One thread: with several, sums depend on their order.
    """
    from sklearn.cluster import KMeans

    size = min(centroids, len(values))
    state = np.random.SeedSequence(seed).generate_state(1)[0]
    model = KMeans(size, n_init=starts, max_iter=ITERATIONS, tol=TOLERANCE, random_state=int(state))
    with threadpool_limits(1), few_kinds_allowed():
        codes = model.fit(values).labels_
    used = np.bincount(codes, minlength=size) > 0
    return np.asarray(model.cluster_centers_[used], np.float32)


def stack_codebooks(view: str, codebooks: Sequence[NDArray[np.float32]]) -> Codebooks:
    """Put the codebooks of one view together."""
    starts = np.concatenate([[0], np.cumsum([len(book) for book in codebooks])])
    return Codebooks(view, np.concatenate(codebooks), starts.astype(np.int64))


def assign(
    values: NDArray[np.float32], codebooks: Codebooks, out: NDArray[np.unsignedinteger]
) -> None:
    """Write the nearest centroid of every codebook, (codebook, pixel), to ``out``.

    ``values`` is (component, pixel). Memory is that of ``PIXELS_AT_ONCE``
    columns, whatever the number of pixels.
    """
    offset = 0.5 * np.einsum("kc,kc->k", codebooks.centroids, codebooks.centroids)[:, None]
    for first in range(0, values.shape[1], PIXELS_AT_ONCE):
        part = slice(first, first + PIXELS_AT_ONCE)
        affinity = codebooks.centroids @ np.ascontiguousarray(values[:, part])
        affinity -= offset
        best_rows(affinity, codebooks.starts, out[:, part])


def code_dtype(largest: int) -> type[np.unsignedinteger]:
    """Smallest type for so many codes and one value more, for pixels without data."""
    return np.uint8 if largest <= np.iinfo(np.uint8).max else np.uint16
