"""Deep Global Clustering, made robust.

A network sees pairs of overlapping crops. A slowly moving average of itself,
the teacher, assigns the pixels of one crop to prototypes; the student must give
the same pixels, seen in the other crop under another light, the same assignment.
The start is k-means on principal components, so that nothing is learnt from
chance, and the spatial part begins as zero. There are more prototypes than
clusters; they are merged afterwards (:mod:`hsistream.graph.merging`).

Against the paper: pixels of the overlap are matched exactly, one cross-entropy
takes the place of four antagonistic losses, the moving average is of weights
and not of assigned means, there is no mean shift, and a training that collapses
is noticed and taken back. Why is told in ``docs/explanation/dgc.md``.

References
----------
.. [1] Deep Global Clustering for hyperspectral image segmentation,
   arXiv:2512.24172, 2025.
.. [2] M. Caron et al., "Unsupervised learning of visual features by contrasting
   cluster assignments", NeurIPS 2020. arXiv:2006.09882
.. [3] M. Caron et al., "Emerging properties in self-supervised vision
   transformers", ICCV 2021. doi:10.1109/ICCV48922.2021.00951
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as fn

from hsistream.illumination import brightness_feature
from hsistream.methods.base import (
    ORIGIN,
    SQUARE_PX,
    Crop,
    CropPair,
    Encoder,
    Gaps,
    LearnsFrom,
    Material,
    Place,
    Standard,
    Trained,
    Work,
)
from hsistream.methods.watching import Watch, kmeans_centres, train_watched
from hsistream.network_sections import DgcSection, TrainingSection
from hsistream.nn.assignment import balanced_targets, repulsion, swapped_loss
from hsistream.nn.augment import (
    TURNS,
    add_noise,
    brighten,
    draw_noise,
    drop_bands,
    shift_bands,
    turn,
    turn_back,
)
from hsistream.nn.dgc_network import HALO, DgcNetwork, component_count
from hsistream.nn.exact import as_array, drawing, encoding
from hsistream.nn.learner import Inspection, Mapped
from hsistream.nn.spectral import WIDTH
from hsistream.nn.training import load_average
from hsistream.tiles import Window

LEARNS_FROM: LearnsFrom = "crops"

USAGE_MOMENTUM = 0.98
GUARD_ENTROPY = 0.8
"""Share of the start's usage entropy below which the guard balances the targets."""


def latent_size(settings: DgcSection, features: int) -> int:
    """Count the latents: the scores and the lift onto the sphere."""
    return component_count(settings, features) + 1


embedding_size = latent_size


def halo(settings: DgcSection) -> int:
    """Tell the halo, px."""
    return HALO


