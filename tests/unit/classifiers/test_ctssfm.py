from __future__ import annotations

import numpy as np
import pytest
import torch  # noqa: TID253 a network
from numpy.typing import NDArray
from torch import Tensor  # noqa: TID253 a network

from hsistream.classifiers import ctssfm
from hsistream.classifiers.base import Lesson
from hsistream.classifiers.ctssfm_network import (
    CHANNELS,
    STAGES,
    VALUES,
    Awam,
    StepFusion,
    Weighing,
    WindowFusion,
)
from hsistream.sections import ClassifySection, CtssfmSection
from hsistream.stages.gather import cut_squares

WEIGHINGS: list[Weighing] = ["scene", "stage", "pixel", "even"]


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def asked(**settings: object) -> ClassifySection:
    few = {"window_px": 5, "steps": 30, "batch": 16, **settings}
    return ClassifySection.model_validate(
        {"labels": "none", "classifier": "ctssfm", "features": ["latents"], "ctssfm": few}
    )


def stages(time_steps: int, height: int, width: int, seed: int = 0) -> NDArray[np.float32]:
    """Latents (feature, y, x) of unit length, each 64 of them without a mean."""
    parts = np.random.default_rng(seed).normal(size=(time_steps * STAGES, CHANNELS, height, width))
    parts -= parts.mean(axis=1, keepdims=True)
    parts /= parts.std(axis=1, keepdims=True)
    features = parts.reshape(-1, height, width)
    return np.asarray(features / np.sqrt(len(features)), np.float32)


def lesson_of(
    time_steps: int, informative: tuple[int, ...], reach: int, pixels: int = 90, seed: int = 0
) -> Lesson:
    """Pixels of three classes that differ at some of the time steps, alone in their squares."""
    random = np.random.default_rng((seed, 1))
    shapes = np.random.default_rng(9).normal(size=(3, STAGES, CHANNELS))
    number = np.arange(pixels) % 3
    parts = random.normal(size=(pixels, time_steps, STAGES, CHANNELS))
    parts[:, informative] += 0.8 * shapes[number][:, None]
    features = parts.reshape(pixels, -1) / np.sqrt(VALUES * time_steps)
    side = 2 * reach + 1
    squares = np.full((pixels, features.shape[1], side, side), np.nan, np.float32)
    squares[:, :, reach, reach] = features
    return Lesson(squares, number, 3)


# Weights of time steps


@pytest.mark.parametrize("weighing", WEIGHINGS)
def test_without_a_preference_time_steps_are_averaged(weighing: Weighing) -> None:
    features = normal(7, 5, STAGES, CHANNELS)
    expected = torch.nn.functional.layer_norm(features, (CHANNELS,)).mean(dim=1)
    torch.testing.assert_close(Awam(5, weighing)(features), expected)


@pytest.mark.parametrize("weighing", WEIGHINGS)
def test_a_preferred_time_step_is_taken_alone(weighing: Weighing) -> None:
    awam, features = Awam(5, weighing), normal(7, 5, STAGES, CHANNELS)
    awam.logits.data[:, 3] = 50
    expected = torch.nn.functional.layer_norm(features[:, 3], (CHANNELS,))
    torch.testing.assert_close(awam(features), expected)


@pytest.mark.parametrize("weighing", WEIGHINGS)
def test_time_steps_that_are_alike_give_what_each_of_them_is(weighing: Weighing) -> None:
    awam = Awam(5, weighing)
    awam.logits.data = normal(*awam.logits.shape)
    one = torch.nn.functional.layer_norm(normal(7, 1, STAGES, CHANNELS), (CHANNELS,))
    torch.testing.assert_close(awam(one.expand(-1, 5, -1, -1)), one[:, 0], atol=1e-4, rtol=1e-4)


def test_stages_have_weights_gains_and_offsets_of_their_own() -> None:
    awam, features = Awam(5), normal(7, 5, STAGES, CHANNELS)
    before = awam(features).detach()
    awam.logits.data[2, 1] = 3
    awam.gain.data[0] = 2
    awam.offset.data[3] = 1
    found = awam(features).detach()
    torch.testing.assert_close(found[:, 0], 2 * before[:, 0])
    torch.testing.assert_close(found[:, 1], before[:, 1])
    assert not torch.allclose(found[:, 2], before[:, 2], atol=0.1)
    torch.testing.assert_close(found[:, 3], before[:, 3] + 1)


