"""How much memory this process and its children hold, and held at most."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from functools import _lru_cache_wrapper, lru_cache, wraps
from types import TracebackType
from typing import Any, ParamSpec, TypeVar

import psutil

from hsistream.machine import give_back

INTERVAL_S = 0.05


def own_bytes() -> int:
    """Resident memory of this process alone, bytes."""
    return int(psutil.Process().memory_info().rss)


def resident_bytes() -> int:
    """Resident memory of this process and of all its children, bytes.

    A child that is still a copy of its parent, between fork and exec, shares
    the parent's pages and is not counted.
    """
    own = psutil.Process()
    total, line = int(own.memory_info().rss), own.cmdline()
    for process in own.children(recursive=True):
        with suppress(psutil.Error):
            total += process.memory_info().rss if process.cmdline() != line else 0
    return total


P = ParamSpec("P")
Result = TypeVar("Result")

_CACHES: list[_lru_cache_wrapper[Any]] = []


def kept(*, results: int) -> Callable[[Callable[P, Result]], Callable[P, Result]]:
    """Keep the last results of a function, as ``lru_cache`` does, until memory is released.

    Of threads that ask at once one makes the result, and the others wait for it.
    """

    def decorated(function: Callable[P, Result]) -> Callable[P, Result]:
        found, making = lru_cache(maxsize=results)(function), threading.RLock()
        _CACHES.append(found)

        @wraps(function)
        def one_at_a_time(*args: P.args, **named: P.kwargs) -> Result:
            with making:
                return found(*args, **named)  # type: ignore[arg-type]

        return one_at_a_time

    return decorated


def release_memory() -> None:
    """Forget what is kept: what one stage has read would count for all that follow."""
    for cache in _CACHES:
        cache.cache_clear()
    give_back()


class PeakMemory:
    """Watch the resident memory while a block runs; the peak is in ``peak_bytes``."""

    def __init__(self) -> None:
        self.peak_bytes = resident_bytes()
        self._stop = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="peak-memory", daemon=True)

    def __enter__(self) -> PeakMemory:
        self._watcher.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._watcher.join()
        self.peak_bytes = max(self.peak_bytes, resident_bytes())

    def _watch(self) -> None:
        """Sample until told to stop."""
        while not self._stop.wait(INTERVAL_S):
            self.peak_bytes = max(self.peak_bytes, resident_bytes())
