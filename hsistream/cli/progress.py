"""Progress on stderr: bars for people, lines for logs, or nothing."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import FrameType
from typing import Literal

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import (
    Progress as Bars,
)

from hsistream.events import (
    Event,
    Noted,
    Notify,
    Progress,
    StageFinished,
    StageStarted,
    Warned,
    ignore,
)

Style = Literal["auto", "bar", "log", "none"]

LOG_EVERY_S = 10.0


@contextmanager
def shown(style: Style) -> Iterator[Notify]:
    """Give a listener that shows events in a style; ``auto`` draws bars on a terminal only."""
    chosen: AbstractContextManager[Notify]
    if style == "none":
        chosen = nullcontext(_warnings_only)
    elif style == "bar" or (style == "auto" and sys.stderr.isatty()):
        chosen = contextmanager(_bars)()
    else:
        chosen = nullcontext(_Lines())
    with chosen as notify, _heeding_interrupts(notify) as listener:
        yield listener


@contextmanager
def _heeding_interrupts(notify: Notify) -> Iterator[Notify]:
    """See that Ctrl-C is heeded at the next event at the latest.

    Python drops an interrupt that arrives where nothing can be raised, such as
    in a finaliser; the run would then go on to its end.
    """
    asked = threading.Event()

    def remember(number: int, frame: FrameType | None) -> None:
        asked.set()
        raise KeyboardInterrupt

    def listen(event: Event) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        notify(event)

    before = signal.signal(signal.SIGINT, remember)
    try:
        yield listen
    finally:
        signal.signal(signal.SIGINT, before)


def _warnings_only(event: Event) -> None:
    """Show what the user can act on."""
    if isinstance(event, Warned):
        _say(f"warning: {event.message}.")
    else:
        ignore(event)


def _bars() -> Iterator[Notify]:
    """Draw one bar per stage."""
    columns = (
        TextColumn("{task.description:<11}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[unit]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Bars(*columns, console=console) as bars:
        tasks: dict[str, TaskID] = {}

        def listen(event: Event) -> None:
            match event:
                case StageStarted(stage, total, resumed):
                    tasks[stage] = bars.add_task(stage, total=total, completed=resumed, unit="")
                case Progress(stage, done, total, unit):
                    bars.update(tasks[stage], completed=done, total=total, unit=unit)
                case StageFinished(stage, _, False) if stage in tasks:
                    bars.update(tasks[stage], completed=bars.tasks[tasks[stage]].total or 1)
                case Warned(message):
                    console.print(f"[yellow]warning:[/] {escape(message)}.", highlight=False)
                case Noted(message):
                    console.print(f"{escape(message)}.", highlight=False, style="dim")
                case _:
                    pass

        yield listen


class _Lines:
    """Write a line when a stage begins, when it ends, and every few seconds between."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def __call__(self, event: Event) -> None:
        match event:
            case StageStarted(stage, total, resumed):
                done_before = f", {resumed} of {total} done before" if resumed else ""
                _say(f"{stage}: started{done_before}")
                self._last = time.monotonic()
            case Progress(stage, done, total, unit) if time.monotonic() - self._last > LOG_EVERY_S:
                _say(f"{stage}: {done} of {total} {unit}")
                self._last = time.monotonic()
            case StageFinished(stage, elapsed_s, skipped):
                _say(f"{stage}: done before" if skipped else f"{stage}: done in {elapsed_s:.1f} s")
            case Warned(message):
                _say(f"warning: {message}.")
            case Noted(message):
                _say(f"{message}.")


def _say(line: str) -> None:
    """Write a line to stderr."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()
