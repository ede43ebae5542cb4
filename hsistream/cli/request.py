"""From options of the command line to what is asked and how to run it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hsistream.config import Execution, RunConfig, parse_bytes, parse_setting
from hsistream.errors import ConfigError


def config(
    method: str | None,
    file: Path | None,
    clusters: int | None,
    seed: int | None,
    statistics: str | None,
    settings: Sequence[str] | None,
) -> RunConfig:
    """Put the configuration together; ``--set`` wins over the other options."""
    options = {"cluster.clusters": clusters, "seed": seed, "statistics.by": statistics}
    given: list[tuple[str, Any]] = [
        (key, str(value) if key == "statistics.by" else value)
        for key, value in options.items()
        if value is not None
    ]
    return RunConfig.make(method, file, [*given, *map(parse_setting, settings or ())])


def execution(
    tile: int | None, scheduler: str, threads: int | None, memory: str | None, device: str
) -> Execution:
    """Say how to run."""
    return Execution(
        tile_px=tile,
        scheduler=scheduler,
        threads=threads,
        memory_bytes=parse_bytes(memory) if memory else None,
        device=device,  # type: ignore[arg-type]  # checked by Execution
    )


def shape(text: str | None) -> tuple[int, int] | None:
    """Read a size such as ``95x95``, (y, x)."""
    if text is None:
        return None
    match = re.fullmatch(r"\s*(\d+)\s*[x,]\s*(\d+)\s*", text)
    if not match:
        raise ConfigError(f"--shape needs HEIGHTxWIDTH, such as 95x120, but is {text!r}.")
    return int(match[1]), int(match[2])
