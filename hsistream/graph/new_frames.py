r"""Frames that a walk has never seen: their places in its diffusion map, without a new walk.

With the landmarks, their masses and the kept eigenpairs of a walk fixed, an eigenvector is
carried on to the nodes of a new frame by the equation that it fulfils itself,

.. math:: (\lambda - (1 - \alpha) P_s) \, \psi = \alpha Z \varphi,
   \qquad \varphi = \Lambda^{-1} Z^\top D \psi,

with the links :math:`P_s` and the shares :math:`Z` of the new frame on both sides but for
:math:`\varphi`, which is of the frames that were learnt from. For one of these the solution
is the eigenvector that it has.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.linalg import LinearOperator, cg

from hsistream.graph.affinity import Places, link_degrees, link_nodes, window_neighbours
from hsistream.graph.bridge import share_landmarks
from hsistream.graph.exemplars import nearest_exemplars
from hsistream.graph.kernels import step_of_walk
from hsistream.graph.modes import vote
from hsistream.graph.nodes import NodeSettings
from hsistream.graph.parts import on_threads
from hsistream.graph.walk import Walk

TOLERANCE = 1e-8
"""Relative residual of a solution."""

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Placement:
    """How places in the diffusion map of a time become labels, by one cut of it or several.

    ``places`` are (group, coordinate); of every cut, ``kinds`` (group,) are what nodes vote
    for, and ``numbers`` (kind,) the labels of these.
    """

    time: int
    places: Floats
    kinds: tuple[Labels, ...]
    numbers: tuple[Labels, ...]


@dataclass(frozen=True, slots=True)
class LearntWalk:
    """What is kept of a walk to carry it on to new frames.

    ``eigenvalues`` (pair,) without that of the constant; ``landmarks`` (landmark, feature) and
    ``images`` (landmark, pair) of the eigenvectors there; how nodes are linked and share
    landmarks.
    """

    eigenvalues: Floats
    landmarks: Floats
    images: Floats
    alpha: float
    nearest_landmarks: int
    neighbours: int
    radius_px: int


def joined_placements(placements: Sequence[Placement]) -> tuple[Placement, ...]:
    """Join neighbours in the list that are of one time and have the same groups."""
    joined: list[Placement] = []
    for each in placements:
        last = joined[-1] if joined else None
        if last and last.time == each.time and last.places is each.places:
            joined[-1] = Placement(
                each.time, each.places, last.kinds + each.kinds, last.numbers + each.numbers
            )
        else:
            joined.append(each)
    return tuple(joined)


def learn_walk(walk: Walk, settings: NodeSettings) -> LearntWalk:
    """Keep of a walk what new frames need.

    Raises
    ------
    ValueError
        If the walk has no jumps: nothing then leads to another frame.
    """
    if walk.bridge is None or settings.distant_neighbours:
        raise ValueError(
            "A walk is carried on to new frames over landmarks alone, so alpha must be above 0 and "
            f"distant_neighbours 0, not {settings.alpha} and {settings.distant_neighbours}."
        )
    degree = link_degrees(walk.graph.affinity)
    carried = walk.spectrum.vectors[:, 1:] * degree[:, None]
    mass = walk.bridge.mass
    images = walk.bridge.shares.gathered(carried, len(mass), walk.threads) / mass[:, None]
    return LearntWalk(
        walk.spectrum.eigenvalues[1:],
        walk.bridge.landmarks,
        images,
        settings.alpha,
        settings.nearest_landmarks,
        settings.neighbours,
        settings.radius_px,
    )


def carry_on(learnt: LearntWalk, features: Floats, places: Places, threads: int = 1) -> Floats:
    """Carry the eigenvectors of a walk on to the nodes of new frames.

    Parameters
    ----------
    learnt : LearntWalk
        The walk.
    features : (node, feature) float64
        Features of the new nodes, made as those of the walk.
    places : Places
        Where they lie.
    threads : int
        Threads that share the work.

    Returns
    -------
    (node, pair) float64
        Without the constant one. Frames do not depend on each other.
    """
    links = link_nodes(
        [window_neighbours(places, features, learnt.radius_px, learnt.neighbours, threads)]
    )
    root = np.sqrt(link_degrees(links))
    shares = share_landmarks(features, learnt.landmarks, learnt.nearest_landmarks, threads)
    table = links.indptr.astype(np.int32, copy=False), links.indices

    def stepped(vector: Floats) -> Floats:
        out, scale = np.empty((len(root), 1)), 1 / root
        column = np.ascontiguousarray(vector).reshape(-1, 1)
        on_threads(lambda p: step_of_walk(table, scale, column, p, out), len(root), threads)
        return out[:, 0]

    found = np.empty((len(root), len(learnt.eigenvalues)))
    for pair, value in enumerate(learnt.eigenvalues.tolist()):
        images = learnt.images[:, pair][shares.landmarks]
        given = learnt.alpha * root * (shares.weights * images).sum(axis=1)
        operator = LinearOperator(
            (len(root),) * 2,
            matvec=lambda v, value=value: value * v.ravel() - (1 - learnt.alpha) * stepped(v),
            dtype=np.float64,
        )
        found[:, pair] = cg(operator, given, rtol=TOLERANCE)[0] / root
    return found


def label_regions(
    learnt: LearntWalk,
    placement: Placement,
    vectors: Floats,
    regions: Labels,
    count: int,
    threads: int = 1,
) -> Labels:
    """Label superpixels of new frames by the places of their nodes, (cut, region).

    Parameters
    ----------
    learnt, placement : LearntWalk, Placement
        What was learnt.
    vectors : (node, pair) float64
        Of :func:`carry_on`.
    regions : (node,) int64
        Superpixels of the nodes.
    count : int
        Number of superpixels, each with a node.
    threads : int
        Threads that share the work.
    """
    places = vectors * np.abs(learnt.eigenvalues) ** placement.time
    own = nearest_exemplars(places, placement.places, threads)
    cuts = zip(placement.kinds, placement.numbers, strict=True)
    return np.stack([numbers[vote(regions, kinds[own], count)] for kinds, numbers in cuts])
