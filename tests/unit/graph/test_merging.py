from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.cluster import hierarchy
from sklearn.metrics import adjusted_rand_score

from hsistream.graph.merging import (
    HYSTERESIS,
    Moment,
    by_mass,
    cut_cost,
    diffusion_spectrum,
    lookup,
    meeting_affinity,
    steady_cut,
    unit_coordinates,
    ward_tree,
    ward_tree_of_many,
)

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]

seeds = st.integers(0, 2**31)
counts = st.integers(1, 14)


def random_points(count: int, seed: int, size: int = 3) -> Floats:
    return np.random.default_rng(seed).standard_normal((count, size))


def random_masses(count: int, seed: int) -> Floats:
    """Masses from about 1 to 1000."""
    return np.exp(np.random.default_rng((seed, 1)).uniform(0, 7, count))


def same_partition(first: Labels, second: Labels) -> bool:
    return bool(((first[:, None] == first) == (second[:, None] == second)).all())


def joined_greedily(points: Floats, masses: Floats) -> tuple[list[float], list[Labels]]:
    """Costs of all joins, and the groups after each, by what a join adds to the cost of a cut."""
    groups = np.arange(len(points))
    costs, partitions = [], []
    while len(np.unique(groups)) > 1:
        before = cut_cost(points, masses, groups)
        joins = [
            (cut_cost(points, masses, np.where(groups == b, a, groups)) - before, a, b)
            for a, b in combinations(np.unique(groups).tolist(), 2)
        ]
        cost, a, b = min(joins)
        groups = np.where(groups == b, a, groups)
        costs.append(cost)
        partitions.append(groups)
    return costs, partitions


# --- the tree ------------------------------------------------------------------------------


@given(counts, seeds)
def test_equal_masses_give_the_tree_of_scipy(count: int, seed: int) -> None:
    points = random_points(count, seed)
    tree = ward_tree(points, np.ones(count))
    if count == 1:
        assert tree.linkage.shape == (0, 4)
        return
    expected = hierarchy.linkage(points, "ward")
    np.testing.assert_allclose(tree.linkage[:, 2], expected[:, 2] ** 2 / 2)
    np.testing.assert_array_equal(tree.linkage[:, 3], expected[:, 3])
    for clusters in range(1, count + 1):
        others = hierarchy.cut_tree(expected, clusters)[:, 0]
        assert same_partition(tree.cut(clusters), others)


@given(st.integers(2, 7), seeds)
def test_unequal_masses_give_the_tree_of_brute_force(count: int, seed: int) -> None:
    points, masses = random_points(count, seed), random_masses(count, seed)
    tree = ward_tree(points, masses)
    costs, partitions = joined_greedily(points, masses)
    np.testing.assert_allclose(tree.linkage[:, 2], np.maximum.accumulate(costs), rtol=1e-8)
    for clusters, expected in zip(range(count - 1, 0, -1), partitions, strict=True):
        assert same_partition(tree.cut(clusters), expected)


@given(counts, seeds)
def test_the_tree_is_one_that_scipy_can_draw(count: int, seed: int) -> None:
    tree = ward_tree(random_points(count, seed), random_masses(count, seed))
    if count > 1:
        hierarchy.is_valid_linkage(tree.linkage, throw=True)
        assert hierarchy.is_monotonic(tree.linkage)
        assert tree.linkage[-1, 3] == count


@given(st.integers(2, 10), seeds)
def test_the_costs_of_all_joins_sum_to_the_cost_of_one_group(count: int, seed: int) -> None:
    points, masses = random_points(count, seed), random_masses(count, seed)
    total = ward_tree(points, masses).linkage[:, 2].sum()
    # heights never fall, so that a step back by rounding may add a trifle
    np.testing.assert_allclose(total, cut_cost(points, masses, np.zeros(count, np.int64)))


@given(st.integers(2, 12), seeds)
def test_a_heavy_point_is_two_light_ones_at_one_place(count: int, seed: int) -> None:
    points = random_points(count, seed)
    twice = np.r_[points, points[:1]]
    double = ward_tree(points, np.r_[2.0, np.ones(count - 1)])
    apart = ward_tree(twice, np.ones(count + 1))
    np.testing.assert_allclose(apart.linkage[1:, 2], double.linkage[:, 2], atol=1e-12)


@given(counts, seeds, st.integers(1, 20))
def test_a_cut_has_as_many_groups_as_asked_or_as_leaves(
    count: int, seed: int, clusters: int
) -> None:
    groups = ward_tree(random_points(count, seed), np.ones(count)).cut(clusters)
    assert groups.dtype == np.int64
    np.testing.assert_array_equal(np.unique(groups), np.arange(min(clusters, count)))


