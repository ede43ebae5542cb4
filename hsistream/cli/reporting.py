"""How commands end: with one sentence and the documented exit code."""

from __future__ import annotations

import functools
import logging
import os
import sys
import traceback
from collections.abc import Callable
from typing import Any

import typer

from hsistream.errors import HsistreamError
from hsistream.files import file_error
from hsistream.version import __version__

INTERRUPTED = 130
KEPT = "interrupted; what is finished is kept, the same command resumes"
STOPPED = {"ingest": "interrupted; nothing was written, the same command starts anew"}
"""What an interrupt means, by command; for others it is ``KEPT``."""

BROKEN_PIPE = 141


def reporting(command: Callable[..., None]) -> Callable[..., None]:
    """End a command with one sentence and the documented exit code, whatever happens."""

    @functools.wraps(command)
    def guarded(*arguments: Any, **options: Any) -> None:
        try:
            command(*arguments, **options)
        except HsistreamError as error:
            _fail(str(error), error.exit_code)
        except KeyboardInterrupt:
            _fail(STOPPED.get(command.__name__, KEPT), INTERRUPTED)
        except BrokenPipeError:  # whoever read the output has enough of it
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(BROKEN_PIPE) from None
        except MemoryError:
            _fail("The machine is out of memory. See hsistream plan, and use --memory.", 4)
        except typer.Exit:
            raise
        except OSError as error:
            known = file_error(error.filename or "the output", error)
            _fail(str(known), known.exit_code)
        except Exception as error:
            if logging.getLogger("hsistream").isEnabledFor(logging.DEBUG):
                traceback.print_exc()
            _fail(
                f"This is a bug in hsistream: {type(error).__name__}: {error}. Please report it "
                f"with the output of the same command after: hsistream --debug",
                1,
            )

    return guarded


def print_version(wanted: bool) -> None:
    """Print the version and stop."""
    if wanted:
        sys.stdout.write(f"hsistream {__version__}\n")
        raise typer.Exit


def _fail(message: str, code: int) -> None:
    """Print one sentence on stderr and end."""
    sentence = " ".join(message.splitlines()).rstrip(".")
    sys.stderr.write(f"error: {sentence}{'' if sentence.endswith('?') else '.'}\n")
    raise typer.Exit(code)
