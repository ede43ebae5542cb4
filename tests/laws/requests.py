"""Requests small enough for tests: networks are trained for a few steps only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hsistream.config import RunConfig
from hsistream.execution import Execution
from hsistream.pipeline import run
from hsistream.runs import RunDirectory
from hsistream.scene.scene import Scene

TinyRun = Callable[[str], RunDirectory]
"""Takes the name of a preset and gives its finished run."""

TINY: tuple[tuple[str, Any], ...] = (
    ("training.steps", 4),
    ("training.pairs", 2),
    ("training.check_every", 4),
    ("training.warm_up", 0),
    ("training.learning_rate", 0.01),
)
"""Few steps, but so long ones that the network is no longer its start."""


_LIGHT_UMAE = (
    ("encoder.depth", 2),
    ("encoder.decoder_depth", 1),
    ("encoder.pixels", 96),
    ("encoder.sample", 160),
)

LIGHT: Mapping[str, tuple[tuple[str, Any], ...]] = dict.fromkeys(
    ("umae", "ds2dl", "ds2dl-paper"), _LIGHT_UMAE
)
"""Settings, by preset, that let slow networks learn less."""


def tiny(method: str, *settings: tuple[str, Any], clusters: int | None = 3) -> RunConfig:
    """Ask for a preset with a training of seconds; ``settings`` win."""
    asked = [] if clusters is None else [("cluster.clusters", clusters)]
    return RunConfig.make(method, settings=[*asked, *TINY, *LIGHT.get(method, ()), *settings])


def tiny_options(
    method: str, *settings: tuple[str, Any], clusters: int | None = 3
) -> tuple[str, ...]:
    """Ask for the same on the command line."""
    asked = [] if clusters is None else ["--clusters", str(clusters)]
    given = [f"--set={key}={value}" for key, value in (*TINY, *LIGHT.get(method, ()), *settings)]
    return ("--method", method, *asked, *given)


def made_once(scene: Scene, folder: Path, execution: Execution) -> TinyRun:
    """Make the runs of presets on a scene when they are first asked for."""

    def of(method: str) -> RunDirectory:
        made = RunDirectory(folder / method)
        if not made.exists:
            run(scene, tiny(method), made.path, execution=execution)
        return made

    return of
