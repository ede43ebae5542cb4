"""What a training keeps on the disk, and from where it goes on."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.optim import AdamW
from torch.optim.swa_utils import AveragedModel

from hsistream.errors import DamagedError
from hsistream.events import Notify, Warned
from hsistream.nn.checkpoint import (
    Checkpoint,
    checkpoint_steps,
    discard,
    keep_only,
    read_checkpoint,
    read_elapsed,
    read_state,
    write_checkpoint,
    write_elapsed,
)
from hsistream.nn.exact import moving_average
from hsistream.nn.learner import Learner, Schedule
from hsistream.nn.training import Training, part_of, training_of, training_state


@dataclass(frozen=True, slots=True)
class Models:
    """Whatever the steps of a training change: what learns, its average and its moments."""

    learner: Learner[Any, Any]
    average: AveragedModel
    optimiser: AdamW

    @classmethod
    def begin(cls, learner: Learner[Any, Any], schedule: Schedule) -> Models:
        """Put a learner at its start."""
        groups = learner.parameter_groups()
        known = set(map(id, learner.network.parameters()))
        if any(id(parameter) not in known for group in groups for parameter in group["params"]):
            raise ValueError(
                "Parameters that are trained must be parameters of the network: others are in no "
                "checkpoint."
            )
        optimiser = AdamW(groups, weight_decay=schedule.weight_decay)
        return cls(learner, moving_average(learner.network, schedule.momentum), optimiser)

    def parameters(self) -> list[Tensor]:
        """List what is trained, in the order of the groups."""
        return [parameter for group in self.optimiser.param_groups for parameter in group["params"]]

    def tensors(self) -> dict[str, Tensor]:
        """Name all that changes, in one flat space of names."""
        moments = self.optimiser.state_dict()["state"]
        parts: dict[str, Mapping[str, Tensor]] = {
            "network.": self.learner.network.state_dict(),
            "average.": self.average.state_dict(),
            "learner.": self.learner.state(),
            **{f"optimiser.{index}.": named for index, named in moments.items()},
        }
        return {
            prefix + name: value for prefix, part in parts.items() for name, value in part.items()
        }

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Put everything back to what :meth:`tensors` gave."""
        moments: dict[int, dict[str, Tensor]] = {}
        for name, value in part_of(tensors, "optimiser.").items():
            index, _, kind = name.partition(".")
            moments.setdefault(int(index), {})[kind] = value
        self.learner.network.load_state_dict(part_of(tensors, "network."))
        self.average.load_state_dict(part_of(tensors, "average."))
        self.optimiser.load_state_dict({**self.optimiser.state_dict(), "state": moments})
        self.learner.load_state(part_of(tensors, "learner."))


@dataclass(frozen=True, slots=True)
class Clock:
    """Time of a training: in this process, and over all attempts."""

    began_s: float
    before_s: float

    @classmethod
    def start(cls, folder: Path) -> Clock:
        """Go on from what earlier attempts have noted."""
        return cls(time.monotonic(), read_elapsed(folder))

    def here_s(self) -> float:
        """Count the seconds of this process."""
        return time.monotonic() - self.began_s

    def elapsed_s(self) -> float:
        """Count the seconds of all attempts."""
        return self.before_s + self.here_s()

    def late(self, schedule: Schedule) -> bool:
        """Tell whether the time for a training is over."""
        return schedule.minutes is not None and self.elapsed_s() >= 60 * schedule.minutes


@dataclass(frozen=True, slots=True)
class Keeper:
    """The checkpoints of one training: the start, the best and the latest."""

    folder: Path
    fingerprint: str
    models: Models
    clock: Clock

    def save(self, training: Training) -> None:
        """Keep a checkpoint, and only those that the training may go back to."""
        state = training_state(self.fingerprint, training)
        write_checkpoint(self.folder, Checkpoint(training.step, state, self.models.tensors()))
        write_elapsed(self.folder, self.clock.elapsed_s())
        keep_only(self.folder, {0, training.best_step, training.step})

    def restore(self, step: int) -> None:
        """Put the models back to a checkpoint."""
        self.models.restore(read_checkpoint(self.folder, step).tensors)

    def resume(self, schedule: Schedule, stage: str, notify: Notify) -> Training | None:
        """Go back to the newest checkpoint that can be continued, if there is any.

        Raises
        ------
        DamagedError
            If there are checkpoints, but none can be continued.
        """
        steps = checkpoint_steps(self.folder)
        for step in steps:
            try:
                checkpoint = read_checkpoint(self.folder, step)
                training = _reopened(training_of(checkpoint.state), self.clock.late(schedule))
                _need(self.folder, training)
            except DamagedError:
                continue
            if step != steps[0]:
                notify(Warned(_damage(stage, self.folder, steps[0], step)))
            self.models.restore(checkpoint.tensors)
            keep_only(self.folder, {0, training.best_step, step})
            return training
        if steps:
            raise DamagedError(
                f"A training was begun in {self.folder}, but its checkpoints fail their checksums "
                f"or are cut short. Delete {self.folder} and run the same command again: the "
                f"training then starts anew."
            )
        return None


def discard_others(folder: Path, fingerprint: str) -> None:
    """Remove the training in a folder if it is of something else."""
    for step in checkpoint_steps(folder):
        try:
            other = read_state(folder, step)["fingerprint"] != fingerprint
        except DamagedError:
            continue
        if other:
            discard(folder)
        return


def _reopened(training: Training, late: bool) -> Training:
    """Go on with a training whose time was over, if it is given more."""
    return replace(training, ended=None) if training.ended == "minutes" and not late else training


def _need(folder: Path, training: Training) -> None:
    """Refuse to go on from where a roll-back would fail later."""
    if training.ended is None:
        for step in {0, training.best_step} - {training.step}:
            read_checkpoint(folder, step)


def _damage(stage: str, folder: Path, newest: int, step: int) -> str:
    return (
        f"{stage}: the checkpoint of step {newest} in {folder}, or one that it may have to go back "
        f"to, is damaged. The training goes on from step {step}"
    )
