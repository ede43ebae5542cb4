"""What the first stage makes of its measured tiles: moments, noise and projections.

Kept apart from the pass over the pixels, because it reads only the ledger.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsistream.consensus import projections
from hsistream.consensus.projections import Moments, Projection
from hsistream.illumination import FEATURE_RESOLUTION, illuminated
from hsistream.runtime.ledger import Ledger
from hsistream.scene.statistics import PIXELS_AT_ONCE, BandSums
from hsistream.sections import ViewsSection
from hsistream.stores.tables import Table
from hsistream.tiles import Tile

SUMS = ("mean", "outer", "minimum", "maximum")
"""The arrays of sums over pixels, besides their count."""

TAIL = 1e-3
"""Share of the sample beyond each limit, where limits are percentiles."""

STANDARD_DIRECTIONS = 128
"""Principal directions that are kept for networks, at most."""


def sums_table(kind: str, sums: BandSums) -> Table:
    """Write sums as arrays, named by what they are sums of."""
    count = {f"{kind}.count": np.asarray(sums.count)}
    return count | {f"{kind}.{name}": getattr(sums, name) for name in SUMS}


@dataclass(frozen=True, slots=True)
class Measured:
    """The measured tiles of a scene, read one by one, and how to read their spectra.

    ``group_of_frame`` (frame,) numbers the statistics groups; ``good`` (band,) and
    ``wavelengths_nm`` (good band,) tell how spectra become features, ``limits`` between
    what they are seen; see :class:`hsistream.sections.StatisticsSection`.
    """

    ledger: Ledger
    tiles: tuple[Tile, ...]
    group_of_frame: NDArray[np.int64]
    good: NDArray[np.bool_]
    illumination: str
    wavelengths_nm: NDArray[np.float64]
    limits: str

    @property
    def clips(self) -> bool:
        """Whether features may lie beyond their limits."""
        return self.limits == "percentiles"

    def results(self) -> Iterator[tuple[Tile, Table]]:
        """Read what the tiles returned, in their order."""
        return self.ledger.results(self.tiles)

    def moments(self, kind: str) -> Moments:
        """Merge the sums of all tiles, in tile order, into the moments of each group.

        Features vary if they differ by more than their resolution.
        """
        least_range = 0.0 if self.illumination == "none" else FEATURE_RESOLUTION
        known = self._group_sums(kind)
        return Moments(
            np.asarray([sums.count for sums in known]),
            np.stack([sums.mean for sums in known]),
            np.stack([sums.outer / max(1, sums.count) for sums in known]),
            np.stack([sums.maximum > sums.minimum + least_range for sums in known]),
        )

    def ranges(self, kind: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Limits of the features of each group, (group, feature); 0 in one without pixels."""
        known = self._group_sums(kind)
        low = np.stack([sums.minimum if sums.count else 0 * sums.mean for sums in known])
        high = np.stack([sums.maximum if sums.count else 0 * sums.mean for sums in known])
        if not self.clips:
            return low, high
        found = np.stack([*map(self._percentiles, self._tiles_by_group(), low)])
        apart = found[:, 0] < found[:, 1]  # a feature that hardly ever varies keeps its extremes
        return np.where(apart, found[:, 0], low), np.where(apart, found[:, 1], high)

    def noise(self, scale: NDArray[np.float64]) -> NDArray[np.float64]:
        """Noise covariance of the z-scored features."""
        lengths = [
            np.einsum("pb,pb->p", step, step)
            for step in ((own - other) * scale[group] for group, own, other in self._pairs())
        ]
        threshold = projections.noise_threshold(np.concatenate([np.zeros(0), *lengths]))
        total, count = np.zeros((scale.shape[1], scale.shape[1])), 0
        for group, own, other in self._pairs():
            part, quiet = projections.noise_sums((own - other) * scale[group], threshold)
            total, count = total + part, count + quiet
        return total / max(1, 2 * count)

    def edge_scale(self, projection: Projection) -> float:
        """Median squared difference of the scores of neighbours."""
        lengths = [
            ((projection.scores(own.T, group) - projection.scores(other.T, group)) ** 2).sum(axis=0)
            for group, own, other in self._pairs()
        ]
        return projections.edge_scale(np.concatenate([np.zeros(0), *lengths]))

    def _group_sums(self, kind: str) -> list[BandSums]:
        """Merge the sums of the tiles of each group."""
        merged: dict[int, BandSums] = {}
        for tile, table in self.results():
            group = int(self.group_of_frame[tile.frame])
            sums = BandSums(
                int(table[f"{kind}.count"]), *(table[f"{kind}.{name}"] for name in SUMS)
            )
            merged[group] = merged[group].merge(sums) if group in merged else sums
        return [merged[group] for group in sorted(merged)]

    def _percentiles(
        self, tiles: Sequence[Tile], otherwise: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Find the limits of the features of a group in its part of the reservoir, (2, feature)."""
        parts = [
            self._features(table["spectra"][first : first + PIXELS_AT_ONCE]).astype(np.float32)
            for _, table in self.ledger.results(tiles)
            for first in range(0, len(table["spectra"]), PIXELS_AT_ONCE)
        ]
        if not parts:
            return np.stack([otherwise, otherwise])
        sampled = np.concatenate(parts)
        return np.asarray(np.quantile(sampled, (TAIL, 1 - TAIL), axis=0, overwrite_input=True))

    def _tiles_by_group(self) -> list[list[Tile]]:
        """List the tiles of each group."""
        found: dict[int, list[Tile]] = {}
        for tile in self.tiles:
            found.setdefault(int(self.group_of_frame[tile.frame]), []).append(tile)
        return [found[group] for group in sorted(found)]

    def _pairs(self) -> Iterator[tuple[int, NDArray[np.float64], NDArray[np.float64]]]:
        """Yield group, features of reservoir pixels, and of neighbours, (pair, feature) each."""
        for tile, table in self.results():
            group = int(self.group_of_frame[tile.frame])
            own = table["spectra"][table["paired"]]
            for neighbour in (table["right"], table["lower"]):
                for first in range(0, len(own), PIXELS_AT_ONCE):
                    part = slice(first, first + PIXELS_AT_ONCE)
                    yield group, self._features(own[part]), self._features(neighbour[part])

    def _features(self, spectra: NDArray[Any]) -> NDArray[np.float64]:
        """Turn spectra (pair, band) into features, in float64."""
        good = spectra[:, self.good].T
        return illuminated(self.illumination, good, self.wavelengths_nm).T.astype(np.float64)


def standard_table(measured: Measured, moments: Moments) -> Table:
    """Keep what networks need to see standardised features; see ``methods.base.Standard``."""
    pooled = moments.pooled(moments.scale())
    variance, directions = projections.leading(pooled, STANDARD_DIRECTIONS)
    return {
        "good": measured.good,
        "illumination": np.asarray(measured.illumination),
        "wavelengths_nm": measured.wavelengths_nm,
        **group_table(measured, moments),
        "directions": directions,
        "variance": variance,
    }


def group_table(measured: Measured, moments: Moments) -> Table:
    """Keep how the features of each statistics group are standardised."""
    low, high = measured.ranges("raw")
    scale = moments.scale()
    return {
        "group_of_frame": measured.group_of_frame,
        "mean": moments.mean,
        "scale": scale,
        "low": low,
        "high": np.where(scale > 0, high, low),
        "clipped": np.asarray(measured.clips),
    }


def fit(measured: Measured, moments: Moments, views: ViewsSection) -> tuple[Projection, ...]:
    """Fit the projections that the views name, in their order, to the moments of the features."""
    fitted = []
    for name in views.scored:
        if name == "z":
            fitted.append(projections.fit_z(moments, views.z_components))
        elif name == "mnf":
            noise = measured.noise(moments.scale())
            fitted.append(projections.fit_mnf(moments, noise, views.mnf_components))
        else:
            fitted.append(projections.fit_l2(measured.moments("unit"), views.l2_components))
    return tuple(fitted)
