"""The layers of the robust form of Deep Global Clustering."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as fn

from hsistream.network_sections import DgcSection
from hsistream.nn.spectral import SpectralBranch

HALO = 2
"""Pixels that two convolutions of 3 x 3 look around themselves."""


def component_count(settings: DgcSection, features: int) -> int:
    """Count the scores of the stem."""
    return min(settings.components, features)


class DgcNetwork(nn.Module):
    """Stem, spatial residual, lift onto the sphere; and the prototypes."""

    def __init__(self, settings: DgcSection, features: int, prototypes: int) -> None:
        super().__init__()
        size = component_count(settings, features)
        self.stem = nn.Linear(features, size)
        self.branch = SpectralBranch(features, size) if settings.spectral_branch else None
        self.widen = nn.Conv2d(size, settings.hidden, 3)
        self.narrow = nn.Conv2d(settings.hidden, size, 3)
        self.prototypes = nn.Parameter(torch.zeros(prototypes, size + 1))
        self.undo = nn.Linear(size + 1, features) if settings.reconstruction else None
        self.stem.requires_grad_(settings.train_stem)

    def embed(self, spectra: Tensor) -> Tensor:
        """Score standardised spectra (feature, pixel), (component, pixel)."""
        scores: Tensor = self.stem.weight @ spectra + self.stem.bias[:, None]
        return scores if self.branch is None else scores + self.branch(spectra)

    def refine(self, scores: Tensor) -> Tensor:
        """Turn scores (component, y + 2 halo, x + 2 halo) into unit latents (latent, y, x)."""
        residual = self.narrow(fn.gelu(self.widen(scores[None])))[0]
        found = (scores[:, HALO:-HALO, HALO:-HALO] + residual).float()
        # not fn.normalize: its norm over the first axis takes longer than both convolutions
        lift = torch.rsqrt(1 + found.square().sum(dim=0, keepdim=True))
        return torch.cat([found * lift, lift])

    def latents(self, scores: Tensor) -> Tensor:
        """Turn the scores (component, y, x) of a crop into latents; its edges are repeated."""
        return self.refine(fn.pad(scores[None], (HALO,) * 4, mode="replicate")[0])

    def unit_prototypes(self) -> Tensor:
        """Give the prototypes unit length, (prototype, latent)."""
        return fn.normalize(self.prototypes, dim=1)

    def cosines(self, latents: Tensor) -> Tensor:
        """Compare latents (latent, ...) with the prototypes, (prototype, pixel)."""
        return self.unit_prototypes() @ latents.flatten(1)
