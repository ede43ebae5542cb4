"""The denoiser: shapes, what its features depend on, tiles against the whole."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch  # noqa: TID253 the layer of the networks
from torch import Tensor  # noqa: TID253 the same

from hsistream.nn.spectraldiff_network import (
    OUTPUT_HALO,
    TAP_HALOS,
    ChannelNorm,
    Pass,
    SpectralDiffNetwork,
    Statistics,
    Tap,
    band_count,
    tap_size,
)

FULL, HALF, QUARTER = (16, 32, 64, 128), (8, 16, 32, 64), (4, 8, 16, 32)
TINY = (2, 3, 4, 5)
AT = torch.tensor([5])


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Small tensors on many threads mostly wait."""
    cores = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(cores)


def network_of(
    widths: tuple[int, int, int, int] = TINY, *, factorised: bool = False, seed: int = 0
) -> SpectralDiffNetwork:
    """A network in float64 whose kept statistics are not those of its start."""
    torch.manual_seed(seed)
    network = SpectralDiffNetwork(widths, factorised=factorised).double().requires_grad_(False)
    for norm in network.norms():
        size = len(norm.mean)
        norm.keep(Statistics(torch.rand(size) - 0.3, torch.rand(size) + 0.5))
    return network


def spectra_of(shape: tuple[int, ...], seed: int = 0) -> Tensor:
    random = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=random, dtype=torch.float64)


@pytest.mark.parametrize(
    ("widths", "factorised", "parameters"),
    [
        (FULL, False, 4_299_633),
        (HALF, False, 1_079_177),
        (QUARTER, False, 272_325),
        (HALF, True, 59_025),
    ],
)
def test_networks_have_their_parameters(
    widths: tuple[int, int, int, int], factorised: bool, parameters: int
) -> None:
    network = SpectralDiffNetwork(widths, factorised=factorised)
    assert sum(each.numel() for each in network.parameters()) == parameters


