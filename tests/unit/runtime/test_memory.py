from __future__ import annotations

import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from hsistream.runtime.memory import (
    PeakMemory,
    kept,
    own_bytes,
    release_memory,
    resident_bytes,
)

HELD_BYTES = 96 * 2**20


def test_resident_memory_is_that_of_the_process_at_least() -> None:
    own = psutil.Process().memory_info().rss
    assert resident_bytes() > own / 2


def test_children_count_for_the_resident_memory_and_not_for_the_own() -> None:
    holds = "held = bytearray(b'1' * 96 * 2**20); print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", holds], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        assert resident_bytes() - own_bytes() > 80 * 2**20
        child.communicate(b"\n")


RELEASES = f"""
from hsistream.runtime.memory import release_memory, resident_bytes

pieces = [bytes(1000) for _ in range({HELD_BYTES} // 1000)]
kept = pieces[::1000]
del pieces
before = resident_bytes()
release_memory()
print(before - resident_bytes())
"""

HOLDS = f"""
import time
import numpy as np
from hsistream.runtime import memory

memory.INTERVAL_S = 0.001
with memory.PeakMemory() as watched:
    before = watched.peak_bytes
    held = np.ones({HELD_BYTES}, np.uint8)
    ends = time.monotonic() + 60
    while watched.peak_bytes < before + {HELD_BYTES} // 2 and time.monotonic() < ends:
        time.sleep(0.001)
    del held
print(watched.peak_bytes - before)
"""


def test_memory_that_is_held_is_seen() -> None:
    """In a process of its own: here, workers that other tests left may just be ending."""
    run = subprocess.run([sys.executable, "-c", HOLDS], capture_output=True, text=True, check=True)
    assert int(run.stdout) >= HELD_BYTES // 2


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


@pytest.mark.skipif(sys.platform != "linux", reason="only the C library of Linux gives back")
def test_memory_between_small_pieces_is_given_back() -> None:
    run = subprocess.run(
        [sys.executable, "-c", RELEASES], capture_output=True, text=True, check=True
    )
    assert int(run.stdout) >= HELD_BYTES // 2


def test_threads_that_ask_at_once_share_what_is_kept() -> None:
    made: list[object] = []

    @kept(results=2)
    def load(number: int) -> object:
        time.sleep(0.05)
        made.append(object())
        return made[-1]

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(load, [1] * 4)) == set(made)
    assert len(made) == 1


def test_what_is_kept_is_read_once_until_memory_is_released() -> None:
    read: list[int] = []

    @kept(results=2)
    def load(number: int) -> int:
        read.append(number)
        return number + 1

    assert [load(1), load(1), load(2), load(1)] == [2, 2, 3, 2]
    assert read == [1, 2]
    release_memory()
    assert load(1) == 2
    assert read == [1, 2, 1]
