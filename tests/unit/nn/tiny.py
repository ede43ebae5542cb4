"""A training of a second: a small network learns a fixed map from noisy crops."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch  # noqa: TID253 the layer of the networks
from torch import Tensor, nn  # noqa: TID253 the layer of the networks

from hsistream.events import Notify, ignore
from hsistream.nn.learner import Inspection, Mapped, Schedule
from hsistream.nn.loop import Trained, fit

STEPS = 23
BATCH = 3
PROBE = range(1000, 1004)


def normal(shape: tuple[int, ...], *key: int) -> Tensor:
    """Random numbers that depend on their key only."""
    seed = sum(number * 7919**place for place, number in enumerate(key, 1)) % 2**62
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def small_network() -> nn.Sequential:
    network = nn.Sequential(nn.Conv2d(4, 8, 3, padding=1), nn.GELU(), nn.Conv2d(8, 2, 1))
    for index, parameter in enumerate(network.parameters()):
        parameter.data = normal(tuple(parameter.shape), 1, index) / 4
    return network


def crop(number: int) -> Tensor:
    return normal((1, 4, 9, 9), 2, number)


def truth(values: Tensor) -> Tensor:
    return torch.tanh(values[:, :2] - values[:, 2:])


@dataclass
class TinyLearner:
    """Learns :func:`truth`; what inspections say of a step may be prescribed."""

    network: nn.Module = field(default_factory=small_network)
    quality: Mapping[int, float] = field(default_factory=dict)
    collapses: frozenset[int] = frozenset()
    agreements: Mapping[int, float] = field(default_factory=dict)
    infinite: frozenset[int] = frozenset()
    step: Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.int64))
    usage: Tensor = field(default_factory=lambda: torch.zeros(2))

    def parameter_groups(self) -> list[dict[str, Any]]:
        weights = [each for each in self.network.parameters() if each.ndim > 1]
        biases = [each for each in self.network.parameters() if each.ndim == 1]
        return [{"params": weights}, {"params": biases, "weight_decay": 0.0}]

    def targets(
        self, average: nn.Module, samples: Sequence[int], mapped: Mapped
    ) -> Sequence[Tensor]:
        def one(sample: int) -> Tensor:
            values = crop(sample)
            guess: Tensor = average(values)
            assert not guess.requires_grad
            return 0.9 * truth(values) + 0.1 * guess

        return mapped(one, samples)

    def loss(self, sample: int, target: Tensor, key: tuple[int, int]) -> Tensor:
        noisy = crop(sample) + 0.1 * normal((1, 4, 9, 9), 3, *key)
        error: Tensor = (self.network(noisy).float() - target).square().mean()
        return error * torch.inf if key[0] in self.infinite else error

    def advance(self, average: nn.Module, targets: Sequence[Tensor], step: int) -> None:
        self.step = torch.tensor(step + 1)
        self.usage = 0.9 * self.usage + 0.1 * torch.stack(
            [each.mean((0, 2, 3)) for each in targets]
        ).mean(0)

    def inspect(self, average: nn.Module, mapped: Mapped) -> Inspection:
        def error_of(sample: int) -> float:
            values = crop(sample)
            return float((average(values) - truth(values)).square().mean())

        error = sum(mapped(error_of, PROBE)) / len(PROBE)
        step = int(self.step)
        return Inspection(
            self.quality.get(step, -error),
            step in self.collapses,
            self.agreements.get(step),
            {"error": error},
        )

    def state(self) -> dict[str, Tensor]:
        return {"step": self.step, "usage": self.usage}

    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        self.step, self.usage = tensors["step"], tensors["usage"]


def batches(first: int) -> Iterator[list[int]]:
    for step in range(first, 10_000):
        yield [step * BATCH + index for index in range(BATCH)]


def schedule(**others: Any) -> Schedule:
    return Schedule(
        **{"steps": STEPS, "learning_rate": 0.02, "warm_up": 4, "check_every": 5} | others
    )


def train(
    folder: Path,
    learner: TinyLearner | None = None,
    plan: Schedule | None = None,
    *,
    fingerprint: str = "mark",
    threads: int = 1,
    notify: Notify = ignore,
) -> Trained:
    return fit(
        learner or TinyLearner(),
        batches,
        plan or schedule(),
        folder,
        fingerprint=fingerprint,
        threads=threads,
        notify=notify,
    )


def checkpoint_bytes(folder: Path) -> dict[str, bytes]:
    """All files of all checkpoints, hidden ones included."""
    root = folder / "checkpoints"
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }
