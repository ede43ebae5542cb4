"""From options of the command line to what is asked and how to run it."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hsistream.config import RunConfig, parse_setting
from hsistream.errors import ConfigError
from hsistream.execution import Execution
from hsistream.machine import GIB
from hsistream.scene.scene import Scene
from hsistream.trees import key_path

INDIRECT = {"views", "cluster"}
"""Sections that shape others: what spectra are projected to, and how many prototypes there are."""

_UNITS = {"": 1, "kib": 2**10, "mib": 2**20, "gib": GIB, "kb": 10**3, "mb": 10**6, "gb": 10**9}


def config(
    method: str | None,
    file: Path | None,
    options: Mapping[str, Any],
    settings: Sequence[str] | None,
) -> RunConfig:
    """Put the configuration together; ``--set`` wins over the options, and None over nothing."""
    given = [
        (key, str(value) if isinstance(value, Path) else value)
        for key, value in options.items()
        if value is not None
    ]
    single = [parse_setting(text) for text in settings or ()]
    asked = RunConfig.make(method, file, [*given, *single])
    for key, _ in single:
        _warn_of_unused(key, asked)
    return asked


def _warn_of_unused(key: str, asked: RunConfig) -> None:
    """Tell of a setting of a section that no stage reads."""
    from hsistream.stages.table import stream

    section, *rest = key_path(key)
    used = {name for stage in stream(asked) for name in stage.sections}
    if rest and section not in used | INDIRECT:
        sys.stderr.write(
            f"warning: --set {key} changes nothing: the method {asked.method} has no use for the "
            f"section {section}.\n"
        )


def counted(scene: Scene, config: RunConfig) -> RunConfig:
    """Count the labels, where there are any: memory depends on them."""
    from hsistream.classification import request

    return config if config.classify is None else request(scene, config)


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


def groups(texts: Sequence[str] | None) -> dict[str, str]:
    """Read the groups of frames, each ``FRAME=GROUP``."""
    found = {}
    for text in texts or ():
        frame, equals, group = text.rpartition("=")
        if not equals or not frame or not group:
            raise ConfigError(f"--group needs FRAME=GROUP, but {text!r} was found.")
        found[frame] = group
    return found


def shape(text: str | None) -> tuple[int, int] | None:
    """Read a size such as ``95x95``, (y, x)."""
    if text is None:
        return None
    match = re.fullmatch(r"\s*(\d+)\s*[x,]\s*(\d+)\s*", text)
    if not match:
        raise ConfigError(f"--shape needs HEIGHTxWIDTH, such as 95x120, but is {text!r}.")
    return int(match[1]), int(match[2])


def split_of(split: str | None, fraction: float | None, block: int | None) -> str | None:
    """Take the split that an option is for, where none is named; refuse one for another split."""
    options = {"fraction": ("--fraction", fraction), "blocks": ("--block", block)}
    for name, (option, value) in options.items():
        if value is None:
            continue
        if split not in (None, name):
            raise ConfigError(f"{option} is for --split {name}, but the split is {split}.")
        split = name
    return split


def check_sources(sources: Sequence[Path], scene: Path) -> None:
    """Refuse one path alone: it would be that of the scene."""
    if not sources:
        raise ConfigError(
            f"Files and, last, the scene to make of them are needed, but only {scene} was given. "
            f"Try: hsistream ingest {scene} {scene.stem}.zarr"
        )


def parse_bytes(text: str) -> int:
    """Read a size such as ``"1.5 GiB"``.

    Examples
    --------
    >>> parse_bytes("1.5 GiB")
    1610612736

    Raises
    ------
    ConfigError
        If the text is not a number with a unit.
    """
    match = re.fullmatch(r"\s*(\d+\.?\d*|\.\d+)\s*([a-zA-Z]*)\s*", text)
    if not match or match[2].lower() not in _UNITS:
        raise ConfigError(f'A size such as "4 GiB" is needed, but {text!r} was found.')
    return int(float(match[1]) * _UNITS[match[2].lower()])
