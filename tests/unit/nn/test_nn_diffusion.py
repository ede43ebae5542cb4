"""The noise schedule against closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch  # noqa: TID253 the layer of the networks

from hsistream.nn.diffusion import NoiseSchedule, time_embedding

SCHEDULE = NoiseSchedule.linear()

TABLE = (
    (0, 1.0e-4, 0.999900, 0.010000, 40.00, 0.0),
    (5, 2.994e-4, 0.998802, 0.034607, 29.21, 2.246e-4),
    (10, 4.988e-4, 0.996711, 0.057346, 24.82, 4.234e-4),
    (50, 2.094e-3, 0.945552, 0.233341, 12.40, 2.018e-3),
    (100, 4.088e-3, 0.809140, 0.436875, 6.27, 4.017e-3),
    (200, 8.076e-3, 0.438713, 0.749191, -1.07, 8.025e-3),
    (400, 1.605e-2, 0.038544, 0.980538, -13.97, 1.604e-2),
    (499, 2.0e-2, 0.006353, 0.996819, -21.94, 2.000e-2),
)
"""Index, beta, kept share, deviation of the noise, signal to noise in dB, posterior variance."""


@pytest.mark.parametrize(("index", "beta", "kept", "deviation", "decibel", "posterior"), TABLE)
def test_the_schedule_has_the_values_of_the_table(
    index: int, beta: float, kept: float, deviation: float, decibel: float, posterior: float
) -> None:
    found = SCHEDULE.kept[index]
    assert SCHEDULE.beta[index] == pytest.approx(beta, rel=5e-4)
    assert found == pytest.approx(kept, abs=6e-7)
    assert math.sqrt(1 - found) == pytest.approx(deviation, abs=6e-7)
    assert 10 * math.log10(found / (1 - found)) == pytest.approx(decibel, abs=6e-3)
    assert SCHEDULE.posterior_variance[index] == pytest.approx(posterior, rel=5e-4)


def test_the_last_kept_share_is_known_to_ten_digits() -> None:
    assert SCHEDULE.kept[-1] == pytest.approx(0.006352710797, abs=1e-12)


def _drawn(samples: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    clean, noise = (
        torch.randn(samples, 7, generator=random, dtype=torch.float64) for _ in range(2)
    )
    return clean, noise


def test_noised_values_have_the_mean_and_variance_of_their_step() -> None:
    draws, clean = 10**6, 0.7
    noise = torch.randn(draws, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    values = torch.full((1, draws), clean, dtype=torch.float64)
    for index in (5, 100, 400):
        kept = SCHEDULE.kept[index]
        found = SCHEDULE.noised(values, noise[None], torch.tensor([index]))
        assert abs(found.mean() - math.sqrt(kept) * clean) < 4 * math.sqrt((1 - kept) / draws)
        assert abs(found.var() - (1 - kept)) < 4 * (1 - kept) * math.sqrt(2 / draws)


def test_single_steps_one_after_another_give_the_closed_form() -> None:
    signal, variance = 1.0, 0.0
    for beta in SCHEDULE.beta[:201]:
        signal, variance = signal * math.sqrt(1 - beta), (1 - beta) * variance + beta
    assert signal == pytest.approx(math.sqrt(SCHEDULE.kept[200]), rel=1e-12)
    assert variance == pytest.approx(1 - SCHEDULE.kept[200], rel=1e-12)


def test_the_true_noise_gives_the_clean_values_back() -> None:
    clean, noise = _drawn(4)
    index = torch.tensor([0, 5, 200, 499])
    noised = SCHEDULE.noised(clean, noise, index)
    torch.testing.assert_close(SCHEDULE.cleaned(noised, noise, index), clean, atol=1e-12, rtol=0)


def test_the_first_step_back_ends_at_the_clean_values() -> None:
    clean, noise = _drawn(3)
    index, fresh = torch.zeros(3, dtype=torch.int64), torch.ones(3, 7, dtype=torch.float64)
    noised = SCHEDULE.noised(clean, noise, index)
    found = SCHEDULE.reversed(noised, noise, index, fresh)
    torch.testing.assert_close(found, clean, atol=1e-12, rtol=0)


@pytest.mark.parametrize("index", [1, 5, 100, 499])
def test_the_reverse_mean_is_that_of_the_posterior(index: int) -> None:
    clean, noise = _drawn(2)
    at = torch.tensor([index, index])
    noised = SCHEDULE.noised(clean, noise, at)
    beta, kept, before = SCHEDULE.beta[index], SCHEDULE.kept[index], SCHEDULE.kept[index - 1]
    expected = math.sqrt(before) * beta / (1 - kept) * clean
    expected += math.sqrt(1 - beta) * (1 - before) / (1 - kept) * noised
    torch.testing.assert_close(
        SCHEDULE.reverse_mean(noised, noise, at), expected, atol=1e-12, rtol=0
    )


def test_a_step_back_adds_noise_of_the_posterior_variance() -> None:
    clean, noise = _drawn(2)
    at, fresh = torch.tensor([100, 100]), torch.ones_like(clean)
    added = SCHEDULE.reversed(clean, noise, at, fresh) - SCHEDULE.reverse_mean(clean, noise, at)
    expected = torch.full_like(clean, math.sqrt(SCHEDULE.posterior_variance[100]))
    torch.testing.assert_close(added, expected, atol=1e-12, rtol=0)


def test_the_embedding_of_no_step_is_zeros_and_ones() -> None:
    found = time_embedding(torch.tensor([0, 3]), 32, torch.float64)
    assert found[0].tolist() == [0.0] * 16 + [1.0] * 16
    slow = 10_000 ** (-np.arange(16) / 15)
    np.testing.assert_allclose(found[1].numpy(), np.r_[np.sin(3 * slow), np.cos(3 * slow)])
