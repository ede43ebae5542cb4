"""From ``"none"``, ``"local:4"`` or an address to a dask client."""

from __future__ import annotations

import atexit
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

from hsistream.errors import ConfigError, IncompleteError
from hsistream.execution import Execution

CONNECT_TIMEOUT_S = 30

SPARE_S = 5
"""More than the time that dask is given, to let it say by itself what is wrong."""


@contextmanager
def connect(scheduler: str) -> Iterator[Any]:
    """Give a dask client for the length of a block; None for ``"none"``.

    Parameters
    ----------
    scheduler : str
        ``"none"``; ``"local:N"``, N worker processes of one thread that end
        with the block; or the address of a running scheduler, which is left
        running.

    Yields
    ------
    distributed.Client or None
        What :func:`~hsistream.runtime.map_tiles.map_tiles` takes.

    Raises
    ------
    ConfigError
        If this is none of them, or dask does not know that kind of address.
    IncompleteError
        If there is no scheduler at the address.
    """
    Execution(scheduler=scheduler)  # which refuses what is none of them
    if scheduler == "none":
        yield None
    elif scheduler.startswith("local:"):
        yield from _local(int(scheduler.removeprefix("local:")))
    else:
        yield from _remote(scheduler)


def _local(workers: int) -> Iterator[Any]:
    """Start worker processes; the memory plan bounds them, so dask must not pause them."""
    from distributed import Client, LocalCluster
    from distributed.deploy.spec import close_clusters

    try:
        started = LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            memory_limit=0,
            dashboard_address=":0",  # any free port: the usual one may be taken
            silence_logs=50,
        )
    except KeyboardInterrupt:
        atexit.unregister(close_clusters)  # which fails where workers have not begun
        raise
    with started as cluster, Client(cluster) as client:
        yield client


def _remote(address: str) -> Iterator[Any]:
    """Join a running scheduler."""
    try:
        client = _client(address)
    except (ValueError, TypeError, ImportError) as error:  # such as TLS without certificates
        raise ConfigError(f"--scheduler {address} cannot be used: {error}.") from error
    except (OSError, TimeoutError) as error:
        raise IncompleteError(
            f"A dask scheduler is needed at {address}, but none answered within "
            f"{CONNECT_TIMEOUT_S} s. Start one (dask scheduler), or use --scheduler local:N."
        ) from error
    with client:
        yield client


def _client(address: str) -> Any:
    """Ask for a client, on a thread: what is no scheduler may take the question for ever."""
    from distributed import Client

    answer: Future[Any] = Future()

    def ask() -> None:
        try:
            answer.set_result(Client(address, timeout=CONNECT_TIMEOUT_S))
        except Exception as error:  # raised where the answer is waited for
            answer.set_exception(error)

    threading.Thread(target=ask, name="connect", daemon=True).start()
    return answer.result(timeout=CONNECT_TIMEOUT_S + SPARE_S)
