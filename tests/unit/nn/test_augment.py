from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch  # noqa: TID253 the layer of the networks
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor  # noqa: TID253 the layer of the networks

from hsistream.nn import augment
from hsistream.nn.augment import (
    TURNS,
    add_noise,
    brighten,
    draw_noise,
    drop_bands,
    shift_bands,
    turn,
    turn_back,
)

turns = st.integers(0, TURNS - 1)


class Fixed(np.random.Generator):
    """A generator whose whole numbers are always the largest or the smallest of their range."""

    def __init__(self, *, largest: bool) -> None:
        super().__init__(np.random.PCG64(0))
        self._largest = largest

    def integers(self, low: int, high: int | None = None) -> int:  # type: ignore[override]
        first, last = (0, low - 1) if high is None else (low, high - 1)
        return last if self._largest else first


def seeded(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def places(height: int, width: int) -> Tensor:
    """The row and the column of every pixel, (2, y, x)."""
    return torch.stack(torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij"))


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Small tensors on many threads mostly wait."""
    cores = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(cores)


# --- turns ---------------------------------------------------------------------------------


@given(turns, st.integers(1, 6), st.integers(1, 6))
def test_a_turn_is_undone_whatever_the_shape(which: int, height: int, width: int) -> None:
    values = places(height, width)
    assert torch.equal(turn_back(turn(values, which), which), values)
    assert torch.equal(turn(turn_back(values, which), which), values)


def test_the_eight_turns_differ_and_the_first_does_nothing() -> None:
    values = places(3, 3)
    found = [turn(values, which) for which in range(TURNS)]
    assert torch.equal(found[0], values)
    for first in range(TURNS):
        for second in range(first):
            assert not torch.equal(found[first], found[second])


@given(turns, turns)
def test_turns_are_a_group(first: int, second: int) -> None:
    values = places(3, 3)
    both = turn(turn(values, first), second)
    assert sum(torch.equal(both, turn(values, which)) for which in range(TURNS)) == 1


@given(turns)
def test_a_turn_keeps_neighbours_neighbours(which: int) -> None:
    found = turn(places(5, 5), which)
    for axis in (1, 2):
        steps = torch.diff(found, dim=axis).abs().sum(dim=0)
        assert (steps == 1).all()


@given(turns)
def test_leading_axes_are_turned_alike(which: int) -> None:
    values = torch.arange(2 * 3 * 4 * 4).reshape(2, 3, 4, 4)
    found = turn(values, which)
    for one in range(2):
        for other in range(3):
            assert torch.equal(found[one, other], turn(values[one, other], which))


# --- light ---------------------------------------------------------------------------------


@given(st.floats(0.3, 3), st.integers(0, 2**31))
def test_a_gain_on_standardised_spectra_is_one_on_raw_spectra(gain: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    raw = rng.uniform(100, 4000, (6, 5, 4))
    mean, scale = rng.uniform(200, 2000, 6), 1 / rng.uniform(10, 300, 6)
    standardised = torch.from_numpy((raw - mean[:, None, None]) * scale[:, None, None])
    expected = (gain * raw - mean[:, None, None]) * scale[:, None, None]
    found = brighten(standardised, torch.from_numpy(mean * scale), gain)
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("shape", [(4,), (4, 3), (4, 3, 2)])
def test_a_gain_of_one_changes_nothing_in_any_shape(shape: tuple[int, ...]) -> None:
    spectra = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    assert torch.equal(brighten(spectra, torch.arange(4.0), 1.0), spectra)


# --- noise ---------------------------------------------------------------------------------


def test_noise_has_the_deviation_that_is_asked_for() -> None:
    noise = draw_noise(5, torch.device("cpu"))
    spectra = torch.full((7, 60, 60), 3.0)
    found = add_noise(spectra, 0.1, noise, seeded()) - spectra
    assert float(found.mean()) == pytest.approx(0, abs=0.003)
    assert float(found.std()) == pytest.approx(0.1, rel=0.02)
    assert torch.equal(spectra, torch.full((7, 60, 60), 3.0))
    for band in found:
        assert float(band.std()) == pytest.approx(0.1, rel=0.1)


def test_noise_follows_from_its_seeds() -> None:
    spectra = torch.zeros(3, 8, 8)
    rows = [draw_noise(seed, torch.device("cpu")) for seed in (5, 5, 6)]
    assert torch.equal(rows[0], rows[1])
    assert not torch.equal(rows[0], rows[2])
    found = [add_noise(spectra, 0.1, rows[0], seeded(seed)) for seed in (1, 1, 2)]
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_noise_is_drawn_without_touching_the_seed_of_others() -> None:
    torch.manual_seed(3)
    expected = torch.randn(4)
    torch.manual_seed(3)
    draw_noise(5, torch.device("cpu"))
    assert torch.equal(torch.randn(4), expected)


@pytest.mark.parametrize("largest", [False, True])
@pytest.mark.parametrize("values", [1, 6, 7, 20])
def test_spectra_longer_than_the_noise_have_noise_to_the_last_value(
    *, largest: bool, values: int
) -> None:
    noise = torch.arange(1.0, 8)
    found = add_noise(torch.zeros(values, 1, 1), 1.0, noise, Fixed(largest=largest))
    assert found.shape == (values, 1, 1)
    assert (found > 0).all()


def test_pixels_of_neighbouring_bands_have_different_noise() -> None:
    noise = draw_noise(0, torch.device("cpu"))
    found = add_noise(torch.zeros(40, 64, 64), 1.0, noise, seeded()).reshape(40, -1)
    between = np.corrcoef(found.numpy())
    assert np.abs(between - np.eye(40)).max() < 0.08


# --- bands ---------------------------------------------------------------------------------


@pytest.mark.parametrize("largest", [False, True])
@pytest.mark.parametrize("most", [1, 2, 5, 9])
def test_a_shift_repeats_the_ends_and_never_wraps(*, largest: bool, most: int) -> None:
    spectra = torch.arange(6.0)[:, None, None].expand(6, 2, 3)
    shift = most if largest else -most
    found = shift_bands(spectra, most, Fixed(largest=largest))
    expected = (np.arange(6) + shift).clip(0, 5)
    np.testing.assert_array_equal(found, np.broadcast_to(expected[:, None, None], (6, 2, 3)))


@given(st.integers(1, 12), st.integers(0, 8), st.integers(0, 2**31))
def test_a_shift_keeps_the_order_of_the_bands(bands: int, most: int, seed: int) -> None:
    found = shift_bands(torch.arange(float(bands))[:, None], most, seeded(seed))[:, 0]
    steps = torch.diff(found)
    assert ((steps == 0) | (steps == 1)).all()
    assert float((found - torch.arange(float(bands))).abs().max()) <= most


def test_every_shift_occurs() -> None:
    spectra, random = torch.arange(9.0)[:, None], seeded()
    middles = {int(shift_bands(spectra, 2, random)[4, 0]) for _ in range(200)}
    assert middles == {2, 3, 4, 5, 6}


def test_dropped_bands_are_zero_and_the_others_untouched() -> None:
    spectra = torch.arange(1.0, 2001)[:, None, None].expand(2000, 2, 2)
    found = drop_bands(spectra, 0.3, seeded())
    dropped = (found == 0).all(dim=(1, 2))
    assert torch.equal(found[~dropped], spectra[~dropped])
    assert float(dropped.float().mean()) == pytest.approx(0.3, abs=0.05)
    assert torch.equal(drop_bands(spectra, 0.0, seeded()), spectra)


def test_values_keep_their_type() -> None:
    spectra = torch.randn(5, 4, 4)
    noise = augment.draw_noise(0, torch.device("cpu"))
    for found in (
        drop_bands(spectra, 0.5, seeded()),
        shift_bands(spectra, 2, seeded()),
        add_noise(spectra, 0.1, noise, seeded()),
        brighten(spectra, torch.zeros(5), 1.2),
    ):
        assert found.dtype == torch.float32
        assert found.shape == spectra.shape
