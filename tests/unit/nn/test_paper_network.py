from __future__ import annotations

import numpy as np
import pytest
import torch  # noqa: TID253 the layer of the networks
from torch import Tensor  # noqa: TID253 the layer of the networks
from torch.nn import functional as fn  # noqa: TID253 the layer of the networks

from hsistream.nn import spectral
from hsistream.nn.paper_network import HALO, PaperNetwork

FEATURES = 20


@pytest.fixture
def network() -> PaperNetwork:
    made = PaperNetwork(FEATURES, 4, 0.3, 5)
    made.begin(0)
    return made.requires_grad_(False)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def changed_at(values: Tensor, y: int, x: int) -> Tensor:
    changed = values.clone()
    changed[:, y, x] += 5
    return changed


@pytest.mark.parametrize(("features", "parameters"), [(301, 42_464), (204, 41_440)])
def test_parameters_are_those_of_the_layers_and_the_bandwidth(
    features: int, parameters: int
) -> None:
    network = PaperNetwork(features, 4, 0.3, 5)
    assert sum(each.numel() for each in network.parameters()) == parameters + 1
    assert "prototypes" not in dict(network.named_parameters())
    assert network.prototypes.shape == (4, 32)


@pytest.mark.parametrize("bandwidth", [0.01, 0.3, 1.0, 10.0])
def test_the_bandwidth_starts_where_it_is_asked_to(bandwidth: float) -> None:
    assert PaperNetwork(12, 4, bandwidth, 5).bandwidth().item() == pytest.approx(bandwidth)


def test_a_seed_decides_the_start_and_leaves_the_generator_of_torch() -> None:
    starts = []
    for seed in (3, 3, 4):
        made = PaperNetwork(FEATURES, 4, 0.3, 5)
        before = torch.get_rng_state()
        made.begin(seed)
        assert torch.equal(before, torch.get_rng_state())
        starts.append(made.state_dict())
    assert all(torch.equal(starts[0][name], starts[1][name]) for name in starts[0])
    assert not torch.equal(starts[0]["prototypes"], starts[2]["prototypes"])
    assert not torch.equal(starts[0]["far.weight"], starts[2]["far.weight"])


def test_latents_differ_at_the_start(network: PaperNetwork) -> None:
    latents = network.alone(normal(FEATURES, 200))
    assert float((latents.T @ latents).mean()) < 0.9
    torch.testing.assert_close(latents.norm(dim=0), torch.ones(200))


def test_what_surrounds_a_lone_pixel_is_like_it(network: PaperNetwork) -> None:
    spectra = normal(FEATURES, 3)
    embedded = network.embed(spectra)
    for number in range(3):
        square = embedded[:, number, None, None].expand(-1, 2 * HALO + 1, 2 * HALO + 1)
        found = network.refine(square)[:, 0, 0]
        torch.testing.assert_close(found, network.alone(spectra)[:, number], atol=1e-5, rtol=0)


def test_a_crop_is_continued_by_its_edges(network: PaperNetwork) -> None:
    embedded = normal(32, 9, 11)
    plain, moved = network.both(embedded)
    around = fn.pad(embedded[None], (HALO,) * 4, mode="replicate")[0]
    assert torch.equal(moved, network.refine(around))
    assert torch.equal(plain, network.look_around(around)[:, 2:-2, 2:-2])
    assert plain.shape == moved.shape == (32, 9, 11)


def test_the_halo_is_the_reach_of_the_latents(network: PaperNetwork) -> None:
    embedded = normal(32, 15, 15)
    middle = network.refine(embedded)[:, 7 - HALO, 7 - HALO]
    for place in ((2, 7), (12, 7), (7, 2), (7, 12), (2, 2)):
        found = network.refine(changed_at(embedded, *place))[:, 7 - HALO, 7 - HALO]
        assert torch.equal(found, middle), place
    for place in ((3, 7), (11, 7), (7, 3), (7, 11)):
        found = network.refine(changed_at(embedded, *place))[:, 7 - HALO, 7 - HALO]
        assert not torch.equal(found, middle), place


def test_windows_with_a_halo_give_what_the_whole_gives(network: PaperNetwork) -> None:
    embedded = normal(32, 40, 37)
    _, whole = network.both(embedded)
    around = fn.pad(embedded[None], (HALO,) * 4, mode="replicate")[0]
    for top in range(0, 40, 13):
        for left in range(0, 37, 13):
            window = around[:, top : top + 13 + 2 * HALO, left : left + 13 + 2 * HALO]
            expected = whole[:, top : top + 13, left : left + 13]
            torch.testing.assert_close(network.refine(window), expected, atol=1e-5, rtol=0)


def test_rows_are_not_strung_together(network: PaperNetwork) -> None:
    """Layers that slide over the pixels of a raster would fail both halves of this."""
    spectra = normal(FEATURES, 8, 9)
    embedded = network.embed(spectra.flatten(1)).reshape(-1, 8, 9)
    order = torch.tensor([3, 0, 7, 1, 6, 2, 5, 4])
    permuted = network.embed(spectra[:, order].flatten(1)).reshape(-1, 8, 9)
    torch.testing.assert_close(permuted, embedded[:, order])
    wide = normal(32, 9, 30)
    _, found = network.both(wide)
    _, shifted = network.both(wide.roll(3, dims=2))
    inner = slice(3 + HALO, -HALO)
    expected = found.roll(3, dims=2)[:, :, inner]
    torch.testing.assert_close(shifted[:, :, inner], expected, atol=1e-5, rtol=0)


def test_portions_do_not_change_the_embedding(
    network: PaperNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    spectra = normal(FEATURES, 50)
    whole = network.embed(spectra)
    monkeypatch.setattr(spectral, "PORTION_PX", 7)
    torch.testing.assert_close(network.embed(spectra), whole)


def test_a_pixel_without_a_direction_is_a_finite_latent() -> None:
    network = PaperNetwork(FEATURES, 4, 0.3, 5)
    network.begin(0)
    _, moved = network.both(network.embed(torch.zeros(FEATURES, 30)).reshape(32, 5, 6))
    gradients = torch.autograd.grad(moved.sum(), list(network.parameters()), allow_unused=True)
    assert not moved.any()
    assert all(np.isfinite(each.numpy()).all() for each in gradients if each is not None)
