from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch  # noqa: TID253 the layer of the networks
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor  # noqa: TID253 the layer of the networks
from torch.nn import functional as fn  # noqa: TID253 the layer of the networks

from hsistream.nn import assignment
from hsistream.nn.assignment import (
    CLOSE_PROTOTYPES,
    balanced_targets,
    repulsion,
    swapped_loss,
)

SHARPNESS = 0.03

seeds = st.integers(0, 2**31)


def unit(*shape: int, seed: int = 0) -> Tensor:
    return fn.normalize(torch.randn(shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def clustered_scores(pixels: int, prototypes: int, seed: int) -> Tensor:
    """Cosines of pixels that lie near one of the prototypes, some of which have far more."""
    centres = unit(prototypes, 12, seed=seed)
    rng = np.random.default_rng(seed)
    chosen = rng.choice(prototypes, pixels, p=rng.dirichlet(np.full(prototypes, 2.0)))
    near = centres[torch.from_numpy(chosen)] + 1.5 * unit(pixels, 12, seed=seed + 1)
    return fn.normalize(near, dim=1) @ centres.T


def relaxed_shares(scores: Tensor) -> Tensor:
    """Shares between those that the prototypes have and even ones."""
    usage = torch.bincount(scores.argmax(dim=1), minlength=scores.shape[1]).float().sqrt()
    return usage / usage.sum()


def random_shares(prototypes: int, seed: int) -> Tensor:
    drawn = np.random.default_rng((seed, 1)).dirichlet(np.full(prototypes, 5.0))
    return torch.from_numpy(drawn.astype(np.float32))


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Small tensors on many threads mostly wait."""
    cores = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(cores)


# --- balanced targets ----------------------------------------------------------------------


@given(st.integers(2, 16), seeds)
def test_rows_of_balanced_targets_sum_to_one(prototypes: int, seed: int) -> None:
    scores = clustered_scores(300, prototypes, seed)
    found = balanced_targets(scores, random_shares(prototypes, seed), SHARPNESS)
    np.testing.assert_allclose(found.sum(dim=1), 1, atol=1e-5)
    assert (found >= 0).all()


@pytest.mark.parametrize("seed", range(5))
def test_columns_come_near_to_their_shares(seed: int) -> None:
    scores = clustered_scores(2000, 8, seed)
    shares = relaxed_shares(scores)
    found = balanced_targets(scores, shares, SHARPNESS).sum(dim=0)
    np.testing.assert_allclose(found, 2000 * shares, rtol=0.4)
    sharpened = fn.softmax(scores / SHARPNESS, dim=1).sum(dim=0)
    assert (found - 2000 * shares).abs().sum() < (sharpened - 2000 * shares).abs().sum()


def test_columns_are_exact_after_many_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assignment, "BALANCING_ROUNDS", 100)
    scores = clustered_scores(500, 8, 0)
    shares = relaxed_shares(scores)
    found = balanced_targets(scores, shares, SHARPNESS)
    np.testing.assert_allclose(found.sum(dim=0), 500 * shares, rtol=1e-3)
    np.testing.assert_allclose(found.sum(dim=1), 1, atol=1e-5)


def test_even_shares_split_what_all_pixels_prefer() -> None:
    scores = torch.tensor([1.0, 0.9, 0.1, 0.1]).expand(400, 4)
    found = balanced_targets(scores, torch.full((4,), 0.25), SHARPNESS)
    np.testing.assert_allclose(found, 0.25, atol=1e-4)


@pytest.mark.parametrize("largest", [1.0, 50.0, 1000.0])
def test_extreme_scores_give_numbers(largest: float) -> None:
    signs = torch.sign(unit(200, 6))
    found = balanced_targets(largest * signs, torch.full((6,), 1 / 6), SHARPNESS)
    assert torch.isfinite(found).all()
    np.testing.assert_allclose(found.sum(dim=1), 1, atol=1e-4)


def test_scores_of_half_precision_are_balanced_in_single() -> None:
    scores = clustered_scores(100, 5, 0).bfloat16()
    found = balanced_targets(scores, torch.full((5,), 0.2), SHARPNESS)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.sum(dim=1), 1, atol=1e-5)


def test_a_prototype_without_a_share_gets_nothing_and_spoils_nothing() -> None:
    scores, shares = clustered_scores(300, 5, 3), torch.tensor([0.5, 0.0, 0.3, 0.0, 0.2])
    found = balanced_targets(scores, shares, SHARPNESS)
    assert torch.isfinite(found).all()
    np.testing.assert_allclose(found.sum(dim=1), 1, atol=1e-5)
    np.testing.assert_allclose(found[:, shares == 0], 0, atol=1e-6)
    alone = balanced_targets(scores[:, shares > 0], shares[shares > 0], SHARPNESS)
    np.testing.assert_allclose(found[:, shares > 0], alone, atol=1e-5)


def test_no_pixels_and_one_pixel_are_assigned_too() -> None:
    shares = torch.full((3,), 1 / 3)
    assert balanced_targets(torch.zeros(0, 3), shares, SHARPNESS).shape == (0, 3)
    one = balanced_targets(torch.tensor([[0.9, 0.1, 0.2]]), shares, SHARPNESS)
    assert float(one.sum()) == pytest.approx(1)


@given(seeds)
def test_balanced_targets_do_not_depend_on_the_order_of_pixels(seed: int) -> None:
    scores, shares = clustered_scores(60, 4, seed), random_shares(4, seed)
    order = torch.from_numpy(np.random.default_rng(seed).permutation(60))
    found = balanced_targets(scores, shares, SHARPNESS)
    again = balanced_targets(scores[order], shares, SHARPNESS)
    np.testing.assert_allclose(again, found[order], atol=1e-5)


# --- losses --------------------------------------------------------------------------------


def test_each_view_is_compared_with_the_target_of_the_other() -> None:
    students = [torch.randn(9, 4), torch.randn(9, 4)]
    targets = [fn.softmax(torch.randn(9, 4), dim=1) for _ in range(2)]
    expected = 0.0
    for own, other in ((0, 1), (1, 0)):
        logs = students[own].double() - torch.logsumexp(students[own].double(), 1, keepdim=True)
        expected += float(-(targets[other].double() * logs).sum(dim=1).mean()) / 2
    assert float(swapped_loss(students, targets)) == pytest.approx(expected, rel=1e-5)


def test_agreement_costs_the_entropy_of_the_targets() -> None:
    targets = fn.softmax(torch.randn(50, 6), dim=1)
    entropy = float(-(targets * targets.log()).sum(dim=1).mean())
    logits = targets.log()
    assert float(swapped_loss([logits, logits], [targets, targets])) == pytest.approx(entropy)
    other = [logits, torch.randn(50, 6)]
    assert float(swapped_loss(other, [targets, targets])) > entropy


def test_targets_that_know_nothing_pull_towards_the_even_assignment() -> None:
    logits = torch.tensor([[2.0, 0, 0]], requires_grad=True)
    even = torch.full((1, 3), 1 / 3)
    swapped_loss([logits, logits], [even, even]).backward()
    assert logits.grad is not None
    assert logits.grad[0, 0] > 0
    assert (logits.grad[0, 1:] < 0).all()


def test_prototypes_that_are_far_apart_do_not_repel_each_other() -> None:
    assert float(repulsion(torch.eye(5))) == 0
    assert float(repulsion(-torch.eye(5)[[0, 0, 1]] * torch.tensor([[1.0], [-1], [1]]))) == 0


def test_close_prototypes_repel_each_other() -> None:
    angle = math.radians(5)
    pair = torch.tensor([[1.0, 0], [math.cos(angle), math.sin(angle)]], requires_grad=True)
    loss = repulsion(pair)
    assert loss.item() == pytest.approx((math.cos(angle) - CLOSE_PROTOTYPES) ** 2, rel=1e-4)
    loss.backward()
    assert pair.grad is not None
    moved = fn.normalize((pair - 0.1 * pair.grad).detach(), dim=1)
    assert float(moved[0] @ moved[1]) < math.cos(angle)
