"""Arithmetic that gives the same bytes whatever the number of threads.

Every sample is computed on one thread with one thread of arithmetic, and what
samples give is put together in their order.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.swa_utils import (
    AveragedModel,
    get_ema_multi_avg_fn,
)

from hsistream.nn.gpu import repeatable, tile_on_gpu
from hsistream.nn.learner import Item, Mapped, Result

Precision = Literal["float32", "bfloat16"]


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep arithmetic on the thread that calls: a sum shared by several has other bytes.

    Also a decorator. How many threads torch takes is a property of each thread.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def encoding(device: str) -> Iterator[None]:
    """Encode a part of a tile, so that the same device gives the same bytes."""
    with one_thread(), nullcontext() if device == "cpu" else tile_on_gpu(torch.device(device)):
        yield


def as_array(values: Tensor, dtype: type[np.floating[Any]]) -> NDArray[Any]:
    """Turn a tensor into an array of a type; torch converts to half precision, numpy is slow."""
    return np.asarray(values.to(getattr(torch, np.dtype(dtype).name)).cpu().numpy())


def seed_of(*key: int) -> int:
    """Make one number of several, for torch."""
    (found,) = np.random.SeedSequence(key).generate_state(1).tolist()
    return int(found)


_DRAWING = threading.RLock()


@contextmanager
def drawing(seed: int) -> Iterator[None]:
    """Let layers draw their weights by a seed: torch draws from one generator of the process.

    So one thread draws at a time; what others draw by themselves is left as it is, on a GPU,
    too: ``torch.manual_seed`` would set the numbers of all devices.
    """
    with _DRAWING, torch.random.fork_rng(devices=()):
        torch.default_generator.manual_seed(seed)
        yield


@contextmanager
def reproducible(device: torch.device, threads: int) -> Iterator[ThreadPoolExecutor]:
    """Give threads whose sums depend neither on the number of cores nor on who is first.

    What this changes in torch is put back at the end.

    Raises
    ------
    ConfigError
        If a GPU would not repeat itself; see :func:`hsistream.nn.gpu.repeatable`.
    """
    # OpenMP keeps a number of threads for each thread that calls it.
    pool = ThreadPoolExecutor(threads, "sample", torch.set_num_threads, (1,))
    with repeatable(device), one_thread(), pool:
        yield pool


def without_gradients(pool: ThreadPoolExecutor) -> Mapped:
    """Map functions over items on threads, in order, without recording gradients."""

    def mapped(function: Callable[[Item], Result], items: Iterable[Item], /) -> list[Result]:
        def quiet(item: Item) -> Result:
            with torch.no_grad():  # each thread has its own switch
                return function(item)

        return list(pool.map(quiet, items))

    return mapped


def mean_gradient(
    losses: Iterable[Callable[[], Tensor]],
    parameters: list[Tensor],
    precision: Precision,
    pool: ThreadPoolExecutor,
) -> tuple[float, list[Tensor]]:
    """Average losses, and their gradients, in the order in which they are given.

    Parameters
    ----------
    losses : iterable of callable
        Each computes one scalar.
    parameters : list of Tensor
        With respect to what; a loss need not depend on all of them.
    precision : {"float32", "bfloat16"}
        Arithmetic of the losses.
    pool : ThreadPoolExecutor
        Threads of :func:`reproducible`.
    """
    device = parameters[0].device.type
    low = precision == "bfloat16"

    def one(compute: Callable[[], Tensor]) -> tuple[float, tuple[Tensor, ...]]:
        # All threads share the cache of autocast, and would share parts of their graphs with it.
        with torch.autocast(device, torch.bfloat16, enabled=low, cache_enabled=False):
            loss = compute()
        return loss.item(), torch.autograd.grad(loss, parameters, materialize_grads=True)

    losses = list(losses)
    mean, means = 0.0, [torch.zeros_like(parameter) for parameter in parameters]
    for loss, gradients in pool.map(one, losses):
        mean += loss / len(losses)
        for total, gradient in zip(means, gradients, strict=True):
            total.add_(gradient, alpha=1 / len(losses))
    return mean, means


def moving_average(network: nn.Module, momentum: float) -> AveragedModel:
    """Begin an average with an exact copy; torch takes the first network that it is shown."""
    keep = get_ema_multi_avg_fn(momentum)  # type: ignore[no-untyped-call]  # torch gives no types
    average = AveragedModel(network, multi_avg_fn=keep)
    average.update_parameters(network)
    return average.eval().requires_grad_(False)
