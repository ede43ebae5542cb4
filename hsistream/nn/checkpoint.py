"""Checkpoints of a training: folders that appear all or nothing and are checked when read.

::

    <folder>/elapsed.json                               time, over all attempts
    <folder>/checkpoints/step-00000060/tensors.safetensors
                                       state.json       with checksums of both

A checkpoint holds no time, no address and no pickle: its bytes depend only on
what was trained.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, contiguous_format

from hsistream.errors import DamagedError
from hsistream.files import filing, partial_of, write_text

_CHECKPOINTS = "checkpoints"
_PREFIX = "step-"
_TENSORS = "tensors.safetensors"
_STATE = "state.json"
_ELAPSED = "elapsed.json"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A training between two steps: plain values for JSON, and tensors on the CPU."""

    step: int
    state: Mapping[str, Any]
    tensors: Mapping[str, Tensor]


def checkpoint_steps(folder: Path) -> list[int]:
    """List the steps of which there is a checkpoint, newest first."""
    found = (folder / _CHECKPOINTS).glob(f"{_PREFIX}*")
    return sorted((int(path.name.removeprefix(_PREFIX)) for path in found), reverse=True)


def write_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint, all or nothing, in place of one of the same step."""
    path = _path(folder, checkpoint.step)
    tensors = save({name: _alone(tensor) for name, tensor in checkpoint.tensors.items()})
    content = {"tensors_sha256": _sha256(tensors), "state": dict(checkpoint.state)}
    partial = partial_of(path)
    with filing(path):
        _remove(path)
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        try:
            _write_through(partial / _TENSORS, tensors)
            _write_through(partial / _STATE, _sealed(content).encode())
            _flush_folder(partial)
            partial.rename(path)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        _flush_folder(path.parent)


def read_state(folder: Path, step: int) -> dict[str, Any]:
    """Read the plain values of a checkpoint and leave its tensors.

    Raises
    ------
    DamagedError
        If the file is missing or fails its checksum.
    """
    state: dict[str, Any] = _content(_path(folder, step))["state"]
    return state


def read_checkpoint(folder: Path, step: int) -> Checkpoint:
    """Read a checkpoint.

    Raises
    ------
    DamagedError
        If one of its files is missing or fails its checksum.
    """
    path = _path(folder, step)
    content = _content(path)
    tensors = _bytes(path / _TENSORS)
    if _sha256(tensors) != content["tensors_sha256"]:
        raise _damaged(path / _TENSORS)
    try:
        return Checkpoint(step, content["state"], load(tensors))
    except SafetensorError as error:
        raise _damaged(path / _TENSORS) from error


def keep_only(folder: Path, steps: Collection[int]) -> None:
    """Remove the checkpoints of all other steps, and what an interrupted write has left."""
    with filing(folder):
        for step in set(checkpoint_steps(folder)) - set(steps):
            _remove(_path(folder, step))
        left = (folder / _CHECKPOINTS).glob(".*.partial")
        for partial in (*left, partial_of(folder / _CHECKPOINTS)):
            shutil.rmtree(partial, ignore_errors=True)


def discard(folder: Path) -> None:
    """Remove all checkpoints and the time they took; all of them or none is left behind."""
    with filing(folder):
        (folder / _ELAPSED).unlink(missing_ok=True)
        _remove(folder / _CHECKPOINTS)


def read_elapsed(folder: Path) -> float:
    """Read the seconds that all attempts took so far, 0 before the first checkpoint."""
    path = folder / _ELAPSED
    with filing(path):
        if not path.exists():
            return 0.0
        content = path.read_bytes()
    try:
        return float(json.loads(content)["elapsed_s"])
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedError(
            f"{path} does not hold a time. Delete it and run the same command again: the limit on "
            f"the time of the training then counts anew."
        ) from error


def write_elapsed(folder: Path, elapsed_s: float) -> None:
    """Note the seconds that all attempts took; they are no part of a checkpoint."""
    write_text(folder / _ELAPSED, json.dumps({"elapsed_s": round(elapsed_s, 3)}))


def _path(folder: Path, step: int) -> Path:
    return folder / _CHECKPOINTS / f"{_PREFIX}{step:08d}"


def _alone(tensor: Tensor) -> Tensor:
    """Copy a tensor: safetensors takes none that shares its memory with another."""
    return tensor.detach().cpu().clone(memory_format=contiguous_format)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _sealed(content: Mapping[str, Any]) -> str:
    """Write values as JSON with a checksum of themselves."""
    return json.dumps({"sha256": _sha256(json.dumps(content).encode()), **content})


def _content(path: Path) -> dict[str, Any]:
    """Read what :func:`_sealed` has written."""
    text = _bytes(path / _STATE)
    try:
        content: dict[str, Any] = json.loads(text)
        sha256 = content.pop("sha256")
        sound = sha256 == _sha256(json.dumps(content).encode())
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _damaged(path / _STATE) from error
    if not sound:
        raise _damaged(path / _STATE)
    return content


def _bytes(path: Path) -> bytes:
    with filing(path):
        try:
            return path.read_bytes()
        except (FileNotFoundError, NotADirectoryError) as error:
            raise _damaged(path) from error


def _damaged(path: Path) -> DamagedError:
    return DamagedError(
        f"{path} is missing, cut short or fails its checksum. Delete {path.parent} and run the "
        f"same command again: the training goes on from an older checkpoint."
    )


def _write_through(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _flush_folder(path: Path) -> None:
    """Make names and renames in a folder last: a file's own fsync does not."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    """Remove a folder at once: one that is half removed would pass for a damaged one."""
    if path.exists():
        partial = partial_of(path)
        shutil.rmtree(partial, ignore_errors=True)
        path.rename(partial)
        shutil.rmtree(partial)
