"""Diffusion models: how noise is added step by step, and taken away again.

A clean value ``x`` becomes ``sqrt(kept) x + sqrt(1 - kept) noise`` after some steps,
with less and less of it kept. A network that guesses the noise can go back.

References
----------
.. [1] J. Ho et al., "Denoising diffusion probabilistic models",
   NeurIPS 2020. arXiv:2006.11239
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

STEPS = 500
FIRST_BETA, LAST_BETA = 1e-4, 0.02

LONGEST_PERIOD = 10_000.0
"""Of the sines of a time embedding, in steps over 2 pi."""


@dataclass(frozen=True)
class NoiseSchedule:
    """How much noise every step adds; steps are counted from 0.

    Parameters
    ----------
    beta : (step,) float64
        Variance that each step adds.
    kept : (step,) float64
        Share of the variance of clean values that is left after each step: the
        product of all ``1 - beta`` so far, written as alpha with a bar.
    """

    beta: NDArray[np.float64]
    kept: NDArray[np.float64]

    @classmethod
    def linear(
        cls, steps: int = STEPS, first: float = FIRST_BETA, last: float = LAST_BETA
    ) -> NoiseSchedule:
        """Make a schedule whose variances rise along a line.

        Examples
        --------
        >>> schedule = NoiseSchedule.linear()
        >>> schedule.kept[[0, 100, 499]].round(6).tolist()
        [0.9999, 0.80914, 0.006353]
        """
        beta = np.linspace(first, last, steps, dtype=np.float64)
        return cls(beta, np.asarray(np.cumprod(1 - beta)))

    @property
    def steps(self) -> int:
        """Number of steps."""
        return len(self.beta)

    @property
    def posterior_variance(self) -> NDArray[np.float64]:
        """Variance of a step back, (step,); 0 for the first one."""
        before = np.concatenate([[1.0], self.kept[:-1]])
        return np.asarray(self.beta * (1 - before) / (1 - self.kept))

    def noised(self, clean: Tensor, noise: Tensor, index: Tensor) -> Tensor:
        """Add noise to clean values (sample, ...) up to a step (sample,) of each."""
        kept = self._of(self.kept, index, clean)
        return kept.sqrt() * clean + (1 - kept).sqrt() * noise

    def cleaned(self, noised: Tensor, noise: Tensor, index: Tensor) -> Tensor:
        """Take noise out of values (sample, ...): the inverse of :meth:`noised`."""
        kept = self._of(self.kept, index, noised)
        return (noised - (1 - kept).sqrt() * noise) / kept.sqrt()

    def reverse_mean(self, noised: Tensor, noise: Tensor, index: Tensor) -> Tensor:
        """Mean of the values (sample, ...) one step before, given the noise or a guess of it.

        Eq. 7 of the paper of SpectralDiff lacks a bar over alpha; eq. 11 of [1]_ has it.
        """
        beta, kept = (self._of(each, index, noised) for each in (self.beta, self.kept))
        return (noised - beta / (1 - kept).sqrt() * noise) / (1 - beta).sqrt()

    def reversed(self, noised: Tensor, guess: Tensor, index: Tensor, fresh: Tensor) -> Tensor:
        """Go one step back: the mean, and fresh noise of the posterior variance."""
        variance = self._of(self.posterior_variance, index, noised)
        return self.reverse_mean(noised, guess, index) + variance.sqrt() * fresh

    def _of(self, values: NDArray[np.float64], index: Tensor, like: Tensor) -> Tensor:
        """Take the values of steps (sample,), for arrays (sample, ...) like another."""
        found = torch.from_numpy(values)[index.cpu()].to(like.device, like.dtype)
        return found.reshape(-1, *(1,) * (like.ndim - 1))


def time_embedding(index: Tensor, size: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Mark steps (sample,) by sines and cosines of falling frequency, (sample, size).

    Examples
    --------
    >>> time_embedding(torch.tensor([0]), 4).tolist()
    [[0.0, 0.0, 1.0, 1.0]]
    """
    half = size // 2
    order = torch.arange(half, dtype=torch.float64, device=index.device)
    frequency = torch.exp(-math.log(LONGEST_PERIOD) * order / max(1, half - 1))
    angle = index.double()[:, None] * frequency
    return torch.cat([angle.sin(), angle.cos()], dim=1).to(dtype)
