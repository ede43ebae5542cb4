"""Functions compiled to machine code, kept on disk where that can be written to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from numba import njit

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(**options: Any) -> Callable[[Function], Function]:
    """Compile a function at its first call, without the interpreter's lock.

    The code is kept beside the module or in the user's cache. Where neither can
    be written to, as in a container without a home, each process compiles anew.
    """

    def decorate(function: Function) -> Function:
        try:
            made: Function = njit(nogil=True, cache=True, **options)(function)
        except RuntimeError:  # numba found no place for its cache
            made = njit(nogil=True, **options)(function)
        return made

    return decorate
