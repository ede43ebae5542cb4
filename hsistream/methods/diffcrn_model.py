"""The network of DiffCRN as it is used: what it is shown, and what becomes of its features.

Shared by its training and its use, see :mod:`hsistream.methods.diffcrn`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as fn

from hsistream.methods.base import Place
from hsistream.methods.denoising import Fading, Projection
from hsistream.network_sections import DiffcrnSection
from hsistream.nn.contrast import ContrastHead
from hsistream.nn.diffcrn_network import STAGES, WIDTH, DiffcrnNetwork
from hsistream.nn.diffusion import NoiseSchedule
from hsistream.nn.exact import drawing, seed_of
from hsistream.nn.spectral_angle import CHOSEN, STEPS

SCHEDULE = NoiseSchedule.linear(STEPS)

USUAL_STEP = 40
"""Step at which components are read, counted from 1."""

START_KEY = 31
"""Sets the random numbers of the start apart from those of other uses of a seed."""


class Model(nn.Module):
    """The denoiser, what contrast is judged by, and how features become latents.

    The time ``steps`` (step,) at which features are read, counted from 1, and the ``seed``
    of the noise are buffers: chosen or given, kept with the weights and not trained.
    """

    steps: Tensor
    seed: Tensor

    def __init__(self, settings: DiffcrnSection, features: int, seed: int) -> None:
        super().__init__()
        bands = settings.band_means(features)
        self.denoiser, self.contrast = DiffcrnNetwork(bands, settings.order), ContrastHead()
        size = feature_count(settings, features)
        self.projection = Projection(component_count(settings), size)
        self.settings = settings
        self.register_buffer("steps", torch.tensor(first_steps(settings)))
        self.register_buffer("seed", torch.tensor(seed))

    def features(self, windows: Tensor, places: Sequence[Place]) -> Tensor:
        """Read the features of windows (window, band, y, x), of a place each.

        Returns
        -------
        (window, y, x, feature) Tensor
            Normalised over the channels of every stage: the mean over all steps of those
            of the stages that are asked for, beside the spectrum as it is shown; or all,
            step by step and stage by stage.
        """
        found = [self._normal(windows, places, step) for step in self.steps.tolist()]
        if self.settings.latents == "stages":
            joined: Tensor = torch.cat(found, dim=3) / (len(found) * STAGES * WIDTH) ** 0.5
            return joined
        return torch.cat([torch.stack(found).mean(dim=0), windows.permute(0, 2, 3, 1)], dim=3)

    def latents(self, features: Tensor) -> Tensor:
        """Turn features (feature, pixel) into latents (latent, pixel), unit vectors."""
        found: Tensor = features if self.settings.latents == "stages" else self.projection(features)
        return found

    def _normal(self, windows: Tensor, places: Sequence[Place], step: int) -> Tensor:
        """Features (window, y, x, feature) at a step, counted from 1, of stages side by side."""
        whole = self.settings.latents == "stages"
        wanted = range(1, STAGES + 1) if whole else sorted(self.settings.stages)
        index = torch.full((len(windows),), step - 1, device=windows.device)
        found = self.denoiser.features(self._faded(windows, places, step), index, max(wanted))
        return torch.cat([fn.layer_norm(found[number - 1], (WIDTH,)) for number in wanted], dim=3)

    def project(self, sampled: Tensor) -> None:
        """Project by the components of these features (feature, pixel) from now on, if at all."""
        if self.settings.latents == "components":
            self.projection.fit(sampled, self.settings, self.denoiser.stem.in_features)

    def _faded(self, windows: Tensor, places: Sequence[Place], step: int) -> Tensor:
        """Bring windows to a step, counted from 1, as they are encoded."""
        seed = None if self.settings.noise == "none" else int(self.seed)
        faded = Fading(float(SCHEDULE.kept[step - 1]), seed).faded
        return torch.stack([faded(*one) for one in zip(windows, places, strict=True)])


def make_model(settings: DiffcrnSection, features: int, seed: int) -> Model:
    """Make a network of random weights, and leave the random numbers of others alone."""
    with drawing(seed_of(seed, START_KEY)):
        return Model(settings, features, seed)


def first_steps(settings: DiffcrnSection) -> list[int]:
    """List the steps that are asked for, from 1; those chosen by angles are not yet known."""
    if isinstance(settings.time_steps, tuple):
        return list(settings.time_steps)
    return [USUAL_STEP] * (CHOSEN if by_angle(settings) else 1)


def by_angle(settings: DiffcrnSection) -> bool:
    """Tell whether steps are chosen by angles."""
    usual = settings.time_steps == "usual" and settings.latents == "stages"
    return settings.time_steps == "angle" or usual


def feature_count(settings: DiffcrnSection, features: int) -> int:
    """Count the features of a pixel that become components, its spectrum among them."""
    return WIDTH * len(settings.stages) + settings.band_means(features)


def latent_count(settings: DiffcrnSection) -> int:
    """Count the latents: the components and the lift onto the sphere, or all features."""
    if settings.latents == "stages":
        return len(first_steps(settings)) * STAGES * WIDTH
    return component_count(settings) + 1


def component_count(settings: DiffcrnSection) -> int:
    """Count the components: not more than there are features."""
    return min(settings.components, WIDTH * len(settings.stages))
