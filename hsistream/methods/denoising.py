"""What networks share that learn to take noise out of squares of a scene.

How they see spectra, which squares they learn from, and how what is found inside of
them becomes latents.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from torch import Tensor, nn

from hsistream.methods.base import Crop, Place, Standard
from hsistream.network_sections import DenoiserSection
from hsistream.nn.noise import field_noise
from hsistream.nn.principal import Part, principal_map

LEAST_VALID = 0.75
"""Share of valid pixels of a square that is learnt from, where one of some draws has it."""
DRAWS = 4

LENGTH = 0.5
"""Root of the mean square of the length of components: shorter ones are less bent by the lift."""

Squares = tuple[Tensor, Tensor]
"""Squares (square, band, y, x) from -1 to 1, and which of their pixels have data
(square, 1, y, x), 1 or 0."""


FEW_BANDS = 3
"""Up to so many values, a spectrum of zeros may be one that was measured."""


def shown(clean: Tensor) -> Tensor:
    """Tell where a square (band, y, x) shows anything, (y, x): far from all data, spectra are 0."""
    if len(clean) <= FEW_BANDS:
        return torch.ones_like(clean[0], dtype=torch.bool)
    return (clean != 0).any(dim=0)


class Projection(nn.Module):
    """Principal components of features, turned and lifted onto the unit sphere.

    ``matrix`` (component, feature) and ``offset`` (component,) are buffers: measured,
    kept with the weights and not trained.
    """

    matrix: Tensor
    offset: Tensor

    def __init__(self, components: int, features: int) -> None:
        super().__init__()
        self.register_buffer("matrix", torch.zeros(components, features))
        self.register_buffer("offset", torch.zeros(components))

    def forward(self, features: Tensor) -> Tensor:
        """Project features (feature, pixel), (latent, pixel): one latent more than components."""
        scores = torch.addmm(self.offset[:, None], self.matrix, features)
        lifted = torch.cat([scores, torch.ones_like(scores[:1])])
        return nn.functional.normalize(lifted, dim=0)

    def fit(self, sampled: Tensor, settings: DenoiserSection, own: int) -> None:
        """Project by the principal components of features (feature, pixel) from now on.

        The last ``own`` of them are the spectrum of the pixel itself.
        """
        if not sampled.shape[1]:  # nothing had data
            sampled = sampled.new_zeros(len(sampled), 1)
        seen, count = sampled.cpu().numpy(), len(self.offset)
        share = settings.own_share
        parts = Part(len(seen) - own, 1 - share), Part(own, share, even=True)
        found = principal_map(seen, count, whiten=settings.whiten, parts=parts)
        self.matrix.copy_(torch.from_numpy(found.matrix) * LENGTH)
        self.offset.copy_(torch.from_numpy(found.offset) * LENGTH)


@dataclass(frozen=True)
class Fading:
    """What a clean spectrum is like when it is encoded.

    Parameters
    ----------
    kept : float
        Share of its variance that is left.
    seed : int, optional
        Of the field of noise that is added; None: nothing is added.
    """

    kept: float
    seed: int | None

    def faded(self, clean: Tensor, place: Place) -> Tensor:
        """Bring a square (band, y, x), whose first pixel is at a place, to the step of encoding.

        Where it is 0, far from all data, no noise is added.
        """
        found: Tensor = clean * self.kept**0.5
        if self.seed is None:
            return found
        origin, shape = (place.row, place.column), (clean.shape[1], clean.shape[2])
        noise = field_noise(origin, shape, len(clean), self.seed)
        added = torch.from_numpy(noise).to(clean.device) * shown(clean)
        found += added * (1 - self.kept) ** 0.5
        return found


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
    settings: DenoiserSection, standard: Standard, raw: NDArray[Any], frame: int
) -> NDArray[np.float32]:
    """Bring spectra (band, ...) to the range from -1 to 1, and average bands."""
    values = standard.in_range(raw, frame)
    with np.errstate(invalid="ignore", over="ignore"):  # pixels without data hold anything
        values *= 2
        values -= 1
        return band_means(values, settings.band_means(len(values)))


def gaps_filled(spectra: NDArray[np.float32], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Give pixels of (band, y, x) without data the spectrum of the nearest with data, or else 0."""
    if valid.all():
        return spectra
    if not valid.any():
        return np.zeros_like(spectra)
    nearest = distance_transform_edt(~valid, return_distances=False, return_indices=True)
    return np.asarray(spectra[:, *nearest])


def draw_corner(valid: NDArray[np.bool_], side: int, random: torch.Generator) -> tuple[int, int]:
    """Draw the first pixel of a square in a crop, of several the first with enough data."""
    room = torch.tensor(valid.shape) - side + 1
    drawn = (torch.rand(DRAWS, 2, generator=random, dtype=torch.float64) * room).long().tolist()
    shares = [valid[top : top + side, left : left + side].mean() for top, left in drawn]
    best = int(np.argmax(np.minimum(shares, LEAST_VALID)))
    return drawn[best][0], drawn[best][1]


def cut_squares(
    settings: DenoiserSection,
    standard: Standard,
    crops: Sequence[tuple[Crop, int]],
    corners: Sequence[tuple[int, int]],
    side: int,
) -> Squares:
    """Cut a square out of each crop, of a frame each, and fill its gaps."""
    shown, known = [], []
    for (crop, frame), (top, left) in zip(crops, corners, strict=True):
        window = slice(top, top + side), slice(left, left + side)
        valid = crop.valid[window]
        spectra = embed_spectra(settings, standard, crop.spectra[:, *window], frame)
        shown.append(gaps_filled(spectra, valid))
        known.append(valid[None])
    return torch.from_numpy(np.stack(shown)), torch.from_numpy(np.stack(known).astype(np.float32))


def some_pixels(features: Tensor, valid: Tensor, count: int, seed: int) -> Tensor:
    """Draw the features (feature, pixel) of valid pixels (y, x) of a square (feature, y, x)."""
    random = torch.Generator().manual_seed(seed)
    places = torch.nonzero(valid.flatten())[:, 0].cpu()
    order = torch.randperm(len(places), generator=random)[:count]
    return features.flatten(1)[:, places[order].to(features.device)]
