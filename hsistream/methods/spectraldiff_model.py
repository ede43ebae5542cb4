"""The network of SpectralDiff as it is used: what it is shown, and what becomes of its features.

Shared by its training and its use, see :mod:`hsistream.methods.spectraldiff`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hsistream.methods.denoising import Fading, Projection
from hsistream.network_sections import SpectraldiffSection
from hsistream.nn.diffusion import NoiseSchedule
from hsistream.nn.exact import drawing, seed_of
from hsistream.nn.spectraldiff_network import (
    Pass,
    SpectralDiffNetwork,
    band_count,
    inner,
    tap_size,
)

WIDTHS = {"paper": (16, 32, 64, 128), "base": (8, 16, 32, 64), "lite": (8, 16, 32, 64)}
"""Channels of the first layer and of the blocks that go down, by profile."""

SCHEDULE = NoiseSchedule.linear()

START_KEY = 21
"""Sets the random numbers of the start apart from those of other uses of a seed."""


class Model(nn.Module):
    """The denoiser, and how its features, beside what it is shown, become latents.

    The ``seed`` of the noise is a buffer: given, kept with the weights and not trained.
    """

    seed: Tensor

    def __init__(self, settings: SpectraldiffSection, features: int, seed: int) -> None:
        super().__init__()
        widths = WIDTHS[settings.profile]
        bands = settings.band_means(features)
        self.denoiser = SpectralDiffNetwork(widths, factorised=settings.profile == "lite")
        self.bands, self.tap, self.time_step = band_count(bands), settings.tap, settings.time_step
        size = sum(part_sizes(settings, features))
        self.projection = Projection(component_count(settings, features), size)
        self.register_buffer("seed", torch.tensor(seed))

    def features(self, noised: Tensor, how: Pass) -> Tensor:
        """Read the features (sample, feature, y, x) of noised squares (sample, band, y, x)."""
        index = torch.full((len(noised),), self.time_step, device=noised.device)
        return self.denoiser.tap(noised, index, self.tap, how).flatten(1, 2)

    def features_beside(self, noised: Tensor, clean: Tensor, how: Pass) -> Tensor:
        """Read the features of a noised square (band, y, x), and put its clean spectra below."""
        features = self.features(noised[None], how)[0]
        return torch.cat([features, inner(clean, features)])


def make_model(settings: SpectraldiffSection, features: int, seed: int) -> Model:
    """Make a network of random weights, and leave the random numbers of others alone."""
    with drawing(seed_of(seed, START_KEY)):
        return Model(settings, features, seed)


def part_sizes(settings: SpectraldiffSection, features: int) -> tuple[int, int]:
    """Count the features at the tap, and the values of a spectrum beside them."""
    bands = settings.band_means(features)
    return tap_size(WIDTHS[settings.profile], bands, settings.tap), band_count(bands)


def component_count(settings: SpectraldiffSection, features: int) -> int:
    """Count the components: not more than there are features at the tap."""
    return min(settings.components, part_sizes(settings, features)[0])


# What is seen


def filled_up(values: Tensor, bands: int) -> Tensor:
    """Repeat the last band of (sample, band, y, x) until there are so many."""
    missing = bands - values.shape[1]
    return torch.cat([values, values[:, -1:].expand(-1, missing, -1, -1)], dim=1)


def fading(settings: SpectraldiffSection, model: Model) -> Fading:
    """Tell what squares are like when they are encoded."""
    seed = None if settings.noise == "none" else int(model.seed)
    return Fading(float(SCHEDULE.kept[model.time_step]), seed)
