"""Agreement of clusters with reference labels.

Everything is computed from one table: how many pixels of each class lie in
each cluster. Tables of tiles add up to the table of the scene, so a scene of
any size is scored without holding its pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from hsistream.errors import SceneError
from hsistream.runs import NO_LABEL

Matching = Literal["rectangular", "square"]
"""Which clusters may be matched to a class; see :func:`score_table`."""


@dataclass(frozen=True, eq=False)
class Contingency:
    """How many pixels of each class lie in each cluster.

    Parameters
    ----------
    classes : (class,) int64
        Classes of the truth, increasing, each above 0.
    clusters : (cluster,) int64
        Labels that occur on labelled pixels, increasing; 65535 (no data) is
        kept as the last of them.
    counts : (class, cluster) int64
        Pixels.

    Examples
    --------
    >>> upper = Contingency.from_pixels(np.array([1, 1, 0]), np.array([4, 4, 4]))
    >>> lower = Contingency.from_pixels(np.array([2, 1, 0]), np.array([3, 3, 4]))
    >>> (upper + lower).counts
    array([[1, 2],
           [1, 0]])
    """

    classes: NDArray[np.int64]
    clusters: NDArray[np.int64]
    counts: NDArray[np.int64]

    @classmethod
    def empty(cls) -> Contingency:
        """Start a sum."""
        none = np.zeros(0, np.int64)
        return cls(none, none, np.zeros((0, 0), np.int64))

    @classmethod
    def from_pixels(
        cls, truth: NDArray[np.integer[Any]], labels: NDArray[np.integer[Any]]
    ) -> Contingency:
        """Count the pixels of a piece of a scene.

        Parameters
        ----------
        truth : (...) int
            Class of each pixel; 0 or less where it is not known.
        labels : (...) int
            Cluster of each pixel; 65535 where there is no data.

        Returns
        -------
        Contingency
            The table of the pixels whose class is known.

        Raises
        ------
        SceneError
            If the two differ in shape.
        """
        if truth.shape != labels.shape:
            raise SceneError(
                f"The truth must have one value for each pixel of the map, but the truth has the "
                f"shape {truth.shape} and the map {labels.shape}. Use a truth on the scene's grid."
            )
        known = truth > 0
        truth, labels = truth[known], labels[known]
        classes, clusters = np.unique(truth), np.unique(labels)
        cells = np.searchsorted(classes, truth) * clusters.size + np.searchsorted(clusters, labels)
        counts = np.bincount(cells, minlength=classes.size * clusters.size)
        return cls(
            classes.astype(np.int64),
            clusters.astype(np.int64),
            counts.reshape(classes.size, clusters.size).astype(np.int64),
        )

    def __add__(self, other: Contingency) -> Contingency:
        classes = np.union1d(self.classes, other.classes)
        clusters = np.union1d(self.clusters, other.clusters)
        counts = np.zeros((classes.size, clusters.size), np.int64)
        for part in (self, other):
            rows = np.searchsorted(classes, part.classes)
            columns = np.searchsorted(clusters, part.clusters)
            counts[np.ix_(rows, columns)] += part.counts
        return Contingency(classes, clusters, counts)

    @property
    def pixels(self) -> int:
        """Number of pixels whose class is known."""
        return int(self.counts.sum())


@dataclass(frozen=True, slots=True)
class ClassScore:
    """How well one class was found; ``cluster`` is None where no cluster stands for it."""

    pixels: int
    recall: float
    precision: float
    iou: float
    cluster: int | None
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Scores:
    """Agreement of a map with a truth.

    ``oa`` (overall accuracy), ``aa`` (mean recall of the classes), ``kappa``
    and ``mean_iou`` hold under a one-to-one matching of clusters and classes;
    ``oa_majority``, which equals ``purity``, gives every cluster to its most
    frequent class; ``nmi`` (arithmetic mean of the entropies) and ``ari`` need
    no matching. All are shares, at most 1. ``frame`` is the only one that
    was scored, or None if it was all that have a truth.
    """

    oa: float
    oa_majority: float
    aa: float
    kappa: float
    nmi: float
    ari: float
    purity: float
    mean_iou: float
    per_class: Mapping[int, ClassScore]
    matching: Matching
    pixels: int
    no_data_pixels: int
    clusters: int
    frame: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Give the scores as plain values; classes become text."""
        plain = asdict(self)
        plain["per_class"] = {str(key): value for key, value in plain["per_class"].items()}
        return plain


def score(
    truth: NDArray[np.integer[Any]],
    labels: NDArray[np.integer[Any]],
    *,
    matching: Matching = "rectangular",
    class_names: Mapping[int, str] | None = None,
) -> Scores:
    """Compare a map with a truth.

    Parameters
    ----------
    truth : (...) int
        Class of each pixel; 0 or less where it is not known. Such pixels are
        left out.
    labels : (...) int
        Cluster of each pixel, in any numbering; 65535 where there is no data.
        Such pixels count as errors where the truth is known.
    matching : {"rectangular", "square"}
        Which clusters may be matched to a class; see :func:`score_table`.
    class_names : mapping of int to str, optional
        Names for the classes, carried along.

    Returns
    -------
    Scores
        The agreement.

    Raises
    ------
    SceneError
        If the two differ in shape, or the class of no pixel is known.

    Examples
    --------
    >>> truth = np.array([1, 1, 1, 2, 2, 0])
    >>> score(truth, np.array([7, 7, 7, 7, 4, 4])).oa
    0.8
    """
    table = Contingency.from_pixels(truth, labels)
    return score_table(table, matching=matching, class_names=class_names)


