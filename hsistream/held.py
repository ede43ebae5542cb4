"""Settings of the whole process, held while anybody needs them.

A setting that each thread sets and lifts would be lifted under the others, and who is last
would leave its own behind.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager


class Held:
    """Counts who needs a setting: the first sets it, the last puts back what was before.

    Parameters
    ----------
    setting : callable
        Makes what sets it when entered and puts it back when left, maybe on another thread.
    """

    def __init__(self, setting: Callable[[], AbstractContextManager[None]]) -> None:
        self._setting, self._guard, self._users = setting, threading.Lock(), 0

    def __enter__(self) -> None:
        with self._guard:
            if self._users == 0:
                self._current = self._setting()
                self._current.__enter__()
            self._users += 1

    def __exit__(self, *_: object) -> None:
        with self._guard:
            self._users -= 1
            if self._users == 0:
                self._current.__exit__(None, None, None)
