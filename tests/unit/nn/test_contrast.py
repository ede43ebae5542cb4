from __future__ import annotations

import math

import pytest
import torch  # noqa: TID253 the layer of the networks
from torch import Tensor  # noqa: TID253 the layer of the networks
from torch.nn import functional as fn  # noqa: TID253 the layer of the networks

from hsistream.nn.contrast import ContrastHead, nt_xent
from tests.unit.nn.tiny import normal


def unit(pairs: int, *key: int) -> Tensor:
    return fn.normalize(normal((pairs, 16), *key), dim=1)


def apart_of(group: list[int]) -> Tensor:
    numbers = torch.tensor(group, dtype=torch.int64)
    return numbers[:, None] != numbers


def plainly(first: Tensor, second: Tensor, group: list[int], temperature: float) -> float:
    """The loss of every view, one by one."""
    views, groups = torch.cat([first, second]), group * 2
    pairs, losses = len(group), []
    for one in range(2 * pairs):
        partner = (one + pairs) % (2 * pairs)
        rivals = [n for n in range(2 * pairs) if groups[n] != groups[one]]
        cosines = [math.exp(float(views[one] @ views[n]) / temperature) for n in rivals]
        wanted = math.exp(float(views[one] @ views[partner]) / temperature)
        losses.append(-math.log(wanted / (wanted + sum(cosines))))
    return sum(losses) / len(losses)


@pytest.mark.parametrize("pairs", [2, 4, 9])
def test_views_that_are_all_alike_cannot_be_told_apart(pairs: int) -> None:
    views = unit(1).expand(pairs, -1)
    loss = nt_xent(views, views, apart_of([*range(pairs)]), 0.2)
    assert float(loss) == pytest.approx(math.log(2 * pairs - 1), rel=1e-5)


def test_of_orthogonal_places_little_is_lost() -> None:
    views = torch.eye(5)
    loss = nt_xent(views, views, apart_of([*range(5)]), 0.2)
    assert float(loss) == pytest.approx(math.log(1 + 8 * math.exp(-5)), rel=1e-5)


@pytest.mark.parametrize("group", [[0, 1, 2, 3, 4], [0, 0, 1, 1, 2], [3, 3, 3, 3, 7]])
def test_it_is_what_its_formula_says(group: list[int]) -> None:
    first, second = unit(5, 1), unit(5, 2)
    found = nt_xent(first, second, apart_of(group), 0.2)
    assert float(found) == pytest.approx(plainly(first, second, group, 0.2), rel=1e-5)


def test_the_order_of_pairs_does_not_matter() -> None:
    first, second, group = unit(6, 1), unit(6, 2), apart_of([0, 1, 1, 2, 3, 3])
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    moved = nt_xent(first[order], second[order], group[order][:, order], 0.2)
    torch.testing.assert_close(moved, nt_xent(first, second, group, 0.2))


@pytest.mark.parametrize("group", [[], [5], [2, 2, 2]])
def test_without_contrast_nothing_is_lost(group: list[int]) -> None:
    first, second = (unit(len(group), key).requires_grad_() for key in (1, 2))
    loss = nt_xent(first, second, apart_of(group), 0.2)
    assert loss.item() == 0
    for gradient in torch.autograd.grad(loss, [first, second]):
        torch.testing.assert_close(gradient, torch.zeros_like(gradient))


def test_the_head_gives_unit_vectors_that_know_no_place() -> None:
    torch.manual_seed(0)
    head, features = ContrastHead(), normal((3, 64, 8, 8), 1)
    found = head(features)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(3))
    torch.testing.assert_close(head(features.flip(2).transpose(2, 3)), found)
    assert not torch.allclose(found[0], found[1], atol=1e-2)


def test_learning_pulls_the_two_views_of_a_place_together() -> None:
    torch.manual_seed(0)
    head = ContrastHead()
    places = normal((6, 64, 1, 1), 1)
    views = [places + normal((6, 64, 4, 4), key) for key in (2, 3)]
    optimiser = torch.optim.AdamW(head.parameters(), 1e-3)
    for _ in range(30):
        first, second = (head(each) for each in views)
        loss = nt_xent(first, second, apart_of([*range(6)]), 0.2)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    cosines = (first @ second.T).detach()
    others = cosines[~torch.eye(6, dtype=torch.bool)]
    assert cosines.diagonal().mean() > others.mean() + 0.5
