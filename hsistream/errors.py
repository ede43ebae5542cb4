"""Every error that hsistream raises on purpose.

Each message says what is needed, what was found, where, and what to do. Each
class is also the builtin error that a caller would expect, and knows the exit
code with which the command line ends.
"""

from __future__ import annotations

from typing import ClassVar


class HsistreamError(Exception):
    """Base of all errors raised on purpose."""

    exit_code: ClassVar[int] = 1


class ConfigError(HsistreamError, ValueError):
    """What was asked for is not a valid request."""

    exit_code = 2


class SceneError(HsistreamError, ValueError):
    """A scene, or a file that should become one, cannot be understood or used."""


class TileError(HsistreamError, ValueError):
    """Tiles and storage do not fit each other."""


class StoreError(HsistreamError, OSError):
    """A store cannot be read or written."""


class IncompleteError(HsistreamError, RuntimeError):
    """A run stopped early; what it finished is kept and the same command resumes it."""

    exit_code = 3


class ResourceError(HsistreamError, OSError):
    """The disk is full or another resource of the machine is exhausted."""

    exit_code = 4


class MemoryBudgetError(HsistreamError, MemoryError):
    """A plan needs more memory than it may use."""

    exit_code = 4


class DamagedError(HsistreamError, OSError):
    """Stored data fail their checksum or are missing."""

    exit_code = 5


class DivergedError(HsistreamError, ArithmeticError):
    """A training no longer gives finite numbers."""
