"""Watching a training on a fixed probe: use, margin, agreement, and the alarm.

Shared by the networks with prototypes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_mutual_info_score
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

from hsistream.methods.base import Crop, Probe, Trained, Work
from hsistream.neighbours import few_kinds_allowed
from hsistream.network_sections import TrainingSection
from hsistream.nn.exact import seed_of
from hsistream.nn.learner import Inspection, Learner, Mapped, Schedule, Target
from hsistream.nn.loop import Sample, fit
from hsistream.nn.loop import Trained as Fitted

ALARM_ENTROPY = 0.5
"""Share of the start's usage entropy below which a training has collapsed."""

COMPARED_PIXELS = 20_000
"""Pixels of the probe whose labels are compared from check to check."""

KMEANS_STARTS = 3
KMEANS_PIXELS = 50_000
"""Pixels of the reservoir from which centres are learnt, at most."""

Cosines = NDArray[np.float32]

Network = TypeVar("Network", bound=nn.Module)


class Watch:
    """Remembers the checks of one training: prototypes, masses and labels of the probe."""

    def __init__(self, probe: Probe, least: int) -> None:
        self._probe, self._least = probe, least
        self._prototypes: list[NDArray[np.float64]] = []
        self._masses: list[NDArray[np.float64]] = []
        self._labels: list[NDArray[np.int64]] = []

    @property
    def checks(self) -> int:
        """Number of checks so far."""
        return len(self._masses)

    def look(self, cosines: Callable[[Crop, int], Cosines], mapped: Mapped) -> list[Cosines]:
        """Compare the pixels of the probe's crops with the prototypes, on the loop's threads."""
        crops = list(zip(self._probe.crops, self._probe.frames, strict=True))
        return mapped(lambda item: cosines(*item), crops)

    def judge(self, found: list[Cosines], prototypes: NDArray[np.float64]) -> Inspection:
        """Judge (prototype, pixel) cosines of every crop, and remember them."""
        cosines = np.concatenate(found, axis=1)
        best = np.partition(cosines, -2, axis=0)[-2:] if len(cosines) > 1 else cosines[[0, 0]]
        labels = cosines.argmax(axis=0).astype(np.int64)
        masses = np.bincount(labels, minlength=len(cosines)).astype(np.float64)
        step = -(-max(1, len(labels)) // COMPARED_PIXELS)
        self._prototypes.append(prototypes)
        self._masses.append(masses)
        self._labels = [*self._labels[:1], *self._labels[1:][-1:], labels[::step]]
        return self._inspection(float((best[1] - best[0]).mean()) if labels.size else 0.0)

    def entropy_share(self, shares: Tensor) -> float:
        """Entropy of shares (prototype,), relative to that of the start's usage."""
        start = _entropy(self._masses[0])
        return _entropy(shares.double().numpy()) / start if start else 1.0

    def shares(self) -> NDArray[np.float32]:
        """Share of every prototype in the probe at the last check."""
        masses = self._masses[-1]
        return np.asarray(masses / max(1.0, masses.sum()), np.float32)

    def history(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Prototypes (check, prototype, latent) and masses (check, prototype)."""
        return np.stack(self._prototypes), np.stack(self._masses)

    def state(self) -> dict[str, Tensor]:
        """Everything remembered, for a checkpoint."""
        kept = {"watch.prototypes": self._prototypes, "watch.masses": self._masses}
        state = {
            name: torch.from_numpy(np.stack(values)) for name, values in kept.items() if values
        }
        labels = {f"watch.labels.{n}": torch.from_numpy(v) for n, v in enumerate(self._labels)}
        return state | labels

    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Go back to a state."""
        self._prototypes = [*tensors["watch.prototypes"].numpy()]
        self._masses = [*tensors["watch.masses"].numpy()]
        names = sorted(name for name in tensors if name.startswith("watch.labels."))
        self._labels = [tensors[name].numpy() for name in names]

    def _inspection(self, margin: float) -> Inspection:
        """Sum up the last check."""
        masses, labels = self._masses[-1], self._labels
        entropy, active = _entropy(masses), int((masses > 0).sum())
        facts = {
            "usage entropy": entropy,
            "prototypes in use": float(active),
            "margin": margin,
            "agreement with the start": _agreement(labels[0], labels[-1]),
        }
        start = _entropy(self._masses[0])
        few = entropy < ALARM_ENTROPY * start or active < min(self._least, self._active_at_start())
        agreement = _agreement(labels[-2], labels[-1]) if len(labels) > 1 else None
        return Inspection(margin * entropy, few and self.checks > 1, agreement, facts)

    def _active_at_start(self) -> int:
        return int((self._masses[0] > 0).sum())


def kmeans_centres(points: NDArray[np.float32], centres: int, seed: int) -> NDArray[np.float32]:
    """Find k-means centres (centre, latent) of points (pixel, latent), on one thread."""
    points = points[:: -(-len(points) // KMEANS_PIXELS)]
    size = min(centres, len(np.unique(points, axis=0)))
    with threadpool_limits(1), few_kinds_allowed():  # points may differ by next to nothing
        model = KMeans(size, n_init=KMEANS_STARTS, random_state=seed_of(seed, 3)).fit(points)
    return np.asarray(model.cluster_centers_, np.float32)


def look_by_means(
    watch: Watch, latents: NDArray[np.float32], wanted: int, key: tuple[int, int]
) -> Inspection:
    """Remember latents (pixel, latent) by so many of their k-means, as unit vectors.

    Where there are fewer different latents, the other prototypes are drawn by the
    ``key``, whose first number is the seed; they attract no pixel.
    """
    random = np.random.default_rng(key)
    prototypes = random.standard_normal((wanted, latents.shape[1]))
    centres = kmeans_centres(latents, wanted, key[0])
    prototypes[: len(centres)] = centres
    lengths = np.linalg.norm(prototypes, axis=1, keepdims=True)
    prototypes /= np.where(lengths > 0, lengths, 1)
    return watch.judge([prototypes.astype(np.float32) @ latents.T], prototypes)


def schedule_of(training: TrainingSection) -> Schedule:
    """Turn the settings of a training into the schedule of the loop."""
    return Schedule(
        steps=training.steps,
        learning_rate=training.learning_rate,
        decay=training.decay,
        warm_up=training.warm_up,
        weight_decay=training.weight_decay,
        clip=training.clip,
        momentum=training.momentum,
        check_every=training.check_every,
        patience=training.patience,
        rollbacks=training.rollbacks,
        precision=training.precision,
        minutes=training.minutes,
    )


class WatchedLearner(Generic[Network]):
    """What learners have in common that ask nothing of the average, and remember checks only.

    A learner adds its losses and what it inspects; see
    :class:`hsistream.nn.learner.Learner`.
    """

    def __init__(self, network: Network, probe: Probe) -> None:
        self.network, self.watch = network, Watch(probe, 1)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """All weights decay, if any."""
        return [{"params": list(self.network.parameters())}]

    def targets(
        self, average: nn.Module, samples: Sequence[object], mapped: Mapped
    ) -> Sequence[None]:
        """Nothing is asked of the average: a sample is its own target."""
        return [None] * len(samples)

    def advance(self, average: nn.Module, targets: Sequence[None], step: int) -> None:
        """Nothing follows a step."""

    def state(self) -> dict[str, Tensor]:
        """Give what the watch remembers."""
        return self.watch.state()

    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Go back to a state."""
        self.watch.load_state(tensors)


class _Watched(Protocol):
    """What remembers the checks."""

    def history(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Prototypes and masses of every check."""


def train_watched(
    learner: Learner[Sample, Target],
    watch: _Watched,
    batches: Callable[[int], Iterable[Sequence[Sample]]],
    training: TrainingSection,
    work: Work,
) -> Trained:
    """Train a learner that is watched, or finish it; see :func:`hsistream.nn.loop.fit`."""
    done = fit(
        learner,
        batches,
        schedule_of(training),
        work.folder,
        fingerprint=work.fingerprint,
        threads=work.threads,
        notify=work.notify,
    )
    return trained(done, watch)


def trained(fitted: Fitted, watch: _Watched) -> Trained:
    """Put together what a training leaves."""
    training = fitted.training
    assert training.ended, "fit() returns trainings that ended"
    inspections = [inspection for _, inspection in training.inspections]
    names = inspections[0].facts
    prototypes, masses = watch.history()
    return Trained(
        ending=training.ended,
        losses=np.asarray(training.losses, np.float64),
        check_steps=np.asarray([step for step, _ in training.inspections], np.int64),
        checks={name: np.asarray([each.facts[name] for each in inspections]) for name in names},
        prototypes=prototypes,
        masses=masses,
    )


def _entropy(masses: NDArray[np.float64]) -> float:
    """Entropy of masses, in nats."""
    shares = masses[masses > 0] / max(masses.sum(), np.finfo(float).tiny)
    return float(-(shares * np.log(shares)).sum())


def _agreement(first: NDArray[np.int64], second: NDArray[np.int64]) -> float:
    """Compare two labellings by adjusted mutual information; 1 for the same."""
    return float(adjusted_mutual_info_score(first, second)) if len(first) else 1.0
