from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch  # noqa: TID253 the layer of the networks
from torch import Tensor, nn  # noqa: TID253 the layer of the networks

from hsistream.errors import DivergedError
from hsistream.events import Event, Progress, StageStarted, Warned
from hsistream.nn.checkpoint import read_checkpoint
from hsistream.nn.learner import Schedule
from hsistream.nn.loop import fit
from hsistream.nn.training import part_of, read_training
from tests.unit.nn.tiny import (
    BATCH,
    STEPS,
    TinyLearner,
    batches,
    checkpoint_bytes,
    schedule,
    small_network,
    train,
)


def warnings_of(events: list[Event]) -> list[str]:
    return [event.message for event in events if isinstance(event, Warned)]


def test_training_lowers_the_loss(tmp_path: Path) -> None:
    trained = train(tmp_path, plan=schedule(steps=60, momentum=0.9))
    losses = trained.training.losses
    assert len(losses) == 60
    assert sum(losses[-10:]) < 0.5 * sum(losses[:10])
    qualities = [each.quality for _, each in trained.training.inspections]
    assert qualities[-1] > 0.6 * qualities[0]
    assert trained.training.ended == "finished"
    assert trained.elapsed_s > 0


def test_the_average_is_inspected_at_the_start_every_few_steps_and_at_the_end(
    tmp_path: Path,
) -> None:
    found = [step for step, _ in train(tmp_path).training.inspections]
    assert found == [0, 5, 10, 15, 20, STEPS]


def test_who_watches_is_told_of_every_step(tmp_path: Path) -> None:
    events: list[Event] = []
    training = train(tmp_path, notify=events.append).training
    assert events[0] == StageStarted("train", STEPS, resumed=0)
    assert events[1:] == [
        Progress("train", step, STEPS, f"steps, loss {loss:.4g}")
        for step, loss in enumerate(training.losses, 1)
    ]


def test_threads_do_not_change_a_byte(tmp_path: Path) -> None:
    for threads in (1, 2, 5):
        train(tmp_path / str(threads), threads=threads)
    one = checkpoint_bytes(tmp_path / "1")
    assert one == checkpoint_bytes(tmp_path / "2") == checkpoint_bytes(tmp_path / "5")


def test_the_settings_of_torch_are_put_back(tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    train(tmp_path, plan=schedule(steps=1))
    assert torch.get_num_threads() == threads
    assert not torch.are_deterministic_algorithms_enabled()


def test_no_steps_keep_the_start(tmp_path: Path) -> None:
    trained = train(tmp_path, plan=schedule(steps=0))
    assert trained.training.ended == "finished"
    assert_same(trained.average, small_network())


def test_a_finished_training_is_read_back(tmp_path: Path) -> None:
    first = train(tmp_path)
    before = checkpoint_bytes(tmp_path)
    events: list[Event] = []
    learner = TinyLearner()
    again = fit(learner, unasked, schedule(), tmp_path, fingerprint="mark", notify=events.append)
    assert events == [StageStarted("train", STEPS, resumed=STEPS)]
    assert again.training == first.training == read_training(tmp_path)
    assert_same(again.average, first.average)
    assert int(learner.step) == STEPS
    assert checkpoint_bytes(tmp_path) == before


def unasked(first: int) -> Iterator[list[int]]:
    raise AssertionError("a finished training needs no batch")


@pytest.mark.parametrize(
    ("fingerprint", "plan"),
    [("other", schedule()), ("mark", schedule(learning_rate=0.03)), ("mark", schedule(steps=24))],
)
def test_another_training_starts_anew(tmp_path: Path, fingerprint: str, plan: Schedule) -> None:
    train(tmp_path / "used", plan=schedule(minutes=1e-9))
    train(tmp_path / "used", plan=plan, fingerprint=fingerprint)
    train(tmp_path / "new", plan=plan, fingerprint=fingerprint)
    assert checkpoint_bytes(tmp_path / "used") == checkpoint_bytes(tmp_path / "new")


def test_a_network_of_other_shapes_starts_anew(tmp_path: Path) -> None:
    train(tmp_path)
    wide = nn.Sequential(nn.Conv2d(4, 9, 3, padding=1), nn.GELU(), nn.Conv2d(9, 2, 1))
    events: list[Event] = []
    train(tmp_path, TinyLearner(wide), notify=events.append)
    assert events[0] == StageStarted("train", STEPS, resumed=0)


def test_what_does_not_change_the_result_may_change(tmp_path: Path) -> None:
    first = train(tmp_path)
    again = train(tmp_path, plan=schedule(save_every_s=1.0, minutes=5.0), threads=2)
    assert again.training == first.training


def test_too_few_batches_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"23 steps needs a batch for each.*ended after 2"):
        fit(TinyLearner(), lambda first: [[1], [2]], schedule(), tmp_path, fingerprint="mark")


