from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.cluster import hierarchy

from hsistream.report.merge_figures import (
    ROOT,
    ROW_LIMITS,
    TOP,
    TREE_STOP,
    MergePlot,
    RootAxis,
    leaf_order,
    plot_merging,
)

FOUR = np.array([[0, 1, 1, 2], [2, 3, 16, 2], [4, 5, 81, 4]], float)
"""Two pairs, joined at costs of 1, 16 and 81."""
ROW = ROW_LIMITS[1]


def plotted(
    linkage: NDArray[np.float64], labels: list[int], pixels: list[int], clusters: int
) -> MergePlot:
    numbers = np.arange(10, 10 + len(labels))
    plot = plot_merging(linkage, numbers, np.array(labels), np.array(pixels), clusters)
    assert plot is not None
    return plot


def chained(leaves: int) -> NDArray[np.float64]:
    """Join one leaf after the other, each at a cost one higher."""
    rows = [[leaves + n - 1 if n else 0, n + 1, n + 1.0, n + 2] for n in range(leaves - 1)]
    return np.array(rows, float).reshape(-1, 4)


def place(plot: MergePlot, cost: float) -> float:
    assert plot.x is not None
    return round(float(plot.x.at(cost)), 1)


def test_a_tree_of_four_lies_where_a_hand_draws_it() -> None:
    plot = plotted(FOUR, [0, 0, 1, 1], [40, 30, 10, 20], 2)
    rows = [TOP + ROW * (number + 0.5) for number in range(4)]
    assert [(leaf.prototype, leaf.y) for leaf in plot.leaves] == list(
        zip([10, 11, 13, 12], rows, strict=True)
    )
    one, sixteen, most = (place(plot, cost) for cost in (1, 16, 81))
    upper, lower = TOP + ROW, TOP + 3 * ROW
    paths = {branches.label: branches.path for branches in plot.branches}
    assert paths[0] == (
        f"M{TREE_STOP},{rows[0]}H{one}M{TREE_STOP},{rows[1]}H{one}M{one},{rows[0]}V{rows[1]}"
        f"M{one},{upper}H{most}"
    )
    assert paths[1] == (
        f"M{TREE_STOP},{rows[3]}H{sixteen}M{TREE_STOP},{rows[2]}H{sixteen}"
        f"M{sixteen},{rows[3]}V{rows[2]}M{sixteen},{lower}H{most}"
    )
    assert paths[None] == f"M{most},{upper}V{lower}"
    assert plot.branches[0].label is None


def test_the_scale_is_that_of_the_fourth_root() -> None:
    axis = RootAxis("cost", 10_000.0, 0.0, 100.0)
    assert ROOT == 4
    np.testing.assert_allclose(axis.at(np.array([0, 1, 16, 10_000])), [100, 90, 80, 0])


@pytest.mark.parametrize("high", [3e-7, 0.2, 1.0, 1286.0, 4e9])
def test_ticks_of_costs_are_round_and_apart(high: float) -> None:
    ticks = RootAxis("cost", high, 0.0, 100.0).ticks
    places = [at for at, _ in ticks]
    assert ticks[0] == (100.0, "0")
    assert places == sorted(places, reverse=True)
    assert min(-np.diff(places)) >= 7.9
    assert 5 <= len(ticks) <= 13
    assert {text.lstrip("0.,")[:1] for _, text in ticks[1:]} <= {"1", "2", "5"}


@pytest.mark.parametrize(
    ("clusters", "costs"), [(4, (0, 1)), (3, (1, 16)), (2, (16, 81)), (1, (81, np.inf))]
)
def test_the_cut_lies_between_the_joins(clusters: int, costs: tuple[float, float]) -> None:
    labels = {4: [0, 1, 2, 3], 3: [0, 0, 1, 2], 2: [0, 0, 1, 1], 1: [0, 0, 0, 0]}[clusters]
    plot = plotted(FOUR, labels, [4, 3, 2, 1], clusters)
    assert plot.cut is not None
    assert plot.x is not None
    beyond = plot.x.start if np.isinf(costs[1]) else place(plot, costs[1])
    assert beyond < plot.cut < place(plot, costs[0])
    assert plot.exact


