"""What long work tells whoever watches: plain values, sent to a function.

Algorithms do not print. A stage calls ``notify(event)``; the command line
draws bars from events, a notebook may ignore them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Progress:
    """``done`` of ``total`` pieces of a stage are finished."""

    stage: str
    done: int
    total: int
    unit: str = "tiles"


@dataclass(frozen=True, slots=True)
class StageStarted:
    """A stage begins; ``resumed`` of its ``total`` pieces were finished before."""

    stage: str
    total: int
    resumed: int = 0


@dataclass(frozen=True, slots=True)
class StageFinished:
    """A stage is done, after ``elapsed_s`` in this process, or was done before (``skipped``)."""

    stage: str
    elapsed_s: float
    skipped: bool = False


@dataclass(frozen=True, slots=True)
class Warned:
    """Something the user can act on."""

    message: str


@dataclass(frozen=True, slots=True)
class Noted:
    """Something worth a line in the log."""

    message: str


Event = Noted | Progress | StageStarted | StageFinished | Warned
Notify = Callable[[Event], None]


def ignore(event: Event) -> None:
    """Listen to nothing."""
