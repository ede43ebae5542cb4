"""Nodes in parts: shared by threads, or summed part by part in one order."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import TypeVar

PARTS = 8
"""Parts of a sum over nodes; fixed, so that its rounding does not depend on threads."""

Part = tuple[int, int]
"""First node and end."""

Found = TypeVar("Found")


def parts_of(nodes: int, count: int = PARTS) -> list[Part]:
    """Cut nodes into parts of about one size, none of them empty but for no nodes.

    Examples
    --------
    >>> parts_of(10, 4)
    [(0, 3), (3, 6), (6, 8), (8, 10)]
    """
    size, longer = divmod(nodes, count)
    ends = [0]
    for number in range(count):
        ends.append(ends[-1] + size + (number < longer))
    return [part for part in pairwise(ends) if part[0] < part[1]]


def on_threads(work: Callable[[Part], Found], nodes: int, threads: int) -> list[Found]:
    """Do a piece of work for every part of the nodes, on threads; results in order of the parts.

    The work must release the interpreter lock to gain from it.
    """
    parts = parts_of(nodes)
    if threads == 1 or len(parts) < 2:
        return [work(part) for part in parts]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(work, parts))
