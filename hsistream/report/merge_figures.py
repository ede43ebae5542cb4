"""The merge tree of the prototypes, as plain numbers for the template.

The tree lies on its side: a row for every prototype in use, so that hundreds of
them can be read, and the cost of joining them from right to left.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsistream.report.drawing import rounded

ROWS_HEIGHT = 1000.0
ROW_LIMITS = (9.0, 18.0)
"""Height that all rows share, and the least and most height of one."""
TOP, BOTTOM = 26.0, 46.0
"""Room above the rows for the cut, and below them for the scale."""
TREE_START, TREE_STOP = 24.0, 470.0
"""Where the highest cost lies, and where cost 0."""
BAR_WIDTH = 120.0
"""Length of the longest bar."""
ROOM = 0.06
"""Share of the scale left free beyond the highest cost."""
ROOT, ROOT_NAME = 4, "fourth"
"""Root of the costs along which they are drawn."""
TICK_GAP = 0.08
"""Least distance of two ticks, as a share of the scale."""


@dataclass(frozen=True, slots=True)
class RootAxis:
    """A scale that is linear in the fourth root: 0 lies at ``stop``, ``high`` at ``start``.

    Costs span orders of magnitude, and joins may cost nothing, which has no
    logarithm. Along the square root, the joins below the cut would lie on one
    another. Where ``high`` is 0, so is everything.
    """

    title: str
    high: float
    start: float
    stop: float

    def at(self, value: NDArray[Any] | float) -> NDArray[np.float64]:
        """Give the place of values from 0, in units of the picture."""
        share = (np.maximum(np.asarray(value, np.float64), 0) / (self.high or 1.0)) ** (1 / ROOT)
        return self.stop + share * (self.start - self.stop)

    @property
    def ticks(self) -> list[tuple[float, str]]:
        """Places and texts of 0 and of round numbers, as dense as they can be read."""
        if not self.high:
            return [(self.stop, "0")]
        power = int(np.floor(np.log10(self.high)))
        tens = 10.0 ** np.arange(power, power - 6, -1)
        round_ones = (tens[:, None] * [5, 2, 1]).ravel()
        kept = [0.0]
        last = np.inf
        for value in round_ones[round_ones <= self.high]:
            share = float((value / self.high) ** (1 / ROOT))
            if share >= TICK_GAP and last - share >= TICK_GAP:
                kept.append(float(value))
                last = share
        return [(round(float(self.at(value)), 1), f"{value:,g}") for value in sorted(kept)]


@dataclass(frozen=True, slots=True)
class Leaf:
    """A prototype in use: its cluster, its row, its share of the pixels and the bar for it."""

    prototype: int
    label: int
    y: float
    pixels: int
    share: float
    bar: float


@dataclass(frozen=True, slots=True)
class Branches:
    """Lines of the tree of one cluster, or of joins of several (None), as an SVG path."""

    label: int | None
    path: str


@dataclass(frozen=True, slots=True)
class Span:
    """Neighbouring rows of one cluster, from ``top`` to ``bottom``, and its share of the pixels."""

    label: int
    top: float
    bottom: float
    share: float


@dataclass(frozen=True, slots=True)
class MergePlot:
    """The tree and its cut.

    ``x`` is None and ``cut`` too where nothing was joined. ``exact`` tells
    whether the cut of this tree is what the labels are.
    """

    x: RootAxis | None
    row: float
    bottom: float
    leaves: list[Leaf]
    branches: list[Branches]
    spans: list[Span]
    cut: float | None
    exact: bool


@dataclass(frozen=True, slots=True)
class _Nodes:
    """Leaves, then joins: place across and up, and the label where all below share it, else -1."""

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    label: NDArray[np.int64]


def plot_merging(
    linkage: NDArray[Any],
    prototypes: NDArray[np.integer[Any]],
    labels: NDArray[np.integer[Any]],
    pixels: NDArray[np.integer[Any]],
    clusters: int,
) -> MergePlot | None:
    """Draw the merge tree of the prototypes in use.

    Parameters
    ----------
    linkage : (leaf - 1, 4) float
        In the format of :func:`scipy.cluster.hierarchy.linkage`; costs from 0,
        never falling.
    prototypes : (leaf,) int
        Number of the prototype of each leaf.
    labels : (leaf,) int
        Its cluster.
    pixels : (leaf,) int
        Its pixels.
    clusters : int
        Number of clusters; the cut lies between the joins below and above it.

    Returns
    -------
    MergePlot or None
        None where no prototype is in use. The heavier of two branches lies above.
    """
    count = len(prototypes)
    if not count:
        return None
    row = min(ROW_LIMITS[1], max(ROW_LIMITS[0], ROWS_HEIGHT / count))
    order = leaf_order(linkage, pixels)
    x = _cost_axis(linkage)
    nodes = _placed(linkage, order, labels, x, row)
    leaves = _leaves(order, prototypes, labels, pixels, nodes.y)
    below = count - min(clusters, count)
    return MergePlot(
        x,
        row,
        TOP + count * row,
        leaves,
        _branches(linkage, nodes),
        _spans(leaves, row),
        None if x is None else _cut_place(linkage[:, 2], below, x),
        exact=bool((nodes.label[count : count + below] >= 0).all()),
    )


def leaf_order(linkage: NDArray[Any], pixels: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
    """Order the leaves so that branches do not cross, (leaf,); the heavier branch comes first.

    Examples
    --------
    >>> leaf_order(np.array([[0, 2, 1.0, 2], [1, 3, 4.0, 3]]), np.array([3, 9, 4]))
    array([1, 2, 0])
    """
    count = len(pixels)
    weights = [int(weight) for weight in pixels]
    children = linkage[:, :2].astype(int).tolist()
    for pair in children:
        weights.append(sum(weights[node] for node in pair))
    order, waiting = list[int](), [count + len(children) - 1]
    while waiting:
        node = waiting.pop()
        if node < count:
            order.append(node)
        else:
            waiting += sorted(children[node - count], key=lambda child: weights[child])
    return np.asarray(order, np.int64)


def _cost_axis(linkage: NDArray[Any]) -> RootAxis | None:
    """Scale the costs; None if nothing was joined."""
    if not len(linkage):
        return None
    title = f"Cost of joining ({ROOT_NAME}-root scale)"
    return RootAxis(title, float(linkage[:, 2].max()) * (1 + ROOM) ** ROOT, TREE_START, TREE_STOP)


def _placed(
    linkage: NDArray[Any],
    order: NDArray[np.int64],
    labels: NDArray[np.integer[Any]],
    x: RootAxis | None,
    row: float,
) -> _Nodes:
    """Place leaves in their rows, and every join midway between what it joins."""
    count, total = len(order), len(order) + len(linkage)
    across, up = np.full(total, TREE_STOP), np.zeros(total)
    label = np.concatenate([labels, np.full(len(linkage), -1)]).astype(np.int64)
    up[order] = TOP + row * (np.arange(count) + 0.5)
    for node, (first, second) in enumerate(linkage[:, :2].astype(int), count):
        up[node] = (up[first] + up[second]) / 2
        label[node] = label[first] if label[first] == label[second] else -1
    if x is not None:
        across[count:] = x.at(linkage[:, 2])
    return _Nodes(across, up, label)


def _leaves(
    order: NDArray[np.int64],
    prototypes: NDArray[np.integer[Any]],
    labels: NDArray[np.integer[Any]],
    pixels: NDArray[np.integer[Any]],
    up: NDArray[np.float64],
) -> list[Leaf]:
    """Describe the rows, from the top down."""
    total, most = max(1, int(pixels.sum())), max(1, int(pixels.max()))
    return [
        Leaf(
            prototype=int(prototypes[leaf]),
            label=int(labels[leaf]),
            y=round(float(up[leaf]), 1),
            pixels=int(pixels[leaf]),
            share=int(pixels[leaf]) / total,
            bar=round(BAR_WIDTH * int(pixels[leaf]) / most, 1),
        )
        for leaf in order
    ]


def _branches(linkage: NDArray[Any], nodes: _Nodes) -> list[Branches]:
    """Draw all joins, one path per cluster; those of several clusters first, to lie below."""
    paths: dict[int, list[str]] = {}
    count = len(nodes.x) - len(linkage)
    across, up = rounded(nodes.x), rounded(nodes.y)
    for node, (first, second) in enumerate(linkage[:, :2].astype(int), count):
        for child in (first, second):
            arm = f"M{across[child]},{up[child]}H{across[node]}"
            paths.setdefault(int(nodes.label[child]), []).append(arm)
        spine = f"M{across[node]},{up[first]}V{up[second]}"
        paths.setdefault(int(nodes.label[node]), []).append(spine)
    return [
        Branches(None if label < 0 else label, "".join(paths[label])) for label in sorted(paths)
    ]


def _spans(leaves: list[Leaf], row: float) -> list[Span]:
    """Join neighbouring rows of one cluster."""
    labels = np.array([leaf.label for leaf in leaves])
    shares = np.array([leaf.share for leaf in leaves])
    starts = np.flatnonzero(np.concatenate([[True], np.diff(labels) != 0]))
    stops = np.concatenate([starts[1:], [len(labels)]])
    return [
        Span(
            label=int(labels[start]),
            top=round(TOP + row * float(start), 1),
            bottom=round(TOP + row * float(stop), 1),
            share=float(shares[start:stop].sum()),
        )
        for start, stop in zip(starts, stops, strict=True)
    ]


def _cut_place(costs: NDArray[Any], below: int, x: RootAxis) -> float:
    """Lay the cut midway between the last join below it and the first one above."""
    last = float(x.at(costs[below - 1])) if below else x.stop
    following = float(x.at(costs[below])) if below < len(costs) else x.start
    return round((last + following) / 2, 1)
