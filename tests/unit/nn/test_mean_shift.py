from __future__ import annotations

import math

import numpy as np
import pytest
import torch  # noqa: TID253 the layer of the networks
from numpy.typing import NDArray
from torch import Tensor  # noqa: TID253 the layer of the networks
from torch.nn import functional as fn  # noqa: TID253 the layer of the networks

from hsistream.nn import mean_shift as mean_shift_module
from hsistream.nn.mean_shift import REACH, mean_shift


def unit_latents(height: int, width: int, size: int = 6, seed: int = 0) -> Tensor:
    """Unit latents in one orthant, (latent, y + 4, x + 4)."""
    generator = torch.Generator().manual_seed(seed)
    shape = size, height + 2 * REACH, width + 2 * REACH
    return fn.normalize(torch.rand(shape, generator=generator), dim=0)


def by_brute_force(
    latents: NDArray[np.float64], bandwidth: float, iterations: int
) -> NDArray[np.float64]:
    size, height, width = latents.shape
    found = np.empty((size, height - 4, width - 4))
    for y in range(height - 4):
        for x in range(width - 4):
            window = latents[:, y : y + 5, x : x + 5].reshape(size, 25)
            place = latents[:, y + 2, x + 2]
            for _ in range(iterations):
                distances = [float(((other - place) ** 2).sum()) for other in window.T]
                weights = np.asarray([math.exp(-d / (2 * bandwidth**2)) for d in distances])
                place = (window * weights).sum(axis=1) / weights.sum()
            found[:, y, x] = place
    return found


@pytest.mark.parametrize("bandwidth", [0.05, 0.3, 1.0])
@pytest.mark.parametrize("iterations", [1, 5])
def test_it_equals_a_pixel_by_pixel_computation(bandwidth: float, iterations: int) -> None:
    latents = unit_latents(7, 9)
    found = mean_shift(latents, torch.tensor(bandwidth), iterations).numpy()
    expected = by_brute_force(latents.double().numpy(), bandwidth, iterations)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_small_bandwidth_leaves_a_pixel_where_it_is() -> None:
    latents = unit_latents(6, 5)
    for bandwidth in (1e-2, 1e-4):
        found = mean_shift(latents, torch.tensor(bandwidth), 5)
        torch.testing.assert_close(found, latents[:, 2:-2, 2:-2])


def test_a_large_bandwidth_is_a_box_blur() -> None:
    latents = unit_latents(6, 5)
    found = mean_shift(latents, torch.tensor(1e4), 5)
    torch.testing.assert_close(found, fn.avg_pool2d(latents[None], 5, stride=1)[0])


def test_equal_pixels_stay_where_they_are() -> None:
    latents = unit_latents(1, 1)[:, :1, :1].expand(-1, 8, 9)
    found = mean_shift(latents, torch.tensor(0.3), 5)
    torch.testing.assert_close(found, latents[:, 2:-2, 2:-2])


def test_a_pixel_moves_to_the_group_that_it_belongs_to() -> None:
    """On the border of two groups the kernel keeps them apart; a blur would not."""
    latents = torch.zeros(2, 5, 10)
    latents[0, :, :5] = 1
    latents[1, :, 5:] = 1
    found = mean_shift(latents, torch.tensor(0.3), 5)
    torch.testing.assert_close(found, latents[:, 2:-2, 2:-2], atol=1e-4, rtol=0)


@pytest.mark.parametrize("strip_px", [1, 7, 12, 4096])
def test_strips_do_not_change_the_result(strip_px: int, monkeypatch: pytest.MonkeyPatch) -> None:
    latents = unit_latents(7, 6)
    expected = by_brute_force(latents.double().numpy(), 0.3, 3)
    monkeypatch.setattr(mean_shift_module, "STRIP_PX", strip_px)
    found = mean_shift(latents, torch.tensor(0.3), 3).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_it_reaches_two_pixels_whatever_the_number_of_iterations() -> None:
    latents = unit_latents(5, 5)
    middle = mean_shift(latents, torch.tensor(0.5), 5)[:, 2, 2]
    for place, same in (((1, 4), True), ((4, 7), True), ((2, 4), False), ((6, 6), False)):
        changed = latents.clone()
        changed[:, *place] = changed[:, *place].flip(0)
        assert torch.equal(mean_shift(changed, torch.tensor(0.5), 5)[:, 2, 2], middle) == same


def last_shift(latents: Tensor, place: Tensor, bandwidth: Tensor) -> Tensor:
    """One iteration, from a given place, with every window unfolded."""
    size, height, width = place.shape
    windows = latents.unfold(1, 5, 1).unfold(2, 5, 1).reshape(size, height, width, 25)
    weights = torch.exp(-((windows - place[..., None]) ** 2).sum(0) / (2 * bandwidth**2))
    return (windows * weights).sum(-1) / weights.sum(-1)


def test_only_the_last_iteration_has_a_gradient() -> None:
    latents = unit_latents(6, 5).requires_grad_()
    bandwidth = torch.tensor(0.4, requires_grad=True)
    direction = torch.randn(6, 6, 5, generator=torch.Generator().manual_seed(1))

    def gradient(result: Tensor) -> tuple[Tensor, ...]:
        return torch.autograd.grad((result * direction).sum(), [latents, bandwidth])

    found = gradient(mean_shift(latents, bandwidth, 4))
    place = mean_shift(latents, bandwidth, 3)
    torch.testing.assert_close(
        found, gradient(last_shift(latents, place.detach(), bandwidth)), atol=1e-5, rtol=1e-4
    )
    through_all = gradient(last_shift(latents, place, bandwidth))
    assert not torch.allclose(found[0], through_all[0], atol=1e-3)
