"""Spatial views of scores: plain, Gaussian and edge-preserving.

A view maps scores (component, y, x) with their mask to values of the same
shape, from scene-wide constants only. Pixels within ``HALO[name]`` of an edge
of the array that is not an edge of the frame are not to be used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from hsistream.consensus.kernels import blur, edge_step

SIGMA_PX = 1.0
RADIUS_PX = 4
EDGE_STEPS = 3

HALO: Mapping[str, int] = MappingProxyType({"plain": 0, "gaussian": RADIUS_PX, "edge": EDGE_STEPS})
"""Pixels around a tile on which a view depends."""

Scores = NDArray[np.float32]
Mask = NDArray[np.bool_]


def spatial_view(name: str, scores: Scores, valid: Mask, scale: float) -> Scores:
    """Apply one spatial filter to the scores of a tile.

    Parameters
    ----------
    name : {"plain", "gaussian", "edge"}
        The filter.
    scores : (component, y, x) float32
        Scores; 0 where ``valid`` is False.
    valid : (y, x) bool
        Pixels with data.
    scale : float
        Scene-wide median squared difference of neighbouring score vectors, used
        by ``"edge"``.

    Returns
    -------
    (component, y, x) float32
        The view; meaningless where ``valid`` is False.
    """
    return _FILTERS[name](scores, valid, scale)


def plain(scores: Scores, valid: Mask, scale: float) -> Scores:
    """Leave the scores as they are."""
    return scores


def gaussian(scores: Scores, valid: Mask, scale: float) -> Scores:
    """Smooth with a Gaussian of ``SIGMA_PX``, over valid pixels only."""
    smooth = np.empty_like(scores)
    blur(scores, _gaussian_weights(), smooth)
    mass = np.empty((1, *valid.shape), np.float32)
    blur(valid[None].astype(np.float32), _gaussian_weights(), mass)
    smooth /= np.maximum(mass, np.finfo(np.float32).tiny)
    return smooth


def edge_preserving(scores: Scores, valid: Mask, scale: float) -> Scores:
    """Smooth within fields and not across their edges, in ``EDGE_STEPS`` steps."""
    inverse = 1.0 / (2.0 * scale)
    source, target = scores, np.empty_like(scores)
    for step in range(EDGE_STEPS):
        edge_step(source, valid, inverse, target)
        source, target = target, (np.empty_like(scores) if step == 0 else source)
    return source


def _gaussian_weights() -> NDArray[np.float32]:
    """Centre and one side of the Gaussian, cut at ``RADIUS_PX``; all together sum to 1."""
    weights = np.exp(-0.5 * (np.arange(RADIUS_PX + 1) / SIGMA_PX) ** 2)
    return np.asarray(weights / (2 * weights.sum() - weights[0]), np.float32)


_FILTERS: Mapping[str, Callable[[Scores, Mask, float], Scores]] = MappingProxyType(
    {"plain": plain, "gaussian": gaussian, "edge": edge_preserving}
)
