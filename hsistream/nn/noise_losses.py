"""What a denoiser pays for a wrong guess of the noise.

The default grows with the logarithm of the error, so that a few pixels that cannot be
guessed count for less than with squares. The paper names a logarithm of the absolute
error and gives no formula within our reach: this is the simplest one that is finite for
all errors. The others are there to compare it with.

References
----------
.. [1] Y. Zhu and L. Xu, "Spatial-spectral diffusion contrastive representation network
   for hyperspectral image classification", arXiv:2502.19699, 2025.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Literal

import torch
from torch import Tensor

NoiseLossName = Literal["log1p", "logcosh", "scaled", "l1", "l2"]


def noise_loss(error: Tensor, kind: NoiseLossName = "log1p", scale: float = 1.0) -> Tensor:
    """Weigh the errors of guessed noise, one by one.

    Parameters
    ----------
    error : (...) Tensor
        Noise minus guess.
    kind : {"log1p", "logcosh", "scaled", "l1", "l2"}
        ``ln(1 + |e|)``, ``ln cosh e``, ``s ln(1 + |e| / s)``, ``|e|`` or ``e ** 2``.
    scale : float
        The ``s`` of ``scaled``, above 0: errors below it count as they are. The other
        kinds have none.

    Returns
    -------
    (...) Tensor
        Losses, at least 0; all but ``l2`` are at most ``|e|``.

    Examples
    --------
    >>> noise_loss(torch.tensor([0.0, 1.0, -3.0])).tolist()
    [0.0, 0.6931471824645996, 1.3862943649291992]
    """
    return _LOSSES[kind](error.abs(), scale)


def _logarithm(size: Tensor, _scale: float) -> Tensor:
    """Take ln(1 + size)."""
    return torch.log1p(size)


def _log_cosh(size: Tensor, _scale: float) -> Tensor:
    """Take ln cosh: cosh alone overflows, and ln 2 taken from a sum would hide small errors."""
    return size + torch.log1p(torch.expm1(-2 * size) / 2)


def _scaled(size: Tensor, scale: float) -> Tensor:
    """Take a logarithm that begins to bend at the scale."""
    return scale * torch.log1p(size / scale)


_LOSSES: Mapping[NoiseLossName, Callable[[Tensor, float], Tensor]] = MappingProxyType(
    {
        "log1p": _logarithm,
        "logcosh": _log_cosh,
        "scaled": _scaled,
        "l1": lambda size, _scale: size,
        "l2": lambda size, _scale: size.square(),
    }
)
