"""Loops over pixels and nodes that numpy cannot do at once, compiled.

They release the interpreter lock.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hsistream.compiled import compiled
from hsistream.neighbours import insert, squared_gap

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]

BLOCK = 512
"""Nodes whose distances are summed up side by side, so that they stay in the nearest cache."""


@compiled()
def group_margins(
    values: NDArray[np.float32], starts: NDArray[np.int64], out: NDArray[np.float32]
) -> None:
    """Write by how much the best value of a column exceeds the best of another group.

    ``values`` is (row, column), ``out`` (column,); group j holds rows ``starts[j]``
    to ``starts[j + 1]`` and is never empty. Infinite where there is one group.
    """
    columns = values.shape[1]
    best = np.full(columns, -np.inf, np.float32)
    second = np.full(columns, -np.inf, np.float32)
    own = np.empty(columns, np.float32)
    for j in range(len(starts) - 1):
        for c in range(columns):
            own[c] = values[starts[j], c]
        for row in range(starts[j] + 1, starts[j + 1]):
            for c in range(columns):
                own[c] = max(own[c], values[row, c])
        for c in range(columns):
            second[c] = max(second[c], min(best[c], own[c]))
            best[c] = max(best[c], own[c])
    for c in range(columns):
        out[c] = best[c] - second[c]


@compiled()
def window_nearest(
    features: Floats,
    keys: Rows,
    window: tuple[int, int, int],
    asked: tuple[int, int],
    out: NDArray[np.int32],
) -> None:
    """Write for every node asked itself and the nearest nodes of its window, (node, rank).

    ``keys`` are the nodes' places, increasing: ``(frame * height + y) * width + x``
    with ``window`` = (height, width, radius). ``asked`` are the first node and the end of
    those that are written. ``out`` comes filled with -1.
    """
    height, width, radius = window
    gaps, rows = np.empty(out.shape[1] - 1), np.empty(out.shape[1] - 1, np.int64)
    for node in range(asked[0], asked[1]):
        out[node, 0] = node
        if not len(gaps):
            continue
        gaps[:], rows[:] = np.inf, -1
        y, x = keys[node] // width % height, keys[node] % width
        for row in range(max(y - radius, 0), min(y + radius, height - 1) + 1):
            start = keys[node] - x + (row - y) * width
            last = start + min(x + radius, width - 1)
            other = np.searchsorted(keys, start + max(x - radius, 0))
            while other < len(keys) and keys[other] <= last:
                if other != node:
                    gap = squared_gap(features[node], features[other])
                    if gap < gaps[-1]:
                        insert(other, gap, rows, gaps)
                other += 1
        out[node, 1:] = rows


@compiled()
def count_links(listed: NDArray[np.int32], degree: Rows) -> None:
    """Count the links of every node (node,): its list (node, rank), and lists with it alone."""
    for node in range(len(listed)):
        for other in listed[node]:
            if other >= 0:
                degree[node] += 1
                degree[other] += not _holds(listed[other], node)


@compiled()
def write_links(listed: NDArray[np.int32], starts: Rows, ends: NDArray[np.int32]) -> Rows:
    """Write the ends of all links from ``starts`` (node + 1,) on, and give how many are distinct.

    The ends of a node are sorted, and those that are there twice are left out; the rest
    of the room of the node is not written.
    """
    place = starts[:-1].copy()
    for node in range(len(listed)):
        for other in listed[node]:
            if other >= 0:
                ends[place[node]] = other
                place[node] += 1
                if not _holds(listed[other], node):
                    ends[place[other]] = node
                    place[other] += 1
    kept = np.zeros(len(listed), np.int64)
    for node in range(len(listed)):
        own = ends[starts[node] : starts[node + 1]]
        own.sort()
        for number in range(len(own)):
            if number == 0 or own[number] != own[kept[node] - 1]:
                own[kept[node]] = own[number]
                kept[node] += 1
    return kept


@compiled()
def _holds(row: NDArray[np.integer], value: int) -> bool:
    """Tell whether a row holds a value."""
    for each in row:  # noqa: SIM110  # any() over a generator is not compiled
        if each == value:
            return True
    return False


@compiled()
def denser_nodes(places: Floats, order: Rows, asked: Rows, gaps: Floats, donors: Rows) -> None:
    """Write for nodes the nearest denser one and its squared distance, (node,) each.

    ``places`` is (coordinate, node) in the order of density, the densest first;
    ``order`` (node,) are the nodes' numbers, and of donors at one distance the
    smaller number wins. ``asked`` are the places in this order that are written. The densest
    node, always written, gets the distance to the farthest, and itself.
    """
    size = places.shape[1]
    block = np.empty(BLOCK)
    for i in asked:
        best, donor = np.inf, i
        for first in range(0, i, BLOCK):
            width = min(BLOCK, i - first)
            block[:width] = 0
            for k in range(len(places)):
                own = places[k, i]
                row = places[k, first : first + width]
                for j in range(width):
                    gap = row[j] - own
                    block[j] += gap * gap
            for j in range(width):
                if block[j] <= best and (block[j] < best or order[first + j] < order[donor]):
                    best, donor = block[j], first + j
        gaps[order[i]], donors[order[i]] = best, order[donor]
    farthest = 0.0
    for j in range(size):
        gap = 0.0
        for k in range(len(places)):
            gap += (places[k, j] - places[k, 0]) ** 2
        farthest = max(farthest, gap)
    gaps[order[0]] = farthest


@compiled()
def spread_labels(order: Rows, donors: Rows, labels: Rows) -> None:
    """Give every node without a label (-1) that of its donor, from the densest node down."""
    for node in order:
        if labels[node] < 0:
            labels[node] = labels[donors[node]]


@compiled()
def ward_joins(places: Floats, masses: Floats, firsts: Rows, seconds: Rows, costs: Floats) -> None:
    """Write which points Ward's criterion joins, (join,), along chains of nearest neighbours.

    A group is named by its first point. ``places`` and ``masses`` are
    overwritten. Joins are not in the order of their costs, but none costs less
    than those that made its groups.
    """
    heights = np.zeros(len(masses))
    active = np.arange(len(masses))
    chain = np.empty(len(masses) + 1, np.int64)
    length, left = 0, len(masses)
    for join in range(len(masses) - 1):
        if length == 0:
            chain[0], length = active[0], 1
        while True:
            tip = chain[length - 1]
            # Of equals, the one that the chain comes from: otherwise it could go in circles.
            best, nearest = np.inf, -1
            if length > 1:
                nearest = chain[length - 2]
                best = _join_cost(places, masses, tip, nearest)
            for a in range(left):
                other = active[a]
                if other != tip:
                    cost = _join_cost(places, masses, tip, other)
                    if cost < best:
                        best, nearest = cost, other
            if length > 1 and nearest == chain[length - 2]:
                break
            for earlier in range(length):  # by rounding, a join can bring its group nearer
                if chain[earlier] == nearest:
                    length = earlier
                    break
            chain[length] = nearest
            length += 1
        length -= 2
        kept, gone = min(tip, nearest), max(tip, nearest)
        # Rounding may take a step back: groups of equal points have a gap of 1e-17.
        heights[kept] = max(best, heights[kept], heights[gone])
        firsts[join], seconds[join], costs[join] = kept, gone, heights[kept]
        total = masses[kept] + masses[gone]
        for k in range(places.shape[1]):
            moved = masses[kept] * places[kept, k] + masses[gone] * places[gone, k]
            places[kept, k] = moved / total
        masses[kept] = total
        place = np.searchsorted(active[:left], gone)
        active[place : left - 1] = active[place + 1 : left].copy()
        left -= 1


@compiled()
def _join_cost(places: Floats, masses: Floats, first: int, second: int) -> float:
    """Tell by how much the sum of squares within groups grows if two are joined."""
    gap = 0.0
    for k in range(places.shape[1]):
        gap += (places[first, k] - places[second, k]) ** 2
    cost: float = gap * (masses[first] * masses[second] / (masses[first] + masses[second]))
    return cost


@compiled()
def add_shares(
    landmarks: NDArray[np.int32],
    weights: NDArray[np.floating],
    values: NDArray[np.floating],
    part: tuple[int, int],
    total: Floats,
) -> None:
    """Add the values (node, column) of a part of the nodes to their landmarks, by their shares."""
    for node in range(part[0], part[1]):
        for rank in range(landmarks.shape[1]):
            own, weight = landmarks[node, rank], weights[node, rank]
            for column in range(values.shape[1]):
                total[own, column] += weight * values[node, column]


@compiled()
def step_of_walk(
    links: tuple[NDArray[np.int32], NDArray[np.int32]],
    scale: NDArray[np.floating],
    values: NDArray[np.floating],
    part: tuple[int, int],
    out: NDArray[np.floating],
) -> None:
    """Write ``S W S values`` for a part of the nodes, (node, column); S holds ``scale`` (node,).

    ``links`` are the starts (node + 1,) and ends of the links W, which all weigh 1.
    """
    starts, ends = links
    columns = values.shape[1]
    for node in range(part[0], part[1]):
        own = out[node]
        own[:] = 0
        for place in range(starts[node], starts[node + 1]):
            other = ends[place]
            weight = scale[other]
            for column in range(columns):
                own[column] += weight * values[other, column]
        for column in range(columns):
            own[column] *= scale[node]


@compiled()
def add_bridge(
    shares: tuple[NDArray[np.int32], NDArray[np.floating]],
    factors: tuple[NDArray[np.floating], float, float],
    values: NDArray[np.floating],
    part: tuple[int, int],
    out: NDArray[np.floating],
) -> None:
    """Mix what ``out`` (node, column) holds with ``R Z values``, R the factors of nodes (node,).

    ``factors`` are R, the weight of what is there, and the weight of what is added; ``shares``
    are the landmarks and weights Z of nodes (node, rank), ``values`` (landmark, column).
    """
    landmarks, weights = shares
    root, kept, added = factors
    for node in range(part[0], part[1]):
        for column in range(values.shape[1]):
            out[node, column] *= kept
        for rank in range(landmarks.shape[1]):
            weight = added * root[node] * weights[node, rank]
            own = landmarks[node, rank]
            for column in range(values.shape[1]):
                out[node, column] += weight * values[own, column]
