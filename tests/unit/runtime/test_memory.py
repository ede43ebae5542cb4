from __future__ import annotations

import threading

import numpy as np
import psutil
import pytest

from hsistream.runtime import memory
from hsistream.runtime.memory import PeakMemory, resident_bytes

HELD_BYTES = 96 * 2**20


def test_resident_memory_is_that_of_the_process_at_least() -> None:
    own = psutil.Process().memory_info().rss
    assert resident_bytes() > own / 2


def test_memory_that_is_held_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "INTERVAL_S", 0.001)
    before = resident_bytes()
    with PeakMemory() as watched:
        held = np.ones(HELD_BYTES, np.uint8)
        waited = threading.Event()
        for _ in range(5000):
            if watched.peak_bytes >= before + HELD_BYTES // 2:
                break
            waited.wait(0.001)
        assert held[-1] == 1
        del held
    assert watched.peak_bytes >= before + HELD_BYTES // 2


def test_a_peak_is_never_below_what_was_held_at_the_start() -> None:
    watched = PeakMemory()
    start = watched.peak_bytes
    assert start > 0
    with watched:
        pass
    assert watched.peak_bytes >= start


def test_the_watcher_ends_with_its_block() -> None:
    with pytest.raises(ZeroDivisionError), PeakMemory():
        raise ZeroDivisionError
    assert not [thread for thread in threading.enumerate() if thread.name == "peak-memory"]
