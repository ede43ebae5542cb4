"""DiffCRN (re-derived): features of a denoiser that also learns to tell places apart.

As with SpectralDiff, noise is added to squares of spectra, here in 1000 steps, and a
network guesses it. This network has no layers along the bands but attention, in four
stages [1]_; and while it learns, what it makes of a square is drawn towards what it makes
of another square that shows half of the same pixels, and away from those of other places.

The text of the paper was not at hand, only its abstract and some captions, and there is
no code: its ideas are kept, and every choice below them is ours.

* Windows of 32 x 32 px are encoded by themselves, and of each the middle 24 x 24 px are
  kept. They are laid out from the first pixel of a frame, never from that of a tile, so
  that latents do not depend on tiles: see ``docs/decisions/0030``.
* The logarithm of the loss is ``ln(1 + |e|)``, the simplest one that is finite.
* Steps are chosen by the angle between spectra and what is rebuilt of them in one step;
  without labels, equally far apart in that angle.
* What is encoded has no noise by default: the noise alone cost more than all else gained.
* Contrast is for steps of the first half: later ones show too little of a place.

Without labels, features of the step 40 become principal components on the unit sphere.
With labels, features of five steps are for the classifier ``ctssfm``
(``encoder.latents=stages``).

References
----------
.. [1] Y. Zhu and L. Xu, "Spatial-spectral diffusion contrastive representation network
   for hyperspectral image classification", 2025. arXiv:2502.19699
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from hsistream.methods.base import (
    Crop,
    Encoder,
    LearnsFrom,
    Material,
    Place,
    Standard,
    Trained,
    Work,
)
from hsistream.methods.denoising import (
    Fading,
    Squares,
    cut_squares,
    draw_corner,
    some_pixels,
)
from hsistream.methods.diffcrn_encoder import WINDOWS_AT_ONCE, WindowEncoder
from hsistream.methods.diffcrn_model import (
    SCHEDULE,
    START_KEY,
    Model,
    by_angle,
    feature_count,
    latent_count,
    make_model,
)
from hsistream.methods.watching import WatchedLearner, look_by_means, train_watched
from hsistream.network_sections import DiffcrnSection, TrainingSection
from hsistream.nn.augment import TURNS, turn
from hsistream.nn.contrast import nt_xent
from hsistream.nn.diffcrn_network import (
    ATTENTION_PX,
    STAGES,
    WIDTH,
    kept_floats,
    live_floats,
)
from hsistream.nn.exact import seed_of
from hsistream.nn.learner import Inspection, Mapped
from hsistream.nn.noise_losses import noise_loss
from hsistream.nn.spectral_angle import CANDIDATES, choose_steps, spectral_angle
from hsistream.nn.training import load_average

LEARNS_FROM: LearnsFrom = "crops"

FARTHEST = 0.29
"""Shift between two views of a place, in sides: at least half of the pixels are in both."""

RAMP_STEPS, RAMP_SHARE = 1000, 0.25
"""Steps over which contrast gains its weight, but no more than a share of all."""

PROBE_STEPS = (10, 100, 300, 600)
"""Steps of the noise at which a training is watched, in turn."""

VIEW_STEP = 100
"""Step at which views of the probe are compared."""

SAMPLED_PX = 512
"""Pixels of each crop of the probe by whose features these are projected."""

ALIKE = 0.5
"""Share of the angle between two spectra of a scene beyond which one is not like itself."""

DRAW_KEY, PROBE_KEY = 32, 33
"""Set the random numbers of one use of a seed apart from those of others."""


def latent_size(settings: DiffcrnSection, _features: int) -> int:
    """Count the latents: the components and the lift onto the sphere, or all features."""
    return latent_count(settings)


def halo(settings: DiffcrnSection) -> int:
    """Tell the halo, px: the rim of a window, and its middle but for one pixel."""
    return settings.halo_px


def embedding_size(settings: DiffcrnSection, features: int) -> int:
    """Count the values between the two parts of the encoder: means of bands."""
    return settings.band_means(features)


def training_bytes(settings: DiffcrnSection, features: int) -> int:
    """Memory that one pair of crops needs in a step: its squares in all portions, kept layers."""
    pixels = 4 * settings.portions * settings.crop_px**2
    seen = (kept_floats(settings.band_means(features)) + 3 * features) * pixels
    size = feature_count(settings, features)
    return 4 * (seen + 2 * SAMPLED_PX * 4 * size) + 3 * 8 * size**2 // 4


def square_bytes(settings: DiffcrnSection, features: int, pixels: int) -> int:
    """Memory of the second part of the encoder: the layers of some windows, its latents."""
    at_once = WINDOWS_AT_ONCE * settings.window_px**2
    count = latent_count(settings)
    of_window = live_floats(settings.band_means(features)) + count + STAGES * WIDTH
    return 4 * (of_window * at_once + 2 * pixels * count)


def train(
    settings: DiffcrnSection,
    training: TrainingSection,
    seed: int,
    material: Material,
    work: Work,
) -> Trained:
    """Train from random weights; see :class:`hsistream.methods.base.Method`."""
    model = make_model(settings, material.standard.feature_count, seed)
    ramp = max(1, min(RAMP_STEPS, round(RAMP_SHARE * training.steps)))
    learner = _Learner(seed, ramp, model.to(work.device), material)
    return train_watched(
        learner, learner.watch, partial(_batches, settings.portions, material), training, work
    )


def load(settings: DiffcrnSection, standard: Standard, folder: Path, device: str) -> Encoder:
    """Read the averaged network of a training that ended."""
    model = make_model(settings, standard.feature_count, 0)
    load_average(folder, model)
    return WindowEncoder(model.to(device), standard, device)


# Learning

_Portion = Sequence[tuple[Crop, int, int]]
"""All crops of a step, the frame of each, and the number of its pair."""


def _batches(portions: int, material: Material, first_step: int) -> Iterator[list[_Portion]]:
    """Yield the portions of every step: they see the same crops, and other squares of them."""
    for pairs in material.batches(first_step):
        crops = [
            (crop, pair.frame, number)
            for number, pair in enumerate(pairs)
            for crop in (pair.first, pair.second)
        ]
        yield [crops] * portions


class _Learner(WatchedLearner[Model]):
    """What the training loop asks for; see :class:`hsistream.nn.learner.Learner`."""

    def __init__(self, seed: int, ramp: int, model: Model, material: Material) -> None:
        super().__init__(model, material.probe)
        self._settings = model.settings
        self._seed, self._ramp = seed, ramp
        self._standard, self._device = material.standard, model.seed.device
        probe = zip(material.probe.crops, material.probe.frames, strict=True)
        self._probe = [self._squares([each], [(0, 0)], min(each[0].valid.shape)) for each in probe]

    def loss(self, sample: _Portion, target: None, key: tuple[int, int]) -> Tensor:
        """Error of the guessed noise of two views of every crop, and their contrast."""
        random = torch.Generator().manual_seed(seed_of(self._seed, DRAW_KEY, *key))
        (clean, known), starts = self._views(sample, random)
        early, index = _draw_steps(len(sample), random)
        error, last = self._error(self.network, (clean, known), index, random)
        weight = self._settings.contrast * min(1.0, key[0] / self._ramp)
        if not weight:
            return error
        first, second = self.network.contrast(last.float().permute(0, 3, 1, 2)).chunk(2)
        apart = _apart_from_others(sample, starts, clean.shape[3])[early][:, early]
        chosen = early.to(first.device)
        views = first[chosen], second[chosen], apart.to(first.device)
        return error + weight * nt_xent(*views, self._settings.contrast_temperature)

    def inspect(self, average: nn.Module, mapped: Mapped) -> Inspection:
        """Choose the steps at which features are read, project these, and guess noise."""
        model, numbers = cast("Model", average), range(len(self._probe))
        if by_angle(self._settings):
            self._choose(model, mapped)
        sampled = torch.cat(mapped(partial(self._sampled, model), numbers), dim=1)
        for each in (model, self.network):  # the average is overwritten by the next step
            each.project(sampled)
        latents = model.latents(sampled).T.contiguous().cpu().numpy()
        error = float(np.mean(mapped(partial(self._noise_error, model), numbers)))
        wanted, key = self._settings.prototypes or 0, (self._seed, START_KEY)
        found = look_by_means(self.watch, latents, wanted, key)
        alike = self._likeness(torch.stack(mapped(partial(self._compared, model), numbers)))
        facts = {"noise error": error, **alike, **found.facts}
        return Inspection(-error, collapsed=False, agreement=None, facts=facts)

    def _squares(
        self, crops: Sequence[tuple[Crop, int]], corners: Sequence[tuple[int, int]], side: int
    ) -> Squares:
        """Cut a square out of each crop, of a frame each, and fill its gaps."""
        clean, known = cut_squares(self._settings, self._standard, crops, corners, side)
        return clean.to(self._device), known.to(self._device)

    def _views(self, sample: _Portion, random: torch.Generator) -> tuple[Squares, Tensor]:
        """Cut two overlapping squares out of every crop, and turn each; all first ones first.

        Their first pixels are (view of a crop, crop, axis), in the frame.
        """
        crops = [(crop, frame) for crop, frame, _ in sample]
        extent = min(crops[0][0].valid.shape)
        side = _side(self._settings.crop_px, extent)
        corners = [draw_corner(crop.valid, side, random) for crop, _ in crops]
        most = int(FARTHEST * side)
        shifts = torch.randint(-most, most + 1, (len(crops), 2), generator=random)
        others = (torch.tensor(corners) + shifts).clamp(0, extent - side).tolist()
        both = [*corners, *[(top, left) for top, left in others]]
        clean, known = self._squares([*crops, *crops], both, side)
        turns = torch.randint(TURNS, (len(both),), generator=random).tolist()
        origins = torch.tensor([crop.origin for crop, _ in crops])
        starts = torch.tensor(both).reshape(2, len(crops), 2) + origins
        return (_turned(clean, turns), _turned(known, turns)), starts

    def _error(
        self, model: Model, squares: Squares, index: Tensor, random: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Mean loss of the noise that is guessed, at pixels with data; and the last features."""
        clean, known = squares
        noise = torch.randn(clean.shape, generator=random).to(self._device)
        index = index.to(self._device)
        guess, last = model.denoiser(SCHEDULE.noised(clean, noise, index), index)
        lost = noise_loss(guess.float() - noise, self._settings.loss, self._settings.loss_scale)
        return (lost * known).sum() / (known.sum() * clean.shape[1]).clamp(min=1), last

    def _windows(self, number: int) -> Squares:
        """Cut a crop of the probe into windows side by side."""
        clean, known = self._probe[number]
        side = _side(self._settings.window_px, clean.shape[3])
        return _cut(clean, side), _cut(known, side)

    def _noise_error(self, model: Model, number: int) -> float:
        """Error at some steps of the noise, on a crop of the probe."""
        windows = self._windows(number)
        random = torch.Generator().manual_seed(seed_of(self._seed, PROBE_KEY, number))
        index = torch.tensor(PROBE_STEPS).repeat(len(windows[0]))[: len(windows[0])]
        return self._error(model, windows, index - 1, random)[0].item()

    def _sampled(self, model: Model, number: int) -> Tensor:
        """Features (feature, pixel) of pixels in the middle of windows of a crop of the probe."""
        clean, known = self._windows(number)
        features = model.features(clean, _apart(number, len(clean)))
        rim = min(self._settings.rim_px, clean.shape[3] // 4)
        middle = slice(rim, clean.shape[3] - rim)
        inner = features[:, middle, middle].permute(3, 0, 1, 2)
        valid = known[:, 0, middle, middle] > 0
        return some_pixels(inner, valid, SAMPLED_PX, seed_of(self._seed, PROBE_KEY, number, 1))

    def _compared(self, model: Model, number: int) -> Tensor:
        """Describe two views of a crop of the probe by unit vectors, (view, value)."""
        clean, _ = self._probe[number]
        side = _side(self._settings.crop_px, clean.shape[3])
        shift = min(int(FARTHEST * side), clean.shape[3] - side)
        both = torch.cat([clean[..., at : at + side, at : at + side] for at in (0, shift)])
        random = torch.Generator().manual_seed(seed_of(self._seed, PROBE_KEY, number, 2))
        noise = torch.randn(both.shape, generator=random).to(self._device)
        index = torch.full((2,), VIEW_STEP - 1, device=self._device)
        last = model.denoiser(SCHEDULE.noised(both, noise, index), index)[1]
        described: Tensor = model.contrast(last.float().permute(0, 3, 1, 2))
        return described

    def _likeness(self, views: Tensor) -> dict[str, float]:
        """Mean cosine of two views (crop, view, value) of a crop, and of those of others."""
        cosines = views[:, 0] @ views[:, 1].T
        same = cosines.diagonal().mean()
        others = (cosines.sum() - cosines.trace()) / max(1, cosines.numel() - len(cosines))
        return {"likeness of views": same.item(), "likeness of places": others.item()}

    def _choose(self, model: Model, mapped: Mapped) -> None:
        """Read features at steps that are equally far apart in the angle that they cost."""
        found = mapped(partial(self._angles, model), range(len(self._probe)))
        angles, spectra = (torch.cat(each, dim=-1) for each in zip(*found, strict=True))
        if not angles.shape[1]:  # nothing had data
            return
        random = torch.Generator().manual_seed(seed_of(self._seed, PROBE_KEY))
        order = torch.randperm(spectra.shape[1], generator=random).to(spectra.device)
        apart = spectral_angle(spectra.T, spectra[:, order].T).median().item()
        chosen = choose_steps(angles.mean(dim=1).cpu().numpy(), ALIKE * apart)
        for each in (model, self.network):
            each.steps.copy_(torch.tensor([CANDIDATES[place] for place in chosen]))

    def _angles(self, model: Model, number: int) -> tuple[Tensor, Tensor]:
        """Angles (candidate, pixel) in a window of the probe, and its spectra (band, pixel).

        Both from 0 on: an angle depends on the origin. There is always noise.
        """
        clean, known = (each[:1] for each in self._windows(number))
        [place], seen = _apart(number, 1), known[0, 0] > 0
        spectra = ((clean[0] + 1) / 2)[:, seen]
        found = []
        for step in CANDIDATES:
            kept, index = float(SCHEDULE.kept[step - 1]), torch.tensor([step - 1])
            noised = Fading(kept, int(model.seed)).faded(clean[0], place)[None]
            guess = model.denoiser(noised, index.to(self._device))[0]
            rebuilt = (SCHEDULE.cleaned(noised, guess, index)[0] + 1) / 2
            found.append(spectral_angle(spectra.T, rebuilt[:, seen].clamp(min=0).T))
        return torch.stack(found), spectra


def _draw_steps(places: int, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw which places are seen early, (place,), and the steps of both views of each.

    Both views are in the same half of all steps, so that half of the places have contrast.
    """
    half = SCHEDULE.steps // 2
    early = torch.rand(places, generator=random) < 1 / 2
    drawn = torch.randint(half, (2, places), generator=random)
    return early, torch.where(early, drawn, drawn + half).flatten()


def _apart_from_others(sample: _Portion, starts: Tensor, side: int) -> Tensor:
    """Tell which places show no pixel in common, and are not of one pair, (place, place).

    ``starts`` are the first pixels (view, place, axis) of their views.
    """
    views, count, _ = starts.shape
    steps = (starts.flatten(0, 1)[:, None] - starts.flatten(0, 1)).abs()
    meet = (steps < side).all(dim=2).view(views, count, views, count).any(dim=2).any(dim=0)
    frame, pair = (torch.tensor([each[at] for each in sample]) for at in (1, 2))
    near = meet & (frame[:, None] == frame)
    return ~near & (pair[:, None] != pair)


def _turned(squares: Tensor, turns: Sequence[int]) -> Tensor:
    """Turn every square (square, band, y, x)."""
    return torch.stack([turn(square, which) for square, which in zip(squares, turns, strict=True)])


def _side(wanted: int, extent: int) -> int:
    """Side of windows that fit: a multiple of that of the squares of attention."""
    return min(wanted, extent // ATTENTION_PX * ATTENTION_PX)


def _cut(square: Tensor, side: int) -> Tensor:
    """Cut a square (1, value, y, x) into whole windows (window, value, side, side)."""
    rows, columns = square.shape[2] // side, square.shape[3] // side
    whole = square[0, :, : rows * side, : columns * side]
    parts = whole.reshape(len(whole), rows, side, columns, side)
    return parts.permute(1, 3, 0, 2, 4).reshape(rows * columns, len(whole), side, side)


def _apart(number: int, windows: int) -> list[Place]:
    """Places of the windows of a crop of the probe, whose noise is theirs alone."""
    return [Place(1024 * number, 1024 * each) for each in range(windows)]
