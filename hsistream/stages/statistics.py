"""Stage 1: everything scene-wide that later stages treat as a constant.

One pass over the storage tiles: band means and covariances, and the spectra of
the reservoir with those of their right and lower neighbours (where both lie
in the same strip of chunks, so that no chunk is read twice). From these: the
projections, and the edge scale of each.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsistream.config import RunConfig
from hsistream.sections import StatisticsSection
from hsistream.consensus import projections
from hsistream.consensus.projections import Moments, Projection
from hsistream.errors import ConfigError, SceneError
from hsistream.events import Notify, Warned
from hsistream.report.quicklook import false_colour_bands
from hsistream.runtime.ledger import Ledger
from hsistream.scene.scene import Scene
from hsistream.scene.statistics import PIXELS_AT_ONCE, BandSums, in_reservoir
from hsistream.stages import Context, Needs, frame_thresholds, reservoir_pixels, scene_tiles
from hsistream.stages.pictures import assemble, picture_step, sample
from hsistream.stores.tables import Table, write_table
from hsistream.tiles import Tile, Window, size, strips, within

TABLE = "statistics"
RESERVOIR = "reservoir"
PICTURES = "pictures"

BRIGHTNESS_RATIO = 1.1
"""Frames whose brightness differs by more than this factor are worth a word."""


@dataclass(frozen=True, slots=True)
class Constants:
    """The scene-wide constants of a run, as later stages read them."""

    good: NDArray[np.bool_]
    group_of_frame: NDArray[np.int64]
    projections: tuple[Projection, ...]
    edge_scales: tuple[float, ...]

    @property
    def components(self) -> int:
        """Scores of all projections together."""
        return sum(projection.components for projection in self.projections)


def run(context: Context) -> None:
    """Measure the scene and fit the projections."""
    scene, config = context.scene, context.config
    names, group_of_frame = statistics_groups(scene, config.statistics)
    warn_of_brightness(scene, config.statistics, context.notify)
    task = partial(
        measure_tile,
        scene=scene,
        seed=config.seed,
        thresholds=frame_thresholds(scene, config),
        unit_norm="l2" in config.views.spectral,
    )
    tiles = context.tiles(scene.shard_px)
    ledger = context.work("statistics", task, tiles, scene.shard_px)
    good = np.asarray(scene.good_bands)
    raw = _moments(ledger, tiles, "raw", group_of_frame, len(names))
    if not raw.scale().any():
        raise SceneError(
            f"Pixels that differ are needed, but all good bands of {scene.uri} are constant over "
            f"its {raw.count.sum()} valid pixels."
        )
    pairs = _Pairs(ledger, tuple(tiles), good, group_of_frame)
    fitted = _fit(raw, pairs, ledger, tiles, config, group_of_frame, len(names))
    scales = tuple(pairs.edge_scale(projection) for projection in fitted)
    constants = Constants(good, group_of_frame, fitted, scales)
    write_table(context.run.table(RESERVOIR), _collect_reservoir(ledger, tiles))
    write_table(context.run.table(PICTURES), _collect_pictures(ledger, tiles, scene))
    write_table(context.run.table(TABLE), to_table(constants))


def estimate(scene: Scene, config: RunConfig, tile_px: int) -> Needs:
    """Estimate what the stage needs; its tiles are those of the storage."""
    spectrum = scene.bands * scene.itemsize
    strip = scene.chunk_px * scene.shard_px
    wanted = reservoir_pixels(scene, config)
    kept = wanted * spectrum
    return Needs(
        tiles=len(scene_tiles(scene, scene.shard_px)),
        task={
            "strip as stored, and decoding": 3 * strip * spectrum,
            "float64 working copy": 3 * PIXELS_AT_ONCE * scene.bands * 8,
            "outer products": 4 * scene.bands**2 * 8,
        },
        driver={"reservoir spectra": 2 * kept, "neighbour differences": kept // 4},
        disk_bytes=4 * kept,
    )


def measure_tile(
    tile: Tile, *, scene: Scene, seed: int, thresholds: tuple[float, ...], unit_norm: bool
) -> Table:
    """Sum over one storage tile and take its part of the reservoir."""
    good = np.asarray(scene.good_bands)
    sums = BandSums.empty(int(good.sum()))
    unit_sums = BandSums.empty(int(good.sum()))
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
        sums = sums.merge(BandSums.from_pixels(pixels))
        if unit_norm:
            unit_sums = unit_sums.merge(_unit_sums(pixels))
        chosen = valid & in_reservoir(seed, tile.frame, window, thresholds[tile.frame])
        parts.append(_sample(raw, valid, chosen, window))
    return {
        **_sums_table("raw", sums),
        **(_sums_table("unit", unit_sums) if unit_norm else {}),
        **_concatenate(parts, scene),
        "shown": np.concatenate(shown, axis=1),
    }


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
    if advice and section.by == "scene":
        notify(Warned(advice))


def to_table(constants: Constants) -> Table:
    """Write the constants as arrays."""
    table: Table = {"good": constants.good, "group_of_frame": constants.group_of_frame}
    table["names"] = np.asarray([p.name for p in constants.projections])
    table["edge_scales"] = np.asarray(constants.edge_scales)
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
    return Constants(table["good"], table["group_of_frame"], fitted, scales)


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


def _sums_table(kind: str, sums: BandSums) -> Table:
    """Write sums as arrays."""
    return {
        f"{kind}.count": np.asarray(sums.count),
        f"{kind}.mean": sums.mean,
        f"{kind}.outer": sums.outer,
        f"{kind}.minimum": sums.minimum,
        f"{kind}.maximum": sums.maximum,
    }


def _moments(
    ledger: Ledger, tiles: list[Tile], kind: str, group_of_frame: NDArray[np.int64], groups: int
) -> Moments:
    """Merge the sums of all tiles, in tile order, into the moments of each group."""
    merged: list[BandSums | None] = [None] * groups
    for tile, table in ledger.results(tiles):
        group = group_of_frame[tile.frame]
        sums = BandSums(
            int(table[f"{kind}.count"]),
            *(table[f"{kind}.{name}"] for name in ("mean", "outer", "minimum", "maximum")),
        )
        before = merged[group]
        merged[group] = sums if before is None else before.merge(sums)
    known = [sums for sums in merged if sums is not None]
    return Moments(
        np.asarray([sums.count for sums in known]),
        np.stack([sums.mean for sums in known]),
        np.stack([sums.outer / max(1, sums.count) for sums in known]),
        np.stack([sums.maximum > sums.minimum for sums in known]),
    )


@dataclass(frozen=True, slots=True)
class _Pairs:
    """Differences between reservoir pixels and their neighbours, read tile by tile."""

    ledger: Ledger
    tiles: tuple[Tile, ...]
    good: NDArray[np.bool_]
    group_of_frame: NDArray[np.int64]

    def spectra(self) -> Iterator[tuple[int, NDArray[np.float64], NDArray[np.float64]]]:
        """Yield group, spectra and neighbour spectra, (pair, band) each."""
        for tile, table in self.ledger.results(self.tiles):
            group = int(self.group_of_frame[tile.frame])
            own = table["spectra"][table["paired"]]
            for neighbour in (table["right"], table["lower"]):
                for first in range(0, len(own), PIXELS_AT_ONCE):
                    part = slice(first, first + PIXELS_AT_ONCE)
                    both = own[part][:, self.good], neighbour[part][:, self.good]
                    yield group, both[0].astype(np.float64), both[1].astype(np.float64)

    def noise(self, scale: NDArray[np.float64]) -> NDArray[np.float64]:
        """Noise covariance of the z-scored spectra."""
        lengths = [
            np.einsum("pb,pb->p", step, step)
            for step in ((own - other) * scale[group] for group, own, other in self.spectra())
        ]
        threshold = projections.noise_threshold(np.concatenate([np.zeros(0), *lengths]))
        total, count = np.zeros((scale.shape[1], scale.shape[1])), 0
        for group, own, other in self.spectra():
            part, quiet = projections.noise_sums((own - other) * scale[group], threshold)
            total, count = total + part, count + quiet
        return total / max(1, 2 * count)

    def edge_scale(self, projection: Projection) -> float:
        """Median squared difference of the scores of neighbours."""
        lengths = [
            ((projection.scores(own.T, group) - projection.scores(other.T, group)) ** 2).sum(axis=0)
            for group, own, other in self.spectra()
        ]
        return projections.edge_scale(np.concatenate([np.zeros(0), *lengths]))


def _fit(
    raw: Moments,
    pairs: _Pairs,
    ledger: Ledger,
    tiles: list[Tile],
    config: RunConfig,
    group_of_frame: NDArray[np.int64],
    groups: int,
) -> tuple[Projection, ...]:
    """Fit the projections that the configuration names, in its order."""
    views = config.views
    fitted = []
    for name in views.spectral:
        if name == "z":
            fitted.append(projections.fit_z(raw, views.z_components))
        elif name == "mnf":
            noise = pairs.noise(raw.scale())
            fitted.append(projections.fit_mnf(raw, noise, views.mnf_components))
        else:
            unit = _moments(ledger, tiles, "unit", group_of_frame, groups)
            fitted.append(projections.fit_l2(unit, views.l2_components))
    return tuple(fitted)


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
