"""Convolutions along the wavelengths of single pixels."""

from __future__ import annotations

import torch
from torch import Tensor, nn

WIDTH = 32
KERNEL = 9
STRIDE = 4
LAYERS = 3
PIXELS_AT_ONCE = 16_384
"""Spectra that a GPU sees at once; bounds the memory of the layers."""

PORTION_PX = 256
"""Spectra that a CPU sees at once: the layers of more of them do not stay in its cache."""


class SpectralBranch(nn.Module):
    """Three strided convolutions over the bands, and a linear layer.

    The order of the bands matters to it, the place of a pixel does not: the
    convolutions slide along wavelength. What is left of the bands is flattened
    and not averaged, because where a feature lies in the spectrum is the signal.

    References
    ----------
    .. [1] The layers of Deep Global Clustering, arXiv:2512.24172; strides and the
       last layer are our choice, the paper names kernel, number and width only.
    """

    def __init__(self, features: int, size: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for number in range(LAYERS):
            channels = WIDTH if number else 1
            layers += [nn.Conv1d(channels, WIDTH, KERNEL, STRIDE, KERNEL // 2), nn.ReLU()]
        self.layers = nn.Sequential(*layers)
        self.last = nn.Linear(WIDTH * self.length(features), size)

    @staticmethod
    def length(features: int) -> int:
        """Places along the bands that are left after the convolutions.

        Examples
        --------
        >>> SpectralBranch.length(301)
        5
        """
        for _ in range(LAYERS):
            features = (features + 2 * (KERNEL // 2) - KERNEL) // STRIDE + 1
        return features

    def forward(self, spectra: Tensor) -> Tensor:
        """Turn standardised spectra (feature, pixel) into (size, pixel)."""
        portion = PORTION_PX if spectra.device.type == "cpu" else PIXELS_AT_ONCE
        # in bfloat16 on a CPU, torch 2.13 leaves the gradient of those weights unset that no
        # value but padding meets
        with torch.autocast("cpu", enabled=False):
            parts = [self._together(part) for part in torch.split(spectra, portion, dim=1)]
        return torch.cat(parts, dim=1)

    def _together(self, spectra: Tensor) -> Tensor:
        found: Tensor = self.last(self.layers(spectra.T[:, None]).flatten(1))
        return found.T
