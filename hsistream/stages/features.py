"""What a classifier sees of pixels: features of a window, and of all that is around it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hsistream.classifiers import load_classifier
from hsistream.classifiers.box_mean import box_mean
from hsistream.config import PROJECTION_OF, RunConfig
from hsistream.consensus.projections import Projection
from hsistream.illumination import feature_count
from hsistream.methods import load_method
from hsistream.network_sections import DenoiserSection, EncoderSection
from hsistream.runs import LATENTS, RunDirectory
from hsistream.runtime.memory import kept
from hsistream.scene.patches import filling_reach
from hsistream.scene.scene import Scene
from hsistream.sections import ClassifySection, FeatureName
from hsistream.stages import Address, largest_tile
from hsistream.stages import statistics as statistics_stage
from hsistream.stages.encode import latent_count
from hsistream.stages.statistics import Constants
from hsistream.stages.views import ROWS_AT_ONCE_BYTES, window_scores
from hsistream.stores.raster import RasterStore
from hsistream.stores.tables import read_table
from hsistream.tiles import Window, grow, size, strips, within

RAW = "raw"
MEAN = "mean5"

MEAN_REACH = 2
"""Pixels around a pixel over which components are averaged."""

STRIP_PX = 128
"""Rows of a tile that are judged at once, about."""


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """How a run makes features: constants of the scene, and where its latents lie.

    Of latents that are lifted, the components before are what a classifier sees: the length
    that the last latent tells is no feature of its own, and would be made as large as all.
    """

    names: tuple[FeatureName, ...]
    constants: Constants
    latents_uri: str
    lifted: bool

    @property
    def halo(self) -> int:
        """Pixels around a pixel on which its features depend, latents taken as they are."""
        return MEAN_REACH if MEAN in self.names else 0


@kept(results=2)
def load_features(address: Address, names: tuple[FeatureName, ...]) -> Features:
    """Read what features are made by, once for many tiles."""
    run = address.run
    known = statistics_stage.from_table(read_table(run.table(statistics_stage.TABLE)))
    used = known.only({PROJECTION_OF[name] for name in names if name in PROJECTION_OF})
    if RAW in names:
        used = replace(
            used,
            projections=(_raw_projection(run), *used.projections),
            edge_scales=(0.0, *used.edge_scales),
        )
    return Features(names, used, run.latents_uri, _lifted(run.config().encoder))


def read_features(
    frame: int, window: Window, reach: int, scene: Scene, features: Features
) -> NDArray[np.float32]:
    """Read the features of a window of a frame, and of the pixels around it.

    Parameters
    ----------
    frame : int
        Number of the frame.
    window : Window
        Pixels of the frame.
    reach : int
        Pixels around them.
    scene : Scene
        Whose spectra are read.
    features : Features
        Which features.

    Returns
    -------
    (feature, y + 2 reach, x + 2 reach) float32
        NaN where there is no data, or no frame.
    """
    shape = scene.frames[frame].shape
    outer, seen = grow(window, reach + features.halo, shape), grow(window, reach, shape)
    parts = _parts(frame, outer, seen, scene, features)
    height, width = size(window)
    count = sum(len(part) for part in parts)
    found = np.full((count, height + 2 * reach, width + 2 * reach), np.nan, np.float32)
    top, left = (s.start - w.start + reach for s, w in zip(seen, window, strict=True))
    rows, columns = size(seen)
    np.concatenate(parts, out=found[:, top : top + rows, left : left + columns])
    return found


def feature_kinds(features: Features, count: int) -> NDArray[np.int64]:
    """Tell which of the names each of ``count`` features is of, (feature,), from 0.

    Latents are those of no projection.
    """
    known = {each.name: each.components for each in features.constants.projections}
    sizes = np.array([known.get(PROJECTION_OF.get(name, name), 0) for name in features.names])
    sizes[[name == LATENTS for name in features.names]] = count - sizes.sum()
    return np.repeat(np.arange(len(sizes)), sizes)


def tile_strips(scene: Scene, core: Window) -> Iterator[Window]:
    """Cut a tile into strips of whole rows of chunks, about ``STRIP_PX`` high."""
    return strips(core, strip_px(scene))


def strip_px(scene: Scene) -> int:
    """Rows of a strip: whole chunks."""
    return max(1, STRIP_PX // scene.chunk_px) * scene.chunk_px


def asked(config: RunConfig) -> ClassifySection:
    """Give what is asked of a map of classes."""
    assert config.classify is not None, "asked only where there are labels"
    return config.classify


def reach_of(settings: ClassifySection) -> int:
    """Pixels around a pixel whose features its classifier looks at."""
    return load_classifier(settings.classifier).reach(settings)


def seen_px(config: RunConfig) -> int:
    """Side of the square of pixels on whose spectra a judgement depends."""
    settings = asked(config)
    around = MEAN_REACH if MEAN in settings.features else 0
    if config.encoder is not None:
        method = load_method(config.encoder.name)
        around = max(around, filling_reach(method.halo(config.encoder)))
    return 2 * (reach_of(settings) + around) + 1


def feature_total(scene: Scene, config: RunConfig) -> int:
    """Count the features of a pixel, at most."""
    settings = asked(config)
    bands = feature_count(config.statistics.illumination, scene.bands)
    views = config.views
    sizes = {"raw": bands, "pca": views.z_components, "mean5": views.z_components}
    sizes |= {"mnf": views.mnf_components}
    if config.encoder is not None:
        sizes["latents"] = latent_count(scene, config) - _lifted(config.encoder)
    return sum(
        min(sizes[name], bands) if name != LATENTS else sizes[name] for name in settings.features
    )


def strip_bytes(scene: Scene, config: RunConfig, tile_px: int) -> dict[str, int]:
    """Memory of the features of one strip of a tile, term by term."""
    settings = asked(config)
    around = 2 * (reach_of(settings) + MEAN_REACH)
    rows, columns = largest_tile(scene, tile_px)
    pixels = (min(rows, strip_px(scene)) + around) * (columns + around)
    stored = min(scene.chunk_px, rows) * (columns + around)
    return {
        "strip as stored, and decoding": 3 * stored * scene.bands * scene.itemsize,
        "float32 rows and their features": 4 * ROWS_AT_ONCE_BYTES,
        "features": 3 * 4 * pixels * feature_total(scene, config),
        "masks": 3 * pixels,
    }


def _parts(
    frame: int, outer: Window, seen: Window, scene: Scene, features: Features
) -> list[NDArray[np.float32]]:
    """Make the features of each name, (feature, y, x) of the seen window, NaN = no data."""
    valid = scene.valid(frame, outer)
    constants, place = features.constants, within(seen, outer)
    scores = window_scores(frame, outer, valid, scene, constants)
    by_name, first = {}, 0
    for projection in constants.projections:
        by_name[projection.name] = scores[first : first + projection.components]
        first += projection.components
    found = []
    for name in features.names:
        if name == LATENTS:
            stored = RasterStore(features.latents_uri)
            latents = stored.read_floats(scene.frames[frame].name, LATENTS, seen, leading=1)
            found.append(_components(latents) if features.lifted else latents)
            continue
        values = by_name[PROJECTION_OF.get(name, name)]
        if name == MEAN:
            values = box_mean(values, valid, MEAN_REACH)
        found.append(np.where(valid[place], values[:, *place], np.float32(np.nan)))
    return found


def _lifted(encoder: EncoderSection | None) -> bool:
    """Tell whether latents are lifted components."""
    return isinstance(encoder, DenoiserSection) and encoder.lifted


def _components(latents: NDArray[np.float32]) -> NDArray[np.float32]:
    """Undo the lift of latents (latent, y, x) in their place, (component, y, x)."""
    found = latents[:-1]
    found /= latents[-1]
    return found


def _raw_projection(run: RunDirectory) -> Projection:
    """Take standardised features themselves for scores."""
    table = read_table(run.table(statistics_stage.STANDARD))
    features = table["mean"].shape[1]
    return Projection(RAW, table["mean"], table["scale"], np.eye(features), np.ones(features))
