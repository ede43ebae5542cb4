"""Views of a crop: changes of light, noise, and turns that keep the pixel grid.

Only integer turns and flips, so that the pixels of two views are matched by
index arithmetic, without interpolation. All randomness comes from a generator
that the caller seeds.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

NOISE_LENGTH = 2**22 + 15
"""Values of noise that are drawn; odd, so that pieces do not line up with the pixels again."""

TURNS = 8
"""Rotations by right angles, and the same after a flip."""


def turn(values: Tensor, which: int) -> Tensor:
    """Rotate (..., y, x) by ``which % 4`` right angles, after a flip if ``which`` is 4 or more."""
    flipped = values.flip(-1) if which >= TURNS // 2 else values
    return torch.rot90(flipped, which % 4, (-2, -1))


def turn_back(values: Tensor, which: int) -> Tensor:
    """Undo :func:`turn`."""
    straight = torch.rot90(values, -(which % 4), (-2, -1))
    return straight.flip(-1) if which >= TURNS // 2 else straight


def brighten(spectra: Tensor, offset: Tensor, gain: float) -> Tensor:
    """Change the light of standardised spectra (feature, ...) by a factor, as if before it.

    ``offset`` (feature,) is the standardised place of a feature of value 0,
    negated: with z = (x - m) s, the spectrum g x has ``g z + (g - 1) m s``.
    """
    return torch.add(spectra * gain, offset.reshape(-1, *(1,) * (spectra.ndim - 1)), alpha=gain - 1)


def draw_noise(seed: int, device: torch.device) -> Tensor:
    """Draw a long row of unit Gaussian noise, from which views take pieces.

    Drawing it anew for every value of every view took a third of a step.
    """
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(NOISE_LENGTH, generator=generator).to(device)


def add_noise(
    spectra: Tensor, deviation: float, noise: Tensor, random: np.random.Generator
) -> Tensor:
    """Add Gaussian noise to every value: a piece of ``noise`` (value,) from a random place on."""
    times = -(-2 * spectra.numel() // len(noise))
    row = noise.repeat(times) if times > 1 else noise
    start = int(random.integers(len(row) - spectra.numel()))
    piece = row[start : start + spectra.numel()].view(spectra.shape)
    return torch.add(spectra, piece, alpha=deviation)


def drop_bands(spectra: Tensor, share: float, random: np.random.Generator) -> Tensor:
    """Set features (feature, ...) to their mean, each with a probability of ``share``."""
    kept = torch.from_numpy((random.random(len(spectra)) >= share).astype(np.float32))
    return spectra * kept.to(spectra.device).reshape(-1, *(1,) * (spectra.ndim - 1))


def shift_bands(spectra: Tensor, most: int, random: np.random.Generator) -> Tensor:
    """Shift (feature, ...) by up to ``most`` places; the ends are repeated, never wrapped."""
    places = np.arange(len(spectra)) + int(random.integers(-most, most + 1))
    chosen = torch.from_numpy(places.clip(0, len(spectra) - 1))
    return spectra.index_select(0, chosen.to(spectra.device))
