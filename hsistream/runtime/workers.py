"""The workers of a dask cluster: how many there are, and one function over many tiles on them.

At most a few tasks are in flight, so a scene of a million tiles costs the driver nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from socket import gethostname
from typing import Any, cast

from hsistream.errors import ConfigError, HsistreamError, IncompleteError, StoreError
from hsistream.events import Noted, Notify
from hsistream.runtime.blas import one_blas_thread
from hsistream.stores.tables import Table
from hsistream.tiles import Tile
from hsistream.version import __version__

TASKS_PER_THREAD = 2
"""Tasks in flight per thread of a worker, so that none waits for the driver."""

UNREADABLE = "deserialization of the task graph"
"""How dask says that its scheduler lacks what the function of a task is made of."""

PATIENCE_S = 10.0
"""Seconds without a result after which the workers are looked at."""


def tasks_at_once(client: Any) -> int:
    """Count the threads of all workers of a cluster; one where there is none yet.

    Raises
    ------
    IncompleteError
        If its scheduler went away.
    """
    if client.status == "closed":
        raise IncompleteError(
            "The dask scheduler went away. The same command resumes the run, with one that runs."
        )
    with _losses_told():
        threads: dict[str, int] = client.nthreads()
    return max(1, sum(threads.values()))


def on_workers(
    function: Callable[[Tile], Table], tiles: Iterator[Tile], client: Any, notify: Notify
) -> Iterator[tuple[Tile, Table]]:
    """Yield (tile, result) as workers finish them; the queue grows as the cluster does."""
    tile_of: dict[Any, Tile] = {}
    try:
        while True:
            room = TASKS_PER_THREAD * tasks_at_once(client) - len(tile_of)
            for tile in islice(tiles, max(0, room)):
                task = client.submit(work, function, tile, __version__, pure=False, retries=1)
                tile_of[task] = tile
            if not tile_of:
                return
            for task in _finished(client, list(tile_of), notify):
                yield tile_of.pop(task), _result(task)
    finally:
        if tile_of:
            client.cancel(list(tile_of))


def _finished(client: Any, tasks: list[Any], notify: Notify) -> list[Any]:
    """Wait until a task is finished; tell, once, of workers that are wanted meanwhile."""
    from distributed import wait

    told = False
    while True:
        try:
            with _losses_told(), client.as_current():
                return list(wait(tasks, timeout=PATIENCE_S, return_when="FIRST_COMPLETED").done)
        except TimeoutError:
            if not told and (message := _wanting(client, {task.key for task in tasks})):
                notify(Noted(message))
                told = True


def _wanting(client: Any, keys: set[str]) -> str:
    """Say that no worker can take tasks; nothing if one has some, however long they take."""
    with _losses_told():
        workers = client.scheduler_info(n_workers=-1)["workers"]
        given = client.processing()
    running = [name for name, worker in workers.items() if worker["status"] == "running"]
    if any(keys.intersection(given.get(name, ())) for name in running):
        return ""
    idle = f", of which {len(workers) - len(running)} take no tasks" if workers else ""
    return (
        f"Waiting for workers: {client.scheduler.address} has {len(workers)}{idle}. The work goes "
        f"on as soon as one can take tasks; Ctrl-C ends it, and the same command resumes it"
    )


def _result(task: Any) -> Table:
    """Fetch a result, or the error of its task, or of a scheduler that could not read it."""
    try:
        with _losses_told():
            return cast("Table", task.result())
    except RuntimeError as error:
        if UNREADABLE not in str(error):
            raise
        raise ConfigError(
            f"The dask scheduler needs the version of hsistream of this command, {__version__}, "
            f"but it cannot read what it is sent. Install one version everywhere."
        ) from error


@contextmanager
def _losses_told() -> Iterator[None]:
    """Tell the loss of workers or of the scheduler as an interrupted run: it is not a bug."""
    from distributed import KilledWorker
    from distributed.client import FutureCancelledError, FuturesCancelledError
    from distributed.comm.core import CommClosedError

    try:
        yield
    except (KilledWorker, CommClosedError, FutureCancelledError, FuturesCancelledError) as error:
        raise IncompleteError(
            f"The cluster lost the workers of a task again and again, or its scheduler ({error}). "
            f"They may have run out of memory: see hsistream plan. The same command resumes the "
            f"run."
        ) from error


# On the worker


def work(function: Callable[[Tile], Table], tile: Tile, version: str) -> Table:
    """Do a task of a version of hsistream; its errors can be sent, and say where they arose.

    Raises
    ------
    ConfigError
        If this worker has another version.
    HsistreamError
        Of the task.
    """
    if version != __version__:
        raise ConfigError(
            f"Workers need the version of hsistream that asks them, {version}, but {gethostname()} "
            f"has {__version__}. Install one version everywhere."
        )
    with one_blas_thread():
        try:
            return function(tile)
        except StoreError as error:
            raise StoreError(
                f"{error} This is what a worker on {gethostname()} found: workers need the same "
                f"disk, under the same path."
            ) from None
        except HsistreamError as error:  # its cause may be of a kind that cannot be sent
            raise type(error)(str(error)) from None
