"""How a training went, and what is left of it on the disk."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from torch import Tensor, nn

from hsistream.errors import DamagedError, IncompleteError, StoreError
from hsistream.nn.checkpoint import checkpoint_steps, read_checkpoint, read_state
from hsistream.nn.learner import Inspection, Schedule

Ending = Literal["finished", "stable", "minutes", "floor"]

FORMAT = 1
"""Raised when checkpoints of an older version can no longer be continued."""

AVERAGE = "average.module."
"""Begins the names of the averaged weights in a checkpoint."""


@dataclass(frozen=True, slots=True)
class Training:
    """How a training went so far; all but the tensors that is needed to go on.

    Parameters
    ----------
    step : int
        Steps done, and the position of the sampler.
    ended : {"finished", "stable", "minutes", "floor"}, optional
        Why it ended: all steps were done, inspections agreed, the time was
        over, or it collapsed once too often and the start is the result.
    losses : tuple of float
        Mean loss of every step; no finite number where a step was skipped.
    inspections : tuple of (int, Inspection)
        Each with the number of steps done before it, the first with 0.
    best_step : int
        Step of the inspection of highest quality.
    rollbacks : int
        How often it went back to the best checkpoint.
    slowing : float
        What the learning rate of the schedule is divided by.
    stable_checks : int
        Inspections in a row that agreed.
    skipped : int
        Steps without a finite gradient.
    skipped_in_a_row : int
        Those among them that directly precede this step.
    warnings : tuple of str
        What was said to the user, kept to be said again after an interruption.
    """

    step: int = 0
    ended: Ending | None = None
    losses: tuple[float, ...] = ()
    inspections: tuple[tuple[int, Inspection], ...] = ()
    best_step: int = 0
    rollbacks: int = 0
    slowing: float = 1.0
    stable_checks: int = 0
    skipped: int = 0
    skipped_in_a_row: int = 0
    warnings: tuple[str, ...] = ()


def read_training(folder: Path) -> Training:
    """Read how a training went, whether it has ended or not.

    Raises
    ------
    StoreError
        If no training was begun in the folder.
    DamagedError
        If its latest checkpoint fails its checksum.
    """
    return training_of(read_state(folder, _latest(folder)))


def load_average(folder: Path, network: nn.Module) -> nn.Module:
    """Give a network the averaged weights of a training that ended, for inference.

    Raises
    ------
    IncompleteError
        If the training has not ended.
    StoreError
        If there is none in the folder, or its network has other parameters.
    DamagedError
        If its checkpoint fails its checksum.
    """
    try:
        checkpoint = read_checkpoint(folder, _latest(folder))
    except DamagedError as error:  # older checkpoints are of no use here: they are no results
        raise DamagedError(
            f"The network in {folder} fails its checksum, is cut short or is missing. Delete "
            f"{folder} and run the same command again: the network is trained again."
        ) from error
    if training_of(checkpoint.state).ended is None:
        raise IncompleteError(
            f"The training in {folder} stopped at step {checkpoint.step}, before its end. Delete "
            f"{folder} and run the same command again: the network is trained again."
        )
    try:
        network.load_state_dict(part_of(checkpoint.tensors, AVERAGE))
    except RuntimeError as error:
        raise StoreError(
            f"The training in {folder} is of a network with other parameters than the one asked "
            f"for. Delete the folder to train again."
        ) from error
    return network.eval().requires_grad_(False)


def training_state(fingerprint: str, training: Training) -> dict[str, Any]:
    """Make of a training what the JSON of a checkpoint holds."""
    return {"fingerprint": fingerprint, "training": asdict(training)}


def training_of(state: Mapping[str, Any]) -> Training:
    """Make a training of what the JSON of a checkpoint held."""
    fields = dict(state["training"])
    fields["losses"] = tuple(fields["losses"])
    fields["warnings"] = tuple(fields["warnings"])
    fields["inspections"] = tuple(
        (step, Inspection(**inspection)) for step, inspection in fields["inspections"]
    )
    return Training(**fields)


def mark_of(fingerprint: str, schedule: Schedule, network: nn.Module) -> str:
    """Hash what must not change while a training goes on."""
    shapes = [
        (name, str(value.dtype), tuple(value.shape)) for name, value in network.state_dict().items()
    ]
    fixed = asdict(replace(schedule, minutes=None, save_every_s=0.0))
    return hashlib.sha256(json.dumps([FORMAT, fingerprint, fixed, shapes]).encode()).hexdigest()


def part_of(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Choose the tensors whose names begin with a prefix, and take it off."""
    return {
        name.removeprefix(prefix): value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }


def _latest(folder: Path) -> int:
    steps = checkpoint_steps(folder)
    if not steps:
        raise StoreError(f"A training is needed in {folder}, but none was begun there.")
    return steps[0]
