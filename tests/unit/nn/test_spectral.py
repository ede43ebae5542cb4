from __future__ import annotations

import pytest
import torch  # noqa: TID253 the layer of the networks
from torch import Tensor  # noqa: TID253 the layer of the networks

from hsistream.nn.spectral import SpectralBranch


def branch(features: int, size: int = 5) -> SpectralBranch:
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        return SpectralBranch(features, size).requires_grad_(False)


def spectra(features: int, pixels: int = 20) -> Tensor:
    return torch.randn(features, pixels, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("features", [1, 2, 12, 63, 64, 65, 204, 301])
def test_any_number_of_features_gives_the_size_that_is_asked_for(features: int) -> None:
    found = branch(features)(spectra(features))
    assert found.shape == (5, 20)
    assert found.isfinite().all()


@pytest.mark.parametrize(("features", "parameters"), [(301, 23_968), (204, 22_944)])
def test_parameters_are_counted_by_hand(features: int, parameters: int) -> None:
    """9 x 32, twice 9 x 32 x 32, each with 32 biases, and what is left of the bands to 32."""
    layers = branch(features, 32)
    assert sum(each.numel() for each in layers.parameters()) == parameters


def test_pixels_are_independent_of_each_other() -> None:
    layers, values = branch(40), spectra(40)
    order = torch.randperm(20, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(layers(values)[:, order], layers(values[:, order]))
    torch.testing.assert_close(layers(values)[:, 3:4], layers(values[:, 3:4]))
    changed = values.clone()
    changed[:, 3] += 1
    same = torch.arange(20) != 3
    torch.testing.assert_close(layers(changed)[:, same], layers(values)[:, same])
    assert not torch.allclose(layers(changed)[:, 3], layers(values)[:, 3])


def test_the_order_of_the_bands_matters() -> None:
    layers, values = branch(40), spectra(40)
    for order in (torch.arange(40).flip(0), torch.arange(40).roll(4), torch.randperm(40)):
        assert not torch.allclose(layers(values), layers(values[order]), atol=1e-3)


def test_the_convolutions_slide_along_wavelength() -> None:
    """A peak that moves by all strides together moves by one place, and changes nothing else."""
    layers = branch(301)
    peaks = torch.zeros(301, 2)
    peaks[130:135, 0] = 1
    peaks[194:199, 1] = 1
    found = layers.layers(peaks.T[:, None])
    torch.testing.assert_close(found[0, :, 2], found[1, :, 3])
    assert not torch.allclose(found[0, :, 2], found[1, :, 2])
