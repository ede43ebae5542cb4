from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch  # noqa: TID253 the layer of the networks
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_mutual_info_score

from hsistream.methods import watching
from hsistream.methods.base import Probe
from hsistream.methods.watching import (
    ALARM_ENTROPY,
    COMPARED_PIXELS,
    Watch,
    kmeans_centres,
    schedule_of,
    trained,
)
from hsistream.network_sections import TrainingSection
from hsistream.nn.learner import Inspection, Mapped
from hsistream.nn.loop import Trained as Fitted
from hsistream.nn.training import Training
from tests.unit.methods.material import crop_of, fields

Cosines = NDArray[np.float32]

PROTOTYPES = np.eye(4)


def mapped() -> Mapped:
    def one_by_one(function, items, /):  # type: ignore[no-untyped-def]
        return [function(item) for item in items]

    return one_by_one


def labelled(labels: Sequence[int] | NDArray[np.int64], prototypes: int = 4) -> Cosines:
    """Cosines (prototype, pixel) that give pixels these labels, with a margin of a half."""
    return 0.25 + 0.5 * np.eye(prototypes, dtype=np.float32)[:, np.asarray(labels, np.int64)]


def watch_of(least: int = 1) -> Watch:
    return Watch(Probe([], []), least)


def judged(watch: Watch, *labels: Sequence[int] | NDArray[np.int64]) -> list[Inspection]:
    return [watch.judge([labelled(each)], PROTOTYPES) for each in labels]


# --- one check -----------------------------------------------------------------------------


def test_the_crops_of_the_probe_are_looked_at_in_order_with_their_frames() -> None:
    image = fields()
    crops = [crop_of(image, (top, 0)) for top in (0, 8, 16)]
    watch = Watch(Probe(crops, [2, 0, 1]), 1)
    seen: list[tuple[int, int]] = []

    def cosines(crop: object, frame: int) -> Cosines:
        seen.append(([crop is each for each in crops].index(True), frame))
        return labelled([frame])

    found = watch.look(cosines, mapped())
    assert seen == [(0, 2), (1, 0), (2, 1)]
    assert [each.argmax(axis=0).tolist() for each in found] == [[2], [0], [1]]


def test_a_check_measures_usage_margin_and_agreement() -> None:
    watch = watch_of()
    found = watch.judge([labelled([0, 0, 1]), labelled([1, 2])], PROTOTYPES)
    entropy = -(0.8 * math.log(0.4) + 0.2 * math.log(0.2))
    assert found.facts["usage entropy"] == pytest.approx(entropy)
    assert found.facts["prototypes in use"] == 3
    assert found.facts["margin"] == pytest.approx(0.5)
    assert found.facts["agreement with the start"] == 1
    assert found.quality == pytest.approx(0.5 * entropy)
    assert found.agreement is None
    assert not found.collapsed
    np.testing.assert_allclose(watch.shares(), [0.4, 0.4, 0.2, 0])


def test_checks_agree_with_the_one_before_and_with_the_start() -> None:
    first, second, third = ([0, 0, 1, 1, 2, 2], [0, 0, 0, 1, 2, 2], [1, 1, 1, 0, 3, 3])
    found = judged(watch_of(), first, second, third)
    assert found[1].agreement == pytest.approx(adjusted_mutual_info_score(first, second))
    assert found[2].agreement == pytest.approx(1)  # renumbered only
    assert found[2].facts["agreement with the start"] == pytest.approx(
        adjusted_mutual_info_score(first, third)
    )


def test_the_history_holds_every_check() -> None:
    watch = watch_of()
    judged(watch, [0, 1], [1, 1])
    watch.judge([labelled([2, 3])], 2 * PROTOTYPES)
    prototypes, masses = watch.history()
    assert watch.checks == 3
    np.testing.assert_array_equal(prototypes, [PROTOTYPES, PROTOTYPES, 2 * PROTOTYPES])
    np.testing.assert_array_equal(masses, [[1, 1, 0, 0], [0, 2, 0, 0], [0, 0, 1, 1]])