@pytest.mark.parametrize("clusters", range(1, 7))
def test_joins_of_one_cost_do_not_spoil_a_cut(clusters: int) -> None:
    pairs = np.array([[0.0], [1], [10], [11], [20], [21]])
    tree = ward_tree(pairs, np.ones(6))
    assert len(set(tree.linkage[:3, 2])) == 1
    assert len(np.unique(tree.cut(clusters))) == clusters


def test_of_pairs_of_one_cost_the_first_is_joined() -> None:
    tree = ward_tree(np.array([[0.0], [1], [2], [3]]), np.ones(4))
    assert tree.linkage[0, :2].tolist() == [0, 1]
    assert tree.linkage[1, :2].tolist() == [2, 3]


def test_points_at_one_place_are_joined_at_no_cost() -> None:
    tree = ward_tree(np.ones((4, 3)), random_masses(4, 0))
    assert tree.linkage[:, 2].tolist() == [0, 0, 0]
    assert len(np.unique(tree.cut(4))) == 4


def test_points_without_mass_take_no_part() -> None:
    points, masses = random_points(6, 3), np.array([2.0, 0, 1, 0, 5, 1])
    tree, alone = ward_tree(points, masses), ward_tree(points[masses > 0], masses[masses > 0])
    assert tree.used.tolist() == [0, 2, 4, 5]
    np.testing.assert_array_equal(tree.linkage, alone.linkage)


def test_a_single_point_is_one_group() -> None:
    tree = ward_tree(np.ones((3, 2)), np.array([0.0, 7, 0]))
    assert tree.used.tolist() == [1]
    assert tree.cut(1).tolist() == tree.cut(5).tolist() == [0]
    assert lookup(tree, np.ones((3, 2)), 2).tolist() == [0, 0, 0]


def test_what_is_given_is_left_alone() -> None:
    points, masses = random_points(5, 1), random_masses(5, 1)
    before = points.copy(), masses.copy()
    tree = ward_tree(points, masses)
    tree.cut(2)
    linkage = tree.linkage.copy()
    tree.cut(3)
    np.testing.assert_array_equal(points, before[0])
    np.testing.assert_array_equal(masses, before[1])
    np.testing.assert_array_equal(tree.linkage, linkage)


# --- cuts ----------------------------------------------------------------------------------


@given(st.integers(1, 10), st.integers(1, 5), seeds)
def test_the_cost_of_a_cut_is_that_of_brute_force(count: int, groups: int, seed: int) -> None:
    points, masses = random_points(count, seed), random_masses(count, seed)
    chosen = np.random.default_rng(seed).integers(0, groups, count)
    expected = 0.0
    for group in np.unique(chosen):
        own, weights = points[chosen == group], masses[chosen == group]
        mean = np.average(own, axis=0, weights=weights)
        expected += float((weights * ((own - mean) ** 2).sum(axis=1)).sum())
    assert cut_cost(points, masses, chosen) == pytest.approx(expected, abs=1e-9)


def test_points_without_mass_cost_nothing() -> None:
    points, groups = random_points(4, 0), np.array([0, 0, 1, 2])
    assert cut_cost(points, np.zeros(4), groups) == 0
    assert cut_cost(points, np.array([0.0, 1, 1, 0]), groups) == 0


@given(st.integers(2, 12), st.integers(1, 6), seeds)
def test_a_prototype_that_is_not_used_goes_with_its_nearest(
    count: int, clusters: int, seed: int
) -> None:
    points, masses = random_points(count, seed), random_masses(count, seed)
    masses[1::2] = 0
    tree = ward_tree(points, masses)
    groups = lookup(tree, points, clusters)
    np.testing.assert_array_equal(groups[tree.used], tree.cut(clusters))
    for unused in range(1, count, 2):
        nearest = np.linalg.norm(points[tree.used] - points[unused], axis=1).argmin()
        assert groups[unused] == groups[tree.used[nearest]]


def test_a_used_prototype_keeps_its_own_group_where_another_lies_at_its_place() -> None:
    points = np.array([[0.0, 0], [0, 0], [9, 9]])
    tree = ward_tree(points, np.ones(3))
    assert len(np.unique(lookup(tree, points, 3))) == 3


# --- steadiness ----------------------------------------------------------------------------


def along(*places: float) -> Floats:
    return np.array(places)[:, None]