def test_a_gate_weighs_time_steps_pixel_by_pixel() -> None:
    torch.manual_seed(0)
    awam, features = Awam(3, "pixel"), normal(6, 3, STAGES, CHANNELS)
    assert awam.gate is not None
    for parameter in awam.gate.parameters():
        parameter.data = 2 * normal(*parameter.shape)
    levelled = torch.nn.functional.layer_norm(features, (CHANNELS,))
    weights = awam.gate(levelled).softmax(dim=1)
    torch.testing.assert_close(awam(features), (weights * levelled).sum(dim=1))
    assert weights.std(dim=0).mean() > 0.1


# Networks


def test_tokens_and_logits_have_the_shapes_that_are_owed() -> None:
    of = CtssfmSection(window_px=5)
    network = WindowFusion(torch.tensor([0, 2]), 7, of, "stage")
    tokens = network.stem(normal(2, 3 * VALUES, 8, 9))
    assert tokens.shape == (2, 6, 7, 2 * CHANNELS)
    assert network(normal(4, 25, 2 * CHANNELS)).shape == (4, 7)
    alone = StepFusion(torch.tensor([0, 2]), 7, of)
    assert alone.stem(normal(2, 3 * VALUES, 8, 9)).shape == (2, 8, 9, 3 * VALUES)
    assert alone(normal(4, 1, 3 * VALUES)).shape == (4, 7)


def test_time_steps_that_are_not_chosen_do_not_matter() -> None:
    of = CtssfmSection(window_px=5)
    features = normal(1, 3 * VALUES, 7, 7)
    changed = features.clone()
    changed[:, VALUES : 2 * VALUES] += normal(1, VALUES, 7, 7, seed=1)
    network = WindowFusion(torch.tensor([0, 2]), 4, of, "stage")
    assert torch.equal(network.stem(changed), network.stem(features))
    every = WindowFusion(torch.arange(3), 4, of, "stage")
    assert not torch.allclose(every.stem(changed), every.stem(features))


def test_spatial_stages_are_mixed_with_neighbours_and_spectral_ones_are_not() -> None:
    network = WindowFusion(torch.tensor([0]), 4, CtssfmSection(), "stage")
    features = normal(1, VALUES, 9, 9)
    changed = features.clone()
    changed[:, :, 4, 4] += normal(1, VALUES)[..., 0]
    changed[:, :, 4, 4] = normal(1, VALUES, seed=5)
    before, found = network.stem(features), network.stem(changed)
    differs = (before != found).any(dim=0)
    spatial, spectral = differs[..., :CHANNELS].any(dim=2), differs[..., CHANNELS:].any(dim=2)
    near = torch.zeros(7, 7, dtype=torch.bool)
    near[2:5, 2:5] = True
    assert torch.equal(spatial, near)
    assert spectral.nonzero().tolist() == [[3, 3]]


def test_the_first_and_third_stage_are_spatial() -> None:
    network = WindowFusion(torch.tensor([0]), 4, CtssfmSection(), "stage")
    features = normal(1, STAGES, CHANNELS, 5, 5)
    before = network.stem(features.flatten(1, 2))
    for stage in range(STAGES):
        changed = features.clone()
        changed[:, stage] = normal(1, CHANNELS, 5, 5, seed=3)
        differs = network.stem(changed.flatten(1, 2)) != before
        assert bool(differs[..., :CHANNELS].any()) == (stage in (0, 2))
        assert bool(differs[..., CHANNELS:].any()) == (stage in (1, 3))


def test_tokens_are_zero_where_there_is_nothing() -> None:
    network = WindowFusion(torch.tensor([0]), 4, CtssfmSection(), "stage")
    features = normal(1, VALUES, 8, 8)
    features[:, :, 3, 4] = torch.nan
    tokens = network.stem(features)
    assert (tokens == 0).all(dim=3).nonzero().tolist() == [[0, 2, 3]]


# What pixels are judged


@pytest.mark.parametrize(
    "settings",
    [{}, {"weights": "pixel"}, {"variant": "steps"}, {"window_px": 9}],
    ids=["window", "gate", "steps", "large"],
)
def test_a_window_is_judged_to_the_bit_as_its_squares_are(settings: dict[str, object]) -> None:
    asked_for = asked(**settings)
    reach = ctssfm.reach(asked_for)
    fitted = ctssfm.fit(asked_for, lesson_of(2, (1,), reach), 0)
    features = stages(2, 31, 45)
    features[:, 9:14, 20:23] = np.nan
    around = ((0, 0), (reach, reach), (reach, reach))
    seen = np.pad(features, around, constant_values=np.nan)
    wanted = ~np.isnan(features[0])
    wanted[::3, ::2] = False
    row, column = np.nonzero(wanted)
    whole = fitted.judge_window(seen, wanted)
    np.testing.assert_array_equal(fitted.judge(cut_squares(seen, row, column, reach)), whole)
    assert np.isfinite(whole).all()
    assert whole.std(axis=0).min() > 1e-3
    part = np.ascontiguousarray(seen[:, 4 : 18 + 2 * reach, 3 : 40 + 2 * reach])
    of_part = wanted[4:18, 3:40]
    inside = (row >= 4) & (row < 18) & (column >= 3) & (column < 40)
    np.testing.assert_array_equal(fitted.judge_window(part, of_part), whole[inside])


