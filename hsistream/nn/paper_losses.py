"""What Deep Global Clustering asks of latents, and how its prototypes follow them.

Latents are of unit length, (pixel, latent); prototypes too, (prototype, latent).
An assignment is given by its shares (pixel, prototype), which sum to 1 per
pixel, or by their logarithms.

References
----------
.. [1] Deep Global Clustering for hyperspectral image segmentation,
   arXiv:2512.24172, 2025.
.. [2] M. Assran et al., "Masked siamese networks for label-efficient learning",
   ECCV 2022. arXiv:2204.07141: the sign of the balance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as fn

LEAST_MASS = 1e-3
"""A prototype whose pixels weigh less together stays where it is."""

DEAD_SHARE = 0.1
"""A prototype is dead if it won less than this part of its even share of the pixels."""

LEAST_SHARE = 1e-6
"""Shares below are not told apart from it when a pixel is asked to decide nothing."""

NEVER = 2.0
"""More than any share can be: the pixel is never the most doubtful one."""


# Losses


def compactness(latents: Tensor, shares: Tensor, prototypes: Tensor) -> Tensor:
    """Mean distance, 1 - cosine, of pixels to the prototypes that share them."""
    return _mean((shares * (1 - latents @ prototypes.T).clamp_min(0)).sum(dim=1))


def consistency(first: Tensor, second: Tensor) -> Tensor:
    """Symmetric divergence of two assignments of the same pixels, by their logarithms; mean."""
    return _mean(((first.exp() - second.exp()) * (first - second)).sum(dim=1)) / 2


def indecision(logs: Tensor) -> Tensor:
    """Mean entropy of the assignment of a pixel, 0 if each belongs to one prototype."""
    return _mean(-(logs.exp() * logs).sum(dim=1))


def imbalance(usage: Tensor) -> Tensor:
    """Tell how far mean shares (..., prototype) are from even: log K minus their entropy, (...).

    It is 0 where all prototypes are used alike, and lowered by using the rare ones.
    """
    logs = usage.clamp_min(torch.finfo(usage.dtype).tiny).log()
    return float(np.log(usage.shape[-1])) + (usage * logs).sum(dim=-1)


def orthogonality(directions: Tensor) -> Tensor:
    """Sum of squared cosines between unit directions (prototype, latent), 0 if orthogonal."""
    unit = torch.eye(len(directions), device=directions.device)
    return (directions @ directions.T - unit).square().sum()


def uniformity(logs: Tensor, random: np.random.Generator) -> Tensor:
    """Mean cross-entropy towards random labels of even sizes.

    It asks every pixel to decide nothing. Part of the released code, not of the text.
    """
    labels = random.permutation(np.arange(len(logs)) % logs.shape[1])
    chosen = torch.from_numpy(labels).to(logs.device)[:, None]
    return _mean(-logs.gather(1, chosen).clamp_min(float(np.log(LEAST_SHARE))))


# Prototypes


def follow(prototypes: Tensor, pulls: Tensor, masses: Tensor, momentum: float) -> Tensor:
    """Move prototypes towards the means of their pixels.

    Parameters
    ----------
    prototypes : (prototype, latent) Tensor
        Where they are.
    pulls : (prototype, latent) Tensor
        Latents of the pixels, each weighted by its share, summed.
    masses : (prototype,) Tensor
        Sums of the weights.
    momentum : float
        Part of a prototype that stays.

    Returns
    -------
    (prototype, latent) Tensor
        Of unit length; one with a mass below ``LEAST_MASS`` has not moved.
    """
    means = pulls / masses.clamp_min(LEAST_MASS)[:, None]
    moved = fn.normalize(momentum * prototypes + (1 - momentum) * means, dim=1)
    return torch.where(masses[:, None] >= LEAST_MASS, moved, prototypes)


def find_dead(wins: Tensor, followed: Tensor) -> Tensor:
    """Find the prototypes that won too few pixels: their numbers, (dead,).

    Parameters
    ----------
    wins : (step, prototype) Tensor
        Pixels that each won in each of the last steps.
    followed : (prototype,) Tensor
        For how many steps each has been followed; with fewer than those it is spared.
    """
    least = DEAD_SHARE / wins.shape[1] * wins.sum()
    return ((followed >= len(wins)) & (wins.sum(dim=0) < least)).nonzero()[:, 0]


# Pixels of a step


@dataclass(frozen=True)
class View:
    """The valid pixels of a crop, as a network sees them.

    ``plain`` and ``moved`` (pixel, latent) are latents before and after the mean
    shift; ``logs`` (pixel, prototype) the logarithms of the shares.
    """

    plain: Tensor
    moved: Tensor
    logs: Tensor

    @property
    def shares(self) -> Tensor:
        """Assignment to prototypes, (pixel, prototype)."""
        return self.logs.exp()

    @property
    def winners(self) -> Tensor:
        """Assignment to the best prototype only, (pixel, prototype) of 0 and 1."""
        return fn.one_hot(self.logs.argmax(dim=1), self.logs.shape[1]).to(self.logs.dtype)

    def most_doubtful(self) -> tuple[Tensor, Tensor]:
        """Find the pixel whose largest share is least: that share (), its latent (latent,).

        A pixel without a direction is no candidate: a prototype cannot start there.
        """
        shares = self.shares.amax(dim=1).masked_fill(~self.moved.any(dim=1), NEVER)
        none = shares.new_full((1,), NEVER), self.moved.new_zeros(1, self.moved.shape[1])
        shares, latents = torch.cat([shares, none[0]]), torch.cat([self.moved, none[1]])
        return shares.min(), latents[shares.argmin()]


def assign(plain: Tensor, moved: Tensor, prototypes: Tensor, temperature: float) -> View:
    """Assign pixels by the softmax of their cosines with prototypes over a temperature."""
    return View(plain, moved, fn.log_softmax(moved @ prototypes.T / temperature, dim=1))


def pull(views: Sequence[View], *, hard: bool) -> tuple[Tensor, Tensor]:
    """Add up what moves the prototypes.

    Parameters
    ----------
    views : sequence of View
        All crops.
    hard : bool
        Weigh pixels by who wins them instead of by shares.

    Returns
    -------
    (prototype, latent) Tensor and (prototype,) Tensor
        Weighted sums of latents, pixel by pixel, and of the weights.
    """
    weights = [view.winners if hard else view.shares for view in views]
    pulls = [part.T @ view.moved for part, view in zip(weights, views, strict=True)]
    return torch.stack(pulls).sum(dim=0), torch.stack([w.sum(dim=0) for w in weights]).sum(dim=0)


def usage_of(views: Sequence[View]) -> Tensor:
    """Add up the shares of every crop, (crop, prototype)."""
    return torch.stack([view.shares.sum(dim=0) for view in views])


@dataclass(frozen=True)
class Together:
    """Balance and orthogonality over all pairs of a step, and their slopes.

    ``value`` () is the loss at what was seen of the step; ``usage`` (2, prototype)
    and ``pulls`` (prototype, latent) are its slopes along the sums over all pairs
    of :func:`usage_of` and :func:`pull`. Pairs are learnt from one at a time, but
    an even use of the prototypes is no duty of a single pair.
    """

    value: Tensor
    usage: Tensor
    pulls: Tensor
    pairs: int
    hard: bool

    @classmethod
    def of(
        cls, pairs: Sequence[Sequence[View]], balance: float, orthogonal: float, *, hard: bool
    ) -> Together:
        """Judge both views of all pairs, with the weights of the two losses."""
        usage = torch.stack([usage_of(views) for views in pairs]).sum(dim=0)
        pulls, _ = pull([view for views in pairs for view in views], hard=hard)
        with torch.enable_grad():
            usage.requires_grad_()
            pulls.requires_grad_()
            shares = usage / usage.detach().sum(dim=1, keepdim=True).clamp_min(1)
            value = balance * imbalance(shares).mean()
            value = value + orthogonal * orthogonality(fn.normalize(pulls, dim=1))
            of_usage, of_pulls = torch.autograd.grad(value, [usage, pulls])
        return cls(value.detach(), of_usage, of_pulls, len(pairs), hard)

    def loss(self, views: Sequence[View]) -> Tensor:
        """Give the value, with the gradient along what the two views of one pair add to it.

        The mean over the pairs has the gradient of the whole.
        """
        pulls, _ = pull(views, hard=self.hard)
        own = (self.usage * usage_of(views)).sum() + (self.pulls * pulls).sum()
        return self.value + self.pairs * (own - own.detach())


def _mean(losses: Tensor) -> Tensor:
    """Average losses (pixel,); 0 if there is no pixel."""
    return losses.sum() / max(1, len(losses))
