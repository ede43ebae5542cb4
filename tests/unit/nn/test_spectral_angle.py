from __future__ import annotations

import math

import numpy as np
import pytest
import torch  # noqa: TID253 the layer of the networks
from hypothesis import given
from hypothesis import strategies as st

from hsistream.nn.diffusion import NoiseSchedule
from hsistream.nn.spectral_angle import CANDIDATES, STEPS, choose_steps, spectral_angle
from tests.unit.nn.tiny import normal

LISTED = [3, 10, 23, 40, 63, 90, 123, 160, 203, 250]
LISTED += [303, 360, 423, 490, 563, 640, 723, 810, 903, 1000]


@pytest.mark.parametrize(
    ("first", "second", "angle"),
    [
        ((1, 0), (0, 1), math.pi / 2),
        ((1, 1), (1, 0), math.pi / 4),
        ((1, 2, 3), (2, 4, 6), 0.0),
        ((1, 2, 3), (3, 2, 1), math.acos(10 / 14)),
        ((1, 2, 3), (-1, -2, -3), math.pi),
        ((0, 0), (0, 0), 0.0),
        ((0, 0), (3, 4), math.pi / 2),
    ],
)
def test_angles_are_those_of_geometry(
    first: tuple[float, ...], second: tuple[float, ...], angle: float
) -> None:
    one, other = torch.tensor(first).float(), torch.tensor(second).float()
    assert float(spectral_angle(one, other)) == pytest.approx(angle, abs=1e-6)
    assert float(spectral_angle(other, one)) == pytest.approx(angle, abs=1e-6)


def test_small_angles_are_told_in_float32() -> None:
    angle = 1e-5
    turned = torch.tensor([math.cos(angle), math.sin(angle)])
    assert float(spectral_angle(torch.tensor([1.0, 0.0]), turned)) == pytest.approx(angle, rel=1e-3)


def test_brightness_does_not_matter_and_the_origin_does() -> None:
    spectra, others = normal((7, 20), 1).abs(), normal((7, 20), 2).abs()
    found = spectral_angle(spectra, others)
    torch.testing.assert_close(
        spectral_angle(spectra, 3 * spectra), torch.zeros(7), atol=1e-6, rtol=0
    )
    torch.testing.assert_close(spectral_angle(2 * spectra, others), found)
    assert (spectral_angle(spectra + 1, others + 1) < found).all()


def test_more_noise_turns_a_spectrum_further() -> None:
    spectrum, noise = normal((30, 9), 1).abs().double(), normal((30, 9), 2).double()
    angles = [spectral_angle(spectrum, spectrum + much * noise) for much in np.linspace(0, 5, 40)]
    assert (torch.stack(angles).diff(dim=0) > -1e-9).all()


def test_a_spectrum_rebuilt_by_its_own_noise_is_not_turned() -> None:
    schedule = NoiseSchedule.linear(STEPS)
    clean, noise = normal((5, 12), 1).abs().double(), normal((5, 12), 2).double()
    for step in CANDIDATES[:10]:
        index = torch.full((5,), step - 1)
        rebuilt = schedule.cleaned(schedule.noised(clean, noise, index), noise, index)
        assert spectral_angle(clean, rebuilt).max() < 1e-6


def test_candidates_are_those_that_are_listed() -> None:
    assert list(CANDIDATES) == LISTED


@pytest.mark.parametrize(
    ("angle", "limit", "expected"),
    [
        ([0.01 * k for k in range(1, 11)], 0.10, (2, 4, 6, 8, 10)),
        ([0.3] * 20, 1.0, (1, 2, 3, 4, 5)),
        ([0.3] * 20, 0.1, (1, 2, 3, 4, 5)),
        ([0.01 * k for k in range(1, 21)], 0.001, (1, 2, 3, 4, 5)),
        ([0.0] * 19 + [1.0], 0.5, (16, 17, 18, 19, 20)),
        ([0.0, 0.5, 0.1, 0.2, 0.6, 0.7, 0.8, 1.0], 1.0, (2, 3, 4, 6, 8)),
        ([0.2, 0.4, 0.1], 1.0, (1, 2, 3)),
    ],
    ids=["even", "flat", "limit below", "limit below all", "cliff", "falls back", "few"],
)
def test_steps_are_equally_far_apart_in_angle(
    angle: list[float], limit: float, expected: tuple[int, ...]
) -> None:
    found = choose_steps(np.array(angle), limit)
    assert tuple(1 + place for place in found) == expected


@given(
    angle=st.lists(st.floats(0, math.pi, allow_subnormal=False), min_size=1, max_size=25),
    limit=st.floats(0, 4, allow_subnormal=False),
    count=st.integers(1, 8),
)
def test_as_many_different_steps_are_chosen_as_there_can_be(
    angle: list[float], limit: float, count: int
) -> None:
    found = choose_steps(np.array(angle), limit, count)
    assert list(found) == sorted(set(found))
    assert len(found) == min(count, len(angle))
    assert 0 <= found[0] <= found[-1] < len(angle)
