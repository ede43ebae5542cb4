"""Compressed files made readable by windows, and library errors translated.

A compressed file is unpacked once, at the first read, into a temporary folder
(``TMPDIR`` says where) that is removed with the object that reads from it.
"""

from __future__ import annotations

import errno
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsistream.errors import HsistreamError, ResourceError, SceneError
from hsistream.files import PARSING, first_line


@dataclass(frozen=True, eq=False)
class UnpackedArray:
    """An array that is unpacked to a ``.npy`` file at the first read and mapped from there.

    ``unpack`` writes the file; ``source`` is the address of the packed one.
    """

    source: Path
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    unpack: Callable[[Path], None]

    def __getitem__(self, index: tuple[slice, ...]) -> NDArray[Any]:
        with PARSING:  # and one thread unpacks: since Python 3.12 a cached property has no lock
            mapped = self._mapped
        return np.asarray(mapped[index])

    @cached_property
    def _mapped(self) -> NDArray[Any]:
        """Unpack and map the array."""
        target = temporary_folder(self) / "array.npy"
        with readable(self.source):
            self.unpack(target)
            return np.asanyarray(np.load(target, mmap_mode="r", allow_pickle=False))


def spilled(values: NDArray[Any]) -> NDArray[Any]:
    """Write values to a temporary file and map them, so that memory can be freed."""
    folder = Path(tempfile.mkdtemp(prefix="hsistream-"))
    np.save(folder / "array.npy", values)
    mapped: NDArray[Any] = np.load(folder / "array.npy", mmap_mode="r", allow_pickle=False)
    weakref.finalize(mapped, shutil.rmtree, folder, ignore_errors=True)
    return mapped


def temporary_folder(owner: object) -> Path:
    """Make a folder that is removed when ``owner`` is, at the latest with the process."""
    folder = Path(tempfile.mkdtemp(prefix="hsistream-"))
    weakref.finalize(owner, shutil.rmtree, folder, ignore_errors=True)
    return folder


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn whatever a library raises on a damaged file into a :class:`SceneError`.

    The parsers behind are many, and fail on damaged bytes with nearly any
    exception; a full disk is told apart.
    """
    try:
        yield
    except (HsistreamError, MemoryError):
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ResourceError(
                f"Unpacking {path} needs room in {tempfile.gettempdir()}, but the disk is full. "
                f"Free some space, or set TMPDIR to a larger disk."
            ) from error
        raise SceneError(
            f"{path} cannot be read ({first_line(error)}). It is damaged, cut short, or not of "
            f"the format that its name says. Restore it from a copy."
        ) from error
