"""Requests small enough for tests: networks are trained for a few steps only."""

from __future__ import annotations

from typing import Any

from hsistream.config import RunConfig

TINY: tuple[tuple[str, Any], ...] = (
    ("training.steps", 4),
    ("training.pairs", 2),
    ("training.check_every", 4),
    ("training.warm_up", 0),
    ("training.learning_rate", 0.01),
)
"""Few steps, but so long ones that the network is no longer its start."""


def tiny(method: str, *settings: tuple[str, Any], clusters: int | None = 3) -> RunConfig:
    """Ask for a preset with a training of seconds; ``settings`` win."""
    asked = [] if clusters is None else [("cluster.clusters", clusters)]
    return RunConfig.make(method, settings=[*asked, *TINY, *settings])


def tiny_options(method: str, *settings: tuple[str, Any], clusters: int = 3) -> tuple[str, ...]:
    """Ask for the same on the command line."""
    given = [f"--set={key}={value}" for key, value in (*TINY, *settings)]
    return ("--method", method, "--clusters", str(clusters), *given)
