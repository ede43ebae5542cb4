"""Files written all or nothing, and what a failing file system means."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from urllib.parse import unquote

from hsistream.errors import HsistreamError, ResourceError, StoreError

_FULL = (errno.ENOSPC, errno.EDQUOT)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)

# A path makes one slash of two.
_LOCAL = re.compile(r"file:(//(localhost)?)?(?=/[^/])", re.IGNORECASE)
_REMOTE = re.compile(r"[a-z][a-z0-9+.:-]+:/", re.IGNORECASE)

# The header of a .npy array is Python, which numpy parses as such, and up to
# Python 3.11.7 two threads that parse at once fail by chance with a SystemError.
PARSING = threading.RLock()


def local_path(address: str | PathLike[str], error: type[HsistreamError]) -> Path:
    """Make a path of an address on a local disk; ``file://`` stands for one.

    Raises
    ------
    HsistreamError
        Of the type ``error``, if the address has another scheme.

    Examples
    --------
    >>> local_path("file:///data/a%20scene.zarr", HsistreamError).as_posix()
    '/data/a scene.zarr'
    """
    text = os.fspath(address)
    if _LOCAL.match(text):
        return Path(unquote(_LOCAL.sub("", text, count=1)))
    if _REMOTE.match(text):
        raise error(
            f"Files are read from local disks, and written to them, but {text} is a remote "
            f"address. Name a local path, and copy what lies elsewhere first."
        )
    return Path(text)


def file_error(address: str | Path, error: OSError) -> HsistreamError:
    """Say what an error of the file system means for the file or store at ``address``."""
    if error.errno in _FULL:
        return ResourceError(
            f"The disk that holds {address} is full. Free some space and run the same command "
            f"again: what is finished is kept."
        )
    if error.errno in _FORBIDDEN:
        return StoreError(
            f"{address} must be writable and readable, but: {error.strerror}. Choose another "
            f"place, or change its permissions."
        )
    if isinstance(error, FileNotFoundError):
        return StoreError(f"{address} is needed, but there is no such file, store or array.")
    if isinstance(error, FileExistsError | NotADirectoryError):
        return StoreError(f"A folder is needed for {address}, but a file lies in its place.")
    said = error.strerror or first_line(error)
    return StoreError(f"{address} cannot be read or written: {said}.")


def first_line(error: BaseException) -> str:
    """Shorten a foreign message to one line without its full stop."""
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0].rstrip(".")[:200]


@contextmanager
def filing(address: str | Path) -> Iterator[None]:
    """Turn errors of the file system into ours."""
    try:
        yield
    except HsistreamError:
        raise
    except OSError as error:
        raise file_error(address, error) from error


@contextmanager
def locked(path: Path, busy: str) -> Iterator[str]:
    """Hold the lock of a file, which dies with the process; give the name of this holder.

    The file keeps the name until another one holds the lock: see :func:`holder_of`.

    Raises
    ------
    StoreError
        With the sentence ``busy``, if another process holds it.
    """
    with filing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = path.open("a")
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StoreError(busy) from error
        except OSError as error:
            raise StoreError(
                f"{path} must be on a file system that can lock files, but: {error.strerror}. "
                f"Choose another place, or mount this one with locks (Lustre: -o flock)."
            ) from error
        holder = secrets.token_hex(8)
        with filing(path):
            handle.truncate(0)
            handle.write(holder)
            handle.flush()
            os.fsync(handle.fileno())  # or machines that share the disk would not see it yet
        yield holder


def holder_of(path: Path) -> str:
    """Name the last holder of the lock of a file, none where nobody held it."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""


def partial_of(path: Path) -> Path:
    """Name the file that is written before it takes the place of ``path``."""
    return path.with_name(f".{path.name}.partial")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a path to write to, which takes the place of ``path`` if all goes well."""
    partial = partial_of(path)
    with filing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield partial
            with partial.open("rb") as file:
                os.fsync(file.fileno())
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file, all or nothing."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")
