"""Stage 1: everything scene-wide that later stages treat as a constant.

One pass over the storage tiles: band means and covariances, and the spectra of
the reservoir with those of their right and lower neighbours (where both lie
in the same strip of chunks, so that no chunk is read twice). From these: the
projections, and the edge scale of each. All of it is measured of the features
(:mod:`hsistream.illumination`); the reservoir keeps spectra as they are stored.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsistream.config import RunConfig
from hsistream.consensus import projections
from hsistream.consensus.projections import Projection
from hsistream.errors import ConfigError, SceneError
from hsistream.events import Notify, Warned
from hsistream.illumination import (
    brightness_feature,
    feature_count,
    illuminated,
)
from hsistream.report.quicklook import false_colour_bands
from hsistream.runtime.ledger import Ledger
from hsistream.scene.crops import valid_per_chunk
from hsistream.scene.scene import Scene
from hsistream.scene.statistics import PIXELS_AT_ONCE, BandSums, in_reservoir
from hsistream.sections import StatisticsSection
from hsistream.stages import Context, Needs, frame_thresholds, reservoir_pixels, scene_tiles
from hsistream.stages.fitting import Measured, fit, standard_table, sums_table
from hsistream.stages.pictures import assemble, picture_step, sample
from hsistream.stores.tables import Table, write_table
from hsistream.tiles import Tile, Window, size, strips, within

TABLE = "statistics"
STANDARD = "standard"
RESERVOIR = "reservoir"
PICTURES = "pictures"

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
    they are not known. The projections are of features, not of spectra.
    """

    good: NDArray[np.bool_]
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


def run(context: Context) -> None:
    """Measure the scene and fit the projections."""
    scene, config = context.scene, context.config
    illumination = config.statistics.illumination
    _, group_of_frame = statistics_groups(scene, config.statistics)
    warn_of_brightness(scene, config.statistics, context.notify)
    task = partial(
        measure_tile,
        scene=scene,
        seed=config.seed,
        thresholds=frame_thresholds(scene, config),
        unit_norm="l2" in config.projected.spectral,
        illumination=illumination,
    )
    tiles = context.tiles(scene.shard_px)
    ledger = context.work("statistics", task, tiles, scene.shard_px)
    measured = Measured(
        ledger,
        tuple(tiles),
        group_of_frame,
        np.asarray(scene.good_bands),
        illumination,
        good_wavelengths_nm(scene),
    )
    moments = measured.moments("raw")
    if not moments.scale().any():
        raise SceneError(_nothing_differs(scene, illumination, int(moments.count.sum())))
    fitted = fit(measured, moments, config.projected)
    scales = tuple(measured.edge_scale(projection) for projection in fitted)
    constants = Constants(
        measured.good, group_of_frame, fitted, scales, illumination, measured.wavelengths_nm
    )
    write_table(
        context.run.table(STANDARD),
        standard_table(measured, moments) | _collect_valid_counts(ledger, tiles, scene),
    )
    write_table(context.run.table(RESERVOIR), _collect_reservoir(ledger, tiles))
    write_table(context.run.table(PICTURES), _collect_pictures(ledger, tiles, scene))
    write_table(context.run.table(TABLE), to_table(constants))


def estimate(scene: Scene, config: RunConfig, tile_px: int) -> Needs:
    """Estimate what the stage needs; its tiles are those of the storage."""
    spectrum = scene.bands * scene.itemsize
    strip = scene.chunk_px * scene.shard_px
    wanted = reservoir_pixels(scene, config)
    kept = wanted * spectrum
    count = feature_count(config.statistics.illumination, scene.bands)
    return Needs(
        tiles=len(scene_tiles(scene, scene.shard_px)),
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
        },
        disk_bytes=4 * kept,
    )


