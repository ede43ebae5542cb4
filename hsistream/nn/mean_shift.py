"""Mean shift of latents towards those of the pixels around them, which stay where they are."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

REACH = 2
"""Pixels from the middle of the window to its edge: a window is 5 x 5."""

STRIP_PX = 4_096
"""Pixels that are moved at once, so that they stay near the processor."""


def mean_shift(latents: Tensor, bandwidth: Tensor, iterations: int) -> Tensor:
    """Move every pixel to the weighted mean of its window, again and again.

    A weight is ``exp(-d^2 / (2 bandwidth^2))``, d the distance between a latent
    of the window and where the pixel has come to. The window slides: each pixel
    has its own, of the latents as given, so that the result depends on ``REACH``
    pixels around it whatever the number of iterations. A bandwidth near 0 leaves
    a pixel where it is; a large one takes the plain mean of the window.

    Parameters
    ----------
    latents : (latent, y + 4, x + 4) Tensor
        With ``REACH`` pixels of context on each side.
    bandwidth : () Tensor
        Width of the kernel.
    iterations : int
        At least one. Only the last one carries a gradient, to the latents and to
        the bandwidth: where the pixel had come to before it counts as given.

    Returns
    -------
    (latent, y, x) Tensor
        Means, no longer of unit length. The sum of the weights cannot vanish, and
        has no guard: the first one includes a pixel's own, which is 1, and a mean
        shift never moves to where the weights sum to less [2]_.

    References
    ----------
    .. [1] The released layers of Deep Global Clustering, arXiv:2512.24172, keep the
       window and detach the kernel; neighbours outside of the frame are zero there.
    .. [2] D. Comaniciu and P. Meer, "Mean shift: a robust approach toward feature
       space analysis", TPAMI 24, 603-619, 2002. doi:10.1109/34.1000236
    """
    height, width = latents.shape[1] - 2 * REACH, latents.shape[2] - 2 * REACH
    rows = max(1, STRIP_PX // width)
    strips = [
        _strip(latents[:, top : top + rows + 2 * REACH], bandwidth, iterations)
        for top in range(0, height, rows)
    ]
    return torch.cat(strips, dim=1) if len(strips) > 1 else strips[0]


def _strip(latents: Tensor, bandwidth: Tensor, iterations: int) -> Tensor:
    """Do all iterations of some rows; nothing that other rows become is looked at."""
    place = latents[:, REACH:-REACH, REACH:-REACH].detach()
    with torch.no_grad():
        for _ in range(iterations - 1):
            place = _shift(latents, place, bandwidth)
    return _shift(latents, place, bandwidth)


def _shift(latents: Tensor, place: Tensor, bandwidth: Tensor) -> Tensor:
    """Average the windows with weights by their distance to ``place`` (latent, y, x)."""
    sums, masses = torch.zeros_like(place), torch.zeros_like(place[0])
    sharpness = -0.5 / bandwidth.square()
    for neighbour in _neighbours(latents):
        weight = torch.exp((neighbour - place).square().sum(dim=0) * sharpness)
        sums.addcmul_(weight, neighbour)
        masses.add_(weight)
    return sums / masses


def _neighbours(latents: Tensor) -> Iterator[Tensor]:
    """Shift the frame to each of the 25 places of a window: views, never an unfolded copy."""
    height, width = latents.shape[1] - 2 * REACH, latents.shape[2] - 2 * REACH
    for top in range(2 * REACH + 1):
        for left in range(2 * REACH + 1):
            yield latents[:, top : top + height, left : left + width]
