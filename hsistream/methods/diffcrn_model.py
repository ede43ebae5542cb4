"""The network of DiffCRN as it is used: what it is shown, and what becomes of its features.

Shared by its training and its use, see :mod:`hsistream.methods.diffcrn`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as fn

from hsistream.methods.base import Place, Standard
from hsistream.methods.denoising import Fading, Projection, band_means, seed_of
from hsistream.network_sections import DiffcrnSection
from hsistream.nn.contrast import ContrastHead
from hsistream.nn.diffcrn_network import STAGES, WIDTH, DiffcrnNetwork
from hsistream.nn.diffusion import NoiseSchedule
from hsistream.nn.spectral_angle import CHOSEN, STEPS

SCHEDULE = NoiseSchedule.linear(STEPS)

USUAL_STEP = 40
"""Step at which components are read, counted from 1."""

START_KEY = 31
"""Sets the random numbers of the start apart from those of other uses of a seed."""


class Model(nn.Module):
    """The denoiser, what contrast is judged by, and how features become latents.

    The time ``steps`` (step,) at which features are read, counted from 1, the ``level``
    (band,) that stands for pixels without data, and the ``seed`` of the noise are
    buffers: chosen, measured or given, kept with the weights and not trained.
    """

    steps: Tensor
    level: Tensor
    seed: Tensor

    def __init__(self, settings: DiffcrnSection, features: int, seed: int) -> None:
        super().__init__()
        bands = settings.band_means(features)
        self.denoiser, self.contrast = DiffcrnNetwork(bands, settings.order), ContrastHead()
        self.projection = Projection(component_count(settings), feature_count(settings))
        self.settings = settings
        self.register_buffer("steps", torch.tensor(first_steps(settings)))
        self.register_buffer("level", torch.zeros(bands))
        self.register_buffer("seed", torch.tensor(seed))

    def filled(self, clean: Tensor, known: Tensor) -> Tensor:
        """Let the level stand for pixels (sample, 1, y, x) of 0, in (sample, band, y, x)."""
        return torch.where(known > 0, clean, self.level[:, None, None])

    def features(self, windows: Tensor, places: Sequence[Place]) -> Tensor:
        """Read the features of windows (window, band, y, x), of a place each.

        Returns
        -------
        (window, y, x, feature) Tensor
            Normalised over the channels of every stage: the mean over all steps of those
            of the stages that are asked for; or all, step by step and stage by stage.
        """
        found = [self._normal(windows, places, step) for step in self.steps.tolist()]
        if self.settings.latents == "stages":
            joined: Tensor = torch.cat(found, dim=3) / (len(found) * STAGES * WIDTH) ** 0.5
            return joined
        return torch.stack(found).mean(dim=0)

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
            self.projection.fit(sampled, whiten=self.settings.whiten)

    def _faded(self, windows: Tensor, places: Sequence[Place], step: int) -> Tensor:
        """Bring windows to a step, counted from 1, as they are encoded."""
        seed = None if self.settings.noise == "none" else int(self.seed)
        fading, everywhere = Fading(float(SCHEDULE.kept[step - 1]), seed), windows.new_ones(1)
        return torch.stack(
            [
                fading.faded(window, everywhere, place)
                for window, place in zip(windows, places, strict=True)
            ]
        )


def make_model(settings: DiffcrnSection, features: int, seed: int) -> Model:
    """Make a network of random weights, and leave the random numbers of others alone."""
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed_of(seed, START_KEY))
        return Model(settings, features, seed)


def level_of(settings: DiffcrnSection, standard: Standard) -> Tensor:
    """Mean spectrum of a scene, from -1 to 1, as the network sees it, (band,)."""
    span = standard.high - standard.low
    inner = np.where(span > 0, (standard.mean - standard.low) / np.where(span > 0, span, 1), 0)
    level = (2 * inner - 1).mean(axis=0).astype(np.float32)
    return torch.from_numpy(band_means(level, settings.band_means(len(level))))


def first_steps(settings: DiffcrnSection) -> list[int]:
    """List the steps that are asked for, from 1; those chosen by angles are not yet known."""
    if isinstance(settings.time_steps, tuple):
        return list(settings.time_steps)
    return [USUAL_STEP] * (CHOSEN if by_angle(settings) else 1)


def by_angle(settings: DiffcrnSection) -> bool:
    """Tell whether steps are chosen by angles."""
    usual = settings.time_steps == "usual" and settings.latents == "stages"
    return settings.time_steps == "angle" or usual


def feature_count(settings: DiffcrnSection) -> int:
    """Count the features of a pixel that become components."""
    return WIDTH * len(settings.stages)


def latent_count(settings: DiffcrnSection) -> int:
    """Count the latents: the components and the lift onto the sphere, or all features."""
    if settings.latents == "stages":
        return len(first_steps(settings)) * STAGES * WIDTH
    return component_count(settings) + 1


def component_count(settings: DiffcrnSection) -> int:
    """Count the components: not more than there are features."""
    return min(settings.components, feature_count(settings))
