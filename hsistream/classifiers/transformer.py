"""A transformer on the window of features around a pixel.

A stem of one convolution mixes the features of every pixel with those of its
neighbours; blocks of attention compare the pixel with its window and say what it is. The
stem is computed once for a strip of pixels, whose windows overlap, and in the last block
only the token that is judged asks.

Changed from the published code [1]_: features are standardised by the pixels that are
learnt from, and are 0 where there is no data or no frame; the stem sees one pixel
beyond the window, so that it is the same for all windows; fewer heads and a wider
layer, and the token of the pixel itself in the place of the class token, which has to
learn where the pixel is, unless the profile is ``paper``; the learning rate falls; every
class is as likely to be drawn as any other; normalisation is frozen once all is learnt.

References
----------
.. [1] N. Chen et al., "SpectralDiff: a generative framework for hyperspectral image
   classification with diffusion models", IEEE TGRS 61, 2023.
   doi:10.1109/TGRS.2023.3310023
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from hsistream.classifiers.base import Lesson
from hsistream.classifiers.linear import Standardised
from hsistream.classifiers.transformer_network import (
    PROFILES,
    STEM_REACH,
    WIDTH,
    WindowTransformer,
)
from hsistream.classifiers.windows import (
    FLOAT32,
    WINDOWS_AT_ONCE,
    Arrays,
    Learnt,
    load_weights,
    of_known,
    train,
)
from hsistream.nn.exact import drawing, one_thread
from hsistream.sections import ClassifySection, TransformerSection

HELD_OUT_FITS = 1
"""Fits to a part of the labels by which probabilities are calibrated on the others."""


def reach(settings: ClassifySection) -> int:
    """Pixels around a pixel that are looked at: the window, and what its stem sees."""
    return settings.transformer.window_px // 2 + STEM_REACH


@one_thread()
def fit(settings: ClassifySection, lesson: Lesson, seed: int) -> Learnt:
    """Learn from the windows of a lesson."""
    of, pixels = settings.transformer, Standardised.of(lesson)
    labelled, known = of_known(lesson)
    network = _network(of, len(pixels.mean), len(known), seed)
    network.mean.copy_(_column(pixels.mean))
    network.scale.copy_(_column(pixels.scale))
    optimiser = torch.optim.Adam(network.parameters(), lr=of.learning_rate)
    losses = train(network, optimiser, labelled, of, seed)
    return Learnt(network, of.window_px, known, lesson.classes, losses)


def restore(settings: ClassifySection, arrays: Arrays) -> Learnt:
    """Make a network of its weights."""
    of, known = settings.transformer, arrays["known"]
    network = _network(of, len(arrays["weights.mean"]), len(known), 0)
    load_weights(network, arrays)
    return Learnt(network, of.window_px, known, int(arrays["classes"][0]), arrays["losses"])


def training_bytes(settings: ClassifySection, features: int, _classes: int) -> int:
    """Memory of a step, and of the network."""
    of, widths = settings.transformer, PROFILES[settings.transformer.profile]
    tokens = of.batch * (of.window_px**2 + 1)
    inner = widths.heads * widths.of_head
    values = widths.depth * (8 * WIDTH + 6 * inner + 4 * widths.hidden) + 4 * WIDTH
    squares = of.batch * features * (of.window_px + 2 * STEM_REACH) ** 2
    return FLOAT32 * (tokens * values + 4 * squares + 16 * features * 9 * WIDTH) + 2**25


def judging_bytes(settings: ClassifySection, features: int, classes: int, pixels: int) -> int:
    """Memory of the stem of a strip, of the windows that are judged at once, and of logits."""
    of, widths = settings.transformer, PROFILES[settings.transformer.profile]
    tokens = WINDOWS_AT_ONCE * (of.window_px**2 + 1)
    inner = widths.heads * widths.of_head
    around = (of.window_px + 2) / 128 + 1
    stem = int(around**2 * pixels) * (2 * features + 3 * WIDTH)
    return FLOAT32 * (stem + tokens * (6 * WIDTH + 6 * inner) + 3 * classes * pixels) + 2**25


def _network(of: TransformerSection, features: int, classes: int, seed: int) -> WindowTransformer:
    """Make a network of random weights."""
    with drawing(seed):
        widths = PROFILES[of.profile]
        return WindowTransformer(features, classes, of.window_px, widths, of.dropout)


def _column(values: NDArray[np.float64]) -> torch.Tensor:
    """Turn values of features (feature,) into (feature, 1, 1)."""
    return torch.from_numpy(values)[:, None, None]
