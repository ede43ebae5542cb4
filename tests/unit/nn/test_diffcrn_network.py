from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

import pytest
import torch  # noqa: TID253 the layer of the networks

from hsistream.nn.diffcrn_network import (
    HEADS,
    WIDTH,
    DiffcrnNetwork,
    SpatialAttention,
    SpectralAttention,
    StageOrder,
)
from hsistream.nn.exact import one_thread

GROUP = WIDTH // HEADS


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    """Small tensors on many threads mostly wait."""
    torch.manual_seed(0)
    with one_thread():
        yield


def randomised(network: DiffcrnNetwork) -> DiffcrnNetwork:
    """A network whose stages follow the time: those of a start do not."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.05)
    return network


def parameters(module: torch.nn.Module) -> int:
    return sum(each.numel() for each in module.parameters())


# --- sizes -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("bands", "count"), [(200, 649_744), (301, 662_773), (32, 628_072)])
def test_the_number_of_parameters_is_that_of_the_description(bands: int, count: int) -> None:
    assert parameters(DiffcrnNetwork(bands)) == count


@pytest.mark.parametrize("order", ["alternating", "paired"])
@pytest.mark.parametrize(("bands", "shape"), [(1, (8, 8)), (5, (16, 24)), (33, (32, 32))])
def test_every_stage_keeps_the_pixels(
    bands: int, shape: tuple[int, int], order: StageOrder
) -> None:
    network, noised = DiffcrnNetwork(bands, order), torch.randn(2, bands, *shape)
    index = torch.tensor([0, 999])
    assert [each.shape for each in network.features(noised, index)] == 4 * [(2, *shape, WIDTH)]
    guess, last = network(noised, index)
    assert guess.shape == noised.shape
    assert last.shape == (2, *shape, WIDTH)


def test_fewer_stages_are_the_first_of_all() -> None:
    network, noised = randomised(DiffcrnNetwork(6)), torch.randn(1, 6, 16, 16)
    index = torch.tensor([39])
    every = network.features(noised, index)
    for count in (1, 2, 3):
        found = network.features(noised, index, count)
        assert len(found) == count
        assert torch.equal(found[-1], every[count - 1])


def test_the_order_of_stages_changes_nothing_but_their_order() -> None:
    kinds = {
        order: [type(each.attention) for each in DiffcrnNetwork(4, order).stages]
        for order in get_args(StageOrder)
    }
    assert kinds["alternating"] == 2 * [SpatialAttention, SpectralAttention]
    assert kinds["paired"] == 2 * [SpatialAttention] + 2 * [SpectralAttention]
    assert kinds["spatial"] == 4 * [SpatialAttention]
    assert kinds["spectral"] == 4 * [SpectralAttention]
    assert parameters(DiffcrnNetwork(4, "paired")) == parameters(DiffcrnNetwork(4))


# --- time ------------------------------------------------------------------------------------


def test_a_start_does_not_look_at_the_time() -> None:
    network, noised = DiffcrnNetwork(6), torch.randn(1, 6, 8, 8)
    first, second = (network(noised, torch.tensor([step]))[0] for step in (0, 700))
    assert torch.equal(first, second)


def test_a_network_that_has_learnt_looks_at_the_time_of_each_sample() -> None:
    network, noised = randomised(DiffcrnNetwork(6)), torch.randn(2, 6, 8, 8)
    both = network(noised, torch.tensor([5, 700]))[0]
    for number, step in enumerate((5, 700)):
        alone = network(noised[number : number + 1], torch.tensor([step]))[0][0]
        torch.testing.assert_close(both[number], alone, atol=1e-5, rtol=1e-5)
    swapped = network(noised, torch.tensor([700, 5]))[0]
    assert not torch.allclose(both, swapped, atol=1e-3)


# --- attention among pixels --------------------------------------------------------------------


def test_a_pixel_changes_only_its_square() -> None:
    attention, values = SpatialAttention(), torch.randn(1, 24, 16, 3 * WIDTH)
    changed = values.clone()
    changed[0, 9, 3] += 1
    differs = (attention.attended(values) != attention.attended(changed)).any(dim=3)[0]
    rows, columns = torch.nonzero(differs, as_tuple=True)
    assert rows.unique().tolist() == list(range(8, 16))
    assert columns.unique().tolist() == list(range(8))
    assert differs.sum() == 64


def test_pixels_attend_as_written_out() -> None:
    attention, values = SpatialAttention().double(), torch.randn(1, 8, 8, 3 * WIDTH).double()
    query, key, value = values.view(64, 3, HEADS, GROUP).permute(1, 2, 0, 3)
    for head in range(HEADS):
        logits = query[head] @ key[head].T / 4
        for first in range(64):
            for second in range(64):
                down, right = first // 8 - second // 8 + 7, first % 8 - second % 8 + 7
                logits[first, second] += attention.by_offset[head, 15 * down + right]
        expected = logits.softmax(dim=1) @ value[head]
        part = slice(head * GROUP, (head + 1) * GROUP)
        found = attention.attended(values)[0, ..., part].reshape(64, GROUP)
        torch.testing.assert_close(found, expected)


# --- attention among channels ------------------------------------------------------------------


def test_channels_attend_as_written_out() -> None:
    attention, values = SpectralAttention().double(), torch.randn(2, 16, 8, 3 * WIDTH).double()
    found = attention.attended(values)
    for sample in range(2):
        flat = values[sample].reshape(128, 3, HEADS, GROUP)
        for group in range(HEADS):
            query, key, value = (flat[:, part, group].T for part in range(3))
            shares = (query @ key.T / 128**0.5).softmax(dim=1)
            torch.testing.assert_close(shares.sum(dim=1), torch.ones(GROUP).double())
            part = slice(group * GROUP, (group + 1) * GROUP)
            expected = (shares @ value).T.reshape(16, 8, GROUP)
            torch.testing.assert_close(found[sample, ..., part], expected)


def test_channels_do_not_care_where_pixels_lie() -> None:
    attention, values = SpectralAttention().double(), torch.randn(1, 8, 8, 3 * WIDTH).double()
    order = torch.randperm(64)
    shuffled = values.view(1, 64, -1)[:, order].view_as(values)
    expected = attention.attended(values).view(1, 64, -1)[:, order].view(1, 8, 8, WIDTH)
    torch.testing.assert_close(attention.attended(shuffled), expected)


def test_groups_of_channels_do_not_mix() -> None:
    attention, values = SpectralAttention(), torch.randn(1, 8, 8, 3 * WIDTH)
    changed = values.clone().view(1, 8, 8, 3, HEADS, GROUP)
    changed[..., 2, :] += 1
    found = torch.ne(attention.attended(changed.flatten(3)), attention.attended(values))
    differs = found.view(64, HEADS, GROUP).any(dim=0).any(dim=1)
    assert differs.tolist() == [False, False, True, False]


def test_a_value_that_all_channels_of_a_group_share_stays() -> None:
    attention, values = SpectralAttention(), torch.randn(1, 8, 8, 3, WIDTH)
    shared = torch.randn(1, 8, 8, HEADS, 1).expand(-1, -1, -1, -1, GROUP).flatten(3)
    values[:, :, :, 2] = shared
    torch.testing.assert_close(attention.attended(values.flatten(3)), shared)


# --- learning --------------------------------------------------------------------------------


def test_every_parameter_has_a_gradient() -> None:
    network, noised = randomised(DiffcrnNetwork(5)), torch.randn(1, 5, 16, 16)
    guess, _ = network(noised, torch.tensor([300]))
    guess.square().mean().backward()
    assert all(each.grad is not None and each.grad.any() for each in network.parameters())
