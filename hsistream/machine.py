"""What this process may use of its machine, and how it gives back what it no longer uses."""

from __future__ import annotations

import ctypes
import os
import sys
from contextlib import suppress
from pathlib import Path

import psutil

GIB = 2**30


def usable_cores() -> int:
    """Count the cores that this process may use; a Mac knows only those that it has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def usable_bytes(
    groups: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")
) -> int:
    """Memory of the machine, or of the container or job that this process is in, bytes.

    Linux says the limits of a control group and of all around it, in two ways: version 2 has
    one tree, version 1 one for memory.
    """
    limits = [int(psutil.virtual_memory().total)]
    with suppress(OSError):
        for line in own.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers in ("", "memory"):
                name = "memory.limit_in_bytes" if controllers else "memory.max"
                inner = groups / controllers / path.strip("/")
                for folder in (inner, *inner.parents):
                    with suppress(OSError, ValueError):  # there is none, or it is "max"
                        limits.append(int((folder / name).read_text()))
    return min(limits)


def give_back() -> None:
    """Give memory that this process no longer uses back to the system, in milliseconds.

    The C library keeps what many small arrays leave between those that are still in use, so
    that a stage would begin with the peak of the one before, and a tile with what is left of
    others. Only that of Linux can be asked to give it back.
    """
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:  # a C library of another make has none
            trim(0)
