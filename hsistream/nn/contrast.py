"""Contrast: two views of one place shall be alike, and unlike all views of other places.

Views that show the same pixels are no contrast to each other: places whose views overlap
are left out where one is compared with the others.

References
----------
.. [1] T. Chen et al., "A simple framework for contrastive learning of visual
   representations", ICML 2020. arXiv:2002.05709
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as fn

CHANNELS = 64
"""Channels of what a view is judged by, and values of its unit vector."""

HIDDEN = 128
"""Width between the two layers of the head."""


class ContrastHead(nn.Module):
    """Turn what a network makes of a crop into one unit vector."""

    def __init__(self) -> None:
        super().__init__()
        self.widened, self.narrowed = nn.Linear(CHANNELS, HIDDEN), nn.Linear(HIDDEN, CHANNELS)

    def forward(self, features: Tensor) -> Tensor:
        """Turn (sample, channel, y, x) into unit vectors (sample, value)."""
        wide = fn.gelu(self.widened(features.mean(dim=(2, 3))))
        return fn.normalize(self.narrowed(wide), dim=1)


def nt_xent(first: Tensor, second: Tensor, apart: Tensor, temperature: float) -> Tensor:
    """Cross-entropy of finding the other view of a pair among the views of pairs apart.

    Parameters
    ----------
    first, second : (pair, value) Tensor
        Unit vectors of the two views.
    apart : (pair, pair) bool Tensor
        Whether two pairs show no pixel in common; others are never compared.
    temperature : float
        Cosines are divided by it.

    Returns
    -------
    () Tensor
        Mean over both views of all pairs; 0 where there is no pair. A view with no other
        pair apart from its own loses nothing.
    """
    views, pairs = torch.cat([first, second]), len(first)
    partner = torch.eye(2 * pairs, dtype=torch.bool, device=apart.device).roll(pairs, dims=0)
    cosines = views @ views.T / temperature
    seen = cosines.masked_fill(~(apart.repeat(2, 2) | partner), -torch.inf)
    wanted = torch.cat([cosines.diagonal(pairs), cosines.diagonal(-pairs)])
    return (seen.logsumexp(dim=1) - wanted).sum() / max(1, len(views))
