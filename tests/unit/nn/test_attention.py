from __future__ import annotations

import math

import pytest
import torch  # noqa: TID253 the layer of the networks
from torch import Tensor  # noqa: TID253 the layer of the networks

from hsistream.nn.attention import Block, drop
from tests.unit.nn.tiny import normal


def random(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def block_of(width: int = 12, heads: int = 3, dropout: float = 0.5) -> Block:
    block = Block(width, heads, 20, dropout)
    for index, parameter in enumerate(block.parameters()):
        parameter.data = normal(tuple(parameter.shape), 5, index)
    return block


def plainly(block: Block, tokens: Tensor, heads: int) -> Tensor:
    """The block of one pixel, token by token and head by head."""
    size = tokens.shape[1] // heads
    seen = block.before_attention(tokens) @ block.queries_keys_values.weight.T
    query, key, value = seen.split(tokens.shape[1], dim=1)
    parts = []
    for head in range(heads):
        own = slice(head * size, (head + 1) * size)
        shares = torch.softmax(query[:, own] @ key[:, own].T / math.sqrt(size), dim=1)
        parts.append(shares @ value[:, own])
    tokens = tokens + block.joined(torch.cat(parts, dim=1))
    wide: Tensor = block.widened(block.before_layer(tokens))
    layer: Tensor = block.narrowed(wide * (1 + torch.erf(wide / math.sqrt(2))) / 2)
    return tokens + layer


@pytest.mark.parametrize("heads", [1, 3, 4])
def test_a_block_is_what_its_formula_says(heads: int) -> None:
    block, tokens = block_of(heads=heads), normal((4, 7, 12), 1)
    expected = torch.stack([plainly(block, each, heads) for each in tokens])
    torch.testing.assert_close(block(tokens), expected, rtol=1e-4, atol=1e-4)


def test_pixels_do_not_see_each_other() -> None:
    block, tokens = block_of(), normal((4, 7, 12), 1)
    changed = tokens.clone()
    changed[2] += 1
    found, before = block(changed), block(tokens)
    assert torch.equal(found[[0, 1, 3]], before[[0, 1, 3]])
    assert not torch.allclose(found[2], before[2])


def test_the_order_of_tokens_does_not_matter_to_a_block() -> None:
    block, tokens = block_of(), normal((2, 7, 12), 1)
    order = torch.randperm(7, generator=random())
    torch.testing.assert_close(block(tokens[:, order]), block(tokens)[:, order])


def test_nothing_is_dropped_without_a_generator() -> None:
    tokens = normal((2, 7, 12), 1)
    plain, dropping = block_of(dropout=0.0), block_of(dropout=0.9)
    assert torch.equal(plain(tokens), dropping(tokens))
    assert not torch.equal(dropping(tokens, random()), dropping(tokens))
    assert torch.equal(dropping(tokens, random()), dropping(tokens, random()))


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_what_is_dropped_leaves_the_mean_alone(share: float) -> None:
    found = drop(torch.ones(200_000), share, random())
    assert found.unique().tolist() == [0.0, pytest.approx(1 / (1 - share))]
    assert (found == 0).double().mean().item() == pytest.approx(share, abs=0.01)
    assert found.double().mean().item() == pytest.approx(1, abs=0.01)


def test_the_random_numbers_of_others_are_left_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    block_of()(normal((2, 7, 12), 1), random())
    torch.manual_seed(3)
    drop(torch.ones(9), 0.5, random())
    assert torch.equal(torch.rand(4), expected)
