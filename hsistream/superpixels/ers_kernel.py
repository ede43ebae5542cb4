"""Compiled inner loops of entropy-rate superpixels; they release the interpreter lock.

An edge is the number ``directions * pixel + direction``, so that no list of
edges is kept: it joins a pixel to the next one right, down, down-right or
up-right of it. A weight of -1 marks an edge that is not there.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hsistream.compiled import compiled

CYCLE = -math.inf
"""Gain of an edge whose ends are in one superpixel already."""


BATCH = 64
"""Edges that are looked up together; speed only."""


class Forest(NamedTuple):
    """Everything that changes while superpixels grow."""

    edges: NDArray[np.float64]
    """(edge, 2): weight, and the gain when it was last computed."""
    loops: NDArray[np.float64]
    """(pixel, 2): weight that is left on the loop, and ``f`` of it."""
    parent: NDArray[np.int32]
    """(pixel,): another pixel of the superpixel, or minus its size at its root."""
    parts: NDArray[np.float64]
    """(valid pixel + 1,): ``f(size / valid pixels)`` of each size of a superpixel."""
    steps: NDArray[np.int64]
    """(direction,): from a pixel to its neighbour."""


class Queue(NamedTuple):
    """Edges by falling gain: the open bucket is a heap, all below are lists."""

    first: NDArray[np.int32]
    """(bucket,): an edge of each bucket, -1 where it is empty."""
    following: NDArray[np.int32]
    """(edge,): the next edge of the same bucket, or -1."""
    heap: NDArray[np.int32]
    """(edge,): edges of the open bucket, the best one in front."""


@compiled()
def entropy(share: float) -> float:
    """Give f(x) = x log2 x, 0 where x is 0 or was rounded below."""
    return share * math.log2(share) if share > 0.0 else 0.0


@compiled()
def weigh(
    image: NDArray[np.generic],
    valid: NDArray[np.bool_],
    inverse: float,
    directions: int,
    edges: NDArray[np.float64],
) -> float:
    """Write the weight of each edge of (channel, y, x); return the sum of both directions."""
    channels, height, width = image.shape
    total = 0.0
    for y in range(height):
        for x in range(width):
            for direction in range(directions):
                edge = directions * (y * width + x) + direction
                below = y + (0, 1, 1, -1)[direction]
                beside = x + (1, 0, 1, 1)[direction]
                inside = 0 <= below < height and beside < width
                if not (inside and valid[y, x] and valid[below, beside]):
                    edges[edge, 0] = -1.0
                    continue
                distance = 0.0
                for c in range(channels):
                    distance += abs(float(image[c, y, x]) - float(image[c, below, beside]))
                if direction >= 2:
                    distance *= math.sqrt(2.0)
                edges[edge, 0] = math.exp(-distance * distance * inverse)
                total += edges[edge, 0]
    return 2.0 * total


@compiled()
def begin(forest: Forest, valid: NDArray[np.bool_], total: float) -> float:
    """Scale weights, fill the loops, and write each gain in entropy; return the largest one."""
    edges, loops = forest.edges, forest.loops
    for p in range(len(loops)):
        loops[p, 0] = 0.0
        forest.parent[p] = -1
    for edge in range(len(edges)):
        if edges[edge, 0] < 0.0:
            continue
        if total > 0.0:
            edges[edge, 0] /= total
        u, v = ends(edge, forest.steps)
        loops[u, 0] += edges[edge, 0]
        loops[v, 0] += edges[edge, 0]
    for p in range(len(loops)):
        loops[p, 1] = entropy(loops[p, 0])
    for size in range(len(forest.parts)):
        forest.parts[size] = entropy(size / (len(forest.parts) - 1))
    largest = 0.0
    for edge in range(len(edges)):
        if edges[edge, 0] >= 0.0:
            u, v = ends(edge, forest.steps)
            ends_loops = loops[u, 0], loops[v, 0]
            edges[edge, 1] = entropy_gain(edges[edge, 0], ends_loops, loops[u, 1] + loops[v, 1])
            largest = max(largest, edges[edge, 1])
    return largest


@compiled()
def ends(edge: int, steps: NDArray[np.int64]) -> tuple[int, int]:
    """Find the two pixels of an edge; shifts, as a division by 2 or 4 would be slow here."""
    u = edge >> (len(steps) // 2)
    return u, u + int(steps[edge & (len(steps) - 1)])


@compiled()
def entropy_gain(weight: float, loops: tuple[float, float], both: float) -> float:
    """Give by how much the entropy rate grows if an edge is taken, ``both`` being f of its loops.

    This order of operations, and that of ``gain_of``, decides ties, which are
    everywhere on 8-bit images.
    """
    left, right = entropy(loops[0] - weight), entropy(loops[1] - weight)
    return both - left - right - 2.0 * entropy(weight)


@compiled()
def balance_gain(parts: NDArray[np.float64], first: int, second: int) -> float:
    """Give by how much the balance grows if superpixels of these sizes become one."""
    return float(1.0 - parts[first + second] + parts[first] + parts[second])


@compiled()
def root(parent: NDArray[np.int32], pixel: int) -> int:
    """Find the root of a pixel, and halve the way to it."""
    above = int(parent[pixel])
    while above >= 0:
        higher = int(parent[above])
        if higher < 0:
            return above
        parent[pixel] = higher
        pixel = higher
        above = int(parent[pixel])
    return pixel


@compiled()
def facts_of(forest: Forest, edge: int) -> tuple[float, float, float, float, float]:
    """Look up what the gain of an edge depends on; its weight is -1 if its ends are joined."""
    u, v = ends(edge, forest.steps)
    first, second = root(forest.parent, u), root(forest.parent, v)
    if first == second:
        return -1.0, 0.0, 0.0, 0.0, 0.0
    weight, loops = forest.edges[edge, 0], forest.loops
    balance = balance_gain(forest.parts, -forest.parent[first], -forest.parent[second])
    return weight, loops[u, 0], loops[v, 0], loops[u, 1] + loops[v, 1], balance


@compiled()
def gain_of(facts: tuple[float, float, float, float, float], beta: float) -> float:
    """Compute the gain of an edge from its facts."""
    weight, left, right, both, balance = facts
    return entropy_gain(weight, (left, right), both) + beta * balance


@compiled()
def join(forest: Forest, edge: int) -> None:
    """Take an edge: take its weight from two loops, and make one superpixel of two."""
    u, v = ends(edge, forest.steps)
    for p in (u, v):
        forest.loops[p, 0] -= forest.edges[edge, 0]
        forest.loops[p, 1] = entropy(forest.loops[p, 0])
    large, small = root(forest.parent, u), root(forest.parent, v)
    if forest.parent[large] > forest.parent[small]:
        large, small = small, large
    forest.parent[large] += forest.parent[small]
    forest.parent[small] = large


@compiled()
def bucket_of(gain: float, best: float, scale: float, last: int) -> int:
    """Find the bucket of a gain: from 0 at the best first gain down to the last, which is open."""
    place = (best - gain) * scale
    return last if place >= last else int(place)


@compiled()
def grow(
    forest: Forest, queue: Queue, beta: float, scale: float, taken: NDArray[np.int32]
) -> tuple[int, float]:
    """Take the best edge until ``taken`` (merge,) is full, or none is left.

    Returns the number of taken edges and the sum of their gains. Gains only
    fall, so an edge in a lower bucket cannot be better than one in the open
    bucket, and a gain that is still what it was is the best one. Of equal gains
    the edge of the smallest number is taken.
    """
    keys, heap = forest.edges[:, 1], queue.heap
    last = len(queue.first) - 1
    best = fill(forest, queue, beta, scale)
    merges, total = 0, 0.0
    for bucket in range(last + 1):
        if merges == len(taken):
            break
        size = open_bucket(forest, queue, bucket, beta, (best, scale))
        while size > 0 and merges < len(taken):
            edge = heap[0]
            facts = facts_of(forest, edge)
            gain = gain_of(facts, beta) if facts[0] >= 0.0 else CYCLE
            if gain >= keys[edge]:  # above only by rounding
                join(forest, edge)
                taken[merges] = edge
                merges += 1
                total += keys[edge]
                gain = CYCLE
            if gain == CYCLE:
                size = drop_top(heap, keys, size)
                continue
            keys[edge] = gain
            lower = bucket_of(gain, best, scale, last)
            if lower > bucket:
                size = drop_top(heap, keys, size)
                queue.following[edge] = queue.first[lower]
                queue.first[lower] = edge
            else:
                sift_down(heap, keys, 0, size)
    return merges, total


@compiled()
def fill(forest: Forest, queue: Queue, beta: float, scale: float) -> float:
    """Add the balance to all first gains and put every edge in its bucket; return the best gain."""
    edges, last = forest.edges, len(queue.first) - 1
    balance = balance_gain(forest.parts, 1, 1) if len(forest.parts) > 2 else 0.0
    best = CYCLE
    for edge in range(len(edges)):
        if edges[edge, 0] >= 0.0:
            edges[edge, 1] += beta * balance
            best = max(best, edges[edge, 1])
    queue.first[:] = -1
    for edge in range(len(edges) - 1, -1, -1):
        if edges[edge, 0] >= 0.0:
            bucket = bucket_of(edges[edge, 1], best, scale, last)
            queue.following[edge] = queue.first[bucket]
            queue.first[bucket] = edge
    return best


@compiled()
def open_bucket(
    forest: Forest, queue: Queue, bucket: int, beta: float, measure: tuple[float, float]
) -> int:
    """Move the edges of a bucket that still belong there to the heap; return how many.

    First the facts of a whole batch are looked up, and then its gains are
    computed: so the processor waits for many places in memory at once.
    """
    keys, heap, last = forest.edges[:, 1], queue.heap, len(queue.first) - 1
    batch, facts = np.empty(BATCH, np.int32), np.empty((BATCH, 5))
    best, scale = measure
    size = 0
    edge = queue.first[bucket]
    while edge >= 0:
        edge, listed = look_up(forest, queue.following, edge, batch, facts)
        for i in range(listed):
            known = facts[i, 0], facts[i, 1], facts[i, 2], facts[i, 3], facts[i, 4]
            keys[batch[i]] = min(gain_of(known, beta), keys[batch[i]])
            lower = bucket_of(keys[batch[i]], best, scale, last)
            if lower > bucket:
                queue.following[batch[i]] = queue.first[lower]
                queue.first[lower] = batch[i]
            else:
                heap[size] = batch[i]
                size += 1
    for top in range(size // 2 - 1, -1, -1):
        sift_down(heap, keys, top, size)
    return size


@compiled()
def look_up(
    forest: Forest,
    following: NDArray[np.int32],
    edge: int,
    batch: NDArray[np.int32],
    facts: NDArray[np.float64],
) -> tuple[int, int]:
    """Look up the edges of a list from one on, without cycles; return the rest and how many."""
    listed = 0
    while edge >= 0 and listed < len(batch):
        known = facts_of(forest, edge)
        if known[0] >= 0.0:
            batch[listed] = edge
            for i in range(5):
                facts[listed, i] = known[i]
            listed += 1
        edge = following[edge]
    return edge, listed


@compiled()
def drop_top(heap: NDArray[np.int32], keys: NDArray[np.float64], size: int) -> int:
    """Remove the best edge from a heap; return its new size."""
    heap[0] = heap[size - 1]
    sift_down(heap, keys, 0, size - 1)
    return size - 1


@compiled()
def sift_down(heap: NDArray[np.int32], keys: NDArray[np.float64], place: int, size: int) -> None:
    """Let the edge at a place sink below all that come before it."""
    edge = heap[place]
    key = keys[edge]
    child = 2 * place + 1
    while child < size:
        if child + 1 < size and comes_before(heap[child + 1], heap[child], keys):
            child += 1
        other = keys[heap[child]]
        if other < key or (other == key and heap[child] > edge):
            break
        heap[place] = heap[child]
        place = child
        child = 2 * place + 1
    if size > 0:
        heap[place] = edge


@compiled()
def comes_before(edge: int, other: int, keys: NDArray[np.float64]) -> bool:
    """Tell whether an edge has the larger gain, or the same and the smaller number."""
    return keys[edge] > keys[other] or (keys[edge] == keys[other] and edge < other)


@compiled()
def number(parent: NDArray[np.int32], valid: NDArray[np.bool_], out: NDArray[np.int32]) -> int:
    """Write superpixels in the order of their first pixels, -1 where not valid; return how many."""
    out[:] = -1
    superpixels = 0
    for p in range(len(out)):
        if valid[p]:
            top = root(parent, p)
            if out[top] < 0:
                out[top] = superpixels
                superpixels += 1
            out[p] = out[top]
    return superpixels
