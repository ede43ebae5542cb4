"""What superpixels and nodes are compared by: their features, and a reference sample of them.

Densities are measured against the reference sample, the same for all tiles; it holds all
pixels of a small scene. Features are latents on a common scale where there is a network,
and unit-norm spectra otherwise, as scores of their principal components or in all bands.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsistream.config import RunConfig
from hsistream.illumination import feature_count, illuminated
from hsistream.regions.density import density_scale, kernel_density, neighbour_distances
from hsistream.regions.sample_index import SampleIndex
from hsistream.runs import LATENTS
from hsistream.runtime.memory import kept
from hsistream.scene.scene import Scene
from hsistream.stages import Address, Context
from hsistream.stages import encode as encode_stage
from hsistream.stages import statistics as statistics_stage
from hsistream.stages import views as views_stage
from hsistream.stages.cut import PICTURED
from hsistream.stages.statistics import Constants
from hsistream.stores.raster import RasterStore
from hsistream.stores.tables import Table, read_table
from hsistream.tiles import Window, strips, within

TABLE = "reference"

KEYS = "keys"
"""Where the sample lies: what new frames leave behind, which have places of their own."""

Features = NDArray[np.float32]
Densities = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Reference:
    """The reference sample, sorted by place, and how features are made.

    ``index`` holds the features of its pixels; ``keys`` (pixel,) number its places; ``density``
    (pixel,) are theirs, and ``scale`` that of all; ``source`` names what features are:
    latents, scores or bands; ``centre`` and ``spread`` (latent,) put latents on a common
    scale, and are empty where features are something else.
    """

    index: SampleIndex
    keys: NDArray[np.int64]
    density: NDArray[np.float64]
    scale: float
    source: str
    centre: NDArray[np.float64]
    spread: NDArray[np.float64]

    @property
    def size(self) -> int:
        """Number of features."""
        return int(self.index.points.shape[1])

    def densities(self, features: Features, keys: NDArray[np.int64], neighbours: int) -> Densities:
        """Give the densities (pixel,) of pixels at places of these keys (pixel,).

        Those of the sample are known. Of others, one row at distance 0 is taken as the pixel
        itself: so a pixel of the sample has one density in every scene that holds it.
        """
        found, other = np.empty(len(keys)), np.ones(len(keys), np.bool_)
        if len(self.keys):
            row = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
            found, other = self.density[row], self.keys[row] != keys
        if other.any():
            near = self.index.distances(features[other], neighbours + 1)
            near = np.where(near[:, :1] == 0, near[:, 1:], near[:, :-1])
            found[other] = kernel_density(near, self.scale)
        return found


def feature_size(scene: Scene, config: RunConfig) -> int:
    """Upper bound of the number of features."""
    if config.encoder is not None:
        return encode_stage.latent_count(scene, config)
    spectral = feature_count(config.statistics.illumination, scene.bands)
    return min(spectral, config.views.l2_components) if config.graph.scored else spectral


def make_reference(context: Context) -> Table:
    """Choose the reference sample from the reservoir, and measure the scale of the density."""
    settings, run, config = context.config.graph, context.run, context.config
    table = read_table(run.table(statistics_stage.RESERVOIR))
    centre = spread = np.zeros(0)
    if config.encoder is not None:
        latents = read_table(run.table(encode_stage.TABLE))["reservoir"].T
        centre = latents.mean(axis=1, dtype=np.float64)
        spread = latents.std(axis=1, dtype=np.float64, ddof=min(1, latents.shape[1] - 1))
        features, source = _latent(latents, centre, spread), "latents"
    elif settings.scored:
        constants = views_stage.load_constants(context.address, PICTURED)
        features, source = views_stage.reservoir_scores(table, constants), "scores"
    else:
        constants = views_stage.load_constants(context.address, ())
        features, source = _spectral(table["spectra"].T, constants), "bands"
    rows = _chosen_rows(features.shape[1], settings.reference_pixels, config.seed)
    sample = np.ascontiguousarray(features[:, rows].T)
    near = neighbour_distances(sample, sample, settings.neighbours, own=np.arange(len(sample)))
    scale = density_scale(near, settings.percentile)
    return {
        "features": sample,
        "keys": place_keys(context.scene, table["frame"], table["row"], table["column"])[rows],
        "density": kernel_density(near, scale),
        "scale": np.asarray(scale),
        "source": np.asarray(source),
        "centre": centre,
        "spread": spread,
    }


@kept(results=4)
def load_reference(address: Address) -> Reference:
    """Read the reference sample once for many tiles."""
    table = read_table(address.run.table(TABLE))
    return Reference(
        SampleIndex.of(table["features"]),
        table["keys"] if KEYS in table else np.zeros(0, np.int64),
        table["density"],
        float(table["scale"]),
        str(table["source"]),
        table["centre"],
        table["spread"],
    )


def window_features(
    frame: int,
    window: Window,
    address: Address,
    reference: Reference,
    wanted: NDArray[np.bool_],
) -> Features:
    """Read the features of the wanted pixels (y, x) of a window, (pixel, feature), in order."""
    found, place = np.empty((int(wanted.sum()), reference.size), np.float32), 0
    for strip in strips(window, address.scene.chunk_px):
        known = wanted[within(strip, window)]
        if known.any():
            part = _read(frame, strip, known, address, reference)
            found[place : place + part.shape[1]] = part.T
            place += part.shape[1]
    return found


def place_keys(
    scene: Scene,
    frame: NDArray[np.integer[Any]] | int,
    row: NDArray[np.integer[Any]],
    column: NDArray[np.integer[Any]],
) -> NDArray[np.int64]:
    """Give places a number by frame, row and column, in this order."""
    before = np.concatenate([[0], np.cumsum(scene.sizes.prod(axis=1))])
    return np.asarray(before[frame] + row.astype(np.int64) * scene.sizes[frame, 1] + column)


def _chosen_rows(available: int, wanted: int, seed: int) -> NDArray[np.int64]:
    """Choose rows of the reservoir at random, in order; all if there are no more than wanted."""
    if available <= wanted:
        return np.arange(available)
    return np.sort(np.random.default_rng((seed, 7)).choice(available, wanted, replace=False))


def _read(
    frame: int,
    window: Window,
    known: NDArray[np.bool_],
    address: Address,
    reference: Reference,
) -> Features:
    """Read the features of the known pixels of a window, (feature, pixel)."""
    scene = address.scene
    if reference.source == "scores":
        constants = views_stage.load_constants(address, PICTURED)
        return views_stage.window_scores(frame, window, known, scene, constants)[:, known]
    if reference.source == "bands":
        constants = views_stage.load_constants(address, ())
        return _spectral(scene.read(frame, window)[:, known], constants)
    name = scene.frames[frame].name
    latents = RasterStore(address.run.latents_uri).read(name, LATENTS, window, leading=1)
    return _latent(latents[:, known].astype(np.float32), reference.centre, reference.spread)


def _spectral(raw: NDArray[Any], constants: Constants) -> Features:
    """Turn spectra (band, pixel) as stored into features of unit length, (feature, pixel)."""
    good = raw[constants.good]
    found = illuminated(constants.illumination, good, constants.wavelengths_nm)
    return _unit(found.astype(np.float32))


def _latent(
    latents: Features, centre: NDArray[np.float64], spread: NDArray[np.float64]
) -> Features:
    """Put latents (latent, pixel) on a common scale, and give them unit length."""
    scale = np.where(spread > 0, spread, 1).astype(np.float32)
    return _unit((latents - centre.astype(np.float32)[:, None]) / scale[:, None])


def _unit(values: Features) -> Features:
    """Divide the columns of values (feature, pixel) by their length, however short; 0 stays 0."""
    length = np.sqrt(np.einsum("fp,fp->p", values, values))
    return np.asarray(values / np.where(length > 0, length, 1), np.float32)
