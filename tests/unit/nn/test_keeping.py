from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hsistream.errors import DamagedError
from hsistream.events import Event, Progress, StageStarted, Warned
from hsistream.nn.checkpoint import checkpoint_steps
from hsistream.nn.loop import fit
from tests.unit.nn.tiny import STEPS, TinyLearner, batches, checkpoint_bytes, schedule, train

LATEST = "checkpoints/step-00000023"


def eventful() -> TinyLearner:
    """A learner that rises, falls, collapses and has steps without a gradient."""
    return TinyLearner(
        quality={0: 1.0, 5: 3.0, 10: 4.0, 20: 2.0},
        collapses=frozenset({15}),
        infinite=frozenset({6, 7, 16}),
    )


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("uninterrupted")
    training = train(folder, eventful()).training
    assert (training.rollbacks, training.skipped, training.best_step) == (1, 3, 10)
    return folder


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plain")
    train(folder)
    return folder


def test_the_start_the_best_and_the_latest_are_kept(uninterrupted: Path) -> None:
    assert checkpoint_steps(uninterrupted) == [STEPS, 10, 0]


class Killed(BaseException):
    """Stands for a kill: nobody catches it."""


@pytest.mark.parametrize("every", [1, 3, 7])
@pytest.mark.parametrize("where", ["batches", "notify"])
def test_a_training_interrupted_after_every_few_steps_ends_the_same(
    tmp_path: Path, uninterrupted: Path, every: int, where: str
) -> None:
    often = schedule(save_every_s=0.0)
    left = [0]

    def counting(first: int) -> Iterator[list[int]]:
        for batch in batches(first):
            if where == "batches" and left[0] == 0:
                raise Killed
            left[0] -= 1
            yield batch

    def listen(event: Event) -> None:
        if where == "notify" and isinstance(event, Progress) and left[0] == 0:
            raise Killed

    kills = 0
    while True:
        left[0] = every
        try:
            fit(eventful(), counting, often, tmp_path, fingerprint="mark", notify=listen)
            break
        except Killed:
            kills += 1
    assert kills >= STEPS // every - 1
    assert checkpoint_bytes(tmp_path) == checkpoint_bytes(uninterrupted)


def test_steps_after_the_last_checkpoint_are_done_again(
    tmp_path: Path, uninterrupted: Path
) -> None:
    def stop_at(last: int) -> Any:
        def listen(event: Event) -> None:
            events.append(event)
            if isinstance(event, Progress) and event.done == last:
                raise Killed

        return listen

    for last, resumed in [(4, 0), (9, 0), (14, 5), (22, 10)]:
        events: list[Event] = []
        with pytest.raises(Killed):
            train(tmp_path, eventful(), notify=stop_at(last))
        assert StageStarted("train", STEPS, resumed=resumed) in events
    train(tmp_path, eventful())
    assert checkpoint_bytes(tmp_path) == checkpoint_bytes(uninterrupted)


def test_a_training_interrupted_at_any_change_of_the_disk_ends_the_same(tmp_path: Path) -> None:
    short = schedule(steps=4, check_every=2, warm_up=0)
    train(tmp_path / "uninterrupted", plan=short)
    expected = checkpoint_bytes(tmp_path / "uninterrupted")
    count, kills = 0, 0
    while kills == count:
        folder = tmp_path / str(count)
        count += 1
        try:
            with pytest.MonkeyPatch.context() as patch:
                _kill_at(patch, count)
                train(folder, plan=short)
        except Killed:
            kills += 1
            train(folder, plan=short)
        assert checkpoint_bytes(folder) == expected
        shutil.rmtree(folder)
    assert kills > 15


def _kill_at(patch: pytest.MonkeyPatch, number: int) -> None:
    """Die at a change of the disk, and let nothing change afterwards."""
    done = [0]

    def dying(function: Any) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            done[0] += 1
            if done[0] == number:
                raise Killed
            return function(*arguments, **options) if done[0] < number else None

        return call

    for owner, name in [
        (os, "fsync"),
        (shutil, "rmtree"),
        (Path, "rename"),
        (Path, "replace"),
        (Path, "mkdir"),
        (Path, "unlink"),
    ]:
        patch.setattr(owner, name, dying(getattr(owner, name)))


