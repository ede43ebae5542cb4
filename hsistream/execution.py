"""How to run: where, with how much memory, on which device. Nothing here may change a result."""

from __future__ import annotations

import operator
import re
from dataclasses import dataclass
from typing import Any, Literal

from hsistream.errors import ConfigError
from hsistream.machine import usable_cores

NUMBERS = {
    "tile_px": (8, "A tile must be at least 8 px wide, but --tile is {}."),
    "threads": (1, "--threads must be at least 1, but is {}."),
    "memory_bytes": (1, "--memory must be more than 0 bytes, but is {}."),
}
"""The least that each may be, and what is said of less."""


@dataclass(frozen=True, slots=True)
class Execution:
    """How to run: nothing here may change a result.

    Parameters
    ----------
    tile_px : int, optional
        Side of the tiles of the labelling passes; None chooses one that fits the memory.
    scheduler : str
        ``"none"`` (threads of this process), ``"local:N"`` (N worker processes)
        or the address of a dask scheduler.
    threads : int, optional
        Tiles in work at once without a scheduler; None means one per core.
    memory_bytes : int, optional
        Limit that ``plan`` holds a run to; None means half of the machine's memory.
    device : str
        ``"auto"``, ``"cpu"`` or ``"cuda"``, for methods with a network; classifiers use the CPU.
    """

    tile_px: int | None = None
    scheduler: str = "none"
    threads: int | None = None
    memory_bytes: int | None = None
    device: Literal["auto", "cpu", "cuda"] = "auto"

    def __post_init__(self) -> None:
        for name, (least, message) in NUMBERS.items():
            value = _whole(name, getattr(self, name))
            if value is not None and value < least:
                raise ConfigError(message.format(value))
            object.__setattr__(self, name, value)
        if self.device not in ("auto", "cpu", "cuda"):
            raise ConfigError(f"--device must be auto, cpu or cuda, but is {self.device!r}.")
        if not re.fullmatch(r"none|local:[1-9]\d*|[a-z]+://\S+", str(self.scheduler)):
            raise ConfigError(
                f"--scheduler must be none, local:N or an address such as tcp://host:8786, "
                f"but is {self.scheduler!r}."
            )

    @property
    def workers(self) -> int:
        """Tiles in work at once, where this process or ``local:N`` decides it."""
        if self.scheduler.startswith("local:"):
            return int(self.scheduler.removeprefix("local:"))
        return self.threads or usable_cores()


def _whole(name: str, value: Any) -> int | None:
    """Take a whole number of any type, such as one of numpy, or none."""
    try:
        return None if value is None else operator.index(value)
    except TypeError as error:
        raise ConfigError(f"{name} must be a whole number or None, but is {value!r}.") from error
