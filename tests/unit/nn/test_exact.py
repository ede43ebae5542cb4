from __future__ import annotations

import threading
import time

import pytest
import torch  # noqa: TID253 the layer of the networks
from torch import Tensor, nn  # noqa: TID253 the layer of the networks

from hsistream.nn.exact import (
    drawing,
    mean_gradient,
    moving_average,
    reproducible,
    without_gradients,
)

CPU = torch.device("cpu")


def test_every_thread_computes_with_one_thread_and_without_gradients() -> None:
    weight = nn.Parameter(torch.ones(3))

    def look(number: int) -> tuple[int, int, bool, int]:
        time.sleep(0.01 * (4 - number))
        made = weight * number
        return number, torch.get_num_threads(), made.requires_grad, threading.get_ident()

    with reproducible(CPU, 3) as pool:
        found = without_gradients(pool)(look, range(4))
        assert torch.are_deterministic_algorithms_enabled()
    assert [number for number, *_ in found] == [0, 1, 2, 3]
    assert {threads for _, threads, *_ in found} == {1}
    assert not any(recorded for *_, recorded, _ in found)
    assert threading.get_ident() not in {thread for *_, thread in found}


def test_the_settings_of_torch_are_put_back_after_an_error() -> None:
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    with pytest.raises(KeyError), reproducible(CPU, 1):
        raise KeyError
    assert (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()) == before


def test_weights_are_drawn_and_the_random_numbers_of_all_devices_left_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """``torch.manual_seed`` sets those of GPUs, too."""
    seeded: list[int] = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded.append)
    torch.default_generator.manual_seed(5)
    expected = torch.randn(3)
    torch.default_generator.manual_seed(7)
    others = torch.randn(3)
    torch.default_generator.manual_seed(7)
    with drawing(5):
        assert torch.equal(torch.randn(3), expected)
    assert torch.equal(torch.randn(3), others)
    assert not seeded


def test_gradients_are_averaged_in_the_order_of_the_samples() -> None:
    """Sums of floats depend on their order: 1e8 swallows a 1 that comes after it."""
    weights: list[Tensor] = [nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(2))]
    factors = [1.0, 1e8, -1e8, 3.0]

    def loss(number: int) -> Tensor:
        time.sleep(0.005 * ((number * 7) % 4))
        return (factors[number] * weights[0]).sum()

    losses = [lambda number=number: loss(number) for number in range(4)]
    found = []
    for threads in (1, 4):
        with reproducible(CPU, threads) as pool:
            found.append(mean_gradient(losses, weights, "float32", pool))
    assert found[0][0] == found[1][0] == 1.0
    for mean, gradients in found:
        assert mean == 1.0
        assert gradients[0].item() == 0.75
        assert torch.equal(gradients[1], torch.zeros(2))


def test_an_average_begins_with_a_copy() -> None:
    network = nn.Linear(2, 2)
    average = moving_average(network, 0.75)
    start = network.weight.detach().clone()
    with torch.no_grad():
        network.weight += 4
    average.update_parameters(network)
    torch.testing.assert_close(average.module.weight, start + 1)
    assert not average.module.training
    assert network.weight.requires_grad
    assert not average.module.weight.requires_grad