def test_parameters_outside_of_the_network_are_refused(tmp_path: Path) -> None:
    class Outside(TinyLearner):
        def parameter_groups(self) -> list[dict[str, Any]]:
            return [{"params": [nn.Parameter(torch.zeros(2))]}]

    with pytest.raises(ValueError, match="must be parameters of the network"):
        train(tmp_path, Outside())


# Arithmetic


def test_a_step_is_that_of_adamw_on_the_clipped_mean_of_the_gradients(tmp_path: Path) -> None:
    plan = schedule(steps=2, warm_up=0, clip=0.05, weight_decay=0.1)
    reference = TinyLearner()
    groups = reference.parameter_groups()
    optimiser = torch.optim.AdamW(groups, lr=1.0, weight_decay=0.1)
    average = small_network()
    for step, samples in zip(range(2), batches(0), strict=False):
        with torch.no_grad():
            targets = reference.targets(average, samples, lambda f, items: [f(x) for x in items])
        losses = [
            reference.loss(sample, target, (step, index))
            for index, (sample, target) in enumerate(zip(samples, targets, strict=True))
        ]
        torch.stack(losses).mean().backward()
        norm = nn.utils.clip_grad_norm_(reference.network.parameters(), 0.05)
        assert norm > 0.05
        for group in optimiser.param_groups:
            group["lr"] = plan.rate(step)
        optimiser.step()
        optimiser.zero_grad()
        with torch.no_grad():
            pairs = zip(average.parameters(), reference.network.parameters(), strict=True)
            for mean, parameter in pairs:
                mean.lerp_(parameter, 0.01)
    learner = TinyLearner()
    trained = train(tmp_path, learner, plan)
    assert_close(learner.network, reference.network)
    assert_close(trained.average, average)


def test_a_group_keeps_its_own_weight_decay(tmp_path: Path) -> None:
    class Still(TinyLearner):
        def loss(self, sample: int, target: Tensor, key: tuple[int, int]) -> Tensor:
            return 0 * sum(each.sum() for each in self.network.parameters())  # type: ignore[return-value]

    learner, plan = Still(), schedule(steps=3, warm_up=0, weight_decay=0.5)
    start = small_network().state_dict()
    train(tmp_path, learner, plan)
    kept = math.prod(1 - 0.5 * plan.rate(step) for step in range(3))
    for name, value in learner.network.state_dict().items():
        factor = 1.0 if "bias" in name else kept
        torch.testing.assert_close(value, factor * start[name])


def test_the_average_is_the_closed_form_of_all_networks(tmp_path: Path) -> None:
    class Watched(TinyLearner):
        def advance(self, average: nn.Module, targets: Any, step: int) -> None:
            super().advance(average, targets, step)
            seen.append(first_weight(self.network))

    seen = [first_weight(small_network())]
    average = train(tmp_path, Watched(), schedule(momentum=0.8)).average
    weights = [0.8**STEPS] + [0.2 * 0.8 ** (STEPS - step) for step in range(1, STEPS + 1)]
    assert math.isclose(sum(weights), 1)
    expected = sum(weight * each for weight, each in zip(weights, seen, strict=True))
    torch.testing.assert_close(first_weight(average), expected)


def test_a_loss_need_not_depend_on_every_parameter(tmp_path: Path) -> None:
    class Narrow(TinyLearner):
        def loss(self, sample: int, target: Tensor, key: tuple[int, int]) -> Tensor:
            return next(self.network.parameters()).square().sum()

    learner = Narrow()
    start = small_network()
    train(tmp_path, learner, schedule(steps=2, weight_decay=0.0))
    pairs = zip(learner.network.parameters(), start.parameters(), strict=True)
    assert [torch.equal(one, other) for one, other in pairs] == [False, True, True, True]


def test_low_precision_is_that_of_the_losses_only(tmp_path: Path) -> None:
    seen = set()

    class Watched(TinyLearner):
        def loss(self, sample: int, target: Tensor, key: tuple[int, int]) -> Tensor:
            seen.add(self.network(torch.zeros(1, 4, 5, 5)).dtype)
            return super().loss(sample, target, key)

    trained = train(tmp_path / "1", Watched(), schedule(precision="bfloat16"))
    assert seen == {torch.bfloat16}
    assert {each.dtype for each in trained.average.parameters()} == {torch.float32}
    train(tmp_path / "2", Watched(), schedule(precision="bfloat16"), threads=2)
    assert checkpoint_bytes(tmp_path / "1") == checkpoint_bytes(tmp_path / "2")


def test_a_step_without_a_finite_gradient_is_skipped_and_said(tmp_path: Path) -> None:
    events: list[Event] = []
    plan = schedule(steps=6, check_every=100)
    learner = TinyLearner(infinite=frozenset({2, 4}))
    trained = train(tmp_path, learner, plan, notify=events.append)
    assert trained.training.skipped == 2
    assert [math.isfinite(loss) for loss in trained.training.losses] == [
        True, True, False, True, False, True,
    ]  # fmt: skip
    assert all(torch.isfinite(each).all() for each in trained.average.parameters())
    (message,) = warnings_of(events)
    assert message.startswith("train: step 3 was skipped")
    assert repr(read_training(tmp_path)) == repr(trained.training)


def test_ten_steps_in_a_row_without_a_finite_gradient_end_the_training(tmp_path: Path) -> None:
    learner = TinyLearner(infinite=frozenset(range(3, 12)))
    assert train(tmp_path / "nine", learner).training.skipped == 9
    learner = TinyLearner(infinite=frozenset(range(3, 13)))
    with pytest.raises(DivergedError, match=r"last 10 of 13 steps had none.*lower learning rate"):
        train(tmp_path / "ten", learner)


# Checks


def test_a_training_whose_inspections_agree_ends(tmp_path: Path) -> None:
    agreements = {5: 0.99, 10: 0.97, 15: 0.99, 20: 0.99, 25: 1.0, 30: 1.0}
    learner = TinyLearner(agreements=agreements)
    training = train(tmp_path, learner, schedule(steps=60)).training
    assert training.ended == "stable"
    assert training.step == 25


def test_a_collapsed_training_goes_back_to_its_best_checkpoint(tmp_path: Path) -> None:
    learner = TinyLearner(
        quality={0: 1.0, 5: 3.0, 10: 2.0, 20: 2.5}, collapses=frozenset({15}), agreements={}
    )
    events: list[Event] = []
    trained = train(tmp_path, learner, schedule(steps=20), notify=events.append)
    training = trained.training
    assert (training.rollbacks, training.slowing, training.best_step) == (1, 3.0, 5)
    assert training.ended == "finished"
    assert [step for step, _ in training.inspections] == [0, 5, 10, 15, 20]
    error = dict(training.inspections)[15].facts["error"]
    (message,) = warnings_of(events)
    assert message == (
        f"train: the training collapsed at step 15 (error {error:.4g}). It went back to step 5 and "
        f"goes on with the learning rate divided by 3"
    )


