"""SpectralDiff: features of a network that learns to take noise out of the scene.

Noise is added to squares of spectra in 500 steps; a network is shown the result of any
of them and guesses the noise. What it has to know of the scene for that is read inside
of it (at a *tap*) when it looks at spectra of an early step. Principal components of these
features, on a common scale, are the latents.

The profile ``"paper"`` is the network of the paper [1]_ and of its program, on all bands.
``"base"`` has half its width and sees 64 means of neighbouring bands; ``"lite"`` has 32, and
its layers are cut into one for every channel and one for every pixel: 59,025 parameters
for 4,299,633.

Against the paper:

* the noise of a place is a function of the place, or there is none, by default: a spectrum
  alone says more than a spectrum with noise;
* what a layer normalises by is measured once, after training, at the step of the noise that
  is used, as the mean over batches of the probe; the program leaves it to every batch;
* latents are read behind the first block that goes down, which has seen 5 px around a
  pixel, and beside them the pixel's own spectrum counts for 95 % of the variance:
  features of deeper layers are those of the surroundings, and lose to spectra;
* a gap is as the nearest pixel with data, in training, too, and beyond its edges a frame
  is mirrored: what is shown there reaches far into its surroundings;
* latents are read from the moving average of the weights;
* ranges of features are those of the whole scene, least to greatest, or percentiles of a
  sample (``statistics.limits``), which a few bright pixels cannot move;
* layers lose their rim; in training, where crops are small, there are zeros around them,
  as in the program;
* principal components are those of a sample from the probe, on one common scale, and are
  turned so that all vary about as much: what learns from them may bring each to one scale,
  and noise does not become as large as the rest. The latents, one more than the
  components, are lifted onto the unit sphere: ``(s, 1) / |(s, 1)|``. Nothing is lost: the
  last one tells the length.

References
----------
.. [1] N. Chen et al., "SpectralDiff: A generative framework for hyperspectral image
   classification with diffusion models", TGRS 61, 2023. doi:10.1109/TGRS.2023.3310023
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hsistream.methods.base import (
    ORIGIN,
    Crop,
    Encoder,
    Gaps,
    LearnsFrom,
    Material,
    Place,
    Standard,
    Trained,
    Work,
)
from hsistream.methods.denoising import (
    Squares,
    cut_squares,
    draw_corner,
    embed_spectra,
    some_pixels,
)
from hsistream.methods.spectraldiff_model import (
    SCHEDULE,
    START_KEY,
    WIDTHS,
    Model,
    component_count,
    fading,
    filled_up,
    make_model,
    part_sizes,
)
from hsistream.methods.watching import WatchedLearner, look_by_means, train_watched
from hsistream.network_sections import SpectraldiffSection, TrainingSection
from hsistream.nn.exact import as_array, encoding, seed_of
from hsistream.nn.learner import Inspection, Mapped
from hsistream.nn.spectraldiff_network import (
    TAP_HALOS,
    Pass,
    Statistics,
    mean_statistics,
    pass_floats,
)
from hsistream.nn.training import load_average

LEARNS_FROM: LearnsFrom = "crops"

SQUARE_PX = {"paper": 32, "base": 48, "lite": 64}
"""Side of the squares that are encoded, by profile: their layers must fit the memory."""

PROBE_STEPS = (5, 50, 100, 200)
"""Steps of the noise at which a training is watched, in turn."""

GROUP = 4
"""Crops of the probe that are one batch: from different parts of the scene."""

SAMPLED_PX = 512
"""Pixels of each crop of the probe by whose features these are projected."""

DRAW_KEY, PROBE_KEY = 22, 23
"""Set the random numbers of one use of a seed apart from those of others."""


def latent_size(settings: SpectraldiffSection, features: int) -> int:
    """Count the latents: the components and the lift onto the sphere."""
    return component_count(settings, features) + 1


def halo(settings: SpectraldiffSection) -> int:
    """Tell the halo, px."""
    return TAP_HALOS[settings.tap]


def embedding_size(settings: SpectraldiffSection, features: int) -> int:
    """Count the values between the two parts of the encoder: means of bands."""
    return settings.band_means(features)


def training_bytes(settings: SpectraldiffSection, features: int) -> int:
    """Memory that one pair of crops needs in a step: its squares in all portions, kept layers.

    The features of the sample, and their moments, are needed after it, and never more.
    """
    bands = settings.band_means(features)
    floats = pass_floats(WIDTHS[settings.profile], bands, factorised=settings.profile == "lite")
    pixels = 2 * settings.portions * settings.crop_px**2
    size = sum(part_sizes(settings, features))
    seen = (floats.kept + 3 * features) * pixels
    return 4 * (seen + 2 * SAMPLED_PX * 4 * size) + 3 * 8 * size**2 // 4


def square_bytes(settings: SpectraldiffSection, features: int, pixels: int) -> int:
    """Memory of the second part of the encoder: the layers of a square, its latents."""
    bands = settings.band_means(features)
    floats = pass_floats(WIDTHS[settings.profile], bands, factorised=settings.profile == "lite")
    at_once = min(pixels, (SQUARE_PX[settings.profile] + 2 * halo(settings)) ** 2)
    return 4 * (floats.live * at_once + 3 * pixels * latent_size(settings, features))


def train(
    settings: SpectraldiffSection,
    training: TrainingSection,
    seed: int,
    material: Material,
    work: Work,
) -> Trained:
    """Train from random weights; see :class:`hsistream.methods.base.Method`."""
    model = make_model(settings, material.standard.feature_count, seed).to(work.device)
    learner = _Learner(settings, seed, model, material)
    return train_watched(
        learner, learner.watch, partial(_batches, settings.portions, material), training, work
    )


def load(settings: SpectraldiffSection, standard: Standard, folder: Path, device: str) -> Encoder:
    """Read the averaged network of a training that ended."""
    model = make_model(settings, standard.feature_count, 0)
    load_average(folder, model)
    return _Encoder(settings, model.to(device), standard, device)


# Learning


_Portion = Sequence[tuple[Crop, int]]
"""All crops of a step, and the frame of each; of every crop a square is learnt from."""


def _batches(portions: int, material: Material, first_step: int) -> Iterator[list[_Portion]]:
    """Yield the portions of every step: they see the same crops, and other squares of them."""
    for pairs in material.batches(first_step):
        crops = [(crop, pair.frame) for pair in pairs for crop in (pair.first, pair.second)]
        yield [crops] * portions


class _Learner(WatchedLearner[Model]):
    """What the training loop asks for; see :class:`hsistream.nn.learner.Learner`."""

    def __init__(
        self, settings: SpectraldiffSection, seed: int, model: Model, material: Material
    ) -> None:
        super().__init__(model, material.probe)
        self._settings, self._seed = settings, seed
        self._standard, self._device = material.standard, model.seed.device
        self._probe = [
            self._squares([each], [(0, 0)], min(each[0].valid.shape))
            for each in zip(material.probe.crops, material.probe.frames, strict=True)
        ]

    def loss(self, sample: _Portion, target: None, key: tuple[int, int]) -> Tensor:
        """Mean absolute error of the guessed noise of a portion, at pixels with data."""
        random = torch.Generator().manual_seed(seed_of(self._seed, DRAW_KEY, *key))
        side = min(self._settings.crop_px, *sample[0][0].valid.shape)
        corners = [draw_corner(crop.valid, side, random) for crop, _ in sample]
        clean, known = self._squares(sample, corners, side)
        index = torch.randint(SCHEDULE.steps, (len(clean),), generator=random)
        return self._error(self.network, (clean, known), index, random)

    def inspect(self, average: nn.Module, mapped: Mapped) -> Inspection:
        """Measure what layers normalise by and features are projected by; guess noise."""
        model = cast("Model", average)
        batches = list(range(GROUP * -(-len(self._probe) // GROUP)))
        errors = mapped(partial(self._noise_error, model), batches)
        seen = mapped(partial(self._statistics, model), batches)
        self._keep(model, [mean_statistics(layer) for layer in zip(*seen, strict=True)])
        sampled = torch.cat(mapped(partial(self._sampled, model), range(len(self._probe))), dim=1)
        for each in (model, self.network):
            each.projection.fit(sampled, self._settings, model.bands)
        latents = model.projection(sampled).T.contiguous().cpu().numpy()
        error = float(np.mean(errors))
        wanted, key = self._settings.prototypes or 0, (self._seed, START_KEY)
        found = look_by_means(self.watch, latents, wanted, key)
        facts = {"noise error": error, **found.facts}
        return Inspection(-error, collapsed=False, agreement=None, facts=facts)

    def _squares(
        self, crops: Sequence[tuple[Crop, int]], corners: Sequence[tuple[int, int]], side: int
    ) -> Squares:
        """Cut a square out of each crop, of a frame each, and fill its gaps."""
        found = cut_squares(self._settings, self._standard, crops, corners, side)
        clean, known = (each.to(self._device) for each in found)
        return filled_up(clean, self.network.bands), known

    def _error(
        self, model: Model, squares: Squares, index: Tensor, random: torch.Generator
    ) -> Tensor:
        """Mean absolute error of the noise that is guessed, at pixels with data."""
        clean, known = squares
        noise = torch.randn(clean.shape, generator=random).to(self._device)
        index = index.to(self._device)
        noised = SCHEDULE.noised(clean, noise, index)
        guess = model.denoiser(noised, index, Pass(batch=[])).float()
        lost: Tensor = ((guess - noise).abs() * known).sum()
        return lost / (known.sum() * clean.shape[1]).clamp(min=1)

    def _noise_error(self, model: Model, batch: int) -> float:
        """Error at some steps of the noise, on a batch of the probe."""
        clean, known = self._batch(batch)
        random = torch.Generator().manual_seed(seed_of(self._seed, PROBE_KEY, batch))
        index = torch.tensor(PROBE_STEPS).repeat(-(-len(clean) // len(PROBE_STEPS)))
        return self._error(model, (clean, known), index[: len(clean)], random).item()

    def _batch(self, batch: int) -> Squares:
        """Take one quarter of some crops of the probe that lie far from each other."""
        quarter, group = batch % GROUP, batch // GROUP
        stride = -(-len(self._probe) // GROUP)
        parts = self._probe[group::stride]
        side = -(-min(part[0].shape[3] for part in parts) // 2)
        top, left = side * (quarter // 2), side * (quarter % 2)
        window = slice(top, top + side), slice(left, left + side)
        clean, known = (torch.cat([part[n][..., *window] for part in parts]) for n in (0, 1))
        return clean, known

    def _noised(self, clean: Tensor, number: int) -> Tensor:
        """Show squares as they are encoded, with a noise that is theirs alone."""
        places = [Place(0, 1024 * (GROUP * number + each)) for each in range(len(clean))]
        faded = fading(self._settings, self.network).faded
        return torch.stack([faded(*one) for one in zip(clean, places, strict=True)])

    def _statistics(self, model: Model, batch: int) -> list[Statistics]:
        """Measure what every layer up to the tap would normalise a batch by."""
        seen: list[Statistics] = []
        model.features(self._noised(self._batch(batch)[0], batch), Pass(batch=seen))
        return seen

    def _keep(self, model: Model, found: Sequence[Statistics]) -> None:
        """Normalise by these from now on; the average is overwritten by the next step."""
        for each in (model, self.network):
            for norm, statistics in zip(each.denoiser.norms(), found, strict=False):
                norm.keep(statistics)

    def _sampled(self, model: Model, number: int) -> Tensor:
        """Features beside spectra (feature, pixel) in the middle of a crop of the probe."""
        clean, known = self._probe[number]
        [noised] = self._noised(clean, number)
        features = model.features_beside(noised, clean[0], Pass())
        side = features.shape[1]
        rim = min(halo(self._settings), side // 4)
        middle = slice(rim, side - rim)
        features, valid = features[:, middle, middle], known[0, 0, middle, middle] > 0
        return some_pixels(features, valid, SAMPLED_PX, seed_of(self._seed, PROBE_KEY, number, 1))


# Use


class _Encoder:
    """A trained network; see :class:`hsistream.methods.base.Encoder`."""

    gaps: Gaps = "filled"

    def __init__(
        self, settings: SpectraldiffSection, model: Model, standard: Standard, device: str
    ) -> None:
        self.halo, self.square_px = halo(settings), SQUARE_PX[settings.profile]
        self.embedding_size = embedding_size(settings, standard.feature_count)
        self.latent_size = latent_size(settings, standard.feature_count)
        self._settings, self._model = settings, model
        self._standard, self._device = standard, device

    def embed(self, raw: NDArray[Any], frame: int) -> NDArray[np.float32]:
        """Embed spectra (band, ...) as stored, (mean of bands, pixel)."""
        found = embed_spectra(self._settings, self._standard, raw, frame)
        return np.ascontiguousarray(found.reshape(len(found), -1))

    @torch.inference_mode()
    def refine(
        self,
        embedded: NDArray[np.float32],
        place: Place = ORIGIN,
        dtype: type[np.floating[Any]] = np.float32,
    ) -> NDArray[Any]:
        """Turn (mean of bands, y + 2 halo, x + 2 halo) into latents (latent, y, x)."""
        around = Place(place.row - self.halo, place.column - self.halo)
        with encoding(self._device):
            square = torch.from_numpy(embedded).to(self._device)
            clean = filled_up(square[None], self._model.bands)[0]
            noised = fading(self._settings, self._model).faded(clean, around)
            features = self._model.features_beside(noised, clean, Pass(padded=False))
            latents = self._model.projection(features.flatten(1))
            return as_array(latents.reshape(-1, *features.shape[1:]), dtype)
