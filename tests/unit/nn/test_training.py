from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch  # noqa: TID253 the layer of the networks
from torch import nn  # noqa: TID253 the layer of the networks

from hsistream.errors import DamagedError, IncompleteError, StoreError
from hsistream.events import Event, Progress
from hsistream.nn.learner import Inspection
from hsistream.nn.training import (
    Training,
    load_average,
    mark_of,
    read_training,
    training_of,
    training_state,
)
from tests.unit.nn.tiny import schedule, small_network, train

FULL = Training(
    step=60,
    ended="stable",
    losses=(0.1, 2.5),
    inspections=((0, Inspection(-1.0)), (30, Inspection(2.0, True, 0.5, {"entropy": 0.25}))),
    best_step=30,
    rollbacks=1,
    slowing=3.0,
    stable_checks=3,
    skipped=2,
    skipped_in_a_row=1,
    warnings=("said",),
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    train(folder, plan=schedule(steps=4))
    return folder


def test_a_training_survives_json() -> None:
    assert training_of(training_state("mark", FULL)) == FULL


def test_the_average_can_be_used_without_the_learner(finished: Path) -> None:
    trained = train(finished, plan=schedule(steps=4))
    network = load_average(finished, small_network())
    assert not network.training
    for one, other in zip(network.parameters(), trained.average.parameters(), strict=True):
        assert torch.equal(one, other)
        assert not one.requires_grad


def test_another_network_is_refused(finished: Path) -> None:
    with pytest.raises(StoreError, match="network with other parameters"):
        load_average(finished, nn.Linear(2, 2))


def test_a_folder_without_a_training_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="none was begun"):
        load_average(tmp_path, small_network())
    with pytest.raises(StoreError, match="none was begun"):
        read_training(tmp_path)


def test_the_average_of_an_unfinished_training_is_no_result(tmp_path: Path) -> None:
    def stop(event: Event) -> None:
        if isinstance(event, Progress):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, notify=stop)
    with pytest.raises(IncompleteError, match="stopped at step 1"):
        load_average(tmp_path, small_network())
    assert read_training(tmp_path).ended is None


def test_a_damaged_average_is_no_result(tmp_path: Path) -> None:
    train(tmp_path, plan=schedule(steps=1))
    path = tmp_path / "checkpoints" / "step-00000001" / "tensors.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(DamagedError):
        load_average(tmp_path, small_network())


def test_a_mark_depends_on_all_that_changes_a_training() -> None:
    plan, network = schedule(), small_network()
    mark = mark_of("one", plan, network)
    assert mark == mark_of("one", replace(plan, minutes=3.0, save_every_s=1.0), small_network())
    others = [
        mark_of("two", plan, network),
        mark_of("one", replace(plan, momentum=0.5), network),
        mark_of("one", replace(plan, precision="bfloat16"), network),
        mark_of("one", plan, network.double()),
        mark_of("one", plan, nn.Linear(2, 2)),
    ]
    assert len({mark, *others}) == 6
