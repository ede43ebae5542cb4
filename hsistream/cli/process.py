"""How the process of a command, and those it starts, use threads and memory."""

from __future__ import annotations

import ctypes
import os
import sys
from contextlib import suppress
from pathlib import Path

M_ARENA_MAX = -8
"""The option of the C library's ``mallopt`` that bounds its heaps."""


def open_outputs() -> None:
    """Write to nowhere where the output or the messages were closed by whoever calls."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115 (until the process ends)


def settle() -> None:
    """Use one numerical thread per tile, and one heap for all threads.

    Tiles are what runs side by side, so a library that starts threads of its
    own only gets in their way (and counts the cores in another process first).
    With a heap per thread, memory that a tile has freed waits in the heap of
    its thread: measured, the peak of a long run is then a quarter higher, at
    the same speed.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("MALLOC_ARENA_MAX", "1")  # for worker processes
    with suppress(OSError, AttributeError):  # only the GNU C library has this option
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, int(os.environ["MALLOC_ARENA_MAX"]))
