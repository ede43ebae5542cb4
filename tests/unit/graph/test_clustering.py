from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components

from hsistream.graph.affinity import Places
from hsistream.graph.clustering import (
    cluster_nodes,
    cluster_often,
    cut_superpixels,
    partition_at,
    peaks_at,
)
from hsistream.graph.modes import choose_modes
from hsistream.graph.nodes import Assignment, Nodes, NodeSettings, Superpixels, TimeRule
from hsistream.graph.walk import start_walk
from hsistream.regions.density import (
    density_order,
    density_scale,
    density_shares,
    kernel_density,
    neighbour_distances,
)
from hsistream.regions.representatives import choose_representatives
from hsistream.regions.sums import RegionSums
from hsistream.report.scores import score
from hsistream.superpixels.base_image import eight_bit
from hsistream.superpixels.ers import entropy_rate
from tests.unit.graph.made_nodes import (
    blobs,
    made_nodes,
    made_superpixels,
    same_partition,
    scattered,
)

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]

ASSIGNMENTS: tuple[Assignment, ...] = ("merge", "modes", "kmeans", "ward")
TIMES: tuple[TimeRule | int, ...] = ("settled", "central", 0, 5)

seeds = st.integers(0, 2**31)


@pytest.mark.parametrize(
    ("assignment", "time"),
    [*((each, "settled") for each in ASSIGNMENTS), ("modes", "central"), ("merge", "central")],
)
@pytest.mark.parametrize("frames", [1, 3])
def test_far_blobs_are_found_in_all_frames(
    assignment: Assignment, time: TimeRule, frames: int
) -> None:
    kinds = np.random.default_rng(0).integers(0, 3, 90)
    nodes = made_nodes(blobs(kinds, 1), scattered(90, 2, frames=frames))
    settings = NodeSettings(3, 12, neighbours=6, time=time, assignment=assignment)
    found = cluster_nodes(nodes, made_superpixels(nodes), settings)
    assert same_partition(found.labels, kinds)
    assert (np.diff(np.bincount(found.labels)) <= 0).all()


@pytest.mark.parametrize("assignment", ASSIGNMENTS)
def test_one_of_many_clusterings_is_the_only_one(assignment: Assignment) -> None:
    kinds = np.random.default_rng(0).integers(0, 3, 90)
    nodes = made_nodes(blobs(kinds, 1), scattered(90, 2))
    superpixels = made_superpixels(nodes)
    settings = NodeSettings(3, 12, neighbours=6, assignment=assignment)
    alone, many = (
        cluster_nodes(nodes, superpixels, settings),
        cluster_often(nodes, superpixels, settings, [3, 5]),
    )
    assert many.labels.shape == (6, 90)
    assert many.time == alone.time
    np.testing.assert_array_equal(many.labels[2], alone.labels)
    assert [len(np.unique(labels)) for labels in many.labels[2:4]] == [3, 5]
    cuts = sum(len(each.kinds) for each in many.placements)
    assert cuts == (6 if assignment in ("ward", "kmeans") else 0)


@pytest.mark.parametrize("links", [0, 3])
def test_two_blobs_with_one_link_between_them_are_two_clusters(links: int) -> None:
    kinds = np.repeat([0, 1], 30)
    nodes = made_nodes(blobs(kinds, 0), scattered(60, 0, side=40))
    settings = NodeSettings(
        2, 40, neighbours=20, distant_neighbours=links, norm="unit", assignment="modes"
    )
    walk = start_walk(nodes, settings)
    assert walk.graph.joined == 1
    times = walk.times.tolist()
    found = [partition_at(nodes, walk, time, 2, settings.neighbours) for time in times]
    assert any(same_partition(labels, kinds) for labels in found)


