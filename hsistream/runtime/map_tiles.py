"""One function over many tiles: on threads of this process, or on a dask cluster.

A task gets a tile and carries addresses, never pixels. Results come back as
they finish: whoever sums them sorts them first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice
from typing import Any

from hsistream.events import Notify, ignore
from hsistream.runtime.workers import on_workers
from hsistream.stores.tables import Table
from hsistream.tiles import Tile

TileFunction = Callable[[Tile], Table]


def map_tiles(
    function: TileFunction,
    tiles: Iterable[Tile],
    *,
    client: Any = None,
    threads: int = 1,
    notify: Notify = ignore,
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
    notify : callable
        Told where the work waits for workers.

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
        yield from on_workers(function, iter(tiles), client, notify)


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