def training_bytes(settings: DgcSection, features: int) -> int:
    """Memory that one pair of crops needs in a step: both crops, two views, activations."""
    pixels = 2 * 64**2
    wide = settings.hidden + 3 * latent_size(settings, features) + 3 * (settings.prototypes or 64)
    lengths = -(-features // 4) + -(-features // 16) + -(-features // 64)
    branch = 2 * WIDTH * lengths if settings.spectral_branch else 0
    return 4 * pixels * (6 * features + 4 * wide + branch)


def square_bytes(settings: DgcSection, features: int, pixels: int) -> int:
    """Memory of the layers of the second part for a square of so many pixels."""
    return 4 * pixels * (2 * settings.hidden + 4 * latent_size(settings, features))


def train(
    settings: DgcSection, training: TrainingSection, seed: int, material: Material, work: Work
) -> Trained:
    """Train from k-means on principal components; see :class:`hsistream.methods.base.Method`."""
    network = _start(settings, seed, material).to(work.device)
    learner = _Learner(settings, seed, network, material)
    return train_watched(learner, learner.watch, material.batches, training, work)


def load(settings: DgcSection, standard: Standard, folder: Path, device: str) -> Encoder:
    """Read the averaged network of a training that ended."""
    network = _network(settings, standard.feature_count, 0)
    load_average(folder, network)
    return _Encoder(network.to(device), standard, device)


def _network(settings: DgcSection, features: int, seed: int) -> DgcNetwork:
    """Make a network of random weights, and leave the random numbers of others alone."""
    with drawing(seed):
        return DgcNetwork(settings, features, settings.prototypes or 0)


def _start(settings: DgcSection, seed: int, material: Material) -> DgcNetwork:
    """Make the network that equals k-means on principal components."""
    standard, wanted = material.standard, settings.prototypes or 0
    size = component_count(settings, standard.feature_count)
    directions, variance = standard.directions[:, :size], standard.variance[:size]
    spectra = material.reservoir.standardised(standard)
    stem = (directions / np.sqrt(variance.sum())).T.astype(np.float32)
    scores = np.zeros((size, spectra.shape[1]), np.float32)
    scores[: len(stem)] = stem @ spectra
    lifted = np.concatenate([scores, np.ones_like(scores[:1])])
    lifted /= np.linalg.norm(lifted, axis=0)
    centres = kmeans_centres(lifted.T, wanted, seed)
    # a reservoir of fewer kinds of pixels has fewer centres: some are there twice
    centres = np.resize(centres, (wanted, size + 1))
    network = _network(settings, standard.feature_count, seed)
    with torch.no_grad():
        network.stem.weight.zero_()[: len(stem)] = torch.from_numpy(stem)
        network.stem.bias.zero_()
        network.prototypes.copy_(fn.normalize(torch.from_numpy(centres), dim=1))
        lasts = [network.narrow, *([network.branch.last] if network.branch else [])]
        for parameter in (each for last in lasts for each in last.parameters()):
            parameter.zero_()
    return network


@dataclass(frozen=True)
class _Seen:
    """A pair of crops as the teacher sees it: what a target is made from, and the target.

    ``spectra`` (feature, y, x) are of the whole crops; ``windows`` and
    ``pixels`` (pixel,) say where the shared pixels with data are; ``scores`` and
    ``targets`` are (pixel, prototype) of those. Lists have one entry per crop.
    """

    sample: CropPair
    spectra: list[Tensor]
    windows: tuple[Window, Window]
    pixels: Tensor
    scores: list[Tensor]
    targets: list[Tensor]


class _Learner:
    """What the training loop asks for; see :class:`hsistream.nn.learner.Learner`."""

    def __init__(
        self, settings: DgcSection, seed: int, network: DgcNetwork, material: Material
    ) -> None:
        self.network, self._settings, self._seed = network, settings, seed
        self._standard = material.standard
        self._device = network.prototypes.device
        shift = material.standard.mean * material.standard.scale
        self._offsets = torch.from_numpy(shift.astype(np.float32)).to(self._device)
        self._noise = draw_noise(seed, self._device)
        self.watch = Watch(material.probe, settings.least or 1)
        self._usage = torch.full((len(network.prototypes),), 1 / len(network.prototypes))
        self._balances = torch.tensor(settings.targets == "sinkhorn")

    def parameter_groups(self) -> list[dict[str, Any]]:
        """All but the prototypes decay, and the stem is part of it only if it is trained."""
        others = [
            value
            for name, value in self.network.named_parameters()
            if name != "prototypes" and value.requires_grad
        ]
        return [{"params": others}, {"params": [self.network.prototypes], "weight_decay": 0.0}]

    def targets(
        self, average: nn.Module, samples: Sequence[CropPair], mapped: Mapped
    ) -> Sequence[_Seen]:
        """Let the teacher assign the shared pixels of every pair."""
        seen = mapped(lambda sample: self._look(average, sample), samples)
        make = self._balanced if bool(self._balances) else self._sharpened
        return make(seen)

    def loss(self, sample: CropPair, target: _Seen, key: tuple[int, int]) -> Tensor:
        """Compare student and swapped targets on shared pixels, each crop under another light."""
        if target.pixels.numel() == 0:
            return 0.0 * self.network.prototypes.sum()
        random = np.random.default_rng((self._seed, 4, *key))
        latents = [self._student(target, view, random) for view in (0, 1)]
        cold = self._settings.student_temperature
        logits = [
            _shared(self.network.cosines(found), window, target.pixels) / cold
            for found, window in zip(latents, target.windows, strict=True)
        ]
        loss = swapped_loss(logits, target.targets)
        if self._settings.repulsion:
            loss = loss + self._settings.repulsion * repulsion(self.network.unit_prototypes())
        if self.network.undo is not None:
            loss = loss + self._settings.reconstruction * self._lost(target, latents)
        return loss

    def advance(self, average: nn.Module, targets: Sequence[_Seen], step: int) -> None:
        """Follow the usage of the prototypes, and balance the targets once it becomes uneven."""
        chosen = [scores.argmax(dim=1) for seen in targets for scores in seen.scores]
        counts = torch.bincount(torch.cat(chosen), minlength=len(self._usage)).cpu().float()
        if counts.sum():
            self._usage.lerp_(counts / counts.sum(), 1 - USAGE_MOMENTUM)
        if self._settings.guard and self.watch.entropy_share(self._usage) < GUARD_ENTROPY:
            self._balances.fill_(True)

    def inspect(self, average: nn.Module, mapped: Mapped) -> Inspection:
        """Label the probe with the teacher."""
        found = self.watch.look(lambda crop, frame: self._label(average, crop, frame), mapped)
        prototypes = average.unit_prototypes()  # type: ignore[operator]  # nn.Module hides it
        inspection = self.watch.judge(found, prototypes.cpu().double().numpy())
        if self.watch.checks == 1:
            self._usage.copy_(torch.from_numpy(self.watch.shares()))
        return inspection

    def state(self) -> dict[str, Tensor]:
        """Usage, guard, and what the watch remembers."""
        return {"usage": self._usage, "balances": self._balances, **self.watch.state()}

    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Go back to a state."""
        self._usage.copy_(tensors["usage"])
        self._balances.copy_(tensors["balances"])
        self.watch.load_state(tensors)

    def _look(self, average: nn.Module, sample: CropPair) -> _Seen:
        """Show the teacher both crops of a pair as they are."""
        crops, windows = (sample.first, sample.second), sample.overlap()
        pixels = self._tensor(np.flatnonzero(crops[0].valid[windows[0]]))
        spectra, scores = [], []
        for crop, window in zip(crops, windows, strict=True):
            standardised = self._standard.standardise(crop.spectra, crop.valid, sample.frame)
            spectra.append(self._tensor(standardised))
            latents = _latents(average, spectra[-1], self._mask(crop))
            scores.append(_shared(average.cosines(latents), window, pixels))  # type: ignore[operator]
        return _Seen(sample, spectra, windows, pixels, scores, [])

    def _sharpened(self, seen: Sequence[_Seen]) -> list[_Seen]:
        """Sharpen what the teacher says of each pixel."""
        warm = self._settings.teacher_temperature
        return [
            replace(pair, targets=[fn.softmax(part.float() / warm, dim=1) for part in pair.scores])
            for pair in seen
        ]

    def _balanced(self, seen: Sequence[_Seen]) -> list[_Seen]:
        """Balance what the teacher says over all pixels of a step."""
        shares = (self._usage**self._settings.balance).to(self._device)
        scores = [part for pair in seen for part in pair.scores]
        warm = self._settings.teacher_temperature
        found = balanced_targets(torch.cat(scores), shares / shares.sum(), warm)
        parts = torch.split(found, [len(part) for part in scores])
        return [
            replace(pair, targets=list(parts[2 * number : 2 * number + 2]))
            for number, pair in enumerate(seen)
        ]

    def _student(self, seen: _Seen, view: int, random: np.random.Generator) -> Tensor:
        """Latents (latent, y, x) of a crop under another light, computed after a turn."""
        crop = (seen.sample.first, seen.sample.second)[view]
        changed = self._changed(seen.spectra[view], seen.sample.frame, random)
        which = int(random.integers(TURNS))
        scores = turn(_scores(self.network, changed, self._mask(crop)), which)
        return turn_back(self.network.latents(scores), which)

    def _changed(self, spectra: Tensor, frame: int, random: np.random.Generator) -> Tensor:
        """Change the light of standardised spectra (feature, y, x), add noise, spoil bands."""
        settings = self._settings
        if settings.gain:
            gain = float(np.exp(random.normal(0, settings.gain)))
            spectra = self._brightened(spectra, frame, gain)
        if settings.noise:
            spectra = add_noise(spectra, settings.noise, self._noise, random)
        if settings.band_shift:
            bands = int(self._standard.good.sum())  # a brightness after them is none
            shifted = shift_bands(spectra[:bands], settings.band_shift, random)
            spectra = torch.cat([shifted, spectra[bands:]])
        if settings.band_dropout:
            spectra = drop_bands(spectra, settings.band_dropout, random)
        return spectra

    def _brightened(self, spectra: Tensor, frame: int, gain: float) -> Tensor:
        """Multiply the light by a gain: all features, or only the one that holds the brightness."""
        standard = self._standard
        group = int(standard.group_of_frame[frame])
        if standard.illumination == "none":
            return brighten(spectra, self._offsets[group], gain)
        place = brightness_feature(standard.illumination, int(standard.good.sum()))
        if place is None:
            return spectra
        step = torch.zeros(len(spectra), 1, 1, device=self._device)
        step[place] = float(np.log(gain) * standard.scale[group, place])
        return spectra + step

    def _lost(self, seen: _Seen, latents: Sequence[Tensor]) -> Tensor:
        """Mean squared error of the standardised spectra, read back from latents linearly."""
        assert self.network.undo is not None, "asked for by the settings"
        known = [self._tensor(crop.valid) for crop in (seen.sample.first, seen.sample.second)]
        parts = [
            fn.mse_loss(self.network.undo(found[:, mask].T), spectra[:, mask].T)
            for found, spectra, mask in zip(latents, seen.spectra, known, strict=True)
        ]
        return (parts[0] + parts[1]) / 2

    def _label(self, average: nn.Module, crop: Crop, frame: int) -> NDArray[np.float32]:
        """Cosines of a crop's pixels with the teacher's prototypes, (prototype, pixel)."""
        spectra = self._tensor(self._standard.standardise(crop.spectra, crop.valid, frame))
        found = average.cosines(_latents(average, spectra, self._mask(crop)))  # type: ignore[operator]
        return np.asarray(found.cpu().numpy()[:, crop.valid.ravel()])

    def _mask(self, crop: Crop) -> Tensor:
        return self._tensor(crop.valid.astype(np.float32))

    def _tensor(self, values: NDArray[Any]) -> Tensor:
        return torch.from_numpy(values).to(self._device)


class _Encoder:
    """A trained network; see :class:`hsistream.methods.base.Encoder`."""

    halo, square_px = HALO, SQUARE_PX
    gaps: Gaps = "blank"

    def __init__(self, network: DgcNetwork, standard: Standard, device: str) -> None:
        self._network, self._standard, self._device = network, standard, device
        self.embedding_size = network.stem.out_features
        self.latent_size = self.embedding_size + 1
        # the scale of the bands is part of the stem's matrix: one pass less over all bands
        scale = torch.from_numpy(standard.scale.astype(np.float32)).to(device)
        self._scales = scale[:, :, None]
        self._stems = network.stem.weight[None] * scale[:, None]

    @torch.inference_mode()
    def embed(self, raw: NDArray[Any], frame: int) -> NDArray[np.float32]:
        """Score spectra (band, ...) as stored, (component, pixel)."""
        group = int(self._standard.group_of_frame[frame])
        spectra = torch.from_numpy(self._standard.centred(raw, frame))
        with encoding(self._device):
            centred = spectra.to(self._device).flatten(1)
            if self._network.branch is not None:
                return as_array(self._network.embed(centred * self._scales[group]), np.float32)
            found = torch.addmm(self._network.stem.bias[:, None], self._stems[group], centred)
            return as_array(found, np.float32)

    @torch.inference_mode()
    def refine(
        self,
        embedded: NDArray[np.float32],
        place: Place = ORIGIN,
        dtype: type[np.floating[Any]] = np.float32,
    ) -> NDArray[Any]:
        """Turn scores (component, y + 4, x + 4) into latents (latent, y, x)."""
        with encoding(self._device):
            square = torch.from_numpy(embedded).to(self._device)
            return as_array(self._network.refine(square), dtype)


def _scores(network: nn.Module, spectra: Tensor, valid: Tensor) -> Tensor:
    """Score a crop (feature, y, x), (component, y, x); 0 where ``valid`` (y, x) is 0."""
    flat = network.embed(spectra.flatten(1))  # type: ignore[operator]  # nn.Module hides it
    scores: Tensor = flat.reshape(-1, *valid.shape) * valid
    return scores


def _latents(network: nn.Module, spectra: Tensor, valid: Tensor) -> Tensor:
    """Latents (latent, y, x) of a crop (feature, y, x)."""
    found: Tensor = network.latents(_scores(network, spectra, valid))  # type: ignore[operator]
    return found


def _shared(values: Tensor, window: Window, pixels: Tensor) -> Tensor:
    """Take the shared pixels from values (prototype, pixel of a crop), (pixel, prototype)."""
    side = int(values.shape[1] ** 0.5)
    inside = values.reshape(len(values), side, side)[:, window[0], window[1]]
    return inside.flatten(1).T[pixels]
