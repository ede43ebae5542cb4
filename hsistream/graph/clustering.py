"""From the representatives of superpixels to a label for every superpixel.

Superpixel-based diffusion learning [1]_: a walk between nodes that are alike
and lie near each other, density peaks in its diffusion map, a vote in every
superpixel. What was changed, because it scores better without knowing the
truth: a few links across the scene, one time chosen by the eigenvalues, and
more modes than clusters, whose regions are then merged by their means.

References
----------
.. [1] K. Cui et al., "Superpixel-based and spatially-regularized diffusion
   learning for unsupervised hyperspectral image clustering", arXiv:2312.15447.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from hsistream.graph.diffusion import central_partition, diffusion_map, suggest_pairs
from hsistream.graph.exemplars import choose_exemplars, nearest_centres, nearest_exemplars
from hsistream.graph.merging import MergeTree, by_mass, ward_tree_of_many
from hsistream.graph.modes import (
    Peaks,
    choose_modes,
    density_peaks,
    label_nodes,
    suggest_modes,
    vote,
)
from hsistream.graph.new_frames import Placement, joined_placements
from hsistream.graph.nodes import Nodes, NodeSettings, Superpixels, check_settings
from hsistream.graph.walk import Walk, start_walk

TIME_FACTORS = (0.25, 1.0, 4.0)
"""Of the time that is chosen: when the walk is looked at, where it is more than once."""

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Grouping:
    """Groups of nodes (node,), their superpixels (node,), and how groups become clusters.

    A ``tree`` merges the groups to any number; without one, ``division`` (group,) are their
    clusters. ``places`` (group, coordinate) are those of the groups in the diffusion map,
    where it is the map that is divided.
    """

    groups: Labels
    regions: Labels
    tree: MergeTree | None
    division: Labels
    places: Floats | None = None

    def kinds(self, clusters: int) -> Labels:
        """Label groups, (group,); as many labels as clusters at most."""
        return self.division if self.tree is None else self.tree.cut(clusters)


@dataclass(frozen=True, slots=True)
class NodeClustering:
    """A label for every superpixel (region,), from the largest cluster down, and whence it is.

    ``time`` is that of the diffusion map; any other number of clusters is a
    look-up, :func:`cut_superpixels`, where the grouping has a tree.
    """

    labels: Labels
    clusters: int
    time: int
    walk: Walk
    grouping: Grouping

    @property
    def placements(self) -> tuple[Placement, ...]:
        """Tell how new nodes are labelled by their places in the map."""
        return (place_groups(self.grouping, [self.clusters], self.labels[None], self.time),)


@dataclass(frozen=True, slots=True)
class NodeClusterings:
    """Labels of superpixels (clustering, region), and the walk and the time that they are of.

    There are no ``placements`` where groups are those of modes.
    """

    labels: Labels
    time: int
    walk: Walk
    placements: tuple[Placement, ...]


def cluster_nodes(nodes: Nodes, superpixels: Superpixels, settings: NodeSettings) -> NodeClustering:
    """Cluster superpixels by a walk between their representatives.

    Parameters
    ----------
    nodes : Nodes
        Representatives, at least one for every superpixel.
    superpixels : Superpixels
        Sizes and means.
    settings : NodeSettings
        Choices.

    Returns
    -------
    NodeClustering
        Labels from 0. Where there are fewer superpixels than clusters, or no
        superpixel votes for a mode, there are fewer labels.

    Raises
    ------
    ValueError
        If there are no nodes, they are not sorted, or a setting has no such
        value.

    Notes
    -----
    Time grows about as the number of nodes, but for links across the scene.
    """
    check_settings(nodes, settings)
    walk = start_walk(nodes, settings)
    time, clusters = _choose_time(nodes, superpixels, walk, settings)
    grouping = _group(nodes, superpixels, (walk, time), clusters, settings)
    labels = cut_superpixels(grouping, superpixels, clusters)
    return NodeClustering(labels, clusters, time, walk, grouping)


def cluster_often(
    nodes: Nodes, superpixels: Superpixels, settings: NodeSettings, sizes: Sequence[int]
) -> NodeClusterings:
    """Divide superpixels at several times of one walk, into several numbers of groups.

    Parameters
    ----------
    nodes, superpixels : Nodes, Superpixels
        As for :func:`cluster_nodes`.
    settings : NodeSettings
        The number of clusters is needed: it decides about the time.
    sizes : sequence of int
        Numbers of groups; there are fewer where there are fewer superpixels.

    Returns
    -------
    NodeClusterings
        The times are ``TIME_FACTORS`` of the one that the settings choose.
    """
    check_settings(nodes, settings)
    walk = start_walk(nodes, settings)
    time, _ = _choose_time(nodes, superpixels, walk, settings)
    labels, placements = [], []
    for factor in TIME_FACTORS:
        moment = walk, int(factor * time)
        found = [*_cuts(nodes, superpixels, moment, sizes, settings)]
        labels += [each for _, each in found]
        placements += [
            place_groups(grouping, [size], each[None], moment[1])
            for size, (grouping, each) in zip(sizes, found, strict=True)
            if grouping.places is not None
        ]
    return NodeClusterings(np.stack(labels), time, walk, joined_placements(placements))


def peaks_at(nodes: Nodes, walk: Walk, time: int) -> tuple[Floats, Peaks]:
    """Give the diffusion map at a time (node, k - 1), and the peaks in it."""
    places = diffusion_map(walk.spectrum, time)
    return places, density_peaks(places, nodes.density, nodes.order, walk.threads)


def partition_at(
    nodes: Nodes, walk: Walk, time: int, clusters: int | None, neighbours: int
) -> Labels:
    """Label superpixels (region,) by modes at one time, in the order of their scores.

    ``clusters`` None takes their number from the scores.
    """
    places, peaks = peaks_at(nodes, walk, time)
    modes = choose_modes(peaks, nodes.regions, clusters or suggest_modes(peaks.scores))
    labels = label_nodes(peaks, places, modes, neighbours)
    return vote(nodes.regions, labels, int(nodes.regions.max()) + 1)


def cut_superpixels(grouping: Grouping, superpixels: Superpixels, clusters: int) -> Labels:
    """Label superpixels (region,), from 0 for the largest cluster; of equals, by their means.

    Where the grouping has no tree, ``clusters`` has no effect.
    """
    labels = grouping.kinds(clusters)[grouping.groups]
    voted = vote(grouping.regions, labels, len(superpixels.pixels))
    kinds = np.unique(voted, return_inverse=True)[1]
    pixels = superpixels.pixels
    means = np.bincount(kinds, pixels * superpixels.means[:, 0]) / np.bincount(kinds, pixels)
    return by_mass(np.argsort(np.argsort(means, kind="stable"))[kinds], pixels)


def place_groups(grouping: Grouping, sizes: Sequence[int], labels: Labels, time: int) -> Placement:
    """Tell how nodes of new frames are labelled by their places in the map of a time.

    Parameters
    ----------
    grouping : Grouping
        Groups with places.
    sizes : sequence of int
        Numbers of clusters of each cut.
    labels : (cut, region) int64
        Labels that superpixels have got.
    time : int
        Of the map.

    Returns
    -------
    Placement
        A group that no superpixel has got the label of takes that of the nearest other.

    Raises
    ------
    ValueError
        If groups have no places in the map, as those of modes.
    """
    if grouping.places is None:
        raise ValueError("Groups of modes have no place in the diffusion map of their own.")
    found = []
    for size, final in zip(sizes, labels, strict=True):
        kinds = grouping.kinds(size)
        voted = vote(grouping.regions, kinds[grouping.groups], labels.shape[1])
        number = np.full(int(kinds.max()) + 1, -1, np.int64)
        number[voted] = final
        there = np.flatnonzero(number[kinds] >= 0)
        nearest = nearest_exemplars(grouping.places, grouping.places[there])
        found.append(kinds[there][nearest] if len(there) < len(kinds) else kinds)
        found.append(number)
    return Placement(time, grouping.places, tuple(found[::2]), tuple(found[1::2]))


def _choose_time(
    nodes: Nodes, superpixels: Superpixels, walk: Walk, settings: NodeSettings
) -> tuple[int, int]:
    """Choose the time of the walk and the number of clusters."""
    asked, clusters = settings.time, settings.clusters
    if asked == "settled" and (clusters is not None or walk.bridge is not None):
        clusters = clusters or suggest_pairs(walk.spectrum, settings.most)
        return walk.time(clusters), clusters
    if isinstance(asked, int):
        time = asked
    else:
        found = [
            partition_at(nodes, walk, each, clusters, settings.neighbours)
            for each in walk.times.tolist()
        ]
        weights = superpixels.pixels.astype(np.float64)
        time = int(walk.times[central_partition(np.stack(found), weights, len(nodes.order))])
    return time, clusters or suggest_modes(peaks_at(nodes, walk, time)[1].scores)


def _group(
    nodes: Nodes,
    superpixels: Superpixels,
    moment: tuple[Walk, int],
    clusters: int,
    settings: NodeSettings,
) -> Grouping:
    """Group nodes at a time of the walk, as asked."""
    walk, time = moment
    if settings.assignment in ("ward", "kmeans"):
        found = choose_exemplars(diffusion_map(walk.spectrum, time), nodes, settings)
        if settings.assignment == "ward":
            tree = ward_tree_of_many(found.places, found.masses)
            none = np.zeros(len(found.places), np.int64)
            return Grouping(found.of_node, nodes.regions, tree, none, found.places)
        centres = nearest_centres(found, clusters, settings.tries, settings.seed)
        return Grouping(found.of_node, nodes.regions, None, centres, found.places)
    modes = clusters * (settings.modes_per_cluster if settings.assignment == "merge" else 1)
    voted = partition_at(nodes, walk, time, modes, settings.neighbours)
    groups = np.unique(voted, return_inverse=True)[1]
    merged = _merge_regions(groups, superpixels) if settings.assignment == "merge" else None
    every = np.arange(groups.max() + 1)
    return Grouping(groups[nodes.regions], nodes.regions, merged, every)


def _cuts(
    nodes: Nodes,
    superpixels: Superpixels,
    moment: tuple[Walk, int],
    sizes: Sequence[int],
    settings: NodeSettings,
) -> Iterator[tuple[Grouping, Labels]]:
    """Yield groupings and labels of superpixels (region,) for several numbers of groups."""
    largest = _group(nodes, superpixels, moment, max(sizes), settings)
    for size in sizes:
        fits = largest.tree is not None or size == max(sizes)
        grouping = largest if fits else _group(nodes, superpixels, moment, size, settings)
        yield grouping, cut_superpixels(grouping, superpixels, size)


def _merge_regions(groups: Labels, superpixels: Superpixels) -> MergeTree:
    """Join groups of superpixels (region,) by Ward's criterion on the means of their pixels."""
    pixels = superpixels.pixels.astype(np.float64)
    masses = np.bincount(groups, pixels).astype(np.float64)
    cells = groups, np.arange(len(groups))
    members = sparse.csr_array((pixels, cells), shape=(len(masses), len(groups)))
    total = members @ superpixels.means
    return ward_tree_of_many(np.asarray(total) / masses[:, None], masses)
