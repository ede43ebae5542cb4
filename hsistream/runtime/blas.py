"""One BLAS thread in this process while anything is computed, so that sums agree.

Who sets the limit must lift it, so one thread does both.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from threadpoolctl import threadpool_limits

from hsistream.held import Held


@contextmanager
def _limited() -> Iterator[None]:
    """Limit the BLAS threads of this process."""
    with ThreadPoolExecutor(1, "blas-limit") as setter:
        limits = setter.submit(_limit).result()
        yield
        setter.submit(limits.__exit__, None, None, None).result()


def _limit() -> threadpool_limits:
    return threadpool_limits(1).__enter__()


_ONE_THREAD = Held(_limited)


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Keep BLAS at one thread while the block runs, and while any other such block does."""
    with _ONE_THREAD, threadpool_limits(1):  # OpenMP has a limit of each thread
        yield
