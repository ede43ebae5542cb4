from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import linalg
from scipy.sparse.csgraph import connected_components

import hsistream.graph.spectrum as spectrum_module
from hsistream.graph.affinity import Places
from hsistream.graph.bridge import build_bridge, choose_landmarks, node_keys
from hsistream.graph.nodes import Nodes, NodeSettings
from hsistream.graph.spectrum import JumpingWalk, joint_components, leading_pairs
from hsistream.graph.walk import start_walk
from tests.unit.graph.made_frames import JUMPING, field_nodes, nodes_of, twice

Floats = NDArray[np.float64]


def jumping_walk(nodes: Nodes, settings: NodeSettings = JUMPING) -> JumpingWalk:
    """Link and bridge nodes as a walk does."""
    found = start_walk(nodes, settings)
    assert found.bridge is not None
    return JumpingWalk(found.graph.affinity, found.bridge, settings.alpha)


def dense_parts(walk: JumpingWalk) -> tuple[Floats, Floats, Floats]:
    """Lay out links, shares and degrees."""
    shares = np.zeros((walk.nodes, len(walk.bridge.mass)))
    np.put_along_axis(
        shares, walk.bridge.shares.landmarks.astype(np.int64), walk.bridge.shares.weights, axis=1
    )
    return walk.links.toarray().astype(float), shares, walk.degree


def dense_walk(walk: JumpingWalk) -> Floats:
    """Lay out the transition matrix by its definition."""
    links, shares, degree = dense_parts(walk)
    jumps = shares @ np.diag(1 / (shares.T @ degree)) @ shares.T @ np.diag(degree)
    return np.asarray((1 - walk.alpha) * links / degree[:, None] + walk.alpha * jumps)


def dense_pairs(walk: JumpingWalk) -> tuple[Floats, Floats]:
    """Find all eigenpairs of the symmetric form by a dense solver."""
    root = np.sqrt(walk.degree)
    matrix = dense_walk(walk) * root[:, None] / root
    values, vectors = linalg.eigh((matrix + matrix.T) / 2)
    return values[::-1], vectors[:, ::-1]


def stationary_vector(walk: JumpingWalk) -> Floats:
    root = np.sqrt(walk.degree)
    return np.asarray((root / np.linalg.norm(root))[:, None])


@pytest.mark.parametrize("alpha", [0.1, 0.4, 1.0])
def test_the_walk_is_one_and_reversible(alpha: float) -> None:
    walk = jumping_walk(field_nodes(2)[0], replace(JUMPING, alpha=alpha))
    matrix = dense_walk(walk)
    np.testing.assert_allclose(matrix.sum(axis=1), 1, atol=1e-12)
    flow = walk.degree[:, None] * matrix
    np.testing.assert_allclose(flow, flow.T, atol=1e-12)


@pytest.mark.parametrize("threads", [1, 3])
def test_products_are_those_of_the_symmetric_form(threads: int) -> None:
    walk = replace(jumping_walk(field_nodes(2)[0]), threads=threads)
    root = np.sqrt(walk.degree)
    matrix = dense_walk(walk) * root[:, None] / root
    block = np.random.default_rng(0).standard_normal((walk.nodes, 3))
    np.testing.assert_allclose(walk.product()(block), matrix @ block, atol=1e-12)
    assert walk.product(np.float32)(block).dtype == np.float32
    np.testing.assert_array_equal(walk.product()(block), replace(walk, threads=1).product()(block))


def test_pairs_above_the_margin_are_those_of_a_dense_solver() -> None:
    """2,000 nodes, tolerance 1e-10; subspaces are compared where eigenvalues are close."""
    nodes, _ = field_nodes(5, seed=1)
    walk = jumping_walk(nodes)
    values, vectors = dense_pairs(walk)
    kept = int((values > walk.margin(1e-10)).sum())
    keys = node_keys(nodes.features, nodes.places)
    found, of_found = leading_pairs(walk, stationary_vector(walk), kept - 1, keys, 1e-10)
    assert kept > 4
    np.testing.assert_allclose(found, values[1:kept], atol=1e-6)
    for value in values[1:kept]:
        close = np.abs(values - value) < 1e-4
        mine = of_found[:, np.abs(found - value) < 1e-4]
        np.testing.assert_allclose(
            mine @ mine.T, vectors[:, close] @ vectors[:, close].T, atol=1e-6
        )