KILLING = """
import os, signal, sys
from pathlib import Path
from tests.unit.nn.test_keeping import eventful
from tests.unit.nn.tiny import schedule, train

def dying(path, target, rename=Path.rename):
    if target.name == "step-00000013":
        os.kill(os.getpid(), signal.SIGKILL)
    return rename(path, target)

Path.rename = dying
train(Path(sys.argv[1]), eventful(), schedule(save_every_s=0.0), threads=2)
"""


def test_a_process_killed_while_it_writes_ends_the_same_when_repeated(
    tmp_path: Path, uninterrupted: Path
) -> None:
    asked = [sys.executable, "-c", KILLING, str(tmp_path)]
    ended = subprocess.run(asked, cwd=Path(__file__).parents[3], capture_output=True, check=False)
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()
    assert ".step-00000013.partial/state.json" in checkpoint_bytes(tmp_path)
    events: list[Event] = []
    train(tmp_path, eventful(), notify=events.append)
    assert events[0] == StageStarted("train", STEPS, resumed=12)
    assert checkpoint_bytes(tmp_path) == checkpoint_bytes(uninterrupted)


# Damage


def damaged_copy(folder: Path, target: Path, *names: str) -> Path:
    shutil.copytree(folder, target, dirs_exist_ok=True)
    for name in names:
        path = target / name
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    return target


@pytest.mark.parametrize("file", ["tensors.safetensors", "state.json"])
def test_a_damaged_checkpoint_is_said_and_made_again(
    tmp_path: Path, uninterrupted: Path, file: str
) -> None:
    damaged_copy(uninterrupted, tmp_path, f"{LATEST}/{file}")
    events: list[Event] = []
    train(tmp_path, eventful(), notify=events.append)
    assert events[0] == Warned(
        f"train: the checkpoint of step 23 in {tmp_path}, or one that it may have to go back to, "
        f"is damaged. The training goes on from step 10"
    )
    assert checkpoint_bytes(tmp_path) == checkpoint_bytes(uninterrupted)


def test_a_missing_file_is_damage(tmp_path: Path, uninterrupted: Path) -> None:
    damaged_copy(uninterrupted, tmp_path)
    (tmp_path / LATEST / "tensors.safetensors").unlink()
    train(tmp_path, eventful())
    assert checkpoint_bytes(tmp_path) == checkpoint_bytes(uninterrupted)


def test_a_training_does_not_go_on_without_what_it_may_go_back_to(
    tmp_path: Path, uninterrupted: Path
) -> None:
    with pytest.raises(Killed):
        train(tmp_path, eventful(), schedule(save_every_s=0.0), notify=_stopping_at(13))
    assert checkpoint_steps(tmp_path) == [13, 10, 0]
    damaged_copy(tmp_path, tmp_path / "copy", "checkpoints/step-00000010/state.json")
    events: list[Event] = []
    train(tmp_path / "copy", eventful(), notify=events.append)
    assert events[1] == StageStarted("train", STEPS, resumed=0)
    assert checkpoint_bytes(tmp_path / "copy") == checkpoint_bytes(uninterrupted)
    damaged_copy(tmp_path, tmp_path / "start", "checkpoints/step-00000000/state.json")
    with pytest.raises(DamagedError, match=r"fail their checksums.*Delete .*/start and run"):
        train(tmp_path / "start", eventful())


def _stopping_at(last: int) -> Any:
    def listen(event: Event) -> None:
        if isinstance(event, Progress) and event.done == last:
            raise Killed

    return listen


def test_a_finished_training_needs_only_its_last_checkpoint(
    tmp_path: Path, uninterrupted: Path
) -> None:
    damaged_copy(uninterrupted, tmp_path, "checkpoints/step-00000000/state.json")
    again = train(tmp_path, eventful())
    assert again.training == train(uninterrupted, eventful()).training


def test_a_damaged_time_is_refused(tmp_path: Path, plain: Path) -> None:
    damaged_copy(plain, tmp_path)
    (tmp_path / "elapsed.json").write_text("{")
    with pytest.raises(DamagedError, match=r"does not hold a time. Delete it"):
        train(tmp_path)


def test_a_time_that_is_over_is_that_of_all_attempts(tmp_path: Path) -> None:
    plan = schedule(minutes=10.0, save_every_s=0.0)
    with pytest.raises(Killed):
        train(tmp_path, plan=plan, notify=_stopping_at(7))
    (tmp_path / "elapsed.json").write_text('{"elapsed_s": 599.9999}')
    training = train(tmp_path, plan=replace(plan, save_every_s=120.0)).training
    assert (training.ended, training.step) == ("minutes", 8)
