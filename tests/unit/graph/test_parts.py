from __future__ import annotations

import numpy as np
import pytest

from hsistream.graph.parts import on_threads, parts_of


@pytest.mark.parametrize("nodes", [0, 1, 7, 8, 9, 1000])
def test_parts_hold_every_node_once(nodes: int) -> None:
    held = [node for first, end in parts_of(nodes) for node in range(first, end)]
    assert held == list(range(nodes))


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_results_come_in_the_order_of_the_nodes(threads: int) -> None:
    found = on_threads(lambda part: np.arange(*part), 1001, threads)
    np.testing.assert_array_equal(np.concatenate(found), np.arange(1001))