def measure_tile(
    tile: Tile,
    *,
    scene: Scene,
    seed: int,
    thresholds: tuple[float, ...],
    unit_norm: bool,
    illumination: str,
) -> Table:
    """Sum features over one storage tile and take its part of the reservoir, as stored."""
    good, wavelengths_nm = np.asarray(scene.good_bands), good_wavelengths_nm(scene)
    count = feature_count(illumination, int(good.sum()))
    sums, unit_sums = BandSums.empty(count), BandSums.empty(count)
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
        pixels = valid_pixels(raw, valid)
        pixels = pixels if good.all() else pixels[good]
        for part in _measured(pixels, illumination, wavelengths_nm):
            sums = sums.merge(BandSums.from_pixels(part))
            if unit_norm:
                unit_sums = unit_sums.merge(_unit_sums(part))
        chosen = valid & in_reservoir(seed, tile.frame, window, thresholds[tile.frame])
        parts.append(_sample(raw, valid, chosen, window))
    return {
        **sums_table("raw", sums),
        **(sums_table("unit", unit_sums) if unit_norm else {}),
        **_concatenate(parts, scene),
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
        raise ConfigError(
            f"[statistics.groups] must name every frame of {scene.uri} and no other, but "
            f"{', '.join(differ)} is only in one of them."
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
        f"the brightest). If the exposure differs and the materials are alike, consider "
        f"--statistics frame; if the materials differ, or frames share pixels, keep scene"
    )


def warn_of_brightness(scene: Scene, section: StatisticsSection, notify: Notify) -> None:
    """Pass the advice on, unless the user has chosen already."""
    advice = brightness_advice(scene)
    if advice and section.by == "scene" and section.illumination == "none":
        notify(Warned(advice))


def to_table(constants: Constants) -> Table:
    """Write the constants as arrays."""
    table: Table = {"good": constants.good, "group_of_frame": constants.group_of_frame}
    table["names"] = np.asarray([p.name for p in constants.projections])
    table["edge_scales"] = np.asarray(constants.edge_scales)
    table["illumination"] = np.asarray(constants.illumination)
    table["wavelengths_nm"] = constants.wavelengths_nm
    for projection in constants.projections:
        for name in ("mean", "matrix", "variance"):
            table[f"{projection.name}.{name}"] = getattr(projection, name)
    return table


def from_table(table: Table) -> Constants:
    """Read what :func:`to_table` wrote."""
    fitted = tuple(
        Projection(
            str(name),
            table[f"{name}.mean"],
            table[f"{name}.matrix"],
            table[f"{name}.variance"],
            unit_norm=str(name) == "l2",
        )
        for name in table["names"]
    )
    scales = tuple(float(scale) for scale in table["edge_scales"])
    return Constants(
        table["good"],
        table["group_of_frame"],
        fitted,
        scales,
        str(table["illumination"]),
        table["wavelengths_nm"],
    )


def _nothing_differs(scene: Scene, illumination: str, pixels: int) -> str:
    """Say that no feature tells pixels apart, and whether the brightness might."""
    over = f"{scene.uri} are constant over its {pixels} valid pixels."
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


def _sample(
    raw: NDArray[Any], valid: NDArray[np.bool_], chosen: NDArray[np.bool_], window: Window
) -> Table:
    """Take the chosen pixels of a strip, and their neighbours where both are valid."""
    row, column = np.nonzero(chosen)
    height, width = size(window)
    inside = (row + 1 < height) & (column + 1 < width)
    paired = np.zeros(len(row), np.bool_)
    paired[inside] = valid[row[inside], column[inside] + 1] & valid[row[inside] + 1, column[inside]]
    row_with, column_with = row[paired], column[paired]
    return {
        "row": (row + window[0].start).astype(np.int32),
        "column": (column + window[1].start).astype(np.int32),
        "paired": paired,
        "spectra": raw[:, row, column].T,
        "right": raw[:, row_with, column_with + 1].T,
        "lower": raw[:, row_with + 1, column_with].T,
    }


def _concatenate(parts: list[Table], scene: Scene) -> Table:
    """Join the samples of the strips of a tile."""
    none = np.zeros((0, scene.bands), scene.dtype)
    empty: Table = {
        "row": np.zeros(0, np.int32),
        "column": np.zeros(0, np.int32),
        "paired": np.zeros(0, np.bool_),
        "spectra": none,
        "right": none,
        "lower": none,
    }
    return {name: np.concatenate([empty[name], *(p[name] for p in parts)]) for name in empty}


def _collect_reservoir(ledger: Ledger, tiles: list[Tile]) -> Table:
    """Join the reservoir of all tiles, sorted by frame, row and column."""
    names = ("row", "column", "spectra")
    parts: dict[str, list[NDArray[Any]]] = {name: [] for name in (*names, "frame")}
    for tile, table in ledger.results(tiles):
        for name in names:
            parts[name].append(table[name])
        parts["frame"].append(np.full(len(table["row"]), tile.frame, np.int32))
    joined = {name: np.concatenate(values) for name, values in parts.items()}
    order = np.lexsort((joined["column"], joined["row"], joined["frame"]))
    return {name: values[order] for name, values in joined.items()}


def _collect_valid_counts(ledger: Ledger, tiles: list[Tile], scene: Scene) -> Table:
    """Join the valid pixels of every storage chunk, (chunk row, chunk column), by frame number."""
    parts: dict[int, list[tuple[Window, NDArray[Any]]]] = {}
    for tile, table in ledger.results(tiles):
        parts.setdefault(tile.frame, []).append((tile.core, table["valid_per_chunk"]))
    return {
        f"valid_per_chunk.{frame}": assemble(found, scene.frames[frame].shape, scene.chunk_px, 0)
        for frame, found in parts.items()
    }


def _collect_pictures(ledger: Ledger, tiles: list[Tile], scene: Scene) -> Table:
    """Join the three shown bands of every frame, (3, y, x), named by the frame's number."""
    parts: dict[int, list[tuple[Window, NDArray[Any]]]] = {}
    for tile, table in ledger.results(tiles):
        parts.setdefault(tile.frame, []).append((tile.core, table["shown"]))
    step = picture_step(scene)
    return {
        str(frame): assemble(found, scene.frames[frame].shape, step, 0)
        for frame, found in parts.items()
    }
