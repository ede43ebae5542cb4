"""What classifiers that look at windows share: their training, and how pixels are judged.

A network makes tokens of pixels, once for a strip whose windows overlap, and logits of
the tokens of a window. It standardises features by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as fn

from hsistream.classifiers.base import UNKNOWN_LOGIT, Lesson
from hsistream.nn.exact import one_thread
from hsistream.sections import WindowSection

WINDOWS_AT_ONCE = 256
"""Windows that are judged together; always as many, so that sums are the same."""

WEIGHTS = "weights."
"""Before the name of a weight, in the arrays of what was learnt."""

FLOAT32 = 4

Arrays = Mapping[str, NDArray[Any]]


class WindowNetwork(Protocol):
    """A network of a classifier, a torch module."""

    def stem(self, features: Tensor) -> Tensor:
        """Make tokens of features.

        Parameters
        ----------
        features : (sample, feature, y + 2 rim, x + 2 rim) Tensor
            NaN where there is no data, or no frame; the rim is what a token sees
            around its pixel.

        Returns
        -------
        (sample, y, x, width) Tensor
            One token for every pixel.
        """

    def __call__(self, tokens: Tensor, random: torch.Generator | None = None) -> Tensor:
        """Turn the tokens of windows (window, token, width) into logits (window, class).

        ``random`` draws what is dropped in training.
        """


@dataclass(frozen=True, eq=False)
class Learnt:
    """A network that has learnt.

    Its logits are those of the classes ``known`` (known class,), of so many ``classes``.
    """

    network: WindowNetwork
    window_px: int
    known: NDArray[np.int64]
    classes: int
    losses: NDArray[np.float32]

    def arrays(self) -> Arrays:
        """Give the weights, and what their logits are of."""
        named = _module(self.network).state_dict().items()
        weights = {f"{WEIGHTS}{name}": tensor.cpu().numpy() for name, tensor in named}
        return {**weights, "known": self.known, "classes": np.asarray([self.classes])}

    @one_thread()
    @torch.no_grad()
    def judge(self, squares: NDArray[np.float32]) -> NDArray[np.float32]:
        """Judge the pixels in the middle of squares, (pixel, class)."""
        return self._judged(
            self.network.stem(torch.from_numpy(squares[part])).flatten(1, 2)
            for part in parts(len(squares), WINDOWS_AT_ONCE)
        )

    @one_thread()
    @torch.no_grad()
    def judge_window(
        self, features: NDArray[np.float32], wanted: NDArray[np.bool_]
    ) -> NDArray[np.float32]:
        """Judge the wanted pixels of a window, (pixel, class)."""
        [tokens] = self.network.stem(torch.from_numpy(features[None]))
        rows, columns = (torch.from_numpy(each) for each in np.nonzero(wanted))
        step = torch.arange(self.window_px)
        return self._judged(
            tokens[
                rows[part, None, None] + step[:, None], columns[part, None, None] + step
            ].flatten(1, 2)
            for part in parts(len(rows), WINDOWS_AT_ONCE)
        )

    def _judged(self, windows: Iterable[Tensor]) -> NDArray[np.float32]:
        """Judge windows (window, token, width), and add the classes that are not known."""
        nothing = np.zeros((0, len(self.known)), np.float32)
        known = np.concatenate([nothing, *(self._logits(each) for each in windows)])
        found = np.full((len(known), self.classes), UNKNOWN_LOGIT, np.float32)
        found[:, self.known] = known
        return found

    def _logits(self, tokens: Tensor) -> NDArray[np.float32]:
        """Give the logits of some windows, filled up to the usual number."""
        missing = WINDOWS_AT_ONCE - len(tokens)
        whole = fn.pad(tokens, (0, 0, 0, 0, 0, missing)) if missing else tokens
        found: NDArray[np.float32] = self.network(whole)[: len(tokens)].numpy()
        return found


def train(
    network: WindowNetwork,
    optimiser: torch.optim.Optimizer,
    lesson: Lesson,
    of: WindowSection,
    seed: int,
) -> NDArray[np.float32]:
    """Train a network in place, and give the loss of every step, (step,).

    The learning rate falls to 0 by half a cosine.

    Parameters
    ----------
    network : WindowNetwork
        A torch module; it is left ready to judge.
    optimiser : torch.optim.Optimizer
        Of its weights.
    lesson : Lesson
        All its classes have labels.
    of : WindowSection
        Steps, pixels of a step, and the largest norm of a gradient.
    seed : int
        Decides which pixels are drawn, and what is dropped.
    """
    module, random = _module(network).train(), torch.Generator().manual_seed(seed)
    losses = np.zeros(of.step_count(len(lesson.number)), np.float32)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, len(losses))
    for step, chosen in enumerate(_batches(lesson, of.batch, len(losses), seed)):
        tokens = network.stem(torch.from_numpy(lesson.squares[chosen])).flatten(1, 2)
        logits = network(tokens, random)
        loss = fn.cross_entropy(logits, torch.from_numpy(lesson.number[chosen]))
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch gives it no types
        nn.utils.clip_grad_norm_(module.parameters(), of.clip)
        optimiser.step()
        falling.step()
        losses[step] = float(loss.detach())
    module.eval()
    return losses


def of_known(lesson: Lesson) -> tuple[Lesson, NDArray[np.int64]]:
    """Count classes without labels out; give the numbers of the others before, (class,)."""
    known, number = np.unique(lesson.number, return_inverse=True)
    return replace(lesson, number=number, classes=len(known)), known


def load_weights(network: WindowNetwork, arrays: Arrays) -> None:
    """Give a network the weights that :meth:`Learnt.arrays` gave, ready to judge."""
    weights = {
        name.removeprefix(WEIGHTS): torch.from_numpy(np.array(values))
        for name, values in arrays.items()
        if name.startswith(WEIGHTS)
    }
    _module(network).eval().load_state_dict(weights)


def parts(count: int, at_once: int) -> Iterator[slice]:
    """Cut a range into parts of the same size, but for the last."""
    return (slice(first, first + at_once) for first in range(0, count, at_once))


def _batches(lesson: Lesson, batch: int, steps: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """Draw the pixels of every step: a class first, then one of its pixels."""
    random = np.random.default_rng(seed)
    own = [np.flatnonzero(lesson.number == each) for each in range(lesson.classes)]
    for _ in range(steps):
        drawn = random.integers(len(own), size=batch)
        yield np.array([random.choice(own[each]) for each in drawn])


def _module(network: WindowNetwork) -> nn.Module:
    """Take a network for the torch module that it is."""
    assert isinstance(network, nn.Module)
    return network
