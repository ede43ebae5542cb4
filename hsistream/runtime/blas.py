"""One BLAS thread in this process while anything is computed, so that sums agree.

A limit that each run or task sets and lifts would be lifted under the others, where several
threads of one process work; and who is last would leave its own limit behind. Who sets it must
lift it, so one thread does both.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from threadpoolctl import threadpool_limits


class _OneThread:
    """Counts who works, and limits the threads while anybody does."""

    def __init__(self) -> None:
        self._guard, self._tasks = threading.Lock(), 0

    def __enter__(self) -> None:
        with self._guard:
            self._tasks += 1
            if self._tasks == 1:
                self._setter = ThreadPoolExecutor(1, "blas-limit")
                self._limits = self._setter.submit(_limit).result()

    def __exit__(self, *_: object) -> None:
        with self._guard:
            self._tasks -= 1
            if self._tasks == 0:
                self._setter.submit(self._limits.__exit__, None, None, None).result()
                self._setter.shutdown()


def _limit() -> threadpool_limits:
    """Limit the BLAS threads of this process."""
    return threadpool_limits(1).__enter__()


_ONE_THREAD = _OneThread()


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Keep BLAS at one thread while the block runs, and while any other such block does."""
    with _ONE_THREAD, threadpool_limits(1):  # OpenMP has a limit of each thread
        yield