def moved(gap: float) -> Moment:
    """Three points: the second lies at 1 from the first and at ``gap`` from the third."""
    return Moment(along(0, 1, 1 + gap), np.ones(3))


@pytest.mark.parametrize("cheaper", [0.5, 0.94, 0.951, 0.999, 1.0])
def test_a_cut_changes_only_if_that_makes_it_five_percent_cheaper(cheaper: float) -> None:
    start, later = moved(1.2), moved(np.sqrt(cheaper))
    groups = steady_cut([start, later], 2)
    free = lookup(ward_tree(later.prototypes, later.masses), later.prototypes, 2)
    old = lookup(ward_tree(start.prototypes, start.masses), start.prototypes, 2)
    costs = [cut_cost(later.prototypes, later.masses, each) for each in (free, old)]
    assert costs[0] / costs[1] == pytest.approx(cheaper)
    assert same_partition(groups, free if cheaper < HYSTERESIS else old)


def test_a_cut_can_change_by_and_by() -> None:
    history = [moved(1.2), moved(0.98), moved(0.9), moved(1.01)]
    assert same_partition(steady_cut(history, 2), np.array([0, 1, 1]))
    assert same_partition(steady_cut(history[:2], 2), np.array([0, 0, 1]))


def test_the_first_cut_is_that_of_the_first_tree() -> None:
    points, masses = random_points(9, 4), random_masses(9, 4)
    expected = lookup(ward_tree(points, masses), points, 4)
    np.testing.assert_array_equal(steady_cut([Moment(points, masses)], 4), expected)


@given(st.integers(4, 9), st.integers(1, 4), seeds)
def test_a_steady_cut_costs_at_most_a_twentieth_more_than_the_last_tree(
    count: int, clusters: int, seed: int
) -> None:
    history = [
        Moment(random_points(count, seed + n), random_masses(count, seed + n)) for n in range(4)
    ]
    last = history[-1]
    free = lookup(ward_tree(last.prototypes, last.masses), last.prototypes, clusters)
    cost = cut_cost(last.prototypes, last.masses, steady_cut(history, clusters))
    assert HYSTERESIS * cost <= cut_cost(last.prototypes, last.masses, free) + 1e-9


def test_a_cut_that_leaves_a_group_without_mass_is_given_up() -> None:
    axes = np.eye(30)
    axes[0] *= 50
    start, later = np.ones(30), np.r_[0.0, np.ones(29)]
    history = [Moment(axes, start), Moment(axes, later)]
    free = lookup(ward_tree(axes, later), axes, 2)
    one = np.zeros(30, np.int64)
    assert cut_cost(axes, later, free) > HYSTERESIS * cut_cost(axes, later, one)
    groups = steady_cut(history, 2)
    assert len(np.unique(groups[later > 0])) == 2


def test_a_group_whose_prototypes_are_no_longer_used_goes_with_its_nearest() -> None:
    places = along(0, 1, 9, 10)
    start = Moment(places, np.ones(4))
    later = Moment(places, np.array([1.0, 1, 0, 0]))
    assert steady_cut([start, later], 1).tolist() == [0, 0, 0, 0]
    found = steady_cut([start, later], 2)
    assert found.tolist() == [0, 1, 1, 1]
    alone = Moment(places, np.array([0.0, 0, 0, 5]))
    assert steady_cut([start, alone], 3).tolist() == [0, 0, 0, 0]


def test_a_moment_at_which_nothing_was_seen_counts_for_nothing() -> None:
    seen = Moment(random_points(5, 0), np.ones(5))
    blind = Moment(random_points(5, 1), np.zeros(5))
    expected = steady_cut([seen], 3)
    np.testing.assert_array_equal(steady_cut([blind, seen], 3), expected)
    np.testing.assert_array_equal(steady_cut([seen, blind], 3), expected)


# --- numbering -----------------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 50)), min_size=1, max_size=20))
def test_groups_are_numbered_from_the_heaviest(parts: list[tuple[int, int]]) -> None:
    groups, usage = (np.asarray(column) for column in zip(*parts, strict=True))
    groups = np.unique(groups, return_inverse=True)[1].astype(np.int64)
    found = by_mass(groups, usage)
    assert same_partition(found, groups)
    assert (np.diff(np.bincount(found, usage)) <= 0).all()
    np.testing.assert_array_equal(np.unique(found), np.arange(groups.max() + 1))


def test_groups_of_one_mass_keep_their_order() -> None:
    assert by_mass(np.array([2, 0, 1]), np.array([5, 5, 5])).tolist() == [2, 0, 1]


# --- diffusion -----------------------------------------------------------------------------


