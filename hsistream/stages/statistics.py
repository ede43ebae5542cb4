"""Stage 1: everything scene-wide that later stages treat as a constant.

One pass over the storage tiles: band means and covariances, and the spectra of
the reservoir with those of their right and lower neighbours (where both lie
in the same strip of chunks, so that no chunk is read twice). From these: the
projections, and the edge scale of each. All of it is measured of the features
(:mod:`hsistream.illumination`); the reservoir keeps spectra as they are stored.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsistream.config import RunConfig
from hsistream.consensus import projections
from hsistream.consensus.projections import LEAST_DEVIATION, Moments, Projection
from hsistream.errors import ConfigError, SceneError
from hsistream.events import Notify, Warned
from hsistream.illumination import (
    brightness_feature,
    feature_count,
    illuminated,
)
from hsistream.report.quicklook import false_colour_bands
from hsistream.scene.crops import valid_per_chunk
from hsistream.scene.scene import Scene
from hsistream.scene.statistics import PIXELS_AT_ONCE, BandSums, in_reservoir
from hsistream.sections import StatisticsSection
from hsistream.stages import Context, Needs, frame_thresholds, reservoir_pixels, scene_tiles
from hsistream.stages.fitting import Measured, fit, standard_table, sums_table
from hsistream.stages.pictures import picture_step, sample
from hsistream.stages.sampling import (
    join_pictures,
    join_reservoir,
    join_strips,
    join_valid_counts,
    sample_strip,
)
from hsistream.stores.tables import Table, write_table
from hsistream.tiles import Tile, strips, within

TABLE = "statistics"
STANDARD = "standard"
RESERVOIR = "reservoir"
PICTURES = "pictures"

PROJECTED = ("mean", "scale", "directions", "variance")
"""Arrays of a projection."""

BRIGHTNESS_RATIO = 1.1
"""Frames whose brightness differs by more than this factor are worth a word."""


@dataclass(frozen=True, slots=True)
class Latents:
    """Where the latents of a run lie, and the median squared difference of neighbours."""

    uri: str
    edge_scale: float


@dataclass(frozen=True, slots=True)
class Constants:
    """The scene-wide constants of a run, as later stages read them.

    ``good`` is (band,), ``wavelengths_nm`` those of the good bands, empty where
    they are not known. ``groups`` names the statistics groups. The projections are
    of features, not of spectra.
    """

    good: NDArray[np.bool_]
    groups: tuple[str, ...]
    group_of_frame: NDArray[np.int64]
    projections: tuple[Projection, ...]
    edge_scales: tuple[float, ...]
    illumination: str
    wavelengths_nm: NDArray[np.float64]
    latents: Latents | None = None

    @property
    def components(self) -> int:
        """Scores of all projections together."""
        return sum(projection.components for projection in self.projections)

    def only(self, names: Collection[str]) -> Constants:
        """Leave out projections of other names."""
        kept = [number for number, each in enumerate(self.projections) if each.name in names]
        return replace(
            self,
            projections=tuple(self.projections[number] for number in kept),
            edge_scales=tuple(self.edge_scales[number] for number in kept),
        )

    def leading(self, components: int) -> Constants:
        """Leave out all components of each projection but the first ones."""
        return replace(
            self, projections=tuple(each.leading(components) for each in self.projections)
        )


def run(context: Context) -> None:
    """Measure the scene and fit the projections."""
    scene, config = context.scene, context.config
    illumination = config.statistics.illumination
    groups, group_of_frame = statistics_groups(scene, config.statistics)
    warn_of_brightness(scene, config.statistics, context.notify)
    measured = measure(context, summed_kinds(config))
    moments = measured.moments("raw")
    if not moments.scale().any():
        raise SceneError(_nothing_differs(scene, illumination, moments))
    fitted = fit(measured, moments, config.projected)
    scales = tuple(measured.edge_scale(projection) for projection in fitted)
    constants = Constants(
        measured.good, groups, group_of_frame, fitted, scales, illumination, measured.wavelengths_nm
    )
    write_table(
        context.run.table(STANDARD),
        standard_table(measured, moments) | join_valid_counts(measured, scene),
    )
    write_samples(context, measured)
    write_table(context.run.table(TABLE), to_table(constants) | units_table(scene))


def summed_kinds(config: RunConfig) -> tuple[str, ...]:
    """Name what is summed: features as they are, and of unit length where that is projected."""
    return ("raw", "unit") if "l2" in config.projected.spectral else ("raw",)


def measure(context: Context, kinds: tuple[str, ...]) -> Measured:
    """Pass over the scene: sum features of these kinds, sample spectra, thin three bands."""
    scene, config = context.scene, context.config
    task = partial(
        measure_tile,
        scene=scene,
        seed=config.seed,
        thresholds=frame_thresholds(scene, config),
        kinds=kinds,
        illumination=config.statistics.illumination,
    )
    tiles = context.tiles(scene.shard_px)
    return Measured(
        context.work("statistics", task, tiles, scene.shard_px),
        tuple(tiles),
        statistics_groups(scene, config.statistics)[1],
        np.asarray(scene.good_bands),
        config.statistics.illumination,
        good_wavelengths_nm(scene),
        config.statistics.limits,
    )


def write_samples(context: Context, measured: Measured) -> None:
    """Write the reservoir, and the pictures."""
    write_table(context.run.table(RESERVOIR), join_reservoir(measured))
    write_table(context.run.table(PICTURES), join_pictures(measured, context.scene))


def units_table(scene: Scene) -> Table:
    """Keep what tells the units of the spectra: their type, and how bright frames are."""
    known = [frame.brightness for frame in scene.frames if frame.valid_pixels]
    return {"dtype": np.asarray(scene.dtype), "brightness": np.asarray(known)}


def estimate(scene: Scene, config: RunConfig, tile_px: int) -> Needs:
    """Estimate what the stage needs; its tiles are those of the storage."""
    spectrum = scene.bands * scene.itemsize
    strip = scene.chunk_px * scene.shard_px
    wanted = reservoir_pixels(scene, config)
    kept = wanted * spectrum
    count = feature_count(config.statistics.illumination, scene.bands)
    sampled = {"sample of features": 3 * wanted * count * 4}
    groups = len(statistics_groups(scene, config.statistics)[0])
    tiles = len(scene_tiles(scene, scene.shard_px))
    return Needs(
        tiles=tiles,
        task={
            "strip as stored, and decoding": 3 * strip * spectrum,
            "float32 features": PIXELS_AT_ONCE * count * 4,
            "float64 working copy": 3 * PIXELS_AT_ONCE * count * 8,
            "outer products": 4 * count**2 * 8,
        },
        driver={
            "reservoir spectra": 2 * kept,
            "neighbour differences": kept // 4,
            "float32 features": 2 * PIXELS_AT_ONCE * count * 4,
            "covariances of groups": (3 * groups + 1) * count**2 * 8,
            **(sampled if config.statistics.limits == "percentiles" else {}),
        },
        disk_bytes=4 * kept + 2 * tiles * count**2 * 8,
    )


def measure_tile(
    tile: Tile,
    *,
    scene: Scene,
    seed: int,
    thresholds: tuple[float, ...],
    kinds: tuple[str, ...],
    illumination: str,
) -> Table:
    """Sum features over one storage tile and take its part of the reservoir, as stored."""
    good, wavelengths_nm = np.asarray(scene.good_bands), good_wavelengths_nm(scene)
    count = feature_count(illumination, int(good.sum()))
    sums = {kind: BandSums.empty(count) for kind in kinds}
    parts: list[Table] = []
    shown: list[NDArray[Any]] = []
    step, bands = picture_step(scene), list(shown_bands(scene))
    mask = scene.valid(tile.frame, tile.core)
    for window in strips(tile.core, scene.chunk_px):
        valid = mask[within(window, tile.core)]
        raw = scene.read(tile.frame, window)
        shown.append(sample(raw[bands], window, step))
        if not valid.any():
            continue
        if kinds:
            pixels = valid_pixels(raw, valid)
            pixels = pixels if good.all() else pixels[good]
            for part in _measured(pixels, illumination, wavelengths_nm):
                sums = {kind: known.merge(SUMS_OF[kind](part)) for kind, known in sums.items()}
        chosen = valid & in_reservoir(seed, tile.frame, window, thresholds[tile.frame])
        parts.append(sample_strip(raw, valid, chosen, window))
    tables = [sums_table(kind, known) for kind, known in sums.items()]
    return {
        **{name: array for table in tables for name, array in table.items()},
        **join_strips(parts, scene),
        "shown": np.concatenate(shown, axis=1),
        "valid_per_chunk": valid_per_chunk(mask, scene.chunk_px),
    }


def good_wavelengths_nm(scene: Scene) -> NDArray[np.float64]:
    """Wavelengths of the good bands, (band,); empty where they are not known."""
    known = np.asarray(scene.wavelengths_nm, np.float64)
    return known[np.asarray(scene.good_bands)] if len(known) else known


def shown_bands(scene: Scene) -> tuple[int, int, int]:
    """Bands of the false-colour picture."""
    return false_colour_bands(scene.wavelengths_nm, scene.good_bands)


def valid_pixels(raw: NDArray[Any], valid: NDArray[np.bool_]) -> NDArray[Any]:
    """Pick the valid pixels of (band, y, x) as (band, pixel); no copy where all are."""
    return raw.reshape(len(raw), -1) if valid.all() else raw[:, valid]


def statistics_groups(
    scene: Scene, section: StatisticsSection
) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Name the statistics groups and give the group number of every frame.

    Raises
    ------
    ConfigError
        If ``[statistics.groups]`` does not name every frame, or names others.
    """
    frames = [frame.name for frame in scene.frames]
    if section.by == "scene":
        return ("scene",), np.zeros(len(frames), np.int64)
    if section.by == "frame":
        return tuple(frames), np.arange(len(frames))
    if set(section.groups) != set(frames):
        differ = sorted(set(section.groups) ^ set(frames))
        said = (
            f"{what}: {', '.join(sorted(of))}"
            for what, of in (
                ("without a group", set(frames) - set(section.groups)),
                ("no frame of it", set(section.groups) - set(frames)),
            )
            if of
        )
        raise ConfigError(
            f"[statistics.groups] must name every frame of {scene.uri} and no other, but "
            f"{', '.join(differ)} is only in one of them ({'; '.join(said)})."
        )
    names = tuple(sorted(set(section.groups.values())))
    return names, np.asarray([names.index(section.groups[frame]) for frame in frames])


def brightness_advice(scene: Scene) -> str | None:
    """Say so if frames differ in brightness, and which statistics to consider."""
    levels = {f.name: f.brightness for f in scene.frames if f.valid_pixels and f.brightness > 0}
    if len(levels) < 2:
        return None
    dark, bright = min(levels, key=levels.__getitem__), max(levels, key=levels.__getitem__)
    ratio = levels[bright] / levels[dark]
    if ratio < BRIGHTNESS_RATIO:
        return None
    return (
        f"Frames differ in brightness by a factor of {ratio:.2f} ({dark} is the darkest, {bright} "
        f"the brightest). If it is the light or the exposure that differs, consider --set "
        f"statistics.illumination=l2, or --statistics frame where frames hold the same mixture of "
        f"materials; if the materials differ, change nothing"
    )


def warn_of_brightness(scene: Scene, section: StatisticsSection, notify: Notify) -> None:
    """Pass the advice on, unless the user has chosen already."""
    advice = brightness_advice(scene)
    if advice and section.by == "scene" and section.illumination == "none":
        notify(Warned(advice))


def to_table(constants: Constants) -> Table:
    """Write the constants as arrays."""
    table: Table = {"good": constants.good, "group_of_frame": constants.group_of_frame}
    table["groups"] = np.asarray(constants.groups)
    table["names"] = np.asarray([p.name for p in constants.projections])
    table["edge_scales"] = np.asarray(constants.edge_scales)
    table["illumination"] = np.asarray(constants.illumination)
    table["wavelengths_nm"] = constants.wavelengths_nm
    for projection in constants.projections:
        for name in PROJECTED:
            table[f"{projection.name}.{name}"] = getattr(projection, name)
    return table