def test_a_cut_that_is_not_that_of_the_tree_is_told() -> None:
    assert not plotted(FOUR, [0, 1, 1, 0], [4, 3, 2, 1], 2).exact
    assert not plotted(FOUR, [0, 1, 2, 2], [4, 3, 2, 1], 3).exact


def test_one_prototype_is_a_row_without_a_tree() -> None:
    plot = plotted(np.zeros((0, 4)), [0], [7], 1)
    assert (plot.x, plot.cut, plot.branches) == (None, None, [])
    (leaf,) = plot.leaves
    assert (leaf.prototype, leaf.share, leaf.y) == (10, 1.0, TOP + ROW / 2)
    assert plot.exact


def test_without_prototypes_there_is_nothing() -> None:
    none = np.zeros(0, np.int64)
    assert plot_merging(np.zeros((0, 4)), none, none, none, 1) is None


def test_all_in_one_cluster_is_one_path_and_one_span() -> None:
    plot = plotted(FOUR, [0, 0, 0, 0], [4, 3, 2, 1], 1)
    assert [branches.label for branches in plot.branches] == [0]
    (span,) = plot.spans
    assert (span.label, span.top, span.bottom) == (0, TOP, TOP + 4 * ROW)
    assert span.share == pytest.approx(1)


def test_joins_that_cost_nothing_can_be_drawn() -> None:
    free = FOUR.copy()
    free[:, 2] = 0
    plot = plotted(free, [0, 0, 1, 1], [4, 3, 2, 1], 2)
    assert plot.cut == TREE_STOP
    assert plot.x is not None
    assert plot.x.ticks == [(TREE_STOP, "0")]


def test_more_clusters_than_prototypes_in_use_cut_everything() -> None:
    plot = plotted(FOUR, [0, 1, 2, 3], [4, 3, 2, 1], 6)
    assert plot.cut is not None
    assert place(plot, 1) < plot.cut < TREE_STOP


def test_clusters_of_a_cut_are_spans() -> None:
    plot = plotted(FOUR, [1, 1, 0, 2], [40, 30, 20, 10], 3)
    assert [(span.label, round(span.share, 6)) for span in plot.spans] == [
        (1, 0.7), (0, 0.2), (2, 0.1)
    ]  # fmt: skip


def test_bars_are_as_long_as_shares_are_large() -> None:
    plot = plotted(FOUR, [0, 0, 1, 1], [40, 20, 30, 10], 2)
    assert [leaf.bar for leaf in plot.leaves] == [120.0, 60.0, 90.0, 30.0]
    assert [leaf.share for leaf in plot.leaves] == [0.4, 0.2, 0.3, 0.1]


@pytest.mark.parametrize("leaves", [2, 17, 256])
def test_branches_do_not_cross(leaves: int) -> None:
    points = np.random.default_rng(leaves).random((leaves, 3))
    linkage = hierarchy.linkage(points, "ward")
    order = leaf_order(linkage, np.random.default_rng(0).integers(1, 99, leaves))
    assert sorted(order.tolist()) == list(range(leaves))
    for clusters in range(1, leaves):
        groups = hierarchy.fcluster(linkage, clusters, "maxclust")[order]
        assert 1 + np.count_nonzero(np.diff(groups)) == len(np.unique(groups))


def test_hundreds_of_rows_keep_their_height() -> None:
    plot = plotted(chained(256), [0] * 256, [1] * 256, 1)
    assert plot.row == ROW_LIMITS[0]
    gaps = np.diff([leaf.y for leaf in plot.leaves])
    np.testing.assert_allclose(gaps, ROW_LIMITS[0])
    assert plot.bottom == TOP + 256 * ROW_LIMITS[0]