@pytest.mark.parametrize("variant", ["window", "steps"])
def test_what_was_kept_judges_the_same_without_the_other_time_steps(variant: str) -> None:
    settings = asked(variant=variant, keep=2, steps=5)
    of = lesson_of(4, (1, 2), ctssfm.reach(settings), pixels=24)
    fitted = ctssfm.fit(settings, of, 0)
    assert fitted.arrays()[ctssfm.CHOSEN].shape == (2,)
    again = ctssfm.restore(settings, {**fitted.arrays(), "losses": fitted.losses})
    np.testing.assert_array_equal(again.judge(of.squares), fitted.judge(of.squares))
    np.testing.assert_array_equal(again.losses, fitted.losses)


@pytest.mark.parametrize("variant", ["window", "steps"])
def test_classes_that_differ_at_one_time_step_are_told_apart(variant: str) -> None:
    settings = asked(variant=variant, steps=120)
    reach = ctssfm.reach(settings)
    fitted = ctssfm.fit(settings, lesson_of(3, (1,), reach), 0)
    other = lesson_of(3, (1,), reach, seed=1)
    assert (fitted.judge(other.squares).argmax(axis=1) == other.number).mean() > 0.9


def test_a_window_tells_more_than_a_pixel_where_neighbours_are_alike() -> None:
    reach = ctssfm.reach(asked(window_px=3))
    lessons = [neighbours_alike(reach, seed) for seed in (0, 1)]
    accuracies = []
    for variant in ("window", "steps"):
        chosen = asked(steps=150, window_px=3, variant=variant)
        own = ctssfm.reach(chosen)
        cut = slice(reach - own, reach + own + 1)
        first, other = (Lesson(x.squares[:, :, cut, cut], x.number, 3) for x in lessons)
        fitted = ctssfm.fit(chosen, first, 0)
        accuracies.append((fitted.judge(other.squares).argmax(axis=1) == other.number).mean())
    assert accuracies[0] > accuracies[1] + 0.1


def neighbours_alike(reach: int, seed: int) -> Lesson:
    """Faint classes of one time step, in squares of one class."""
    random = np.random.default_rng((seed, 2))
    shapes = np.random.default_rng(9).normal(size=(3, VALUES))
    number, side = np.arange(120) % 3, 2 * reach + 1
    parts = random.normal(size=(120, VALUES, side, side)) + 0.15 * shapes[number][..., None, None]
    return Lesson((parts / np.sqrt(VALUES)).astype(np.float32), number, 3)


# Choice of time steps


@pytest.mark.parametrize("variant", ["window", "steps"])
@pytest.mark.parametrize("informative", [(0, 3), (4, 5)])
def test_the_time_steps_that_tell_classes_are_kept(
    variant: str, informative: tuple[int, ...]
) -> None:
    settings = asked(variant=variant, keep=2, window_px=3, steps=1)
    of = lesson_of(6, informative, ctssfm.reach(settings), pixels=60)
    assert ctssfm.fit(settings, of, 0).arrays()[ctssfm.CHOSEN].tolist() == list(informative)


@pytest.mark.parametrize(("keep", "expected"), [("all", 3), (3, 3), (5, 3), (1, 1)])
def test_no_more_time_steps_are_used_than_are_asked_for(keep: int | str, expected: int) -> None:
    settings = asked(variant="steps", keep=keep, steps=2)
    fitted = ctssfm.fit(settings, lesson_of(3, (1,), 0, pixels=12), 0)
    assert len(fitted.arrays()[ctssfm.CHOSEN]) == expected


@pytest.mark.parametrize("features", [0, 30, 64, 255, 257, 600])
def test_other_features_are_refused(features: int) -> None:
    nothing = Lesson(np.zeros((4, features, 7, 7), np.float32), np.arange(4), 4)
    with pytest.raises(ValueError, match=f"stages of diffcrn.* {features} values"):
        ctssfm.fit(asked(), nothing, 0)
    with pytest.raises(ValueError, match="stages of diffcrn"):
        ctssfm.training_bytes(asked(), features, 4)
