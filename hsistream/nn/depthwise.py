"""Convolutions of every channel by itself along (band, y, x), with fast gradients on a CPU.

The gradients that torch has for these take ten times as long as the convolutions. Here
those of the values are convolutions again, and those of the weights a compiled loop.
Bands are padded by 1 on both sides, pixels as they are told.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as fn

from hsistream.compiled import compiled


def is_fast_for(values: Tensor) -> bool:
    """Tell whether these functions take such values: float32 on a CPU."""
    return (
        values.device.type == "cpu"
        and values.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
    )


def depthwise(values: Tensor, weight: Tensor, bias: Tensor, stride: int, rim: int) -> Tensor:
    """Convolve every channel by itself, as :func:`torch.nn.functional.conv3d` does.

    Parameters
    ----------
    values : (sample, channel, band, y, x) float32
        What is convolved.
    weight : (channel, 1, band, y, x)
        Kernels: of 3 bands with a stride of 1, or of 4 bands with one of 2.
    bias : (channel,)
        Is added.
    stride : int
        Along the bands, 1 or 2.
    rim : int
        Pixels of zeros around the values.
    """
    found: Tensor = _Depthwise.apply(values, weight, stride, rim)  # type: ignore[no-untyped-call]
    return found + bias[:, None, None, None]


def depthwise_transposed(values: Tensor, weight: Tensor, bias: Tensor, rim: int) -> Tensor:
    """Double the bands of every channel by itself, the transpose of a stride of 2.

    ``rim`` counts the pixels that are cut off at each side of what the kernels reach; see
    :func:`depthwise` for the others.
    """
    found: Tensor = _Transposed.apply(values, weight, rim)  # type: ignore[no-untyped-call]
    return found + bias[:, None, None, None]


class _Depthwise(torch.autograd.Function):
    """A convolution without a bias."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, weight: Tensor, stride: int, rim: int) -> Tensor:
        ctx.save_for_backward(values, weight)
        ctx.stride, ctx.rim = stride, rim
        return _convolved(values, weight, stride, rim)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None]:
        values, weight = ctx.saved_tensors
        if ctx.stride == 1:
            around = weight.shape[4] - 1 - ctx.rim
            of_values = _convolved(gradient, weight.flip(2, 3, 4), 1, around)
        else:
            of_values = _spread(gradient, weight, ctx.rim)
        of_weight = _weight_gradient(values, gradient, weight, ctx.stride, ctx.rim)
        return of_values, of_weight, None, None


class _Transposed(torch.autograd.Function):
    """The transpose of a convolution with a stride of 2, without a bias."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, weight: Tensor, rim: int) -> Tensor:
        ctx.save_for_backward(values, weight)
        ctx.rim = rim
        return _spread(values, weight, rim)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        values, weight = ctx.saved_tensors
        of_weight = _weight_gradient(gradient, values, weight, 2, ctx.rim)
        return _convolved(gradient, weight, 2, ctx.rim), of_weight, None


def _convolved(values: Tensor, weight: Tensor, stride: int, rim: int) -> Tensor:
    """Convolve (sample, channel, band, y, x), a channel at a time."""
    return fn.conv3d(values, weight, None, (stride, 1, 1), (1, rim, rim), groups=len(weight))


def _spread(values: Tensor, weight: Tensor, rim: int) -> Tensor:
    """Transpose a convolution by kernels of 4 bands: two of 2 bands, for even and odd ones."""
    turned, around = weight.flip(3, 4), (0, weight.shape[4] - 1 - rim, weight.shape[4] - 1 - rim)
    halves = [
        fn.conv3d(
            fn.pad(values, (0, 0, 0, 0, before, 1 - before)),
            turned[:, :, list(bands)].contiguous(),
            padding=around,
            groups=len(weight),
        )
        for before, bands in ((1, (3, 1)), (0, (2, 0)))
    ]
    return torch.stack(halves, dim=3).flatten(2, 3)


def _weight_gradient(large: Tensor, small: Tensor, weight: Tensor, stride: int, rim: int) -> Tensor:
    """Sum up the products of what a kernel has seen, (sample, channel, band, y, x), and made."""
    seen = fn.pad(large, (rim, rim, rim, rim, 1, 1)).contiguous().numpy()
    found = np.zeros(weight.shape, np.float32)
    _correlate(seen, small.contiguous().numpy(), stride, found[:, 0])
    return torch.from_numpy(found)


@compiled()
def _correlate(
    seen: NDArray[np.float32], made: NDArray[np.float32], stride: int, found: NDArray[np.float32]
) -> None:
    """Correlate arrays (sample, channel, band, y, x), to ``found`` (channel, band, y, x)."""
    samples, channels, bands, height, width = made.shape
    sums = np.empty(width, np.float32)
    for channel in range(channels):
        for band, row, column in np.ndindex(found.shape[1:]):
            sums[:] = 0
            for sample in range(samples):
                for place in range(bands):
                    for y in range(height):
                        one = made[sample, channel, place, y]
                        other = seen[sample, channel, stride * place + band, y + row]
                        for x in range(width):
                            sums[x] += one[x] * other[x + column]
            found[channel, band, row, column] = sums.sum()
