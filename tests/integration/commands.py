"""The command line, called in this process or in one of its own."""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hsistream.cli.app import app
from hsistream.config import RunConfig
from hsistream.presets import PRESETS
from hsistream.stages.table import stream

QUIET = ("--progress", "none")

MakeScene = Callable[..., Path]
"""Takes a cube (y, x, band) and options of ingest, and returns the scene."""


@dataclass(frozen=True)
class Outcome:
    """What a command answered."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one object on stdout."""
        return json.loads(self.out)

    def refusal(self, code: int) -> str:
        """The one sentence of a command that ended with ``code``."""
        assert self.code == code, (self.code, self.out, self.err)
        sentences = [line for line in self.err.splitlines() if line.startswith("error: ")]
        others = [line for line in self.err.splitlines() if not _is_progress(line)]
        assert sentences == others, self.err
        assert len(sentences) == 1, self.err
        assert sentences[0].endswith(".")
        assert "Traceback" not in self.err
        assert "This is a bug" not in self.err
        return sentences[0]


def command(*arguments: object) -> Outcome:
    """Call the command line in this process."""
    out, err = io.StringIO(), io.StringIO()
    code: object = 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            app([str(argument) for argument in arguments], prog_name="hsistream")
        except SystemExit as exit_:
            code = exit_.code
    assert isinstance(code, int)
    return Outcome(code, out.getvalue(), err.getvalue())


def start(*arguments: object, **options: Any) -> subprocess.Popen[str]:
    """Start the command line in a process of its own."""
    words = [sys.executable, "-m", "hsistream", *map(str, arguments)]
    return subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
    )


def process(*arguments: object, **options: Any) -> Outcome:
    """Call the command line in a process of its own."""
    started = start(*arguments, **options)
    out, err = started.communicate(timeout=300)
    return Outcome(started.returncode, out, err)


def _is_progress(line: str) -> bool:
    """Tell progress and warnings from errors."""
    stages = {stage.name for name in PRESETS for stage in stream(_with_clusters(name))}
    stages |= {"adopt", "sample", "divide", "gather", "learn", "examine"}
    return line.startswith(tuple(f"{word}: " for word in ("warning", "ingest", *stages)))


def _with_clusters(method: str) -> RunConfig:
    """Configure a preset, also one that cannot estimate the number of clusters."""
    return RunConfig.make(method, settings=[("cluster.clusters", 2)])
