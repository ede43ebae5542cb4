"""A GPU that is not there: tensors lie on the CPU, but torch treats some as if they did not.

What lies on the pretended device is told by the memory of a tensor, so that views, weights
and copies of networks need no mark of their own. An operation that mixes devices where
CUDA would refuse it, or that CUDA has in no deterministic form, raises an error. Layers
round as on a CPU: nothing is learnt here about the numbers of a GPU, nor about its memory.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch  # noqa: TID253 what is pretended to
from torch import Tensor  # noqa: TID253 what is pretended to
from torch.multiprocessing.reductions import StorageWeakRef  # noqa: TID253 as above
from torch.overrides import TorchFunctionMode, resolve_name  # noqa: TID253 as above
from torch.utils._pytree import tree_leaves  # noqa: TID253 as above

CPU, CUDA = torch.device("cpu"), torch.device("cuda")

ANYWHERE = {"copy_", "cpu", "cuda", "to"}
"""Operations whose arguments may lie anywhere."""

UNSEEN = {"_has_compatible_shallow_copy_type", "_parse_to", "device"}
"""Names of devices, and steps by which a network moves its weights, whose next one tells more."""

INDEXING = {"__getitem__", "__setitem__"}
"""Operations that take indices on the CPU for values elsewhere."""

NO_SCALARS = {"bincount", "cat", "embedding", "gather", "index_select", "matmul", "stack"}
"""Operations that do not even take a single number that lies elsewhere."""

ON_HOST = {"__array__", "from_numpy", "numpy"}

UNREPEATABLE = {"adaptive_avg_pool2d", "adaptive_max_pool2d", "cumsum", "grid_sample", "histc"}
UNREPEATABLE |= {"interpolate", "kthvalue", "max_pool3d", "max_unpool2d", "nll_loss2d", "put_"}
"""Operations that torch refuses on CUDA where it is asked for deterministic algorithms."""


PRODUCTS = {"__matmul__", "addmm", "baddbmm", "bmm", "conv1d", "conv2d", "conv3d", "einsum"}
PRODUCTS |= {"conv_transpose3d", "linear", "matmul", "mm", "scaled_dot_product_attention"}
"""Operations that CUDA does with less precision, or in an order of its own, unless it is told."""


@dataclass
class Gpu:
    """What lies on the pretended device, and how it was used.

    The weak references of ``memory`` keep the place of what is gone from being taken by
    something else. ``loose`` names the products that need not repeat or are not of float32.
    """

    memory: dict[int, StorageWeakRef] = field(default_factory=dict)
    loose: set[str] = field(default_factory=set)
    given_back: int = 0

    def holds(self, tensor: Tensor) -> bool:
        return _address(tensor) in self.memory

    def take(self, tensor: Tensor) -> None:
        self.memory[_address(tensor)] = StorageWeakRef(tensor.untyped_storage())

    def give_back(self) -> None:
        self.given_back += 1


class _Generator(torch.Generator):
    """Random numbers of a device: those of one cannot be drawn on another."""

    gpu: bool

    def __new__(cls, device: Any = "cpu") -> _Generator:
        found = super().__new__(cls, "cpu")  # type: ignore[call-arg]  # torch gives no types
        found.gpu = torch.device(device).type == "cuda"
        return found


class _Watching(TorchFunctionMode):
    """Stands between one thread and torch."""

    def __init__(self, gpu: Gpu) -> None:
        super().__init__()
        self._gpu = gpu

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        name, named = func.__name__, dict(kwargs or {})
        if name in ("__get__", "__set__"):
            return self._asked(func, args)
        if name in UNSEEN:
            return func(*args, **named)
        seen = [each for each in tree_leaves((args, named)) if isinstance(each, Tensor)]
        wanted = self._wanted(name, args, named, any(map(self._gpu.holds, seen)))
        self._check(func, seen)
        if isinstance(named.get("generator"), _Generator) and named["generator"].gpu != wanted:
            raise RuntimeError(f"{resolve_name(func)}: the random numbers are of another device")
        args = tuple(CPU if _is_device(each) else each for each in args)
        if "device" in named:
            named["device"] = CPU
        found = func.__get__(args[0])() if name == "cuda" else func(*args, **named)
        if name in ANYWHERE - {"copy_"} and self._gpu.holds(args[0]) != wanted:
            found = found.clone()
        if wanted:
            known = set(map(_address, seen))
            for each in tree_leaves(found):
                if isinstance(each, Tensor) and _address(each) not in known:
                    self._gpu.take(each)
        return found

    def _asked(self, func: Any, args: tuple[Any, ...]) -> Any:
        """Tell where a tensor lies; a gradient lies where its tensor does."""
        of, lies = func.__self__, self._gpu.holds(args[0])
        if of is Tensor.device:
            return CUDA if lies else CPU
        if of in (Tensor.is_cuda, Tensor.is_cpu):
            return lies == (of is Tensor.is_cuda)
        found = func(*args)
        if of is Tensor.grad and lies and isinstance(found, Tensor):
            self._gpu.take(found)
        return found

    def _wanted(self, name: str, args: tuple[Any, ...], named: dict[str, Any], lies: bool) -> bool:
        """Tell whether a result lies on the pretended device."""
        if name in ("cpu", "cuda"):
            return name == "cuda"
        asked = next(filter(_is_device, args), named.get("device"))
        if asked is not None:
            return torch.device(asked).type == "cuda"
        if name == "to" and isinstance(args[1], Tensor):
            return self._gpu.holds(args[1])
        return self._gpu.holds(args[0]) if name == "copy_" else lies

    def _check(self, func: Any, seen: list[Tensor]) -> None:
        """Refuse what CUDA would refuse."""
        name, what = func.__name__, resolve_name(func)
        if name in ANYWHERE or not any(map(self._gpu.holds, seen)):
            return
        if name in ON_HOST:
            raise TypeError(f"{what}: the values lie on the GPU")
        if name in UNREPEATABLE and torch.are_deterministic_algorithms_enabled():
            raise RuntimeError(f"{what} has no deterministic form on a GPU")
        if name in PRODUCTS and not _is_exact():
            self._gpu.loose.add(name)
        host = [each for each in seen if not self._gpu.holds(each)]
        if name in INDEXING and self._gpu.holds(seen[0]):
            host = [each for each in host if each.dtype not in (torch.int64, torch.bool)]
        kept = name in NO_SCALARS or (name.endswith("_") and not self._gpu.holds(seen[0]))
        if any(each.ndim or kept for each in host):
            raise RuntimeError(f"{what}: some values lie on the GPU, others on the CPU")


@contextmanager
def pretended_gpu() -> Iterator[Gpu]:
    """Pretend that there is a GPU, on this thread and on those that it starts."""
    gpu, running, autocast = Gpu(), threading.Thread.run, torch.autocast

    def run(thread: threading.Thread) -> None:
        with _Watching(gpu):
            running(thread)

    def low(device: str, *args: Any, **named: Any) -> AbstractContextManager[Any]:
        return autocast("cpu", *args, **named) if device == "cuda" else nullcontext()

    def seeded(_: int) -> None:
        raise AssertionError("the random numbers of the GPU are those of others")

    with pytest.MonkeyPatch.context() as patch, _Watching(gpu):
        patch.setattr(torch.cuda, "is_available", lambda: True)
        patch.setattr(torch.cuda, "empty_cache", gpu.give_back)
        patch.setattr(torch.cuda, "manual_seed_all", seeded)
        patch.setattr(torch, "Generator", _Generator)
        patch.setattr(torch, "autocast", low)
        patch.setattr(threading.Thread, "run", run)
        yield gpu


def _is_exact() -> bool:
    """Tell whether products repeat, and multiply float32 as such."""
    conv = torch.backends.cudnn.conv  # type: ignore[attr-defined]  # set when it is imported
    rounded = {conv.fp32_precision, torch.backends.cuda.matmul.fp32_precision}
    return torch.are_deterministic_algorithms_enabled() and rounded == {"ieee"}


def _address(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def _is_device(value: object) -> bool:
    return isinstance(value, torch.device) or (isinstance(value, str) and value in ("cpu", "cuda"))
