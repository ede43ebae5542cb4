"""Convolutions of single channels against those of torch, and their gradients."""

from __future__ import annotations

import pytest
import torch  # noqa: TID253 the layer of the networks
from torch import Tensor  # noqa: TID253 the same
from torch.nn import functional as fn  # noqa: TID253 the same

from hsistream.nn.depthwise import depthwise, depthwise_transposed, is_fast_for

CHANNELS = 3


def drawn(*shape: int, seed: int) -> Tensor:
    random = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=random).requires_grad_()


def assert_same(found: Tensor, expected: Tensor, inputs: list[Tensor]) -> None:
    """Compare results, and the gradients of a weighted sum of them."""
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    weights = drawn(*expected.shape, seed=9).detach()
    mine, theirs = (
        torch.autograd.grad((each * weights).sum(), inputs) for each in (found, expected)
    )
    for one, other in zip(mine, theirs, strict=True):
        torch.testing.assert_close(one, other, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize(("kernel", "stride", "rim"), [((3, 3, 3), 1, 1), ((4, 5, 5), 2, 2)])
@pytest.mark.parametrize("padded", [True, False])
@pytest.mark.parametrize("shape", [(8, 7, 9), (4, 5, 5)])
def test_convolutions_are_those_of_torch(
    kernel: tuple[int, int, int], stride: int, rim: int, padded: bool, shape: tuple[int, int, int]
) -> None:
    values = drawn(2, CHANNELS, *shape, seed=0)
    weight, bias = drawn(CHANNELS, 1, *kernel, seed=1), drawn(CHANNELS, seed=2)
    around = rim if padded else 0
    expected = fn.conv3d(values, weight, bias, (stride, 1, 1), (1, around, around), groups=CHANNELS)
    found = depthwise(values, weight, bias, stride, around)
    assert_same(found, expected, [values, weight, bias])


@pytest.mark.parametrize("rim", [2, 4])
@pytest.mark.parametrize("shape", [(8, 7, 9), (1, 5, 5)])
def test_transposed_convolutions_are_those_of_torch(rim: int, shape: tuple[int, int, int]) -> None:
    values = drawn(2, CHANNELS, *shape, seed=0)
    weight, bias = drawn(CHANNELS, 1, 4, 5, 5, seed=1), drawn(CHANNELS, seed=2)
    expected = fn.conv_transpose3d(values, weight, bias, (2, 1, 1), (1, rim, rim), groups=CHANNELS)
    found = depthwise_transposed(values, weight, bias, rim)
    assert_same(found, expected, [values, weight, bias])


def test_other_precisions_are_left_to_torch() -> None:
    values = torch.zeros(1)
    assert is_fast_for(values)
    assert not is_fast_for(values.double())
    with torch.autocast("cpu", torch.bfloat16):
        assert not is_fast_for(values)
