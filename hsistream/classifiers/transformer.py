"""A transformer on the window of features around a pixel.

A stem of one convolution mixes the features of every pixel with those of its
neighbours; blocks of attention compare the pixel with its window, and a class token
says what it is. The stem is computed once for a strip of pixels, whose windows overlap,
and in the last block only the class token asks.

Changed from the published code [1]_: features are standardised by the pixels that are
learnt from, and are 0 where there is no data or no frame; the stem sees one pixel
beyond the window, so that it is the same for all windows; fewer heads and a wider
layer, unless the profile is ``paper``; every class is as likely to be drawn as any
other; normalisation is frozen once all is learnt.

References
----------
.. [1] N. Chen et al., "SpectralDiff: a generative framework for hyperspectral image
   classification with diffusion models", IEEE TGRS 61, 2023.
   doi:10.1109/TGRS.2023.3310023
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as fn

from hsistream.classifiers.base import UNKNOWN_LOGIT, Lesson
from hsistream.classifiers.linear import Standardised
from hsistream.classifiers.transformer_network import (
    PROFILES,
    STEM_REACH,
    WIDTH,
    WindowTransformer,
)
from hsistream.nn.exact import one_thread
from hsistream.sections import ClassifySection, TransformerSection

HELD_OUT_FITS = 1
"""Fits to a part of the labels by which probabilities are calibrated on the others."""

WINDOWS_AT_ONCE = 256
"""Windows that are judged together; always as many, so that sums are the same."""

FLOAT32 = 4

Weights = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, eq=False)
class Learnt:
    """A network that has learnt.

    ``mean`` and ``scale`` (feature,) standardise features; the logits of the network
    are those of the classes ``known`` (known class,), of so many ``classes``.
    """

    network: WindowTransformer
    window_px: int
    mean: NDArray[np.float32]
    scale: NDArray[np.float32]
    known: NDArray[np.int64]
    classes: int
    losses: NDArray[np.float32]

    def arrays(self) -> Weights:
        """Give the weights, and what they are used with."""
        weights = {f"weights.{n}": t.cpu().numpy() for n, t in self.network.state_dict().items()}
        return {
            **weights,
            "mean": self.mean,
            "scale": self.scale,
            "known": self.known,
            "classes": np.asarray([self.classes]),
        }

    @one_thread()
    @torch.no_grad()
    def judge(self, squares: NDArray[np.float32]) -> NDArray[np.float32]:
        """Judge the pixels in the middle of squares, (pixel, class)."""
        parts = [
            self.network.stem(self._standardised(squares[part]))
            for part in _parts(len(squares), WINDOWS_AT_ONCE)
        ]
        return self._expanded([self._logits(part.flatten(2).swapaxes(1, 2)) for part in parts])

    @one_thread()
    @torch.no_grad()
    def judge_window(
        self, features: NDArray[np.float32], wanted: NDArray[np.bool_]
    ) -> NDArray[np.float32]:
        """Judge the wanted pixels of a window, (pixel, class)."""
        tokens = self.network.stem(self._standardised(features[None]))[0]
        rows, columns = (torch.from_numpy(each) for each in np.nonzero(wanted))
        step = torch.arange(self.window_px)
        found = []
        for part in _parts(len(rows), WINDOWS_AT_ONCE):
            down = rows[part, None, None] + step[:, None]
            right = columns[part, None, None] + step
            found.append(self._logits(tokens[:, down, right].flatten(2).permute(1, 2, 0)))
        return self._expanded(found)

    def _standardised(self, features: NDArray[np.float32]) -> Tensor:
        """Standardise features (pixel, feature, y, x); 0 where there is nothing."""
        mean, scale = self.mean[:, None, None], self.scale[:, None, None]
        return torch.from_numpy(np.nan_to_num((features - mean) * scale, copy=False))

    def _logits(self, tokens: Tensor) -> NDArray[np.float32]:
        """Give the logits of windows (pixel, token, width), filled up to the usual number."""
        missing = WINDOWS_AT_ONCE - len(tokens)
        whole = fn.pad(tokens, (0, 0, 0, 0, 0, missing)) if missing else tokens
        found: NDArray[np.float32] = self.network(whole)[: len(tokens)].numpy()
        return found

    def _expanded(self, logits: list[NDArray[np.float32]]) -> NDArray[np.float32]:
        """Add the classes that are not known."""
        known = np.concatenate([np.zeros((0, len(self.known)), np.float32), *logits])
        found = np.full((len(known), self.classes), UNKNOWN_LOGIT, np.float32)
        found[:, self.known] = known
        return found


def reach(settings: ClassifySection) -> int:
    """Pixels around a pixel that are looked at: the window, and what its stem sees."""
    return settings.transformer.window_px // 2 + STEM_REACH


@one_thread()
def fit(settings: ClassifySection, lesson: Lesson, seed: int) -> Learnt:
    """Learn from the windows of a lesson."""
    of, pixels = settings.transformer, Standardised.of(lesson)
    mean, scale = pixels.mean.astype(np.float32), pixels.scale.astype(np.float32)
    network = _network(of, len(mean), len(pixels.known), seed)
    started = Learnt(
        network, of.window_px, mean, scale, pixels.known, lesson.classes, np.zeros(0, np.float32)
    )
    losses = _train(started, of, lesson.squares, pixels.number, seed)
    network.eval()
    return Learnt(network, of.window_px, mean, scale, pixels.known, lesson.classes, losses)


def restore(settings: ClassifySection, arrays: Weights) -> Learnt:
    """Make a network of its weights."""
    of, known = settings.transformer, arrays["known"]
    network = _network(of, len(arrays["mean"]), len(known), 0)
    prefix = "weights."
    network.load_state_dict(
        {
            n.removeprefix(prefix): torch.from_numpy(np.array(a))
            for n, a in arrays.items()
            if n.startswith(prefix)
        }
    )
    network.eval()
    return Learnt(
        network,
        of.window_px,
        arrays["mean"],
        arrays["scale"],
        known,
        int(arrays["classes"][0]),
        arrays["losses"],
    )


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
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        widths = PROFILES[of.profile]
        return WindowTransformer(features, classes, of.window_px, widths, of.dropout)


def _train(
    learner: Learnt,
    of: TransformerSection,
    squares: NDArray[np.float32],
    number: NDArray[np.int64],
    seed: int,
) -> NDArray[np.float32]:
    """Train a network in place, and give the loss of every step."""
    network, random = learner.network.train(), torch.Generator().manual_seed(seed)
    optimiser = torch.optim.Adam(network.parameters(), lr=of.learning_rate)
    losses = np.zeros(of.step_count(len(number)), np.float32)
    for step, chosen in enumerate(_batches(number, of, seed)):
        tokens = network.stem(learner._standardised(squares[chosen])).flatten(2).swapaxes(1, 2)
        loss = fn.cross_entropy(network(tokens, random), torch.from_numpy(number[chosen]))
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch gives it no types
        nn.utils.clip_grad_norm_(network.parameters(), of.clip)
        optimiser.step()
        losses[step] = float(loss.detach())
    return losses


def _batches(
    number: NDArray[np.int64], of: TransformerSection, seed: int
) -> Iterator[NDArray[np.int64]]:
    """Draw the pixels of every step: a class first, then one of its pixels."""
    random = np.random.default_rng(seed)
    own = [np.flatnonzero(number == each) for each in range(int(number.max()) + 1)]
    for _ in range(of.step_count(len(number))):
        drawn = random.integers(len(own), size=of.batch)
        yield np.array([random.choice(own[each]) for each in drawn])


def _parts(count: int, at_once: int) -> Iterator[slice]:
    """Cut a range into parts of the same size, but for the last."""
    return (slice(first, first + at_once) for first in range(0, count, at_once))
