"""The one training loop: the same bytes whatever the threads and the interruptions.

Every sample's gradient is computed on a thread of its own with one thread of
arithmetic, and gradients are summed in the order of the samples. What the loop
knows between two steps is a :class:`Training` and the tensors of a checkpoint,
and nothing else: killed at any moment and called again, it ends the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from hsistream.errors import DivergedError
from hsistream.events import Notify, Progress, StageStarted, Warned, ignore
from hsistream.nn.exact import mean_gradient, reproducible, without_gradients
from hsistream.nn.keeping import Clock, Keeper, Models, discard_others
from hsistream.nn.learner import Inspection, Learner, Mapped, Schedule
from hsistream.nn.training import Ending, Training, mark_of

Sample = TypeVar("Sample")
Target = TypeVar("Target")

SLOWER = 3
"""A roll-back divides the learning rate by this."""

MOST_SKIPPED_STEPS = 10
"""Steps in a row without a finite gradient that end a training."""


@dataclass(frozen=True, slots=True)
class Trained:
    """A training that ended, the averaged network that is used afterwards, and its time."""

    training: Training
    average: nn.Module
    elapsed_s: float


@dataclass(frozen=True, slots=True)
class _Loop:
    """Whatever stays the same during a training."""

    models: Models
    schedule: Schedule
    keeper: Keeper
    pool: ThreadPoolExecutor
    notify: Notify
    stage: str

    @property
    def average(self) -> nn.Module:
        """Averaged network, of the class of the network itself."""
        return self.models.average.module

    @property
    def mapped(self) -> Mapped:
        """What a learner maps its functions with."""
        return without_gradients(self.pool)


def fit(
    learner: Learner[Sample, Target],
    batches: Callable[[int], Iterable[Sequence[Sample]]],
    schedule: Schedule,
    folder: Path,
    *,
    fingerprint: str,
    threads: int = 1,
    notify: Notify = ignore,
    stage: str = "train",
) -> Trained:
    """Train a network, or continue or only read back a training that was begun.

    Parameters
    ----------
    learner : Learner
        Network, targets and losses, as they are before the first step. It is
        left in the state of the result.
    batches : callable
        Takes a step and yields the samples of that step and of all after it,
        always the same.
    schedule : Schedule
        How long and how fast. What changes the result belongs to the fingerprint.
    folder : Path
        Where checkpoints are kept: the start, the best and the latest.
    fingerprint : str
        Mark of whatever else determines the result. A training with another
        mark, another schedule or other shapes is removed from the folder.
    threads : int
        Samples in work at a time; the result does not depend on it.
    notify : callable
        Told of the start, of every step and of what the user should know.
    stage : str
        Name of the training in events.

    Returns
    -------
    Trained
        How it went, and the averaged network.

    Raises
    ------
    DivergedError
        If ten steps in a row have no finite gradient.
    DamagedError
        If the folder has checkpoints and none of them can be continued.
    """
    mark = mark_of(fingerprint, schedule, learner.network)
    discard_others(folder, mark)
    clock = Clock.start(folder)
    models = Models.begin(learner, schedule)
    keeper = Keeper(folder, mark, models, clock)
    with reproducible(models.parameters()[0].device, threads) as pool:
        loop = _Loop(models, schedule, keeper, pool, notify, stage)
        training = keeper.resume(schedule, stage, notify) or _begun(loop)
        training = _run(loop, training, batches)
    return Trained(training, loop.average, clock.here_s())


def _begun(loop: _Loop) -> Training:
    """Inspect and keep the start, which is where a collapsed training may end."""
    training = Training(inspections=((0, _inspection(loop)),))
    if loop.schedule.steps == 0:
        training = replace(training, ended="finished")
    loop.keeper.save(training)
    return training


def _run(
    loop: _Loop, training: Training, batches: Callable[[int], Iterable[Sequence[Any]]]
) -> Training:
    """Do what is left of a training."""
    schedule, clock = loop.schedule, loop.keeper.clock
    loop.notify(StageStarted(loop.stage, schedule.steps, resumed=training.step))
    for message in training.warnings:
        loop.notify(Warned(message))
    if training.ended:
        return training
    saved_s = clock.elapsed_s()
    for batch in batches(training.step):
        training = _checked(loop, _stepped(loop, training, batch))
        is_best = training.best_step == training.step
        if training.ended or is_best or clock.elapsed_s() - saved_s >= schedule.save_every_s:
            loop.keeper.save(training)
            saved_s = clock.elapsed_s()
        _tell(loop, training)
        if training.ended:
            return training
    raise ValueError(
        f"A training of {schedule.steps} steps needs a batch for each, but batches() ended after "
        f"{training.step}."
    )


def _tell(loop: _Loop, training: Training) -> None:
    """Tell of a step; who interrupts here, between two steps, loses none."""
    unit = f"steps, loss {training.losses[-1]:.4g}"
    try:
        loop.notify(Progress(loop.stage, training.step, loop.schedule.steps, unit))
    except KeyboardInterrupt:
        loop.keeper.save(training)
        raise


# Steps


def _stepped(loop: _Loop, training: Training, batch: Sequence[Any]) -> Training:
    """Do one step, or skip it if its gradient is no finite number."""
    step, learner = training.step, loop.models.learner
    with torch.no_grad():
        targets = learner.targets(loop.average, batch, loop.mapped)
    losses = [
        partial(learner.loss, sample, target, (step, index))
        for index, (sample, target) in enumerate(zip(batch, targets, strict=True))
    ]
    parameters = loop.models.parameters()
    loss, gradients = mean_gradient(losses, parameters, loop.schedule.precision, loop.pool)
    training = replace(training, step=step + 1, losses=(*training.losses, loss))
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient
    norm = nn.utils.clip_grad_norm_(parameters, loop.schedule.clip).item()
    if not (math.isfinite(loss) and math.isfinite(norm)):
        return _skipped(loop, training)
    _move(loop.models, loop.schedule.rate(step) / training.slowing)
    with torch.no_grad():
        learner.advance(loop.average, targets, step)
    return replace(training, skipped_in_a_row=0)


def _move(models: Models, rate: float) -> None:
    """Move the network along its gradient, and the average after it."""
    for group in models.optimiser.param_groups:
        group["lr"] = rate
    models.optimiser.step()
    models.optimiser.zero_grad()
    models.average.update_parameters(models.learner.network)


def _skipped(loop: _Loop, training: Training) -> Training:
    """Count a step that moved nothing, and give up after too many in a row."""
    loop.models.optimiser.zero_grad()
    in_a_row = training.skipped_in_a_row + 1
    if in_a_row >= MOST_SKIPPED_STEPS:
        raise DivergedError(
            f"The training {loop.stage} needs losses and gradients that are finite numbers, but "
            f"the last {in_a_row} of {training.step} steps had none. Choose a lower learning rate "
            f"than {loop.schedule.learning_rate:g}."
        )
    if not training.skipped:
        message = (
            f"{loop.stage}: step {training.step} was skipped, because its loss or gradient is no "
            f"finite number. If this happens often, choose a lower learning rate"
        )
        training = _warned(loop, training, message)
    return replace(training, skipped=training.skipped + 1, skipped_in_a_row=in_a_row)


# Inspections


def _checked(loop: _Loop, training: Training) -> Training:
    """Where it is due, inspect the average, go back if it collapsed, and see whether to stop."""
    step, schedule, late = training.step, loop.schedule, loop.keeper.clock.late(loop.schedule)
    if not late and step < schedule.steps and step % schedule.check_every:
        return training
    inspection = _inspection(loop)
    training = replace(training, inspections=(*training.inspections, (step, inspection)))
    if inspection.collapsed:
        training = _gone_back(loop, training, inspection)
    else:
        training = _compared(schedule, training, inspection)
    return replace(training, ended=training.ended or _ending(schedule, training, late))


def _inspection(loop: _Loop) -> Inspection:
    """Inspect, in plain floats: a checkpoint must give back what was compared."""
    with torch.no_grad():
        found = loop.models.learner.inspect(loop.average, loop.mapped)
    quality = float(found.quality)
    return Inspection(
        quality,
        bool(found.collapsed) or not math.isfinite(quality),
        None if found.agreement is None else float(found.agreement),
        {name: float(value) for name, value in found.facts.items()},
    )


def _compared(schedule: Schedule, training: Training, inspection: Inspection) -> Training:
    """Note whether this is the best so far, and whether it agrees with the one before."""
    best = dict(training.inspections)[training.best_step]
    better = inspection.quality > best.quality or best.collapsed
    agrees = inspection.agreement is not None and inspection.agreement > schedule.agreement
    return replace(
        training,
        best_step=training.step if better else training.best_step,
        stable_checks=training.stable_checks + 1 if agrees else 0,
    )


def _gone_back(loop: _Loop, training: Training, inspection: Inspection) -> Training:
    """Restore the best checkpoint, or the start if that did not help often enough."""
    facts = ", ".join(f"{name} {value:.4g}" for name, value in inspection.facts.items())
    seen = f"{loop.stage}: the training collapsed at step {training.step}"
    seen = f"{seen} ({facts})" if facts else seen
    if training.rollbacks >= loop.schedule.rollbacks:
        loop.keeper.restore(0)
        message = (
            f"{seen}, after {training.rollbacks} roll-backs. The result is the start, step 0, as "
            f"if nothing had been learnt. A lower learning rate may help"
        )
        return _warned(loop, replace(training, ended="floor"), message)
    loop.keeper.restore(training.best_step)
    message = (
        f"{seen}. It went back to step {training.best_step} and goes on with the learning rate "
        f"divided by {SLOWER}"
    )
    training = replace(
        training,
        rollbacks=training.rollbacks + 1,
        slowing=training.slowing * SLOWER,
        stable_checks=0,
        skipped_in_a_row=0,
    )
    return _warned(loop, training, message)


def _ending(schedule: Schedule, training: Training, late: bool) -> Ending | None:
    if training.step >= schedule.steps:
        return "finished"
    if training.stable_checks >= schedule.patience:
        return "stable"
    return "minutes" if late else None


def _warned(loop: _Loop, training: Training, message: str) -> Training:
    loop.notify(Warned(message))
    return replace(training, warnings=(*training.warnings, message))
