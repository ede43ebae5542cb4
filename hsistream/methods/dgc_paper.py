"""Deep Global Clustering as its paper describes it, with its holes filled.

Three strided convolutions run along the wavelengths of every pixel, two of
3 x 3 over the image; unit latents are moved towards their neighbours by a mean
shift and assigned to prototypes by a softmax of cosines. Several losses shape
the latents; the prototypes are no part of the optimiser, but follow the latents
that are assigned to them. The network itself is what is used, so a momentum of
the weights of 0 belongs to this method: it has no teacher.

Where the text is silent or its released code fails, this is done:

* strides of 4, what is left of the bands flattened, a linear layer to 32;
  weights start at the width of their input [2]_, biases at 0;
* views are turned by right angles and flipped, and shifted by up to two bands
  with the ends repeated. Slight rotations and zooms, as in the text, would match
  pixels by interpolation only; here the shared pixels are matched exactly;
* beyond the edge of a frame its last pixels are repeated, in the convolutions
  and in the mean shift, so that a window with a halo gives what the whole frame
  does. The released code has zeros there, which only shorten a mean;
* balance rewards an even use of the prototypes; without a reward for confidence
  (weight 0 is the text) the best balance would be to decide nothing;
* balance and orthogonality are of all pixels of a step together. They are
  linear, at what the averaged network sees of the crops as they are, in the sums
  that each pair adds;
* orthogonality is asked of the means towards which the prototypes move: on the
  prototypes themselves it would have no gradient;
* prototypes move by the latents seen before a step: no second pass;
* one that wins too few pixels for 100 steps starts anew at the most doubtful
  pixel of a crop of that step.

References
----------
.. [1] Deep Global Clustering for hyperspectral image segmentation,
   arXiv:2512.24172, 2025.
.. [2] K. He et al., "Delving deep into rectifiers", ICCV 2015. arXiv:1502.01852
.. [3] M. Assran et al., "Masked siamese networks for label-efficient learning",
   ECCV 2022. arXiv:2204.07141: maximal entropy of the mean assignment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch  # noqa: TID253 the layer of the networks
from numpy.typing import NDArray
from torch import Tensor, nn  # noqa: TID253 the layer of the networks
from torch.nn import functional as fn  # noqa: TID253 the layer of the networks

from hsistream.methods.base import Crop, CropPair, Encoder, Material, Standard, Trained, Work
from hsistream.methods.watching import Watch, kmeans_centres, schedule_of, trained
from hsistream.nn.augment import TURNS, shift_bands, turn, turn_back
from hsistream.nn.exact import reproducible, without_gradients
from hsistream.nn.learner import Inspection, Mapped
from hsistream.nn.loop import fit
from hsistream.nn.mean_shift import REACH, mean_shift
from hsistream.nn.spectral import PIXELS_AT_ONCE, WIDTH, SpectralBranch
from hsistream.nn.training import load_average
from hsistream.sections import DgcPaperSection, TrainingSection

CONVOLVED_PX = 2
"""Pixels that two convolutions of 3 x 3 look around themselves."""

HALO = CONVOLVED_PX + REACH

PORTION_PX = 256
"""Spectra of one call on a CPU; what a layer leaves of more of them leaves the cache too."""

BAND_SHIFT = 2
"""Largest shift of a view along the bands."""

LEAST_MASS = 1e-3
"""A prototype whose pixels weigh less together stays where it is."""

FOLLOWED_STEPS = 100
DEAD_SHARE = 0.1
"""A prototype is dead if it won less than this part of its even share of the pixels."""

VIEWS_KEY = 5
"""Sets the random numbers of views apart from those of other uses of a seed."""

NEVER = 2.0
"""A certainty above all others, for what must not be chosen as doubtful."""


def latent_size(settings: DgcPaperSection, features: int) -> int:
    """Count the latents."""
    return WIDTH


def halo(settings: DgcPaperSection) -> int:
    """Tell the halo, px: of the convolutions and of a mean shift with fixed neighbours."""
    return HALO


def training_bytes(settings: DgcPaperSection, features: int) -> int:
    """Memory that one pair of crops needs in a step: both crops, two views, activations."""
    pixels, lengths = 2 * 64**2, -(-features // 4) + -(-features // 16) + -(-features // 64)
    windows = (2 * REACH + 1) ** 2  # differences to every neighbour, for the gradient
    return 4 * pixels * (3 * features + WIDTH * (lengths + windows + 12))


def train(
    settings: DgcPaperSection, training: TrainingSection, seed: int, material: Material, work: Work
) -> Trained:
    """Train from random weights; see :class:`hsistream.methods.base.Method`."""
    network = _start(settings, seed, material, work.threads).to(work.device)
    learner = _Learner(settings, seed, network, material)
    done = fit(
        learner,
        material.batches,
        schedule_of(training, work.device),
        work.folder,
        fingerprint=work.fingerprint,
        threads=work.threads,
        notify=work.notify,
    )
    return trained(done, learner.watch)


def load(settings: DgcPaperSection, standard: Standard, folder: Path, device: str) -> Encoder:
    """Read the network of a training that ended."""
    network = _Network(settings, standard.feature_count)
    load_average(folder, network)
    return _Encoder(network.to(device), standard, device)


# Losses


def compactness(latents: Tensor, shares: Tensor, prototypes: Tensor) -> Tensor:
    """Mean distance, 1 - cosine, of pixels to their prototypes.

    Parameters
    ----------
    latents : (pixel, latent) Tensor
        Of unit length, before the mean shift.
    shares : (pixel, prototype) Tensor
        Assignment; rows sum to 1.
    prototypes : (prototype, latent) Tensor
        Of unit length.
    """
    return _mean((shares * (1 - latents @ prototypes.T).clamp_min(0)).sum(dim=1))


def consistency(first: Tensor, second: Tensor) -> Tensor:
    """Symmetric divergence of two assignments of the same pixels, mean over them.

    Both are the logarithms of shares, (pixel, prototype).
    """
    return _mean(((first.exp() - second.exp()) * (first - second)).sum(dim=1)) / 2


def indecision(logs: Tensor) -> Tensor:
    """Mean entropy of the assignment of a pixel, from logarithms (pixel, prototype)."""
    return _mean(-(logs.exp() * logs).sum(dim=1))


def imbalance(usage: Tensor) -> Tensor:
    """Tell how far usages are from even: log K minus their entropy, 0 if they are even.

    ``usage`` (..., prototype) sums to 1 over the prototypes.
    """
    logs = usage.clamp_min(torch.finfo(usage.dtype).tiny).log()
    return float(np.log(usage.shape[-1])) + (usage * logs).sum(dim=-1)


def orthogonality(directions: Tensor) -> Tensor:
    """Sum of squared cosines between unit directions (prototype, latent); 0 if orthogonal."""
    unit = torch.eye(len(directions), device=directions.device)
    return (directions @ directions.T - unit).square().sum()


def uniformity(logs: Tensor, random: np.random.Generator) -> Tensor:
    """Cross-entropy towards random labels of even sizes, from logarithms (pixel, prototype).

    It asks every pixel to decide nothing. Part of the released code only.
    """
    labels = random.permutation(np.arange(len(logs)) % logs.shape[1])
    chosen = torch.from_numpy(labels).to(logs.device)[:, None]
    return _mean(-logs.gather(1, chosen).clamp_min(float(np.log(1e-6))))


# Prototypes


def follow(prototypes: Tensor, pulls: Tensor, masses: Tensor, momentum: float) -> Tensor:
    """Move unit prototypes (prototype, latent) towards the means of their pixels.

    Parameters
    ----------
    prototypes : (prototype, latent) Tensor
        Where they are.
    pulls : (prototype, latent) Tensor
        Unit latents of the pixels, each weighted by its share, summed.
    masses : (prototype,) Tensor
        Sums of the weights.
    momentum : float
        Part of a prototype that stays.

    Returns
    -------
    (prototype, latent) Tensor
        Of unit length; one with a mass below ``LEAST_MASS`` has not moved.
    """
    means = pulls / masses.clamp_min(LEAST_MASS)[:, None]
    moved = fn.normalize(momentum * prototypes + (1 - momentum) * means, dim=1)
    return torch.where(masses[:, None] >= LEAST_MASS, moved, prototypes)


def find_dead(wins: Tensor, followed: Tensor) -> Tensor:
    """Number the prototypes that won too few pixels, (dead,).

    ``wins`` (step, prototype) are the pixels that each won in the last steps;
    ``followed`` (prototype,) tells for how many steps each has been where it is.
    """
    least = DEAD_SHARE / wins.shape[1] * wins.sum()
    return ((followed >= len(wins)) & (wins.sum(dim=0) < least)).nonzero()[:, 0]


class _Network(nn.Module):
    """Convolutions along wavelength and over the image, mean shift; and the prototypes.

    The prototypes are a buffer: they are kept with the weights, and not trained.
    """

    prototypes: Tensor

    def __init__(self, settings: DgcPaperSection, features: int) -> None:
        super().__init__()
        self.branch = SpectralBranch(features, WIDTH)
        self.first = nn.Conv2d(WIDTH, WIDTH, 3)
        self.second = nn.Conv2d(WIDTH, WIDTH, 3)
        inverse = settings.bandwidth + np.log(-np.expm1(-settings.bandwidth))
        self.raw_bandwidth = nn.Parameter(torch.tensor(inverse, dtype=torch.float32))
        self.register_buffer("prototypes", torch.zeros(settings.prototypes or 0, WIDTH))
        self._iterations = settings.iterations

    def bandwidth(self) -> Tensor:
        """Width of the kernel of the mean shift, above 0."""
        return fn.softplus(self.raw_bandwidth)

    def embed(self, spectra: Tensor) -> Tensor:
        """Embed standardised spectra (feature, pixel), (32, pixel)."""
        portion = PORTION_PX if spectra.device.type == "cpu" else PIXELS_AT_ONCE
        return torch.cat([self.branch(part) for part in spectra.split(portion, dim=1)], dim=1)

    def look_around(self, embedded: Tensor) -> Tensor:
        """Turn (32, y + 4, x + 4) into unit latents before the mean shift, (latent, y, x)."""
        found = torch.relu(self.second(torch.relu(self.first(embedded[None]))))[0]
        return fn.normalize(found.float(), dim=0)

    def settle(self, latents: Tensor) -> Tensor:
        """Move unit latents (latent, y + 4, x + 4) by the mean shift, (latent, y, x)."""
        return fn.normalize(mean_shift(latents, self.bandwidth(), self._iterations), dim=0)

    def refine(self, embedded: Tensor) -> Tensor:
        """Turn (32, y + 2 halo, x + 2 halo) into unit latents (latent, y, x)."""
        return self.settle(self.look_around(embedded))

    def both(self, embedded: Tensor) -> tuple[Tensor, Tensor]:
        """Latents (latent, y, x) of a crop before and after the mean shift; edges are repeated."""
        around = self.look_around(fn.pad(embedded[None], (HALO,) * 4, mode="replicate")[0])
        return around[:, REACH:-REACH, REACH:-REACH], self.settle(around)

    def alone(self, spectra: Tensor) -> Tensor:
        """Latents (latent, pixel) of spectra (feature, pixel), each as if all around were alike."""
        found = self.embed(spectra)
        for layer in (self.first, self.second):
            found = torch.relu(layer.weight.sum(dim=(2, 3)) @ found + layer.bias[:, None])  # type: ignore[index]  # both have one
        return fn.normalize(found, dim=0)


def _start(settings: DgcPaperSection, seed: int, material: Material, threads: int) -> _Network:
    """Make a network of random weights, and put the prototypes where its latents are."""
    network = _Network(settings, material.standard.feature_count)
    with torch.random.fork_rng(devices=()), torch.no_grad():
        torch.manual_seed(seed)
        for layer in network.modules():
            if isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                cast(Tensor, layer.bias).zero_()
        network.prototypes.copy_(fn.normalize(torch.randn_like(network.prototypes), dim=1))
        if settings.start == "reservoir":
            found = _reservoir_latents(network, material, threads)
            centres = torch.from_numpy(kmeans_centres(found, len(network.prototypes), seed))
            # a reservoir of fewer different latents leaves the others where chance has put them
            network.prototypes[: len(centres)] = fn.normalize(centres, dim=1)
    return network


def _reservoir_latents(
    network: _Network, material: Material, threads: int
) -> NDArray[np.float32]:
    """Latents (pixel, latent) of the reservoir; a pixel that no unit answers to has none."""
    spectra = torch.from_numpy(material.reservoir.standardised(material.standard))
    with reproducible(spectra.device, threads) as pool:
        parts = without_gradients(pool)(network.alone, spectra.split(PIXELS_AT_ONCE, dim=1))
    latents = torch.cat(parts, dim=1).T
    return np.ascontiguousarray(latents[latents.any(dim=1)].numpy())


@dataclass(frozen=True)
class _View:
    """The valid pixels of a crop, as a network sees them.

    ``plain`` and ``moved`` (pixel, latent) are unit latents before and after the
    mean shift; ``logs`` (pixel, prototype) the logarithms of the shares.
    """

    plain: Tensor
    moved: Tensor
    logs: Tensor

    def pull(self, *, hard: bool) -> tuple[Tensor, Tensor]:
        """Sum latents by shares, or by who wins: (prototype, latent), and weights (prototype,)."""
        weights = self.wins() if hard else self.logs.exp()
        return weights.T @ self.moved, weights.sum(dim=0)

    def wins(self) -> Tensor:
        """Give every pixel to its best prototype, (pixel, prototype) of 0 and 1."""
        return fn.one_hot(self.logs.argmax(dim=1), self.logs.shape[1]).to(self.logs.dtype)

    def most_doubtful(self) -> tuple[Tensor, Tensor]:
        """Largest share () and latent (latent,) of the pixel whose largest share is least."""
        shares = self.logs.exp().amax(dim=1).masked_fill(~self.moved.any(dim=1), NEVER)
        shares = torch.cat([shares, shares.new_full((1,), NEVER)])
        return shares.min(), torch.cat([self.moved, self.moved[:1] * 0])[shares.argmin()]


@dataclass(frozen=True)
class _Together:
    """Losses of all pixels of a step, and their slopes along the sums of which they are made.

    ``usage`` (crop, prototype) and ``pulls`` (prototype, latent) are those slopes.
    """

    value: Tensor
    usage: Tensor
    pulls: Tensor
    pairs: int

    def of(self, views: Sequence[_View], *, hard: bool) -> Tensor:
        """Tell the loss, with the gradient along what one of the pairs adds."""
        usage = torch.stack([view.logs.exp().sum(dim=0) for view in views])
        pulls = sum(view.pull(hard=hard)[0] for view in views)
        own = (self.usage * usage).sum() + (self.pulls * pulls).sum()
        return self.value + self.pairs * (own - own.detach())