@given(
    st.integers(1, 30),
    st.integers(1, 6),
    st.integers(0, 3),
    st.sampled_from(ASSIGNMENTS),
    st.sampled_from(TIMES),
    seeds,
)
def test_every_superpixel_gets_a_label(
    count: int, clusters: int, links: int, assignment: Assignment, time: TimeRule | int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    places = scattered(count, seed, frames=2, side=6)
    features = random.integers(0, 4, (count, 2)).astype(float)  # many are equal
    nodes = made_nodes(features, places, density=random.integers(1, 4, count) / 3)
    nodes = replace(nodes, regions=np.unique(random.integers(0, 12, count), return_inverse=True)[1])
    regions = int(nodes.regions.max()) + 1
    sums = RegionSums.from_pixels(nodes.regions, features, regions)
    settings = NodeSettings(
        clusters, 3, neighbours=4, distant_neighbours=links, time=time, assignment=assignment
    )
    found = cluster_nodes(nodes, Superpixels(sums.count, sums.means()), settings)
    assert connected_components(found.walk.graph.affinity, directed=False)[0] == 1
    assert found.labels.shape == (regions,)
    assert found.labels.dtype == np.int64
    kinds = np.unique(found.labels)
    np.testing.assert_array_equal(kinds, np.arange(len(kinds)))
    assert len(kinds) <= min(clusters, regions)
    again = cluster_nodes(nodes, Superpixels(sums.count, sums.means()), settings)
    np.testing.assert_array_equal(again.labels, found.labels)


def test_one_mode_per_cluster_leaves_nothing_to_merge() -> None:
    nodes = made_nodes(blobs(np.repeat(np.arange(5), 12), 1), scattered(60, 2))
    settings = NodeSettings(4, 4, neighbours=8, modes_per_cluster=1)
    merged = cluster_nodes(nodes, made_superpixels(nodes), settings)
    plain = cluster_nodes(nodes, made_superpixels(nodes), replace(settings, assignment="modes"))
    assert same_partition(merged.labels, plain.labels)


@pytest.mark.parametrize("assignment", ["merge", "ward"])
def test_any_number_of_clusters_is_a_look_up(assignment: Assignment) -> None:
    kinds = np.random.default_rng(0).integers(0, 4, 80)
    nodes = made_nodes(blobs(kinds, 1), scattered(80, 2))
    superpixels = made_superpixels(nodes)
    settings = NodeSettings(4, 4, neighbours=8, assignment=assignment)
    found = cluster_nodes(nodes, superpixels, settings)
    np.testing.assert_array_equal(cut_superpixels(found.grouping, superpixels, 4), found.labels)
    finer = cut_superpixels(found.grouping, superpixels, 5)
    coarser = cut_superpixels(found.grouping, superpixels, 3)
    assert [len(np.unique(labels)) for labels in (finer, found.labels, coarser)] == [5, 4, 3]
    for fine, coarse in ((finer, found.labels), (found.labels, coarser)):
        assert len(np.unique(np.stack([fine, coarse]), axis=1).T) == fine.max() + 1


@pytest.mark.parametrize("assignment", ASSIGNMENTS)
def test_the_number_of_clusters_is_taken_from_the_modes(assignment: Assignment) -> None:
    kinds = np.repeat(np.arange(3), 40)
    places = scattered(120, 0)
    density = np.random.default_rng(3).uniform(0.9, 1, 120)
    nodes = made_nodes(blobs(kinds, 1), places, density=density)
    settings = NodeSettings(None, 30, neighbours=12, distant_neighbours=0, assignment=assignment)
    found = cluster_nodes(nodes, made_superpixels(nodes), settings)
    assert found.clusters == 3
    assert same_partition(found.labels, kinds)


@pytest.mark.parametrize("assignment", ASSIGNMENTS)
@pytest.mark.parametrize("clusters", [1, 4, None])
def test_one_node_is_one_cluster(assignment: Assignment, clusters: int | None) -> None:
    nodes = made_nodes(np.ones((1, 3)), Places(np.zeros(1, int), np.array([[4, 2]])))
    settings = NodeSettings(clusters, 2, assignment=assignment)
    assert cluster_nodes(nodes, made_superpixels(nodes), settings).labels.tolist() == [0]


@dataclass(frozen=True)
class Refused:
    """Settings that must be refused, and the message."""

    change: dict[str, object]
    message: str


@pytest.mark.parametrize(
    "case",
    [
        Refused({"clusters": 0}, "clusters must be 1 or more, not 0"),
        Refused({"radius_px": 0}, "radius_px must be 1 or more, not 0"),
        Refused({"neighbours": 0}, "neighbours must be 1 or more, not 0"),
        Refused({"modes_per_cluster": 0}, "modes_per_cluster must be 1 or more, not 0"),
        Refused({"distant_neighbours": -1}, "must be 0 or more, not -1"),
        Refused({"time": -2}, "must be 0 or more, not 3 and -2"),
        Refused({"time": "best"}, "time must be a number of steps or one of"),
        Refused({"assignment": "none"}, "assignment must be one of"),
        Refused({"norm": "length"}, "norm must be one of"),
    ],
    ids=lambda case: str(case.change),
)
def test_settings_without_a_meaning_are_refused(case: Refused) -> None:
    nodes = made_nodes(np.ones((3, 2)), scattered(3, 0))
    settings = replace(NodeSettings(2, 3), **case.change)  # type: ignore[arg-type]  # any change
    with pytest.raises(ValueError, match=case.message):
        cluster_nodes(nodes, made_superpixels(nodes), settings)


def test_no_nodes_are_refused() -> None:
    nodes = made_nodes(np.ones((0, 2)), scattered(0, 0))
    with pytest.raises(ValueError, match="At least one node is needed"):
        cluster_nodes(nodes, made_superpixels(nodes), NodeSettings(2, 3))


@dataclass(frozen=True)
class Published:
    """SalinasA with the published settings: N_s 1000, n_k 5, R 7, NN 50, percentile 10, K 6."""

    truth: Labels
    superpixels: Labels
    scale: float
    nodes: Nodes
    sums: RegionSums
    settings: NodeSettings

    def oa(self, labels: Labels) -> float:
        return score(self.truth, labels[self.superpixels], matching="square").oa


@cache
def published(folder: Path) -> Published:
    with np.load(folder / "salinasA.npz") as scene:
        cube, truth = scene["cube"].astype(float), scene["gt"].astype(np.int64)
    height, width, _ = cube.shape
    unit = cube.reshape(height * width, -1)
    unit = unit / np.linalg.norm(unit, axis=1, keepdims=True)
    centred = unit - unit.mean(axis=0)
    parts = centred @ np.linalg.svd(centred, full_matrices=False)[2][:3].T
    image = eight_bit(parts.T.reshape(3, height, width), parts.min(axis=0), parts.max(axis=0))
    superpixels = entropy_rate(image, 1000).ravel().astype(np.int64)
    distances = neighbour_distances(unit, unit, 50, own=np.arange(len(unit)))
    scale = density_scale(distances, 10)
    density = density_shares(kernel_density(distances, scale))
    chosen = choose_representatives(superpixels, density, 5)
    pixels = np.stack(np.divmod(chosen.pixels, width), axis=1)
    nodes = Nodes(
        Places(np.zeros(len(pixels), np.int64), pixels),
        unit[chosen.pixels],
        density[chosen.pixels],
        density_order(density[chosen.pixels]),
        chosen.owner,
        chosen.mass,
    )
    settings = NodeSettings(
        6,
        7,
        neighbours=50,
        distant_neighbours=0,
        norm="unit",
        time="central",
        assignment="modes",
    )
    sums = RegionSums.from_pixels(superpixels, unit, 1000)
    return Published(truth.ravel(), superpixels, scale, nodes, sums, settings)


EIGENVALUES = (
    *(1, 0.9986087, 0.9948220, 0.9912286, 0.9876206),
    *(0.9858115, 0.9811200, 0.9799670, 0.9748130, 0.9692199),
)
"""Of the published settings on SalinasA; an own program, checked against the authors' one."""


def test_nodes_of_a_real_scene_are_those_of_the_published_settings(data_folder: Path) -> None:
    case = published(data_folder)
    sizes = np.bincount(case.superpixels)
    assert (len(sizes), (sizes == 1).sum(), (sizes < 5).sum()) == (1000, 98, 249)
    assert len(case.nodes.order) == 4256
    assert case.scale == pytest.approx(0.00678878, abs=5e-8)
    assert case.nodes.masses.sum() == pytest.approx(7138)


def test_the_walk_on_a_real_scene_is_that_of_the_published_settings(data_folder: Path) -> None:
    case = published(data_folder)
    walk = start_walk(case.nodes, case.settings)
    assert walk.graph.joined == 0
    assert abs(walk.graph.affinity.nnz - 263_574) <= 60
    np.testing.assert_allclose(walk.spectrum.eigenvalues, EIGENVALUES, atol=2e-4)
    assert walk.times.tolist() == [0, *2 ** np.arange(15)]


def test_modes_of_a_real_scene_are_different_spectra(data_folder: Path) -> None:
    case = published(data_folder)
    walk = start_walk(case.nodes, case.settings)
    _, peaks = peaks_at(case.nodes, walk, 0)
    modes = choose_modes(peaks, case.nodes.regions, 6)
    expected = [[6, 12], [75, 4], [17, 28], [28, 64], [70, 64], [46, 24]]
    assert case.nodes.places.pixels[modes].tolist() == expected


def test_accuracy_on_a_real_scene_is_that_of_the_published_settings(data_folder: Path) -> None:
    case = published(data_folder)
    walk = start_walk(case.nodes, case.settings)
    for time in walk.times[walk.times <= 256].tolist():
        labels = partition_at(case.nodes, walk, time, 6, case.settings.neighbours)
        assert 0.75 <= case.oa(labels) <= 0.86


def test_numbers_of_superpixels_do_not_matter_on_a_real_scene(data_folder: Path) -> None:
    case = published(data_folder)
    numbers = np.random.default_rng(0).permutation(1000)
    renamed = replace(case.nodes, regions=numbers[case.nodes.regions])
    settings = replace(case.settings, assignment="merge", time="settled", distant_neighbours=3)
    plain = Superpixels(case.sums.count, case.sums.means())
    back = np.argsort(numbers)
    found = cluster_nodes(case.nodes, plain, settings)
    other = cluster_nodes(renamed, Superpixels(plain.pixels[back], plain.means[back]), settings)
    np.testing.assert_array_equal(other.labels[numbers], found.labels)