@pytest.mark.parametrize("bands", [200, 104, 208, 144, 32])
@pytest.mark.parametrize("shape", [(1, 1), (2, 3)])
def test_features_have_the_shapes_of_the_table(bands: int, shape: tuple[int, int]) -> None:
    network, noised = network_of(HALF, factorised=True), spectra_of((1, bands, *shape))
    sizes: dict[Tap, tuple[int, int]] = {"down": (16, 2), 0: (64, 8), 1: (64, 4), 2: (32, 2)}
    for tap, (channels, fold) in sizes.items():
        found = network.tap(noised, AT, tap)
        assert found.shape == (1, channels, bands // fold, *shape)
        assert found.flatten(1, 2).shape[1] == tap_size(HALF, bands, tap)
    assert network(noised, AT).shape == noised.shape


def test_a_full_network_has_32_features_for_every_band() -> None:
    sizes = [[tap_size(FULL, bands, tap) for tap in (0, 1, 2)] for bands in (200, 103, 204)]
    assert sizes == [[3200, 6400, 6400], [1664, 3328, 3328], [3328, 6656, 6656]]
    assert [band_count(bands) for bands in (200, 103, 204)] == [200, 104, 208]


@pytest.mark.parametrize("factorised", [False, True])
@pytest.mark.parametrize("tap", ["down", 0, 1, 2, None])
def test_a_pixel_is_seen_exactly_as_far_as_the_halo(tap: Tap | None, factorised: bool) -> None:
    network = network_of(factorised=factorised)
    for name, value in network.named_parameters():  # nothing cancels, nothing is rounded away
        value.copy_(0 * value if "time" in name or name.endswith("bias") else value.abs())
    for norm in network.norms():
        norm.keep(Statistics(torch.zeros(1), torch.ones(1)))
    halo = OUTPUT_HALO if tap is None else TAP_HALOS[tap]
    lit = torch.zeros(1, 8, 59, 61, dtype=torch.float64)
    lit[:, :, 29, 30] = 1
    found = network(lit, AT)[:, None] if tap is None else network.tap(lit, AT, tap)
    rows, columns = np.nonzero((found > 0).any(dim=2).any(dim=1)[0].numpy())
    assert (rows.min(), rows.max()) == (29 - halo, 29 + halo)
    assert (columns.min(), columns.max()) == (30 - halo, 30 + halo)
    assert len(rows) == (2 * halo + 1) ** 2


def tiled(network: SpectralDiffNetwork, noised: Tensor, tap: Tap, halo: int, how: Pass) -> Tensor:
    """Read a tap tile by tile, of 20 px, with a halo that ends at the edges of the frame."""
    height, width = noised.shape[2:]
    rows = []
    for top in range(0, height, 20):
        parts = []
        for left in range(0, width, 20):
            above, before = max(0, top - halo), max(0, left - halo)
            window = noised[:, :, above : top + 20 + halo, before : left + 20 + halo]
            found = network.tap(window, AT, tap, how)
            found = found[..., top - above :, left - before :]
            parts.append(found[..., : min(20, height - top), : min(20, width - left)])
        rows.append(torch.cat(parts, dim=4))
    return torch.cat(rows, dim=3)


@pytest.mark.parametrize("factorised", [False, True])
@pytest.mark.parametrize("tap", ["down", 0, 1, 2])
def test_tiles_with_their_halo_are_the_whole(tap: Tap, factorised: bool) -> None:
    network, noised = network_of(factorised=factorised), spectra_of((1, 8, 70, 83))
    whole = network.tap(noised, AT, tap)
    found = tiled(network, noised, tap, TAP_HALOS[tap], Pass())
    assert float((found - whole).abs().max()) < 1e-12
    if factorised:  # one pixel less changes less than the last bit
        return
    less = tiled(network, noised, tap, TAP_HALOS[tap] - 1, Pass())
    assert float((less - whole).abs().max()) > 0


def test_statistics_of_a_tile_spoil_it() -> None:
    network, noised = network_of(), spectra_of((1, 8, 70, 83))
    whole = network.tap(noised, AT, 1, Pass(batch=[]))
    found = tiled(network, noised, 1, TAP_HALOS[1], Pass(batch=[]))
    assert float((found - whole).abs().max()) > 1e-3


@pytest.mark.parametrize("factorised", [False, True])
@pytest.mark.parametrize("tap", ["down", 0, 1, 2])
def test_layers_without_padding_give_what_lies_within_the_halo(tap: Tap, factorised: bool) -> None:
    network, noised = network_of(factorised=factorised), spectra_of((2, 8, 46, 49))
    halo = TAP_HALOS[tap]
    padded = network.tap(noised, torch.tensor([5, 9]), tap)[..., halo:-halo, halo:-halo]
    found = network.tap(noised, torch.tensor([5, 9]), tap, Pass(padded=False))
    torch.testing.assert_close(found, padded, atol=1e-12, rtol=0)


def test_samples_know_nothing_of_each_other() -> None:
    network, noised = network_of(), spectra_of((4, 8, 9, 10))
    together = network(noised, torch.tensor([0, 5, 200, 499]))
    for number, index in enumerate((0, 5, 200, 499)):
        alone = network(noised[number : number + 1], torch.tensor([index]))
        torch.testing.assert_close(alone[0], together[number], atol=1e-12, rtol=0)


def test_the_time_changes_the_guess() -> None:
    network, noised = network_of(), spectra_of((1, 8, 9, 9))
    gap = network(noised, torch.tensor([5])) - network(noised, torch.tensor([400]))
    assert float(gap.abs().max()) > 1e-3


def test_a_norm_keeps_the_statistics_of_a_batch() -> None:
    values, norm = spectra_of((3, 2, 8, 5, 4)), ChannelNorm(2).double().requires_grad_(False)
    seen: list[Statistics] = []
    found = norm(values, Pass(batch=seen))
    (statistics,) = seen
    by_channel = values.transpose(0, 1).flatten(1)
    torch.testing.assert_close(statistics.mean, by_channel.mean(dim=1))
    torch.testing.assert_close(statistics.variance, by_channel.var(dim=1))
    assert float(found.mean().abs()) < 1e-12
    norm.keep(statistics)
    torch.testing.assert_close(norm(values, Pass()), found, atol=1e-2, rtol=0)
