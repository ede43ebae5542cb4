from __future__ import annotations

import math
from typing import get_args

import pytest
import torch  # noqa: TID253 the layer of the networks
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor  # noqa: TID253 the layer of the networks

from hsistream.nn.noise_losses import NoiseLossName, noise_loss

BOUNDED = [name for name in get_args(NoiseLossName) if name != "l2"]


def gradient(error: float, kind: NoiseLossName, scale: float = 1.0) -> float:
    value = torch.tensor(error, requires_grad=True)
    noise_loss(value, kind, scale).backward()
    assert value.grad is not None
    return float(value.grad)


def errors_of_a_zero_guess() -> Tensor:
    """Standard normal noise, by its quantiles: no draw decides."""
    count = 200_000
    shares = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    return math.sqrt(2) * torch.erfinv(2 * shares - 1)


def test_the_logarithm_is_what_the_text_says() -> None:
    error = torch.tensor([0.0, 1.0, -1.0, math.e - 1])
    expected = torch.tensor([0.0, 0.693147, 0.693147, 1.0])
    torch.testing.assert_close(noise_loss(error), expected)
    assert float(noise_loss(error).mean()) == pytest.approx(0.596574, abs=1e-6)


def test_large_errors_pull_less() -> None:
    assert gradient(1.0, "log1p") == pytest.approx(0.5)
    assert gradient(-3.0, "log1p") == pytest.approx(-0.25)
    assert gradient(-3.0, "scaled", 0.1) == pytest.approx(-1 / 31)


@pytest.mark.parametrize(
    ("kind", "mean"),
    [("log1p", 0.534822), ("logcosh", 0.374567), ("l1", math.sqrt(2 / math.pi)), ("l2", 1.0)],
)
def test_a_guess_of_zero_costs_what_integrals_say(kind: NoiseLossName, mean: float) -> None:
    assert float(noise_loss(errors_of_a_zero_guess(), kind).mean()) == pytest.approx(mean, abs=2e-5)


@pytest.mark.parametrize("kind", BOUNDED)
@given(error=st.floats(-1e30, 1e30, allow_subnormal=False), scale=st.floats(0.1, 1))
def test_no_logarithm_asks_for_more_than_the_error(
    kind: NoiseLossName, error: float, scale: float
) -> None:
    loss = float(noise_loss(torch.tensor(error, dtype=torch.float64), kind, scale))
    rounding = 1e-15 * abs(error)
    assert -rounding <= loss <= abs(error) + rounding


@pytest.mark.parametrize("error", [0.01, -0.7, 3.0])
def test_the_logarithm_of_cosh_is_one(error: float) -> None:
    expected = math.log(math.cosh(error))
    assert float(noise_loss(torch.tensor(error), "logcosh")) == pytest.approx(expected, rel=1e-3)
    assert gradient(error, "logcosh") == pytest.approx(math.tanh(error), rel=1e-3)


def test_the_logarithm_of_cosh_is_finite_where_cosh_is_not() -> None:
    assert float(noise_loss(torch.tensor(-1e4), "logcosh")) == pytest.approx(1e4 - math.log(2))
    assert gradient(-1e4, "logcosh") == -1


def test_a_scaled_logarithm_of_scale_one_is_the_plain_one() -> None:
    error = torch.linspace(-5, 5, 21)
    assert torch.equal(noise_loss(error, "scaled", 1.0), noise_loss(error, "log1p"))
    near, far = noise_loss(torch.tensor([0.01, 9.9]), "scaled", 0.1) / torch.tensor([0.01, 9.9])
    assert near > 0.95
    assert far < 0.05


@pytest.mark.parametrize("kind", get_args(NoiseLossName))
def test_a_right_guess_costs_and_asks_nothing(kind: NoiseLossName) -> None:
    assert float(noise_loss(torch.tensor(0.0), kind)) == 0
    assert gradient(0.0, kind) == 0