def test_few_nodes_and_many_give_the_same_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes, _ = field_nodes(2, seed=2)
    walk = jumping_walk(nodes)
    keys, known = node_keys(nodes.features, nodes.places), stationary_vector(walk)
    assert walk.nodes > spectrum_module.DENSE_NODES
    block, _ = leading_pairs(walk, known, 5, keys, 1e-8)
    monkeypatch.setattr(spectrum_module, "EXACT_NODES", 0)
    single, vectors = leading_pairs(walk, known, 5, keys, 1e-3)
    monkeypatch.setattr(spectrum_module, "DENSE_NODES", 10**6)
    dense, _ = leading_pairs(walk, known, 5, keys, 1e-8)
    np.testing.assert_allclose(block, dense, atol=1e-8)
    np.testing.assert_allclose(single, dense, atol=1e-4)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(5), atol=1e-4)


def test_components_are_those_of_nodes_and_landmarks_together() -> None:
    nodes, kind = field_nodes(2, kinds=2, noise=0.01, seed=3)
    far = nodes_of(np.where(kind[:, None] == 0, 0.0, 100.0) + nodes.features, nodes.places)
    alone = replace(JUMPING, radius_px=1, neighbours=3)
    walk = jumping_walk(far, alone)
    count, member = joint_components(walk)
    links, shares, _ = dense_parts(walk)
    joint = np.block([[links, shares], [shares.T, np.zeros((shares.shape[1],) * 2)]])
    expected, of_node = connected_components(joint, directed=False)
    assert count == expected
    pairs = np.unique(np.stack([member, of_node[: len(member)]]), axis=1)
    assert pairs.shape[1] == count


def test_links_join_what_landmarks_leave_apart() -> None:
    """Two frames of two kinds each, whose landmarks are apart but whose pixels touch."""
    nodes, _ = field_nodes(1, side=6, kinds=2, noise=0.0, seed=4)
    keys = node_keys(nodes.features, nodes.places)
    landmarks = choose_landmarks(nodes.features, nodes.places.frame, keys, 10)
    assert len(landmarks) == 2
    links = start_walk(nodes, replace(JUMPING, radius_px=6, neighbours=36)).graph.affinity
    bridge = build_bridge(nodes.features, landmarks, np.diff(links.indptr).astype(float), 1)
    assert joint_components(JumpingWalk(links, bridge, 0.4))[0] == 1


def test_eigenvectors_of_identical_frames_are_equal() -> None:
    nodes = twice(field_nodes(1, seed=5)[0])
    walk = jumping_walk(nodes)
    keys = node_keys(nodes.features, nodes.places)
    values, vectors = leading_pairs(walk, stationary_vector(walk), 8, keys, 1e-10)
    kept = vectors[:, values > walk.margin(1e-10)]
    assert kept.shape[1] >= 3
    np.testing.assert_allclose(kept[:400], kept[400:], atol=1e-8)


def test_frames_of_few_different_nodes_have_eigenpairs_too() -> None:
    """Ninety frames of nine nodes start from nine different keys: fewer than vectors of a block."""
    nodes, _ = field_nodes(1, side=3, seed=6)
    many = nodes_of(
        np.tile(nodes.features, (90, 1)),
        Places(np.repeat(np.arange(90), 9), np.tile(nodes.places.pixels, (90, 1))),
    )
    walk = jumping_walk(many, replace(JUMPING, neighbours=4))
    values, _ = dense_pairs(walk)
    kept = values[1:][values[1:] > walk.margin(1e-8)]
    keys = node_keys(many.features, many.places)
    found, _ = leading_pairs(walk, stationary_vector(walk), 16, keys, 1e-8)
    np.testing.assert_allclose(found[: len(kept)], kept, atol=1e-6)
