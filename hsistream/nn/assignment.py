"""Assignments of pixels to prototypes: what a student learns, and how far it is from it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as fn

BALANCING_ROUNDS = 5
CLOSE_PROTOTYPES = 0.95
"""Cosine above which repulsion pushes prototypes apart."""


def balanced_targets(scores: Tensor, shares: Tensor, temperature: float) -> Tensor:
    """Assign pixels to prototypes so that every prototype gets about its share.

    Parameters
    ----------
    scores : (pixel, prototype) Tensor
        Cosines.
    shares : (prototype,) Tensor
        Wanted share of every prototype, 0 or more; they sum to 1.
    temperature : float
        Sharpness of the assignment.

    Returns
    -------
    (pixel, prototype) Tensor
        Rows sum to 1; columns to about their shares, because few rounds are done.

    References
    ----------
    .. [1] M. Cuturi, "Sinkhorn distances", NeurIPS 2013.
    """
    logs = scores.float() / temperature
    wanted = torch.log((shares * len(scores)).clamp_min(torch.finfo(torch.float32).tiny))
    for _ in range(BALANCING_ROUNDS):
        logs = logs + (wanted - torch.logsumexp(logs, dim=0))
        logs = logs - torch.logsumexp(logs, dim=1, keepdim=True)
    return logs.exp()


def swapped_loss(students: Sequence[Tensor], targets: Sequence[Tensor]) -> Tensor:
    """Cross-entropy of each view towards the target of the other, mean over pixels.

    All are (pixel, prototype): student logits, and targets that sum to 1 per
    pixel, of the same pixels in the same order.
    """
    first = -(targets[1] * fn.log_softmax(students[0].float(), dim=1)).sum(dim=1)
    second = -(targets[0] * fn.log_softmax(students[1].float(), dim=1)).sum(dim=1)
    return (first + second).mean() / 2


def repulsion(prototypes: Tensor) -> Tensor:
    """Penalise unit prototypes (prototype, latent) that are closer than ``CLOSE_PROTOTYPES``."""
    cosines = prototypes @ prototypes.T
    pairs = cosines[torch.ones_like(cosines, dtype=torch.bool).triu(1)]
    return ((pairs - CLOSE_PROTOTYPES).clamp_min(0) ** 2).mean()
