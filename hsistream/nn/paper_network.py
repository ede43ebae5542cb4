"""The layers of Deep Global Clustering, along wavelength and not along the rows of an image.

References
----------
.. [1] Deep Global Clustering for hyperspectral image segmentation,
   arXiv:2512.24172, 2025.
.. [2] K. He et al., "Delving deep into rectifiers", ICCV 2015. arXiv:1502.01852
"""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as fn

from hsistream.nn.exact import drawing
from hsistream.nn.mean_shift import REACH, mean_shift
from hsistream.nn.spectral import WIDTH, SpectralBranch

HALO = 2 + REACH
"""Pixels that two convolutions of 3 x 3 and a mean shift with fixed neighbours look around."""


class PaperNetwork(nn.Module):
    """Convolutions along wavelength and over the image, mean shift; and the prototypes.

    Latents are of unit length. The prototypes are a buffer: they are kept with the
    weights, and not trained.

    Parameters
    ----------
    features : int
        Features of a spectrum.
    prototypes : int
        Number of prototypes.
    bandwidth : float
        Start of the learnt bandwidth of the mean shift.
    iterations : int
        Iterations of the mean shift.
    """

    prototypes: Tensor

    def __init__(self, features: int, prototypes: int, bandwidth: float, iterations: int) -> None:
        super().__init__()
        self.branch = SpectralBranch(features, WIDTH)
        self.near = nn.Conv2d(WIDTH, WIDTH, 3)
        self.far = nn.Conv2d(WIDTH, WIDTH, 3)
        before_softplus = bandwidth + np.log(-np.expm1(-bandwidth))
        self.raw_bandwidth = nn.Parameter(torch.tensor(before_softplus, dtype=torch.float32))
        self.register_buffer("prototypes", torch.zeros(prototypes, WIDTH))
        self._iterations = iterations

    def begin(self, seed: int) -> None:
        """Begin with random weights and prototypes, by a seed.

        Weights are scaled for rectifiers and biases are 0: with torch's own start the
        biases outweigh the spectra after six layers, and all latents begin alike.
        """
        with drawing(seed), torch.no_grad():
            for layer in self.modules():
                if isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Linear):
                    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                    cast("Tensor", layer.bias).zero_()
            self.prototypes.copy_(fn.normalize(torch.randn_like(self.prototypes), dim=1))

    def bandwidth(self) -> Tensor:
        """Width of the kernel of the mean shift, above 0."""
        return fn.softplus(self.raw_bandwidth)

    def embed(self, spectra: Tensor) -> Tensor:
        """Embed standardised spectra (feature, pixel), (32, pixel)."""
        found: Tensor = self.branch(spectra)
        return found

    def look_around(self, embedded: Tensor) -> Tensor:
        """Turn (32, y + 4, x + 4) into latents before the mean shift, (latent, y, x)."""
        found = torch.relu(self.far(torch.relu(self.near(embedded[None]))))[0]
        return fn.normalize(found.float(), dim=0)

    def settle(self, latents: Tensor) -> Tensor:
        """Move latents (latent, y + 4, x + 4) by the mean shift, (latent, y, x)."""
        return fn.normalize(mean_shift(latents, self.bandwidth(), self._iterations), dim=0)

    def refine(self, embedded: Tensor) -> Tensor:
        """Turn (32, y + 2 halo, x + 2 halo) into latents (latent, y, x)."""
        return self.settle(self.look_around(embedded))

    def both(self, embedded: Tensor) -> tuple[Tensor, Tensor]:
        """Latents (latent, y, x) of a crop before and after the mean shift; edges are repeated."""
        around = self.look_around(fn.pad(embedded[None], (HALO,) * 4, mode="replicate")[0])
        return around[:, REACH:-REACH, REACH:-REACH], self.settle(around)

    def alone(self, spectra: Tensor) -> Tensor:
        """Latents (latent, pixel) of spectra (feature, pixel), each as if all around were alike."""
        found = self.embed(spectra)
        for layer in (self.near, self.far):
            weight = layer.weight.sum(dim=(2, 3))
            found = torch.relu(weight @ found + cast("Tensor", layer.bias)[:, None])
        return fn.normalize(found, dim=0)