def score_table(
    table: Contingency,
    *,
    matching: Matching = "rectangular",
    class_names: Mapping[int, str] | None = None,
) -> Scores:
    """Score a table of classes and clusters.

    Parameters
    ----------
    table : Contingency
        Pixels of each class in each cluster.
    matching : {"rectangular", "square"}
        ``rectangular`` chooses the best one-to-one matching among all
        clusters. ``square``, as published with DS2DL [1]_, looks only at as
        many clusters as there are classes, those with the smallest labels.
    class_names : mapping of int to str, optional
        Names for the classes, carried along.

    Returns
    -------
    Scores
        The agreement. Pixels without a label form a group of their own, which
        no class can be matched to and which adds nothing to the purity.

    Raises
    ------
    SceneError
        If the class of no pixel is known.
    ValueError
        If there is no such matching.

    Notes
    -----
    Cohen's kappa is (OA - e) / (1 - e), e the sum over the classes of class
    size times size of the matched cluster, over the squared number of pixels.

    References
    ----------
    .. [1] DS2DL, arXiv:2604.13307; the matching is that of its program, not of the text.
    """
    if matching not in get_args(Matching):
        raise ValueError(f"matching must be one of {get_args(Matching)}, not {matching!r}.")
    if table.pixels == 0:
        raise SceneError(
            "Scores need pixels whose class is known, but the truth is 0 everywhere. "
            "Check that the truth belongs to this scene."
        )
    matched = _match(table, matching)
    classes = {
        int(name): _score_class(table, row, matched.get(row), (class_names or {}).get(int(name)))
        for row, name in enumerate(table.classes)
    }
    oa = sum(int(table.counts[cell]) for cell in matched.items()) / table.pixels
    purity = _purity(table)
    return Scores(
        oa=oa,
        oa_majority=purity,
        aa=float(np.mean([each.recall for each in classes.values()])),
        kappa=_kappa(table, matched, oa),
        nmi=_nmi(table.counts),
        ari=_ari(table.counts),
        purity=purity,
        mean_iou=float(np.mean([each.iou for each in classes.values()])),
        per_class=classes,
        matching=matching,
        pixels=table.pixels,
        no_data_pixels=int(table.counts[:, table.clusters == NO_LABEL].sum()),
        clusters=int((table.clusters != NO_LABEL).sum()),
    )


def _match(table: Contingency, matching: Matching) -> dict[int, int]:
    """Choose the column that stands for each row so that most pixels agree."""
    candidates = np.flatnonzero(table.clusters != NO_LABEL)
    if matching == "square":
        candidates = candidates[: table.classes.size]
    # Sorted by content, not by label: ties then fall alike however clusters are numbered.
    candidates = candidates[np.lexsort(table.counts[:, candidates])]
    rows, columns = linear_sum_assignment(table.counts[:, candidates], maximize=True)
    return dict(zip(rows.tolist(), candidates[columns].tolist(), strict=True))


def _score_class(table: Contingency, row: int, column: int | None, name: str | None) -> ClassScore:
    """Score one class against the cluster that stands for it."""
    pixels = int(table.counts[row].sum())
    agreed = 0 if column is None else int(table.counts[row, column])
    if column is None or agreed == 0:
        return ClassScore(pixels, 0.0, 0.0, 0.0, None, name)
    found = int(table.counts[:, column].sum())
    iou = agreed / (pixels + found - agreed)
    return ClassScore(
        pixels, agreed / pixels, agreed / found, iou, int(table.clusters[column]), name
    )


def _kappa(table: Contingency, matched: Mapping[int, int], oa: float) -> float:
    """Correct an overall accuracy for agreement by chance."""
    sizes, found = table.counts.sum(axis=1).tolist(), table.counts.sum(axis=0).tolist()
    chance = sum(sizes[row] * found[column] for row, column in matched.items()) / table.pixels**2
    # Chance is 1 only if one class meets one cluster, and then they agree.
    return 1.0 if chance == 1 else (oa - chance) / (1 - chance)


def _purity(table: Contingency) -> float:
    """Share of pixels in the most frequent class of their cluster."""
    labelled = table.counts[:, table.clusters != NO_LABEL]
    return int(labelled.max(axis=0).sum()) / table.pixels


def _nmi(counts: NDArray[np.int64]) -> float:
    """Mutual information over the mean of the entropies; 0 if only one of them is 0."""
    entropies = _entropy(counts.sum(axis=1)) + _entropy(counts.sum(axis=0))
    if entropies == 0:
        return 1.0
    information = entropies - _entropy(counts.ravel())
    return min(1.0, max(0.0, 2 * information / entropies))


def _entropy(sizes: NDArray[np.int64]) -> float:
    """Entropy of a partition, in nats."""
    shares = sizes[sizes > 0] / sizes.sum()
    return float(-(shares * np.log(shares)).sum()) if shares.size > 1 else 0.0


def _ari(counts: NDArray[np.int64]) -> float:
    """Compute the adjusted Rand index; in integers of any size, as pairs overflow 64 bits."""
    together = _pairs(counts)
    by_class, by_cluster = _pairs(counts.sum(axis=1)), _pairs(counts.sum(axis=0))
    if together == by_class == by_cluster:
        return 1.0
    pixels = int(counts.sum())
    chance = by_class * by_cluster / (pixels * (pixels - 1) // 2)
    return (together - chance) / ((by_class + by_cluster) / 2 - chance)


def _pairs(sizes: NDArray[np.int64]) -> int:
    """Count the pairs of pixels that share a group."""
    return sum(size * (size - 1) // 2 for size in sizes.ravel().tolist())
