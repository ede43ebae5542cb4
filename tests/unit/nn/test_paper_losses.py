from __future__ import annotations

import math

import numpy as np
import pytest
import torch  # noqa: TID253 the layer of the networks
from torch import Tensor  # noqa: TID253 the layer of the networks
from torch.nn import functional as fn  # noqa: TID253 the layer of the networks

from hsistream.nn.paper_losses import (
    NEVER,
    Together,
    View,
    assign,
    compactness,
    consistency,
    find_dead,
    follow,
    imbalance,
    indecision,
    orthogonality,
    pull,
    uniformity,
    usage_of,
)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def unit(*shape: int, seed: int = 0) -> Tensor:
    return fn.normalize(normal(*shape, seed=seed), dim=-1)


def logs_of(pixels: int, prototypes: int, seed: int = 0) -> Tensor:
    return fn.log_softmax(2 * normal(pixels, prototypes, seed=seed), dim=1)


def sure(labels: list[int], prototypes: int) -> Tensor:
    """Logarithms of an assignment without any doubt."""
    return fn.log_softmax(100.0 * fn.one_hot(torch.tensor(labels), prototypes), dim=1)


def view_of(latents: Tensor, prototypes: Tensor) -> View:
    return assign(latents, latents, prototypes, 0.3)


# Losses


def test_compactness_is_the_mean_distance_to_ones_prototypes() -> None:
    prototypes = torch.eye(3)
    latents = torch.tensor([[0.6, 0.8, 0.0], [-1.0, 0.0, 0.0]])
    shares = torch.tensor([[0.5, 0.25, 0.25], [1.0, 0.0, 0.0]])
    by_hand = (0.5 * 0.4 + 0.25 * 0.2 + 0.25 * 1.0 + 1.0 * 2.0) / 2
    assert float(compactness(latents, shares, prototypes)) == pytest.approx(by_hand)
    assert float(compactness(prototypes, torch.eye(3), prototypes)) == 0


def test_consistency_of_equal_assignments_is_zero() -> None:
    logs = logs_of(7, 4)
    assert float(consistency(logs, logs)) == 0


def test_consistency_is_the_symmetric_divergence() -> None:
    first, second = logs_of(7, 4), logs_of(7, 4, seed=1)
    there = fn.kl_div(first, second, log_target=True, reduction="batchmean")
    back = fn.kl_div(second, first, log_target=True, reduction="batchmean")
    torch.testing.assert_close(consistency(first, second), (there + back) / 2)
    torch.testing.assert_close(consistency(first, second), consistency(second, first))
    assert float(consistency(first, second)) > 0


def test_balance_raises_what_is_used_less() -> None:
    usage = torch.tensor([0.9, 0.1], requires_grad=True)
    (slope,) = torch.autograd.grad(imbalance(usage), [usage])
    step = usage - 0.01 * slope
    assert step[1] - step[0] > usage[1] - usage[0]
    assert slope[1] < slope[0]


def test_balance_is_zero_where_all_are_used_alike_and_largest_where_one_is() -> None:
    rows = torch.tensor([[0.25] * 4, [1.0, 0.0, 0.0, 0.0], [0.5, 0.5, 0.0, 0.0]])
    expected = torch.tensor([0.0, math.log(4), math.log(2)])
    torch.testing.assert_close(imbalance(rows), expected, atol=1e-6, rtol=1e-6)


def test_indecision_is_the_entropy_of_a_pixel() -> None:
    assert float(indecision(torch.full((5, 4), -math.log(4)))) == pytest.approx(math.log(4))
    assert float(indecision(sure([0, 1, 2], 3))) == pytest.approx(0, abs=1e-6)


def test_orthogonality_is_a_sum_over_pairs() -> None:
    assert float(orthogonality(torch.eye(4))) == 0
    assert float(orthogonality(torch.eye(4)[[0, 0, 0]])) == pytest.approx(6)
    directions = torch.tensor([[1.0, 0.0], [0.6, 0.8]])
    assert float(orthogonality(directions)) == pytest.approx(2 * 0.36)


def test_uniformity_is_least_where_nothing_is_decided() -> None:
    undecided, decided = torch.full((8, 4), -math.log(4)), sure([0, 1, 2, 3] * 2, 4)
    assert float(uniformity(undecided, np.random.default_rng(0))) == pytest.approx(math.log(4))
    assert float(uniformity(decided, np.random.default_rng(0))) > math.log(4)
    found = {float(uniformity(logs_of(9, 4), np.random.default_rng(seed))) for seed in (1, 1, 2)}
    assert len(found) == 2


def test_no_pixel_is_no_loss() -> None:
    logs, latents = logs_of(5, 3)[:0], unit(5, 4)[:0].requires_grad_()
    losses = (
        compactness(latents, logs.exp(), unit(3, 4)),
        consistency(logs, logs),
        indecision(logs),
        uniformity(logs, np.random.default_rng(0)),
    )
    assert [float(each.detach()) for each in losses] == [0.0] * 4
    assert torch.autograd.grad(losses[0], [latents])[0].shape == (0, 4)


# Prototypes


