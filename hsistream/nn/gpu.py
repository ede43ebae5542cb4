"""What a GPU needs, so that it repeats itself and multiplies float32 as such.

By default torch takes the fastest sums there, and 10 bits of the mantissa in convolutions.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import Any

import torch

from hsistream.errors import ConfigError
from hsistream.held import Held

WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"
"""Environment variable that decides whether products repeat; read once, at the first of them."""

TILES_AT_ONCE = 2
"""Parts of tiles that are on a GPU at a time; it computes one after the other in any case."""

_TILES = threading.BoundedSemaphore(TILES_AT_ONCE)


@contextmanager
def repeatable(device: torch.device) -> Iterator[None]:
    """Have torch repeat itself, and round as float32 does; what this changes is put back.

    Raises
    ------
    ConfigError
        If products on a GPU do not repeat, because the process began with them before.
    """
    gpu = device.type == "cuda"
    if gpu:
        os.environ.setdefault(WORKSPACE, ":4096:8")
    with _EXACT:
        if gpu:
            _check_products(device.type)
        yield


@contextmanager
def tile_on_gpu(device: torch.device) -> Iterator[None]:
    """Do a part of a tile on a GPU, while few others do.

    There may be a tile in work for every core: the layers of all of them at once would need
    more memory than a GPU has.
    """
    with _TILES, repeatable(device):
        yield


@contextmanager
def _switched() -> Iterator[None]:
    """Switch to sums that repeat and to whole float32, and put all back."""
    with ExitStack() as before:
        before.callback(
            torch.use_deterministic_algorithms,
            torch.are_deterministic_algorithms_enabled(),
            warn_only=torch.is_deterministic_algorithms_warn_only_enabled(),
        )
        for of, name, value in _roundings():
            before.callback(setattr, of, name, getattr(of, name))
            setattr(of, name, value)
        torch.use_deterministic_algorithms(True)
        yield


_EXACT = Held(_switched)


def _roundings() -> list[tuple[Any, str, Any]]:
    """List the settings of torch by which float32 is multiplied as such, as (of, name, value)."""
    cudnn, products = torch.backends.cudnn, torch.backends.cuda.matmul
    fixed = [(cudnn, "benchmark", False)]
    if hasattr(cudnn, "conv"):  # since torch 2.9, which refuses a mixture of both kinds
        return [*fixed, *((of, "fp32_precision", "ieee") for of in (cudnn.conv, products))]
    return [*fixed, (cudnn, "allow_tf32", False), (products, "allow_tf32", False)]


@cache
def _check_products(device: str) -> None:
    """Refuse a process whose first product on the GPU came before its workspace was fixed."""
    try:
        one = torch.ones(1, 1, device=device)
        torch.mm(one, one)
    except RuntimeError as error:
        if WORKSPACE not in str(error):
            raise
        raise ConfigError(
            f"--device cuda needs {WORKSPACE}=:4096:8 in the environment before the first product "
            f"on the GPU, but this process has multiplied there before. Set it before Python "
            f"starts, or use --device cpu."
        ) from error