def random_affinity(count: int, seed: int) -> Floats:
    rng = np.random.default_rng(seed)
    neighbours = rng.integers(0, 50, (count, count))
    usage = rng.integers(1, 100, count)
    shares = rng.dirichlet(np.full(count, 0.3), 200)
    return meeting_affinity(neighbours + neighbours.T, usage, shares.T @ shares)


def test_two_prototypes_belong_together_if_they_meet_and_are_alike() -> None:
    neighbours = np.array([[0, 10, 0], [10, 0, 10], [0, 10, 0]])
    confusion = np.array([[9.0, 4, 4], [4, 9, 0], [4, 0, 9]])
    found = meeting_affinity(neighbours, np.array([3, 3, 3]), confusion)
    assert found.tolist() == [[27, 40, 0], [40, 27, 0], [0, 0, 27]]


def test_an_affinity_is_symmetric_even_if_the_confusion_is_only_nearly_so() -> None:
    confusion = np.array([[1.0, 0.25], [0.75, 1.0]])
    found = meeting_affinity(np.ones((2, 2), np.int64), np.array([1, 1]), confusion)
    assert (found == found.T).all()


@given(st.integers(1, 12), seeds)
def test_the_spectrum_is_that_of_the_random_walk(count: int, seed: int) -> None:
    affinity = random_affinity(count, seed)
    values, vectors = diffusion_spectrum(affinity)
    walk = affinity / affinity.sum(axis=1, keepdims=True)
    assert values[0] == pytest.approx(1)
    assert (np.abs(values) <= 1 + 1e-9).all()
    assert (np.diff(values) <= 0).all()
    np.testing.assert_allclose(walk @ vectors, vectors * values, atol=1e-9)
    np.testing.assert_allclose(vectors[:, 0], vectors[0, 0], rtol=1e-6)


@given(st.integers(2, 4), seeds)
def test_blocks_that_hardly_meet_are_found(blocks: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.permutation(np.repeat(np.arange(blocks), rng.integers(2, 5, blocks)))
    inside = truth[:, None] == truth
    affinity = np.where(inside, rng.uniform(0.5, 1, inside.shape), 1e-4)
    values, vectors = diffusion_spectrum((affinity + affinity.T) / 2)
    assert (values[:blocks] > 0.99).all()
    assert values[blocks] < 0.9
    tree = ward_tree(unit_coordinates(vectors, blocks), np.ones(len(truth)))
    assert adjusted_rand_score(truth, tree.cut(blocks)) == 1


def test_a_node_without_affinity_spoils_no_other() -> None:
    affinity = random_affinity(5, 0)
    affinity[3] = affinity[:, 3] = 0
    values, vectors = diffusion_spectrum(affinity)
    others = np.delete(np.arange(5), 3)
    alone, _ = diffusion_spectrum(affinity[np.ix_(others, others)])
    np.testing.assert_allclose(np.sort(values), np.sort(np.r_[alone, 0]), atol=1e-12)
    assert np.isfinite(vectors).all()


def test_coordinates_lie_on_the_unit_sphere_or_at_its_centre() -> None:
    vectors = random_points(6, 0, 5)
    vectors[2, :3] = 0
    found = unit_coordinates(vectors, 3)
    length = np.linalg.norm(found, axis=1)
    np.testing.assert_allclose(length, [1, 1, 0, 1, 1, 1])
    assert unit_coordinates(vectors, 40).shape == (6, 5)


@given(st.integers(1, 40), seeds)
def test_chains_of_neighbours_give_the_same_tree(count: int, seed: int) -> None:
    points, masses = random_points(count, seed), random_masses(count, seed)
    masses[1::7] = 0
    tree, quick = ward_tree(points, masses), ward_tree_of_many(points, masses)
    np.testing.assert_array_equal(quick.used, tree.used)
    np.testing.assert_allclose(quick.linkage[:, 2:], tree.linkage[:, 2:], rtol=1e-8)
    for clusters in (1, 2, 5):
        assert same_partition(quick.cut(clusters), tree.cut(clusters))


@pytest.mark.parametrize("seed", range(60))
def test_chains_end_where_points_are_equal_up_to_rounding(seed: int) -> None:
    points = np.repeat(random_points(8, seed), 6, axis=0)
    tree = ward_tree_of_many(points, np.random.default_rng(seed).integers(1, 6, 48) / 3)
    hierarchy.is_valid_linkage(tree.linkage, throw=True)
    assert hierarchy.is_monotonic(tree.linkage)
    assert same_partition(tree.cut(8), np.arange(8).repeat(6))
