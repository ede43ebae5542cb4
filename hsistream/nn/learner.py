"""What a training needs to be told: a schedule, and a learner that knows its losses.

The loop of :mod:`hsistream.nn.loop` owns the optimiser, the moving average,
the threads and the checkpoints. A learner owns the network and what its
targets, losses and quality are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeVar

from torch import Tensor, nn

STAIRS, STAIR = 10, 0.9
"""Parts of a training with stairs, and what the learning rate is multiplied by after each."""

Item = TypeVar("Item")
Result = TypeVar("Result")
Sample_contra = TypeVar("Sample_contra", contravariant=True)
Target = TypeVar("Target")


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long, how fast and how carefully to train.

    Parameters
    ----------
    steps : int
        Optimiser steps, if nothing stops the training earlier; 0 keeps the start.
    learning_rate : float
        Highest learning rate of AdamW, reached after the warm-up.
    decay : {"cosine", "stairs"}
        The learning rate falls to 0 along a cosine, or is multiplied by 0.9 after
        every tenth of the steps.
    warm_up : int
        Steps over which the learning rate rises linearly before.
    weight_decay : float
        Weight decay of the parameter groups that do not set their own.
    clip : float
        Longest gradient, as a norm over all parameters.
    momentum : float
        Share of the averaged network that a step keeps.
    check_every : int
        Steps between two inspections of the averaged network.
    patience : int
        Inspections in a row that must agree before the training stops as stable.
    agreement : float
        Two inspections agree above this value.
    rollbacks : int
        How often a collapsed training may go back to its best checkpoint.
    precision : {"float32", "bfloat16"}
        Arithmetic of the losses; everything else is done in float32.
    minutes : float, optional
        Stop after this time, summed over all attempts.
    save_every_s : float
        Seconds between two checkpoints.
    """

    steps: int
    learning_rate: float
    decay: Literal["cosine", "stairs"] = "cosine"
    warm_up: int = 20
    weight_decay: float = 1e-4
    clip: float = 1.0
    momentum: float = 0.99
    check_every: int = 30
    patience: int = 3
    agreement: float = 0.98
    rollbacks: int = 2
    precision: Literal["float32", "bfloat16"] = "float32"
    minutes: float | None = None
    save_every_s: float = 120.0

    def rate(self, step: int) -> float:
        """Learning rate of a step, a pure function: there is nothing to keep in a checkpoint.

        Examples
        --------
        >>> schedule = Schedule(steps=120, learning_rate=1.0, warm_up=20)
        >>> [round(schedule.rate(step), 3) for step in (0, 9, 19, 20, 70, 120)]
        [0.05, 0.5, 1.0, 1.0, 0.5, 0.0]
        >>> schedule = Schedule(steps=900, learning_rate=1.0, warm_up=0, decay="stairs")
        >>> [round(schedule.rate(step), 3) for step in (0, 89, 90, 180, 899)]
        [1.0, 1.0, 0.9, 0.81, 0.387]
        """
        if step < self.warm_up:
            return self.learning_rate * (step + 1) / self.warm_up
        done, whole = step - self.warm_up, max(1, self.steps - self.warm_up)
        if self.decay == "stairs":
            return self.learning_rate * STAIR ** (STAIRS * done // whole)
        share = done / whole
        return self.learning_rate * (1 + math.cos(math.pi * share)) / 2


@dataclass(frozen=True, slots=True)
class Inspection:
    """What a look at the averaged network shows.

    Parameters
    ----------
    quality : float
        Larger is better; the best checkpoint is where a collapsed training
        goes back to. No finite number is a collapse.
    collapsed : bool
        The network became useless.
    agreement : float, optional
        With the previous inspection, 1 for no change; None if it does not count.
    facts : mapping of float
        Named numbers for the report and for warnings, such as the usage entropy.
    """

    quality: float
    collapsed: bool = False
    agreement: float | None = None
    facts: Mapping[str, float] = field(default_factory=dict)


class Mapped(Protocol):
    """The map that a learner is given, as in ``mapped(function, items)``."""

    def __call__(
        self, function: Callable[[Item], Result], items: Iterable[Item], /
    ) -> list[Result]:
        """Apply a function to items on the threads of the loop, without gradients, in order."""


class Learner(Protocol[Sample_contra, Target]):
    """What is trained, and towards what; all arithmetic of one method.

    Nothing here may draw random numbers but from the ``key`` of :meth:`loss`,
    and whatever is remembered between two calls must be part of :meth:`state`:
    else a training that was interrupted ends differently.
    """

    @property
    def network(self) -> nn.Module:
        """Network that is trained; its average is what is used afterwards."""

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Parameters of the network for AdamW; a group may set ``weight_decay``."""

    def targets(
        self, average: nn.Module, samples: Sequence[Sample_contra], mapped: Mapped
    ) -> Sequence[Target]:
        """Make one target per sample, with the averaged network, without gradients."""

    def loss(self, sample: Sample_contra, target: Target, key: tuple[int, int]) -> Tensor:
        """Loss of one sample, a scalar; many are computed at a time, on threads.

        ``key`` is the step and the number of the sample in it, the only source
        of randomness. With ``precision="bfloat16"`` this runs under autocast:
        what needs float32 (norms, softmax) says so.
        """

    def advance(self, average: nn.Module, targets: Sequence[Target], step: int) -> None:
        """Follow a step of the optimiser, as moving usages do; usually nothing."""

    def inspect(self, average: nn.Module, mapped: Mapped) -> Inspection:
        """Judge the averaged network: at the start, every few steps and at the end."""

    def state(self) -> dict[str, Tensor]:
        """Give whatever is remembered between two steps, besides the network."""

    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Go back to what :meth:`state` gave; the tensors are on the CPU."""
