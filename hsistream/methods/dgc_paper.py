"""Deep Global Clustering as its paper describes it, with its holes filled.

Three strided convolutions run along the wavelengths of every pixel, two of
3 x 3 over the image; unit latents are moved towards their neighbours by a mean
shift and assigned to prototypes by a softmax of cosines. Several losses shape
the latents; the prototypes are no part of the optimiser, but follow the latents
that are assigned to them. The network itself is what is used, so a momentum of
the weights of 0 belongs to this method: it has no teacher.

Where the text is silent or its released code fails, this is done:

* strides of 4, what is left of the bands flattened, a linear layer to 32;
  weights start as for rectifiers [2]_, biases at 0;
* views are turned by right angles and flipped, and shifted by up to two bands
  with the ends repeated. Slight rotations and zooms, as in the text, would match
  pixels by interpolation only; here the shared pixels are matched exactly;
* beyond the edge of a frame its last pixels are repeated, before the first
  convolution, so that a window with a halo gives what the whole frame does. The
  released code has zeros there, also as neighbours in the mean shift;
* balance rewards an even use of the prototypes; without the reward for confidence,
  which is not in the text, the best balance would be to decide nothing. Balance
  and orthogonality are of all pixels of a step, measured on the crops as they are;
* orthogonality is asked of the means towards which the prototypes move: on the
  prototypes themselves it would have no gradient;
* prototypes move by what was seen before the step, so that nothing is computed
  again after it;
* one that wins too few pixels for 100 steps starts anew at the most doubtful
  pixel of a crop of that step.

References
----------
.. [1] Deep Global Clustering for hyperspectral image segmentation,
   arXiv:2512.24172, 2025.
.. [2] K. He et al., "Delving deep into rectifiers", ICCV 2015. arXiv:1502.01852
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as fn

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
from hsistream.network_sections import DgcPaperSection, TrainingSection
from hsistream.nn.augment import TURNS, shift_bands, turn, turn_back
from hsistream.nn.exact import as_array, drawing, encoding, reproducible, without_gradients
from hsistream.nn.learner import Inspection, Mapped
from hsistream.nn.mean_shift import REACH
from hsistream.nn.paper_losses import (
    NEVER,
    Together,
    View,
    assign,
    compactness,
    consistency,
    find_dead,
    follow,
    indecision,
    pull,
    uniformity,
)
from hsistream.nn.paper_network import HALO, PaperNetwork
from hsistream.nn.spectral import PIXELS_AT_ONCE, STRIDE, WIDTH
from hsistream.nn.training import load_average
from hsistream.tiles import Window

LEARNS_FROM: LearnsFrom = "crops"

BAND_SHIFT = 2
"""Largest shift of a view along the bands."""

FOLLOWED_STEPS = 100
"""Steps over which it is judged whether a prototype is dead."""

VIEWS_KEY = 5
"""Sets the random numbers of views apart from those of other uses of a seed."""


def latent_size(settings: DgcPaperSection, features: int) -> int:
    """Count the latents."""
    return WIDTH


def halo(settings: DgcPaperSection) -> int:
    """Tell the halo, px."""
    return HALO


def embedding_size(settings: DgcPaperSection, features: int) -> int:
    """Count the values between the two parts of the encoder."""
    return WIDTH


def training_bytes(settings: DgcPaperSection, features: int) -> int:
    """Memory that one pair of crops needs in a step: both crops, two views, activations."""
    pixels, first_layer = 2 * 64**2, WIDTH * -(-features // STRIDE)
    neighbours = WIDTH * (2 * REACH + 1) ** 2
    return 4 * pixels * (3 * features + 2 * first_layer + neighbours + 16 * WIDTH)


def square_bytes(settings: DgcPaperSection, features: int, pixels: int) -> int:
    """Memory of the layers of the second part for a square of so many pixels."""
    return 4 * pixels * 6 * WIDTH


def train(
    settings: DgcPaperSection, training: TrainingSection, seed: int, material: Material, work: Work
) -> Trained:
    """Train from random weights; see :class:`hsistream.methods.base.Method`."""
    network = _start(settings, seed, material, work.threads).to(work.device)
    learner = _Learner(settings, seed, network, material)
    return train_watched(learner, learner.watch, material.batches, training, work)


def load(settings: DgcPaperSection, standard: Standard, folder: Path, device: str) -> Encoder:
    """Read the network of a training that ended."""
    network = _network(settings, standard.feature_count)
    load_average(folder, network)
    return _Encoder(network.to(device), standard, device)


def _network(settings: DgcPaperSection, features: int) -> PaperNetwork:
    """Make a network of the right shape."""
    prototypes = settings.prototypes or 0
    with drawing(0):  # of layers, whose weights are drawn anew by the network
        return PaperNetwork(features, prototypes, settings.bandwidth, settings.iterations)


def _start(settings: DgcPaperSection, seed: int, material: Material, threads: int) -> PaperNetwork:
    """Make a network of random weights, and put the prototypes where its latents are."""
    network = _network(settings, material.standard.feature_count)
    network.begin(seed)
    if settings.start == "random":
        return network
    found = _reservoir_latents(network, material, threads)
    if len(found):
        centres = torch.from_numpy(kmeans_centres(found, len(network.prototypes), seed))
        # fewer different latents than prototypes: the others stay where chance has put them
        network.prototypes[: len(centres)] = fn.normalize(centres, dim=1)
    return network


def _reservoir_latents(
    network: PaperNetwork, material: Material, threads: int
) -> NDArray[np.float32]:
    """Latents (pixel, latent) of the reservoir, of those pixels that have a direction."""
    spectra = torch.from_numpy(material.reservoir.standardised(material.standard))
    with reproducible(spectra.device, threads) as pool:
        parts = without_gradients(pool)(network.alone, torch.split(spectra, PIXELS_AT_ONCE, 1))
    latents = torch.cat(parts, dim=1).T
    return np.ascontiguousarray(latents[latents.any(dim=1)].numpy())


@dataclass(frozen=True)
class _Seen:
    """A crop as the averaged network sees it.

    ``spectra`` (feature, y, x) are standardised, ``mask`` (y, x) is 1 at valid
    pixels, ``places`` (pixel,) are their places in the crop, and ``shared``
    (pixel,) the numbers of those that the other crop shows too.
    """

    spectra: Tensor
    mask: Tensor
    places: Tensor
    shared: Tensor
    view: View


@dataclass(frozen=True)
class _Pair:
    """Both crops of a pair, and what concerns all pairs of a step."""

    crops: tuple[_Seen, _Seen]
    together: Together


class _Learner:
    """What the training loop asks for; see :class:`hsistream.nn.learner.Learner`."""

    def __init__(
        self, settings: DgcPaperSection, seed: int, network: PaperNetwork, material: Material
    ) -> None:
        self.network, self._settings, self._seed = network, settings, seed
        self._standard, self._device = material.standard, network.prototypes.device
        self.watch = Watch(material.probe, 1)
        self._wins = torch.zeros(FOLLOWED_STEPS, len(network.prototypes))
        self._followed = torch.zeros(len(network.prototypes), dtype=torch.int64)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """All weights decay, the bandwidth does not."""
        bandwidth = self.network.raw_bandwidth
        others = [value for value in self.network.parameters() if value is not bandwidth]
        return [{"params": others}, {"params": [bandwidth], "weight_decay": 0.0}]

    def targets(
        self, average: nn.Module, samples: Sequence[CropPair], mapped: Mapped
    ) -> Sequence[_Pair]:
        """Look at all crops as they are, and judge what concerns them together."""
        network, settings = cast("PaperNetwork", average), self._settings
        seen = mapped(lambda sample: self._look(network, sample), samples)
        views = [[crop.view for crop in crops] for crops in seen]
        weights = settings.balance, settings.orthogonality
        together = Together.of(views, *weights, hard=settings.hard)
        return [_Pair(crops, together) for crops in seen]

    def loss(self, sample: CropPair, target: _Pair, key: tuple[int, int]) -> Tensor:
        """Weighted sum of all losses, on both crops of a pair, each turned and shifted."""
        random = np.random.default_rng((self._seed, VIEWS_KEY, *key))
        latents = [self._changed(crop, random) for crop in target.crops]
        with torch.autocast(self._device.type, enabled=False):
            views = [
                self._view(self.network, *both, crop.places)
                for both, crop in zip(latents, target.crops, strict=True)
            ]
            own = self._own(views, [crop.shared for crop in target.crops], random)
            return own + target.together.loss(views)

    def advance(self, average: nn.Module, targets: Sequence[_Pair], step: int) -> None:
        """Move the prototypes after their pixels, and have those that are dead start anew."""
        views = [crop.view for pair in targets for crop in pair.crops]
        settings, prototypes = self._settings, self.network.prototypes
        moved = follow(prototypes, *pull(views, hard=settings.hard), settings.momentum)
        self._count(views)
        self._revive(moved, views)
        # the loop brings the buffers of the average up to date before this, not after it
        for network in (self.network, cast("PaperNetwork", average)):
            network.prototypes.copy_(moved)

    def inspect(self, average: nn.Module, mapped: Mapped) -> Inspection:
        """Label the probe."""
        network = cast("PaperNetwork", average)
        found = self.watch.look(lambda crop, frame: self._cosines(network, crop, frame), mapped)
        return self.watch.judge(found, network.prototypes.cpu().double().numpy())

    def state(self) -> dict[str, Tensor]:
        """Wins of the prototypes, and what the watch remembers."""
        return {"wins": self._wins, "followed": self._followed, **self.watch.state()}

    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Go back to a state."""
        self._wins.copy_(tensors["wins"])
        self._followed.copy_(tensors["followed"])
        self.watch.load_state(tensors)

    def _look(self, network: PaperNetwork, sample: CropPair) -> tuple[_Seen, _Seen]:
        """Look at both crops of a pair as they are."""
        windows = sample.overlap()
        return (
            self._seen(network, sample.first, sample.frame, windows[0]),
            self._seen(network, sample.second, sample.frame, windows[1]),
        )

    def _seen(self, network: PaperNetwork, crop: Crop, frame: int, window: Window) -> _Seen:
        """Look at a crop of which a window is shared."""
        spectra, mask = self._tensors(crop, frame)
        places = torch.from_numpy(np.flatnonzero(crop.valid)).to(self._device)
        number = np.cumsum(crop.valid).reshape(crop.valid.shape) - 1
        shared = torch.from_numpy(number[window][crop.valid[window]]).to(self._device)
        latents = network.both(_embedded(network, spectra, mask))
        return _Seen(spectra, mask, places, shared, self._view(network, *latents, places))

    def _changed(self, crop: _Seen, random: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Latents (latent, y, x) before and after the mean shift, of a crop changed at random."""
        spectra = shift_bands(crop.spectra, BAND_SHIFT, random)
        which = int(random.integers(TURNS))
        plain, moved = self.network.both(turn(_embedded(self.network, spectra, crop.mask), which))
        return turn_back(plain, which), turn_back(moved, which)

    def _view(self, network: PaperNetwork, plain: Tensor, moved: Tensor, places: Tensor) -> View:
        """Take the pixels at ``places`` (pixel,) of latents (latent, y, x), and assign them."""
        before, after = (latents.flatten(1).T[places] for latents in (plain, moved))
        return assign(before, after, network.prototypes, self._settings.temperature)

    def _own(
        self, views: Sequence[View], shared: Sequence[Tensor], random: np.random.Generator
    ) -> Tensor:
        """Add up the losses that are means over the pixels of a pair."""
        settings, prototypes = self._settings, self.network.prototypes
        matched = [view.logs[numbers] for view, numbers in zip(views, shared, strict=True)]
        loss = settings.consistency * consistency(*matched)
        for view in views:
            loss = loss + settings.compactness * compactness(view.plain, view.shares, prototypes)
            loss = loss + settings.confidence / 2 * indecision(view.logs)
            if settings.uniformity:
                loss = loss + settings.uniformity / 2 * uniformity(view.logs, random)
        return loss

    def _count(self, views: Sequence[View]) -> None:
        """Remember who won how many pixels in this step, and forget the oldest one."""
        wins = torch.stack([view.winners.sum(dim=0) for view in views]).sum(dim=0)
        self._wins.copy_(torch.cat([self._wins[1:], wins.cpu()[None]]))
        self._followed += 1

    def _revive(self, prototypes: Tensor, views: Sequence[View]) -> None:
        """Put dead prototypes onto the most doubtful pixels, one of each crop at most."""
        dead = find_dead(self._wins, self._followed)
        if not len(dead):
            return
        shares, latents = zip(*(view.most_doubtful() for view in views), strict=True)
        order = torch.stack(shares).argsort(stable=True)[: len(dead)]
        order = order[torch.stack(shares)[order] < NEVER]
        chosen = dead[: len(order)]  # the rest waits for the pixels of another step
        prototypes[chosen.to(self._device)] = torch.stack(latents)[order]
        self._followed[chosen] = 0

    def _cosines(self, network: PaperNetwork, crop: Crop, frame: int) -> NDArray[np.float32]:
        """Cosines of a crop's valid pixels with the prototypes, (prototype, pixel)."""
        _, moved = network.both(_embedded(network, *self._tensors(crop, frame)))
        found = network.prototypes @ moved.flatten(1)
        return np.asarray(found.cpu().numpy()[:, crop.valid.ravel()])

    def _tensors(self, crop: Crop, frame: int) -> tuple[Tensor, Tensor]:
        """Standardised spectra (feature, y, x) of a crop, and 1 where it is valid, (y, x)."""
        spectra = self._standard.standardise(crop.spectra, crop.valid, frame)
        mask = torch.from_numpy(crop.valid.astype(np.float32))
        return torch.from_numpy(spectra).to(self._device), mask.to(self._device)


class _Encoder:
    """A trained network; see :class:`hsistream.methods.base.Encoder`."""

    halo, square_px, embedding_size, latent_size = HALO, SQUARE_PX, WIDTH, WIDTH
    gaps: Gaps = "blank"

    def __init__(self, network: PaperNetwork, standard: Standard, device: str) -> None:
        self._network, self._standard, self._device = network, standard, device
        self._scales = torch.from_numpy(standard.scale.astype(np.float32)).to(device)[..., None]

    @torch.inference_mode()
    def embed(self, raw: NDArray[Any], frame: int) -> NDArray[np.float32]:
        """Embed spectra (band, ...) as stored, (32, pixel)."""
        group = int(self._standard.group_of_frame[frame])
        spectra = torch.from_numpy(self._standard.centred(raw, frame)).flatten(1)
        with encoding(self._device):
            found = self._network.embed(spectra.to(self._device) * self._scales[group])
            return np.asarray(found.cpu().numpy())

    @torch.inference_mode()
    def refine(
        self,
        embedded: NDArray[np.float32],
        place: Place = ORIGIN,
        dtype: type[np.floating[Any]] = np.float32,
    ) -> NDArray[Any]:
        """Turn (32, y + 8, x + 8) into latents (latent, y, x)."""
        with encoding(self._device):
            square = torch.from_numpy(embedded).to(self._device)
            return as_array(self._network.refine(square), dtype)


def _embedded(network: PaperNetwork, spectra: Tensor, mask: Tensor) -> Tensor:
    """Embed a crop (feature, y, x), (32, y, x); 0 where ``mask`` (y, x) is 0."""
    return network.embed(spectra.flatten(1)).reshape(-1, *mask.shape) * mask
