"""One function over many tiles: on threads of this process, or on a dask cluster.

A task gets a tile and carries addresses, never pixels; at most a few are in
flight, so a scene of a million tiles costs the driver nothing. Results come
back as they finish: whoever sums them sorts them first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice
from socket import gethostname
from typing import Any

from threadpoolctl import threadpool_limits

from hsistream.errors import ConfigError, HsistreamError, IncompleteError
from hsistream.stores.tables import Table
from hsistream.tiles import Tile
from hsistream.version import __version__

TileFunction = Callable[[Tile], Table]

TASKS_PER_WORKER = 2
"""Tasks in flight per worker process, so that none waits for the driver."""


def map_tiles(
    function: TileFunction, tiles: Iterable[Tile], *, client: Any = None, threads: int = 1
) -> Iterator[tuple[Tile, Table]]:
    """Apply a function to tiles and yield (tile, result) as they finish.

    Parameters
    ----------
    function : callable
        Takes a tile, returns a table of small arrays. With a client it must be
        picklable: a ``functools.partial`` of a module-level function.
    tiles : iterable of Tile
        What to do; read lazily.
    client : distributed.Client, optional
        Where to do it; without one, threads of this process.
    threads : int
        Number of threads without a client.

    Yields
    ------
    (Tile, dict of arrays)
        In order of completion.

    Raises
    ------
    IncompleteError
        If workers are lost again and again; finished tiles have been yielded.
    """
    if client is None:
        yield from _on_threads(function, iter(tiles), threads)
    else:
        yield from _on_cluster(function, iter(tiles), client)


def _on_threads(
    function: TileFunction, tiles: Iterator[Tile], threads: int
) -> Iterator[tuple[Tile, Table]]:
    """Run on threads; an error stops the rest and waits for what is in work."""
    running: dict[Future[Table], Tile] = {}
    with ThreadPoolExecutor(threads, "tile") as pool:
        try:
            running |= {pool.submit(function, tile): tile for tile in islice(tiles, threads)}
            while running:
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    tile, result = running.pop(future), future.result()
                    running |= {pool.submit(function, new): new for new in islice(tiles, 1)}
                    yield tile, result
        finally:
            for future in running:
                future.cancel()


def _on_cluster(
    function: TileFunction, tiles: Iterator[Tile], client: Any
) -> Iterator[tuple[Tile, Table]]:
    """Run on a dask cluster as a bounded queue of tasks."""
    from distributed import as_completed

    def submit(tile: Tile) -> Any:
        return client.submit(_one_thread, function, tile, __version__, pure=False, retries=1)

    most = TASKS_PER_WORKER * worker_count(client)
    tile_of = {submit(tile): tile for tile in islice(tiles, most)}
    queue = as_completed(tile_of)
    try:
        for future in queue:
            tile, result = tile_of.pop(future), _result(future)
            for new in islice(tiles, 1):
                following = submit(new)
                tile_of[following] = new
                queue.add(following)
            yield tile, result
    finally:
        client.cancel(list(tile_of))


def worker_count(client: Any) -> int:
    """Count the workers of a cluster; one where there is none yet.

    Raises
    ------
    IncompleteError
        If its scheduler went away.
    """
    if client.status == "closed":
        raise IncompleteError(
            "The dask scheduler went away. The same command resumes the run, with one that runs."
        )
    return max(1, len(client.scheduler_info(n_workers=-1)["workers"]))


def _result(future: Any) -> Table:
    """Fetch a result; the loss of workers is an interrupted run, not a bug."""
    from distributed import KilledWorker
    from distributed.client import FutureCancelledError
    from distributed.comm.core import CommClosedError

    try:
        result: Table = future.result()
    except HsistreamError:
        raise
    except (KilledWorker, CommClosedError, FutureCancelledError) as error:
        raise IncompleteError(
            f"The cluster lost the workers of a task again and again ({error}). They may have run "
            f"out of memory: see hsistream plan. The same command resumes the run."
        ) from error
    return result


def _one_thread(function: TileFunction, tile: Tile, version: str) -> Table:
    """Run a task of a version with one BLAS thread, as every task does, so that sums agree."""
    if version != __version__:
        raise ConfigError(
            f"Workers need the version of hsistream that asks them, {version}, but {gethostname()} "
            f"has {__version__}. Install one version everywhere."
        )
    with threadpool_limits(1):
        try:
            return function(tile)
        except HsistreamError as error:  # its cause may be of a kind that cannot be sent
            raise type(error)(str(error)) from None
