"""Time steps at which a denoiser is looked at, chosen by how far spectra are turned.

At each of some candidate steps, spectra are rebuilt from one guess of the noise; the
angle to the true spectrum tells what has been lost. The chosen steps are as far apart
in that angle, not in steps.

References
----------
.. [1] F. A. Kruse et al., "The spectral image processing system (SIPS)",
   Remote Sensing of Environment 44, 145-163, 1993. doi:10.1016/0034-4257(93)90013-N
.. [2] Y. Zhu and L. Xu, "Spatial-spectral diffusion contrastive representation network
   for hyperspectral image classification", arXiv:2502.19699, 2025: chooses steps by
   spectral angles; the rule here is ours.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

STEPS = 1000
"""Steps of the schedule that the candidates belong to."""

CANDIDATES = tuple(-(-STEPS * k * k // 400) for k in range(1, 21))
"""Steps to choose from, counted from 1: dense where little noise has been added."""

CHOSEN = 5
"""How many steps are chosen."""


def spectral_angle(first: Tensor, second: Tensor) -> Tensor:
    """Measure the angle between spectra.

    Parameters
    ----------
    first, second : (..., band) Tensor
        Spectra from a common origin: the angle depends on it, so that values moved to
        an interval around 0 must be moved back before.

    Returns
    -------
    (...) Tensor
        Angle, in radians, from 0 (same shape) to pi. A spectrum of zeros is half pi
        away from all others, and 0 from another one of zeros.

    Notes
    -----
    The cosine of a small angle is 1 in float32; the two sides of a rhombus tell it.

    Examples
    --------
    >>> angle = spectral_angle(torch.tensor([1.0, 1.0]), torch.tensor([[2.0, 2.0], [1.0, 0.0]]))
    >>> [round(each, 6) for each in angle.tolist()]
    [0.0, 0.785398]
    """
    one, other = _unit(first), _unit(second)
    across = torch.linalg.vector_norm(one - other, dim=-1)
    along = torch.linalg.vector_norm(one + other, dim=-1)
    return 2 * torch.atan2(across, along)


def choose_steps(angle: NDArray[np.floating], limit: float, count: int = CHOSEN) -> tuple[int, ...]:
    """Choose candidates that are equally far apart in spectral angle.

    Parameters
    ----------
    angle : (candidate,) float
        Mean angle between spectra and what is rebuilt of them, in radians, in the order
        of the steps.
    limit : float
        Angle, in radians, beyond which a spectrum is no longer like itself.
    count : int
        How many to choose; no more than there are.

    Returns
    -------
    tuple of int
        Places of the chosen candidates in their list, from 0, rising.
    """
    rising = np.maximum.accumulate(np.asarray(angle, np.float64))
    low, high = rising[0], min(rising[-1], limit)
    chosen: list[int] = []
    for order in range(min(count, len(rising))):
        target = low + (high - low) * (order + 0.5) / count
        chosen.append(_nearest_free(int(np.argmax(rising >= target)), len(rising), chosen))
    return tuple(sorted(chosen))


def _nearest_free(wanted: int, candidates: int, chosen: list[int]) -> int:
    """Give the first candidate from the wanted one on that is free, or else the next below."""
    free = set(range(candidates)) - set(chosen)
    return min(free, key=lambda each: (each < wanted, abs(each - wanted)))


def _unit(values: Tensor) -> Tensor:
    """Scale vectors (..., band) to length 1; one of zeros stays."""
    length = torch.linalg.vector_norm(values, dim=-1, keepdim=True)
    return values / torch.where(length > 0, length, 1)
