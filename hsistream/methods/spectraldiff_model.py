"""The network of SpectralDiff as it is used: what it is shown, and what becomes of its features.

Shared by its training and its use, see :mod:`hsistream.methods.spectraldiff`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hsistream.methods.base import Place, Standard
from hsistream.network_sections import SpectraldiffSection
from hsistream.nn.diffusion import NoiseSchedule
from hsistream.nn.noise import field_noise
from hsistream.nn.spectraldiff_network import (
    Pass,
    SpectralDiffNetwork,
    band_count,
    tap_size,
)

WIDTHS = {"paper": (16, 32, 64, 128), "base": (8, 16, 32, 64), "lite": (8, 16, 32, 64)}
"""Channels of the first layer and of the blocks that go down, by profile."""

SCHEDULE = NoiseSchedule.linear()

START_KEY = 21
"""Sets the random numbers of the start apart from those of other uses of a seed."""


class Model(nn.Module):
    """The denoiser, and how its features become latents.

    ``matrix`` (component, feature), ``offset`` (component,) and the ``seed`` of the noise
    are buffers: measured or given, kept with the weights and not trained.
    """

    matrix: Tensor
    offset: Tensor
    seed: Tensor

    def __init__(self, settings: SpectraldiffSection, features: int, seed: int) -> None:
        super().__init__()
        widths = WIDTHS[settings.profile]
        bands = settings.band_means(features)
        self.denoiser = SpectralDiffNetwork(widths, factorised=settings.profile == "lite")
        self.bands, self.tap, self.time_step = band_count(bands), settings.tap, settings.time_step
        shape = component_count(settings, features), tap_size(widths, bands, settings.tap)
        self.register_buffer("matrix", torch.zeros(shape))
        self.register_buffer("offset", torch.zeros(shape[0]))
        self.register_buffer("seed", torch.tensor(seed))

    def features(self, noised: Tensor, how: Pass) -> Tensor:
        """Read the features (sample, feature, y, x) of noised squares (sample, band, y, x)."""
        index = torch.full((len(noised),), self.time_step, device=noised.device)
        return self.denoiser.tap(noised, index, self.tap, how).flatten(1, 2)

    def latents(self, features: Tensor) -> Tensor:
        """Project features (feature, pixel) and lift them onto the sphere, (latent, pixel)."""
        scores = torch.addmm(self.offset[:, None], self.matrix, features)
        lifted = torch.cat([scores, torch.ones_like(scores[:1])])
        return nn.functional.normalize(lifted, dim=0)


def make_model(settings: SpectraldiffSection, features: int, seed: int) -> Model:
    """Make a network of random weights, and leave the random numbers of others alone."""
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed_of(seed, START_KEY))
        return Model(settings, features, seed)


def component_count(settings: SpectraldiffSection, features: int) -> int:
    """Count the components: not more than there are features at the tap."""
    bands = settings.band_means(features)
    return min(settings.components, tap_size(WIDTHS[settings.profile], bands, settings.tap))


def seed_of(*key: int) -> int:
    """Make one number of several, for torch."""
    (found,) = np.random.SeedSequence(key).generate_state(1).tolist()
    return int(found)


# What is seen


def band_means(spectra: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """Average neighbouring features of spectra (feature, ...), (count, ...) in their order.

    Examples
    --------
    >>> band_means(np.arange(7, dtype=np.float32), 3).tolist()
    [1.0, 3.5, 5.5]
    """
    if count == len(spectra):
        return spectra
    sizes = np.asarray([len(part) for part in np.array_split(np.arange(len(spectra)), count)])
    first = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    sums = np.add.reduceat(spectra, first, axis=0)
    return np.asarray(sums / sizes.astype(np.float32).reshape(-1, *(1,) * (spectra.ndim - 1)))


def embed_spectra(
    settings: SpectraldiffSection, standard: Standard, raw: NDArray[Any], frame: int
) -> NDArray[np.float32]:
    """Bring spectra (band, ...) to the range from -1 to 1, and average bands."""
    values = standard.in_range(raw, frame)
    with np.errstate(invalid="ignore", over="ignore"):  # pixels without data hold anything
        values *= 2
        values -= 1
        return band_means(values, settings.band_means(len(values)))


def filled_up(values: Tensor, bands: int) -> Tensor:
    """Repeat the last band of (sample, band, y, x) until there are so many."""
    missing = bands - values.shape[1]
    return torch.cat([values, values[:, -1:].expand(-1, missing, -1, -1)], dim=1)


def as_encoded(
    settings: SpectraldiffSection, model: Model, clean: Tensor, known: Tensor, place: Place
) -> Tensor:
    """Bring a square (band, y, x) to the step at which it is encoded.

    ``known`` (1, y, x) is 0 where nothing is to be added; ``place`` is that of the first pixel.
    """
    kept = float(SCHEDULE.kept[model.time_step])
    faded: Tensor = clean * kept**0.5
    if settings.noise == "none":
        return faded
    origin, shape = (place.row, place.column), (clean.shape[1], clean.shape[2])
    noise = field_noise(origin, shape, len(clean), int(model.seed))
    added: Tensor = torch.from_numpy(noise).to(clean.device) * known
    faded += added * (1 - kept) ** 0.5
    return faded