def test_prototypes_move_towards_the_means_of_their_pixels() -> None:
    """Three clusters, each pixel of one: normalise(0.9 c + 0.1 mean), computed by hand."""
    latents = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0], [-1.0, 0.0], [-1.0, 0.0]])
    view = View(latents, latents, sure([0, 0, 1, 2, 2], 3))
    prototypes = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    expected = torch.tensor(
        [
            [0.9 + 0.1 * 0.8, 0.1 * 0.4],
            [0.0, 1.0],
            [0.1 * -1.0, 0.9 * -1.0],
        ]
    )
    lengths = [math.hypot(0.98, 0.04), 1.0, math.hypot(0.1, 0.9)]
    for hard in (True, False):
        moved = follow(prototypes, *pull([view], hard=hard), 0.9)
        torch.testing.assert_close(moved, expected / torch.tensor(lengths)[:, None])


def test_the_means_are_those_of_pixels_and_not_of_latents_in_another_order() -> None:
    """With a sure assignment the means are those of the clusters, and far from each other."""
    prototypes = torch.eye(3, 8)
    latents = fn.normalize(prototypes.repeat(50, 1) + 0.05 * normal(150, 8), dim=1)
    pulls, masses = pull([view_of(latents, prototypes)], hard=True)
    assert masses.tolist() == [50, 50, 50]
    means = fn.normalize(pulls, dim=1)
    assert (means * prototypes).sum(dim=1).min() > 0.99
    assert (means @ means.T - torch.eye(3)).abs().max() < 0.1


def test_pulls_of_several_crops_add_up() -> None:
    latents, prototypes = unit(12, 5), unit(3, 5, seed=1)
    parts = [view_of(latents[:7], prototypes), view_of(latents[7:], prototypes)]
    for hard in (False, True):
        whole = pull([view_of(latents, prototypes)], hard=hard)
        torch.testing.assert_close(pull(parts, hard=hard), whole)
        assert float(whole[1].sum()) == pytest.approx(12)


def test_a_prototype_without_pixels_stays() -> None:
    prototypes = unit(3, 5)
    latents = prototypes[:1].repeat(4, 1)
    view = View(latents, latents, sure([0] * 4, 3))
    moved = follow(prototypes, *pull([view], hard=True), 0.5)
    assert torch.equal(moved[1:], prototypes[1:])
    torch.testing.assert_close(moved[0], prototypes[0])


def test_prototypes_that_win_less_than_a_tenth_of_their_share_are_dead() -> None:
    wins = torch.zeros(10, 4)
    wins[:, :2] = 50.0
    wins[3, 2] = 24.0  # of 1025 pixels an even share is 256, and a tenth of it 25.6
    wins[5, 3] = 1.0
    followed = torch.full((4,), 10)
    assert find_dead(wins, followed).tolist() == [2, 3]
    wins[3, 2] = 27.0
    assert find_dead(wins, followed).tolist() == [3]
    followed[3] = 9
    assert find_dead(wins, followed).tolist() == []


def test_the_most_doubtful_pixel_is_that_with_the_least_largest_share() -> None:
    latents = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.8, 0.6], [0.0, 0.0]])
    view = view_of(latents, torch.eye(2))
    share, latent = view.most_doubtful()
    torch.testing.assert_close(latent, latents[1])
    torch.testing.assert_close(share, view.shares[1].max())
    for none in (latents[3:], latents[:0]):
        assert float(view_of(none, torch.eye(2)).most_doubtful()[0]) == NEVER


# Pixels of a step


def test_an_assignment_is_the_softmax_of_cosines() -> None:
    latents, prototypes = unit(6, 4), unit(3, 4, seed=1)
    view = assign(latents, latents, prototypes, 0.05)
    torch.testing.assert_close(view.shares, fn.softmax(latents @ prototypes.T / 0.05, dim=1))
    assert torch.equal(view.winners.argmax(dim=1), (latents @ prototypes.T).argmax(dim=1))
    assert torch.equal(view.winners.sum(dim=1), torch.ones(6))


@pytest.mark.parametrize("hard", [False, True])
def test_the_mean_over_pairs_has_the_gradient_of_all_pixels_together(hard: bool) -> None:
    latents = normal(3, 2, 10, 5).requires_grad_()
    prototypes = unit(4, 5, seed=1)

    def pairs() -> list[list[View]]:
        return [[view_of(fn.normalize(each, dim=1), prototypes) for each in x] for x in latents]

    def whole() -> Tensor:
        usage = torch.stack([usage_of(views) for views in pairs()]).sum(dim=0) / 30
        pulls, _ = pull([view for views in pairs() for view in views], hard=hard)
        return 2.0 * imbalance(usage).mean() + 0.3 * orthogonality(fn.normalize(pulls, dim=1))

    with torch.no_grad():
        together = Together.of(pairs(), 2.0, 0.3, hard=hard)
    torch.testing.assert_close(together.value, whole().detach())
    losses = [together.loss(views) for views in pairs()]
    for loss in losses:
        torch.testing.assert_close(loss.detach(), together.value)
    found = torch.autograd.grad(torch.stack(losses).mean(), [latents])
    torch.testing.assert_close(found, torch.autograd.grad(whole(), [latents]))


def test_a_step_without_pixels_can_be_judged() -> None:
    none = view_of(unit(3, 5)[:0], unit(4, 5))
    together = Together.of([[none, none]], 1.0, 0.1, hard=False)
    assert together.value.isfinite()
    assert together.loss([none, none]).isfinite()
