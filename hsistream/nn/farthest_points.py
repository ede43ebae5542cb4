"""Points that cover all others: each next one is the farthest from those chosen before.

References
----------
.. [1] T. F. Gonzalez, "Clustering to minimize the maximum intercluster distance",
   Theoretical Computer Science 38, 293-306, 1985. doi:10.1016/0304-3975(85)90224-5
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

CHOSEN = -1.0
"""Stands for the squared distance of a point that is chosen, so that none is chosen twice."""


def first_point(points: int, seed: int) -> int:
    """Draw with which of so many points the choice begins.

    Examples
    --------
    >>> [first_point(points, seed=0) for points in (7138, 9025, 10000)]
    [6071, 7676, 8506]
    """
    return int(np.random.default_rng(seed).integers(0, points))


def farthest_points(
    points: NDArray[np.floating], wanted: int, first: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Choose points far from each other.

    The farthest point is never more than twice as far from the chosen ones as it
    would be from the best choice of as many [1]_. Outliers are chosen early.

    Parameters
    ----------
    points : (component, point) float
        All points.
    wanted : int
        How many to choose; all, if there are fewer.
    first : int
        Number of the point to begin with.

    Returns
    -------
    (chosen,) int64, (chosen,) float64
        Numbers of the chosen points, in the order of choice, the first of equally
        far ones; and how far each was from those before it, infinite for the first.

    Notes
    -----
    Takes one pass over the points for each that is chosen.

    Examples
    --------
    >>> farthest_points(np.array([[0.0, 1.0, 2.0, 10.0]]), 4, first=1)[0]
    array([1, 3, 0, 2])
    """
    places = np.asarray(points, np.float64)
    wanted = min(wanted, places.shape[1])
    chosen, distances = np.empty(wanted, np.int64), np.full(wanted, np.inf)
    nearest = np.full(places.shape[1], np.inf)
    for number in range(wanted):
        chosen[number] = nearest.argmax() if number else first
        distances[number] = np.sqrt(nearest[chosen[number]])
        step = places - places[:, chosen[number], None]
        np.minimum(nearest, np.einsum("cp,cp->p", step, step), out=nearest)
        nearest[chosen[number]] = CHOSEN
    return chosen, distances