def test_after_a_roll_back_the_sampler_goes_on_and_the_models_do_not(tmp_path: Path) -> None:
    """Five steps, five that are undone, five at a third of the rate: computed by hand."""

    class Watched(TinyLearner):
        def loss(self, sample: int, target: Tensor, key: tuple[int, int]) -> Tensor:
            keys.append((sample, *key))
            return super().loss(sample, target, key)

    keys: list[tuple[int, int, int]] = []
    learner = Watched(quality={0: 1.0, 5: 3.0}, collapses=frozenset({10}))
    train(tmp_path / "back", learner, schedule(steps=15, momentum=0.9))
    assert sorted(keys) == [
        (step * BATCH + index, step, index) for step in range(15) for index in range(BATCH)
    ]
    skipping = TinyLearner(quality={0: 1.0, 5: 3.0}, infinite=frozenset(range(5, 10)))
    slow = schedule(steps=15, momentum=0.9)
    train(tmp_path / "skip", skipping, slow)
    assert not torch.equal(first_weight(learner.network), first_weight(skipping.network))
    with pytest.MonkeyPatch.context() as patch:
        rate = Schedule.rate
        patch.setattr(
            Schedule, "rate", lambda self, step: rate(self, step) / (3 if step >= 10 else 1)
        )
        skipping = TinyLearner(quality={0: 1.0, 5: 3.0}, infinite=frozenset(range(5, 10)))
        train(tmp_path / "by-hand", skipping, slow)
    assert_same(learner.network, skipping.network)
    assert torch.equal(learner.usage, skipping.usage)


def test_the_third_collapse_ends_at_the_start(tmp_path: Path) -> None:
    learner = TinyLearner(quality={0: 1.0, 5: 3.0}, collapses=frozenset({10, 15, 20}))
    events: list[Event] = []
    trained = train(tmp_path, learner, notify=events.append)
    training = trained.training
    assert (training.ended, training.rollbacks, training.step) == ("floor", 2, 20)
    assert_same(trained.average, small_network())
    assert_same(learner.network, small_network())
    messages = warnings_of(events)
    assert len(messages) == 3
    assert "after 2 roll-backs. The result is the start, step 0" in messages[2]
    assert training.warnings == tuple(messages)


def test_warnings_are_said_again_when_the_training_is_read_back(tmp_path: Path) -> None:
    first: list[Event] = []
    second: list[Event] = []
    collapses = frozenset({10})
    train(tmp_path, TinyLearner(collapses=collapses), notify=first.append)
    train(tmp_path, TinyLearner(collapses=collapses), notify=second.append)
    assert warnings_of(first) == warnings_of(second) != []


def test_a_quality_that_is_no_number_is_a_collapse(tmp_path: Path) -> None:
    learner = TinyLearner(quality={10: math.nan})
    assert train(tmp_path, learner).training.rollbacks == 1


def test_a_collapse_at_the_last_step_is_no_result(tmp_path: Path) -> None:
    collapsing = TinyLearner(quality={0: 1.0, 5: 3.0}, collapses=frozenset({STEPS}))
    trained = train(tmp_path, collapsing)
    assert trained.training.ended == "finished"
    assert trained.training.best_step == 5
    best = part_of(read_checkpoint(tmp_path, 5).tensors, "average.module.")
    for name, value in trained.average.state_dict().items():
        assert torch.equal(value, best[name])


# Time


def test_a_training_ends_when_its_time_is_over_and_goes_on_with_more(tmp_path: Path) -> None:
    short = train(tmp_path / "1", plan=schedule(minutes=1e-9)).training
    assert (short.ended, short.step) == ("minutes", 1)
    assert [step for step, _ in short.inspections] == [0, 1]
    assert train(tmp_path / "1", plan=schedule(minutes=1e-9)).training == short
    longer = train(tmp_path / "1", plan=schedule()).training
    assert longer.ended == "finished"
    assert longer.losses == train(tmp_path / "2").training.losses


def test_the_time_of_earlier_attempts_counts(tmp_path: Path) -> None:
    train(tmp_path, plan=schedule(minutes=1e-9))
    (tmp_path / "elapsed.json").write_text('{"elapsed_s": 3600.0}')
    training = train(tmp_path, plan=schedule(minutes=59.0)).training
    assert (training.ended, training.step) == ("minutes", 1)
    training = train(tmp_path, plan=schedule(minutes=61.0)).training
    assert training.ended == "finished"


def first_weight(network: nn.Module) -> Tensor:
    return next(network.parameters()).detach().clone()


def assert_same(one: nn.Module, other: nn.Module) -> None:
    for name, value in other.state_dict().items():
        assert torch.equal(one.state_dict()[name], value), name


def assert_close(one: nn.Module, other: nn.Module) -> None:
    for name, value in other.state_dict().items():
        torch.testing.assert_close(one.state_dict()[name], value)
