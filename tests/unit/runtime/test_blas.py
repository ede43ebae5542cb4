from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from hsistream.runtime.blas import one_blas_thread
from hsistream.runtime.workers import work
from hsistream.stores.tables import Table
from hsistream.tiles import Tile, TileGrid
from hsistream.version import __version__

GRID = TileGrid((60, 50), 10)


def blas_threads() -> set[int]:
    return {found["num_threads"] for found in threadpool_info() if found["user_api"] == "blas"}


def limit_blas(threads: int) -> None:
    with ThreadPoolExecutor(1) as other:  # who limits must not live on, or nobody else can
        other.submit(threadpool_limits, threads).result()


@pytest.fixture
def two_blas_threads() -> Iterator[None]:
    [before] = blas_threads()
    limit_blas(2)
    yield
    limit_blas(before)


@pytest.mark.usefixtures("two_blas_threads")
def test_a_task_that_ends_leaves_the_others_their_one_thread() -> None:
    begun, ended = threading.Event(), threading.Event()
    seen = [blas_threads()]

    def longer(tile: Tile) -> Table:
        begun.set()
        ended.wait(60)
        seen.append(blas_threads())
        return {}

    def shorter(tile: Tile) -> Table:
        begun.wait(60)
        return {}

    def inner() -> None:
        work(shorter, GRID[0, 1], __version__)
        ended.set()

    tasks = [
        threading.Thread(target=inner),
        threading.Thread(target=work, args=(longer, GRID[0, 0], __version__)),
    ]
    for task in tasks:
        task.start()
    for task in tasks:
        task.join()
    assert [*seen, blas_threads()] == [{2}, {1}, {2}]


@pytest.mark.usefixtures("two_blas_threads")
def test_blocks_that_overlap_keep_one_thread_until_the_last_ends_and_leave_what_was() -> None:
    found = []
    with ThreadPoolExecutor(1) as first, ThreadPoolExecutor(1) as second:
        one, other = one_blas_thread(), one_blas_thread()
        for thread, step in (
            (first, one.__enter__),
            (second, other.__enter__),
            (first, lambda: one.__exit__(None, None, None)),
            (second, lambda: other.__exit__(None, None, None)),
        ):
            thread.submit(step).result()
            found.append(blas_threads())
    assert found == [{1}, {1}, {1}, {2}]
