"""The layers of the window transformer, and how its learning rate falls."""

from __future__ import annotations

import pytest
import torch  # noqa: TID253 a network

from hsistream.classifiers.base import Lesson
from hsistream.classifiers.transformer_network import PROFILES, WIDTH, WindowTransformer
from hsistream.classifiers.windows import train
from hsistream.sections import WindowSection

WINDOW_PX = 5
MIDDLE = WINDOW_PX**2 // 2
FEATURES, CLASSES = 6, 3


def network(profile: str) -> WindowTransformer:
    torch.manual_seed(0)
    return WindowTransformer(FEATURES, CLASSES, WINDOW_PX, PROFILES[profile], 0.0).eval()


@torch.no_grad()
def change(profile: str, swapped: tuple[int, int]) -> float:
    """Change of logits when two tokens change places, where places are not told."""
    of = network(profile)
    of.position_scale.zero_()
    tokens = torch.randn(1, WINDOW_PX**2, WIDTH)
    order = torch.arange(WINDOW_PX**2)
    order[list(swapped)] = order[list(reversed(swapped))]
    return float((of(tokens[:, order]) - of(tokens)).abs().max())


@pytest.mark.parametrize("profile", PROFILES)
def test_tokens_around_the_middle_are_a_set(profile: str) -> None:
    assert change(profile, (0, MIDDLE - 1)) < 1e-5


def test_the_token_of_the_middle_asks() -> None:
    assert change("base", (0, MIDDLE)) > 1e-2


def test_the_published_network_asks_with_a_token_of_its_own() -> None:
    assert change("paper", (0, MIDDLE)) < 1e-5


def test_the_learning_rate_falls_to_nothing() -> None:
    of, random = network("base"), torch.Generator().manual_seed(1)
    squares = torch.randn(8, FEATURES, WINDOW_PX + 2, WINDOW_PX + 2, generator=random)
    lesson = Lesson(squares.numpy(), (torch.arange(8) % CLASSES).numpy(), CLASSES)
    optimiser = torch.optim.Adam(of.parameters(), lr=1e-3)
    rates: list[float] = []
    optimiser.register_step_pre_hook(
        lambda seen, *_: rates.append(float(seen.param_groups[0]["lr"]))
    )
    train(of, optimiser, lesson, WindowSection(window_px=WINDOW_PX, steps=4, batch=4), 0)
    half_a_cosine = [1e-3, 0.8535534e-3, 0.5e-3, 0.1464466e-3]  # at 0, 45, 90, 135 degrees
    assert rates == pytest.approx(half_a_cosine)
