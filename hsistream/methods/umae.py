"""The masked autoencoder of DS2DL: what a pixel and its surroundings have in common.

Some pixels that are far from each other are learnt from. The square of 7 x 7 pixels
around each is cut into tokens, groups of bands; half of the tokens are hidden, and
the network guesses them from the others. Afterwards the mean of the encoder's tokens,
with nothing hidden, is the latent of a pixel.

Profile ``"paper"`` has the authors' tokens, one for every band, of the values of five
neighbouring bands in all 49 pixels; it takes 5 ms for a pixel of 204 bands. Profile
``"fast"`` cuts the bands into few groups, and each token keeps four learnt scores of
every pixel's spectrum instead of its values. So the part that looks at single pixels
leaves 48 values of a spectrum, and there are a dozen tokens to attend to.

Where the text [1]_ is silent or differs from its program, this is done:

* the decoder's places are sines, there is a summary token that no latent contains, and
  the encoder does not normalise its result, all as in the program;
* what is hidden is drawn anew in every epoch, as is usual [2]_; the program draws it
  once, which ``mask_mode="fixed"`` does too;
* pixels are chosen among those of the reservoir, which is the whole of a small scene,
  in the space of 20 principal components; that is all that these are used for;
* a pixel without data is as the nearest with data, before a frame is mirrored at its
  edges; a band that is constant in the whole scene is 0;
* latents are standardised by the mean and deviation over a sample of the reservoir, and
  brought to unit length, as the program does before it clusters. Prototypes are k-means
  of the same sample, for the checks and for merging; nothing is trained towards them.

References
----------
.. [1] Deep superpixel-based diffusion learning, arXiv:2604.13307, 2026.
.. [2] K. He et al., "Masked autoencoders are scalable vision learners",
   CVPR 2022. arXiv:2111.06377
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

from hsistream.methods.base import (
    ORIGIN,
    Encoder,
    Gaps,
    LearnsFrom,
    Material,
    Place,
    Standard,
    Trained,
    Work,
)
from hsistream.methods.watching import WatchedLearner, look_by_means, train_watched
from hsistream.network_sections import TrainingSection, UmaeSection
from hsistream.nn.exact import as_array, drawing, encoding, seed_of
from hsistream.nn.farthest_points import farthest_points, first_point
from hsistream.nn.learner import Inspection, Mapped
from hsistream.nn.masking import hidden_count, masks
from hsistream.nn.training import load_average
from hsistream.nn.umae_network import Shape, UmaeNetwork, cyclic_groups, even_groups

LEARNS_FROM: LearnsFrom = "patches"

COMPONENTS = 20
"""Principal components in whose space pixels are far from each other."""

PORTION_PX = 24
"""Pixels of a step that are one sample of the loop: so many fit the cache, on a thread each."""

TOKENS_AT_ONCE = 2048
"""Tokens that are encoded at a time, about; those of a row of pixels at least."""

SQUARE_PX = 32
"""Side of the squares that are encoded: no pixel is cheaper in a larger one."""

ORDER_KEY, DROPOUT_KEY, START_KEY = 12, 13, 14
"""Set the random numbers of one use of a seed apart from those of others."""

WATCHED = 2**31
"""Stands for the epoch of the masks by which a training is watched."""


def latent_size(settings: UmaeSection, features: int) -> int:
    """Count the latents."""
    return settings.width


def halo(settings: UmaeSection) -> int:
    """Tell the halo, px."""
    return settings.reach


def embedding_size(settings: UmaeSection, features: int) -> int:
    """Count the values between the two parts of the encoder."""
    shape = _shape(settings, features)
    return features if shape.scores is None else shape.tokens * shape.scores


def training_bytes(settings: UmaeSection, features: int) -> int:
    """Memory of a training: the patches of all its pixels, and the layers for those of a step."""
    shape = _shape(settings, features)
    patches = (settings.pixels + settings.sample) * features * settings.patch_px**2
    return 4 * 4 * patches + settings.batch * _layer_bytes(settings, shape)


def square_bytes(settings: UmaeSection, features: int, pixels: int) -> int:
    """Memory of the second part of the encoder: the layers of a batch, and all latents."""
    shape = _shape(settings, features)
    at_once = min(pixels, TOKENS_AT_ONCE // shape.tokens + math.isqrt(pixels) + 1)
    return at_once * _layer_bytes(settings, shape) // 4 + 2 * 4 * pixels * settings.width


def train(
    settings: UmaeSection, training: TrainingSection, seed: int, material: Material, work: Work
) -> Trained:
    """Train from random weights; see :class:`hsistream.methods.base.Method`."""
    network = make_network(settings, material.standard.feature_count, seed).to(work.device)
    numbers = _chosen(settings, seed, material)
    learner = _Learner(settings, seed, network, material, numbers)
    return train_watched(
        learner,
        learner.watch,
        partial(_batches, settings.batch, seed, len(numbers)),
        training,
        work,
    )


def load(settings: UmaeSection, standard: Standard, folder: Path, device: str) -> Encoder:
    """Read the network of a training that ended."""
    network = make_network(settings, standard.feature_count, 0)
    load_average(folder, network)
    return _Encoder(settings, network.to(device), standard, device)


def _shape(settings: UmaeSection, features: int) -> Shape:
    """Say how large the network is."""
    few = settings.profile == "fast"
    return Shape(
        groups=even_groups(features, settings.tokens)
        if few
        else cyclic_groups(features, settings.group),
        scores=settings.scores if few else None,
        patch_px=settings.patch_px,
        width=settings.width,
        depth=settings.depth,
        heads=settings.attention_heads,
        hidden=settings.hidden,
        decoder_width=settings.decoder_width,
        decoder_depth=settings.decoder_depth,
        decoder_heads=settings.decoder_heads,
        dropout=settings.dropout,
    )


def _layer_bytes(settings: UmaeSection, shape: Shape) -> int:
    """Memory of the layers of one pixel, all kept for the gradient, generously."""
    token = shape.group * shape.patch_px**2
    block = 12 * max(shape.width, shape.decoder_width) + 4 * shape.hidden
    return 4 * shape.tokens * (4 * token + (shape.depth + shape.decoder_depth) * block)


def make_network(settings: UmaeSection, features: int, seed: int) -> UmaeNetwork:
    """Make a network of random weights, and leave the random numbers of others alone."""
    with drawing(seed_of(seed, START_KEY)):
        return UmaeNetwork(_shape(settings, features))


# What is learnt from


def _chosen(settings: UmaeSection, seed: int, material: Material) -> NDArray[np.int64]:
    """Choose pixels of the reservoir that are far from each other."""
    with threadpool_limits(1):  # sums of several threads have other bytes, and so other ties
        scores = _scores(material.reservoir.in_range(material.standard))
        first = first_point(scores.shape[1], seed)
        return farthest_points(scores, settings.pixels, first)[0]


def _scores(spectra: NDArray[np.float32]) -> NDArray[np.float64]:
    """Scores (component, pixel) of spectra (feature, pixel) along their principal directions."""
    mean = spectra.mean(axis=1, dtype=np.float64, keepdims=True)
    portions = np.array_split(spectra, max(1, spectra.shape[1] // 8192), axis=1)
    spread = sum((part - mean) @ (part - mean).T for part in portions)
    directions = np.linalg.eigh(spread)[1][:, ::-1][:, :COMPONENTS].T
    return np.concatenate([directions @ (part - mean) for part in portions], axis=1)


def _sampled(wanted: int, pixels: int) -> NDArray[np.int64]:
    """Numbers of some pixels of the reservoir, all over the scene."""
    return np.linspace(0, pixels - 1, min(pixels, wanted)).round().astype(np.int64)


def _patches(material: Material, numbers: NDArray[np.int64], reach: int) -> NDArray[np.float32]:
    """Patches (pixel, feature, place) around pixels of the reservoir, from 0 to 1."""
    standard, frames = material.standard, material.reservoir.frame[numbers]
    raw = material.patches(numbers, reach)
    places = (2 * reach + 1) ** 2
    found = np.empty((len(numbers), standard.feature_count, places), np.float32)
    for frame in np.unique(frames):
        own = np.flatnonzero(frames == frame)
        spectra = raw[own].transpose(1, 0, 2, 3).reshape(raw.shape[1], -1)
        values = standard.in_range(spectra, int(frame)).reshape(-1, len(own), places)
        found[own] = values.transpose(1, 0, 2)
    return found


@dataclass(frozen=True)
class _Portion:
    """Some pixels of a step.

    ``places`` (pixel,) are their places among the pixels that are learnt from;
    ``weight`` is their share of the step, in that of an average portion.
    """

    places: NDArray[np.int64]
    epoch: int
    weight: float


def _batches(batch: int, seed: int, pixels: int, first_step: int) -> Iterator[list[_Portion]]:
    """Yield the portions of every step: all pixels once in an epoch, in an order of its own."""
    steps, step = -(-pixels // batch), first_step
    while True:
        epoch, part = divmod(step, steps)
        order = np.random.default_rng((seed, ORDER_KEY, epoch)).permutation(pixels)
        own = order[part * batch : (part + 1) * batch]
        portions = np.array_split(own, -(-len(own) // PORTION_PX))
        yield [_Portion(each, epoch, len(each) * len(portions) / len(own)) for each in portions]
        step += 1


# Learning


class _Learner(WatchedLearner[UmaeNetwork]):
    """What the training loop asks for; see :class:`hsistream.nn.learner.Learner`."""

    def __init__(
        self,
        settings: UmaeSection,
        seed: int,
        network: UmaeNetwork,
        material: Material,
        numbers: NDArray[np.int64],
    ) -> None:
        super().__init__(network, material.probe)
        self._settings, self._seed = settings, seed
        self._device = network.summary.device
        self._numbers = numbers
        self._sampled = _sampled(settings.sample, len(material.reservoir.frame))
        self._patches, self._seen = (
            torch.from_numpy(_patches(material, each, settings.reach))
            for each in (self._numbers, self._sampled)
        )

    def loss(self, sample: _Portion, target: None, key: tuple[int, int]) -> Tensor:
        """Mean squared error of the guesses, of a portion of a step."""
        settings = self._settings
        epoch = sample.epoch if settings.mask_mode == "resample" else 0
        pixels = self._numbers[sample.places]
        patches = self._patches[torch.from_numpy(sample.places)]
        random = torch.Generator(self._device).manual_seed(seed_of(self._seed, DROPOUT_KEY, *key))
        return sample.weight * self._error(self.network, patches, pixels, epoch, random)

    def inspect(self, average: nn.Module, mapped: Mapped) -> Inspection:
        """Guess what is hidden of the sample, and measure its latents."""
        network = cast("UmaeNetwork", average)
        portions = np.array_split(np.arange(len(self._seen)), -(-len(self._seen) // PORTION_PX))
        found = mapped(partial(self._look, network), portions)
        error = sum(len(part) * one for part, (one, _) in zip(portions, found, strict=True))
        error = error / len(self._seen)
        latents = torch.cat([each for _, each in found])
        for each in (network, self.network):  # the average is overwritten by the next step
            each.measure(latents)
        return self._judged(error, torch.nan_to_num(network.standardised(latents)).cpu().numpy())

    def _error(
        self,
        network: UmaeNetwork,
        patches: Tensor,
        pixels: NDArray[np.int64],
        epoch: int,
        random: torch.Generator | None = None,
    ) -> Tensor:
        """Mean squared error of the guesses of patches (pixel, feature, place)."""
        tokens = network.shape.tokens
        hidden = hidden_count(tokens, self._settings.mask_ratio)
        seen, guessed = masks(self._seed, pixels.tolist(), epoch, tokens, hidden)
        kept, aim = (torch.from_numpy(each).to(self._device) for each in (seen, guessed))
        return network.loss(patches.to(self._device), kept, aim, random)

    def _look(self, network: UmaeNetwork, places: NDArray[np.int64]) -> tuple[float, Tensor]:
        """Error and latents (pixel, latent) of some pixels of the sample."""
        patches = self._seen[torch.from_numpy(places)]
        error = self._error(network, patches, self._sampled[places], WATCHED)
        return error.item(), network.latents(network.embed_patches(patches.to(self._device)))

    def _judged(self, error: float, latents: NDArray[np.float32]) -> Inspection:
        """Remember the latents by their k-means; only a network without numbers has collapsed."""
        wanted, key = self._settings.prototypes or 0, (self._seed, START_KEY)
        seen = look_by_means(self.watch, latents, wanted, key)
        facts = {"masked error": error, **seen.facts}
        return Inspection(-error, collapsed=False, agreement=None, facts=facts)


# Use


class _Encoder:
    """A trained network; see :class:`hsistream.methods.base.Encoder`."""

    square_px = SQUARE_PX
    gaps: Gaps = "filled"

    def __init__(
        self, settings: UmaeSection, network: UmaeNetwork, standard: Standard, device: str
    ) -> None:
        self.halo, self.latent_size = settings.reach, settings.width
        self.embedding_size = embedding_size(settings, standard.feature_count)
        self._network, self._standard, self._device = network, standard, device
        self._rows = TOKENS_AT_ONCE // (network.shape.tokens + 1)

    @torch.inference_mode()
    def embed(self, raw: NDArray[Any], frame: int) -> NDArray[np.float32]:
        """Embed spectra (band, ...) as stored, (embedding, pixel)."""
        spectra = self._standard.in_range(raw, frame)
        values = torch.from_numpy(spectra.reshape(len(spectra), -1))
        with encoding(self._device):
            return np.asarray(self._network.embed(values.to(self._device)).cpu().numpy())

    @torch.inference_mode()
    def refine(
        self,
        embedded: NDArray[np.float32],
        place: Place = ORIGIN,
        dtype: type[np.floating[Any]] = np.float32,
    ) -> NDArray[Any]:
        """Turn (embedding, y + 6, x + 6) into latents (latent, y, x)."""
        side = 2 * self.halo + 1
        with encoding(self._device):
            square = torch.from_numpy(embedded).to(self._device)
            windows = square.unfold(1, side, 1).unfold(2, side, 1)
            rows = max(1, self._rows // windows.shape[2])
            parts = [self._latents(part) for part in torch.split(windows, rows, dim=1)]
            return as_array(torch.cat(parts, dim=1), dtype)

    def _latents(self, windows: Tensor) -> Tensor:
        """Latents (latent, y, x) of squares (embedding, y, x, side, side)."""
        patches = windows.permute(1, 2, 0, 3, 4).flatten(3).flatten(0, 1)
        latents = self._network.standardised(self._network.latents(patches))
        return latents.T.reshape(-1, *windows.shape[1:3])