def from_table(table: Table) -> Constants:
    """Read what :func:`to_table` wrote."""
    fitted = tuple(
        Projection(
            str(name),
            **{kept: table[f"{name}.{kept}"] for kept in PROJECTED},
            unit_norm=str(name) == "l2",
        )
        for name in table["names"]
    )
    scales = tuple(float(scale) for scale in table["edge_scales"])
    return Constants(
        table["good"],
        tuple(table["groups"].tolist()),
        table["group_of_frame"],
        fitted,
        scales,
        str(table["illumination"]),
        table["wavelengths_nm"],
    )


def _nothing_differs(scene: Scene, illumination: str, moments: Moments) -> str:
    """Say that no feature tells pixels apart, and whether the brightness or other units might."""
    over = f"{scene.uri} are constant over its {int(moments.count.sum())} valid pixels."
    if illumination == "none" and moments.varies.any():
        return (
            f"Pixels that differ by more than {LEAST_DEVIATION:g} are needed, but no good band of "
            f"{scene.uri} varies so much. Give its values other units: multiply them by a constant."
        )
    if illumination == "none":
        return f"Pixels that differ are needed, but all good bands of {over}"
    needed = f"Pixels that differ are needed, but with illumination {illumination}, all features of"
    if brightness_feature(illumination, scene.bands) is not None:
        return f"{needed} {over}"
    return (
        f"{needed} {over} Pixels that differ in brightness alone are told apart by "
        f"--set statistics.illumination=snv+brightness."
    )


def _measured(
    pixels: NDArray[Any], illumination: str, wavelengths_nm: NDArray[np.float64]
) -> Iterator[NDArray[Any]]:
    """Cut pixels (band, pixel) to parts and yield their features; for "none" all at once."""
    at_once = pixels.shape[1] if illumination == "none" else PIXELS_AT_ONCE
    for first in range(0, pixels.shape[1], at_once):
        yield illuminated(illumination, pixels[:, first : first + at_once], wavelengths_nm)


def _unit_sums(pixels: NDArray[Any]) -> BandSums:
    """Sum over unit-norm spectra, in float64, a few at a time."""
    sums = BandSums.empty(len(pixels))
    for first in range(0, pixels.shape[1], PIXELS_AT_ONCE):
        part = pixels[:, first : first + PIXELS_AT_ONCE].astype(np.float64)
        sums = sums.merge(BandSums.from_pixels(projections.unit_length(part)))
    return sums


SUMS_OF: Mapping[str, Callable[[NDArray[Any]], BandSums]] = MappingProxyType(
    {"raw": BandSums.from_pixels, "unit": _unit_sums}
)
"""Sums of features as they are, and of unit length."""