def test_a_probe_without_data_is_judged_too() -> None:
    watch, nothing = watch_of(3), np.zeros((4, 0), np.float32)
    for _ in range(2):
        found = watch.judge([nothing, nothing], PROTOTYPES)
        assert found.quality == 0
        assert not found.collapsed
    assert watch.shares().tolist() == [0, 0, 0, 0]
    assert watch.entropy_share(torch.full((4,), 0.25)) == 1


def test_a_single_prototype_has_no_margin_and_does_not_collapse() -> None:
    watch = watch_of(1)
    for _ in range(2):
        found = watch.judge([np.ones((1, 5), np.float32)], np.ones((1, 3)))
        assert (found.quality, found.collapsed) == (0, False)


def test_of_a_large_probe_every_so_many_pixels_are_compared() -> None:
    rng = np.random.default_rng(0)
    watch = watch_of()
    judged(watch, rng.integers(0, 4, 5 * COMPARED_PIXELS // 2))
    kept = [values for name, values in watch.state().items() if "labels" in name]
    assert COMPARED_PIXELS // 2 < len(kept[0]) <= COMPARED_PIXELS


# --- the alarm -----------------------------------------------------------------------------


def test_the_start_is_never_a_collapse() -> None:
    assert not judged(watch_of(4), [0, 0, 0])[0].collapsed


def test_usage_that_loses_half_of_its_entropy_is_a_collapse() -> None:
    even = [0, 1, 2, 3] * 25
    for others in range(2, 60, 3):
        labels = [0] * (100 - others) + [1] * others
        found = judged(watch_of(), even, labels)[1]
        low = found.facts["usage entropy"] < ALARM_ENTROPY * math.log(4)
        assert found.collapsed == low


@pytest.mark.parametrize(("least", "collapsed"), [(1, False), (3, False), (4, True), (9, True)])
def test_fewer_prototypes_than_clusters_are_a_collapse(least: int, *, collapsed: bool) -> None:
    found = judged(watch_of(least), [0, 1, 2, 3], [0, 1, 2, 2])[1]
    assert found.collapsed is collapsed


def test_prototypes_that_were_never_in_use_are_not_missed() -> None:
    assert not judged(watch_of(4), [0, 1, 1], [1, 0, 0])[1].collapsed


def test_the_alarm_compares_with_the_start_and_not_with_the_check_before() -> None:
    even = [0, 1, 2, 3] * 25
    less = [0] * 50 + [1] * 50
    least = [0] * 80 + [1] * 20
    assert [each.collapsed for each in judged(watch_of(), even, less, least)] == [
        False,
        False,
        True,
    ]


def test_the_entropy_of_shares_is_relative_to_that_of_the_start() -> None:
    watch = watch_of()
    judged(watch, [0, 1, 2, 3], [0, 0, 0, 0])
    assert watch.entropy_share(torch.full((4,), 0.25)) == pytest.approx(1)
    assert watch.entropy_share(torch.tensor([0.5, 0.5, 0, 0])) == pytest.approx(0.5)
    assert watch.entropy_share(torch.tensor([1.0, 0, 0, 0])) == pytest.approx(0)


# --- state ---------------------------------------------------------------------------------


@pytest.mark.parametrize("checks", [1, 2, 3, 5])
def test_a_watch_goes_on_from_its_state_as_if_nothing_had_happened(checks: int) -> None:
    rng = np.random.default_rng(checks)
    labels = [rng.integers(0, 4, 200) for _ in range(checks + 2)]
    whole, begun, resumed = watch_of(2), watch_of(2), watch_of(2)
    expected = judged(whole, *labels)
    judged(begun, *labels[:checks])
    resumed.load_state({name: value.clone() for name, value in begun.state().items()})
    assert judged(resumed, *labels[checks:]) == expected[checks:]
    for found, wanted in zip(resumed.history(), whole.history(), strict=True):
        np.testing.assert_array_equal(found, wanted)
    assert resumed.entropy_share(torch.tensor([0.5, 0.5, 0, 0])) == whole.entropy_share(
        torch.tensor([0.5, 0.5, 0, 0])
    )


def test_a_watch_can_go_back() -> None:
    watch = watch_of()
    judged(watch, [0, 1, 2, 3], [0, 1, 1, 3])
    before = {name: value.clone() for name, value in watch.state().items()}
    expected = judged(watch, [0, 0, 1, 3], [3, 3, 3, 3])
    watch.load_state(before)
    assert watch.checks == 2
    assert judged(watch, [0, 0, 1, 3], [3, 3, 3, 3]) == expected


def test_the_state_before_the_first_check_is_empty() -> None:
    assert watch_of().state() == {}


def test_what_is_remembered_does_not_grow_but_for_prototypes_and_masses() -> None:
    watch = watch_of()
    sizes = []
    for _ in range(6):
        judged(watch, [0, 1, 2, 3] * 10)
        state = watch.state()
        sizes.append(sum(value.numel() for name, value in state.items() if "labels" in name))
    assert sizes[2:] == [3 * 40] * 4


# --- k-means -------------------------------------------------------------------------------


def blobs(count: int, seed: int = 0) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    centres = 10 * rng.standard_normal((5, 3))
    points = centres[rng.integers(0, 5, count)] + 0.1 * rng.standard_normal((count, 3))
    return points.astype(np.float32)


def test_centres_are_those_of_k_means() -> None:
    points = blobs(400)
    found = kmeans_centres(points, 5, 0)
    expected = KMeans(5, n_init=5, random_state=1).fit(points)
    error = ((points[:, None] - found) ** 2).sum(axis=2).min(axis=1).sum()
    assert found.dtype == np.float32
    assert error == pytest.approx(expected.inertia_, rel=1e-3)


def test_centres_follow_from_the_seed() -> None:
    points = np.random.default_rng(0).standard_normal((300, 4)).astype(np.float32)
    first, second, third = (kmeans_centres(points, 6, seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, third)


@pytest.mark.parametrize("kinds", [1, 2, 5])
def test_no_more_centres_are_found_than_points_differ(kinds: int) -> None:
    points = np.repeat(blobs(kinds, 2), 30, axis=0)
    assert len(np.unique(kmeans_centres(points, 8, 0), axis=0)) == kinds


def test_points_that_hardly_differ_are_no_warning() -> None:
    """A glaring pixel squeezes all others, which then differ by less than k-means sees."""
    points = np.zeros((60, 2), np.float32)
    points[:, 1] = 1 + np.arange(60, dtype=np.float32) * np.finfo(np.float32).eps
    points[0] = 1, 0
    assert kmeans_centres(points, 16, 0).shape == (16, 2)


def test_centres_of_many_points_are_learnt_from_some_of_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(watching, "KMEANS_PIXELS", 100)
    points = blobs(1001)
    found = kmeans_centres(points, 5, 0)
    np.testing.assert_array_equal(found, kmeans_centres(points[::11], 5, 0))


# --- schedule and result -------------------------------------------------------------------


def test_a_schedule_is_what_the_section_asks_for() -> None:
    section = TrainingSection(
        steps=77, learning_rate=0.5, warm_up=3, weight_decay=0.25, clip=2.0, momentum=0.5,
        check_every=11, patience=4, rollbacks=1, precision="bfloat16", minutes=2.5,
    )  # fmt: skip
    found = schedule_of(section)
    for name in section.model_fields_set:
        assert getattr(found, name) == getattr(section, name)


def test_what_a_training_leaves_has_one_entry_per_check() -> None:
    watch = watch_of()
    first, second = judged(watch, [0, 1, 2, 3], [0, 1, 1, 3])
    training = Training(
        step=9, ended="stable", losses=(3.0, 2.0), inspections=((0, first), (9, second))
    )
    found = trained(Fitted(training, torch.nn.Identity(), 1.0), watch)
    assert found.ending == "stable"
    assert found.losses.tolist() == [3, 2]
    assert found.check_steps.tolist() == [0, 9]
    assert found.prototypes.shape == (2, 4, 4)
    assert found.checks["prototypes in use"].tolist() == [4, 3]
    assert all(len(values) == 2 for values in found.checks.values())
