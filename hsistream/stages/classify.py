"""The class of every pixel, and how likely it is, by what was learnt from all labels."""

from __future__ import annotations

import re
from functools import partial

import numpy as np
from numpy.typing import NDArray

from hsistream.classifiers.calibration import probabilities
from hsistream.config import RunConfig
from hsistream.runs import (
    CONFIDENCE,
    CONFIDENCE_STEPS,
    LABELS,
    NO_CONFIDENCE,
    NO_LABEL,
    PROBABILITY,
    RunDirectory,
)
from hsistream.scene.scene import Scene
from hsistream.sections import ClassifySection
from hsistream.stages import Context, Needs, scene_tiles
from hsistream.stages import divide as divide_stage
from hsistream.stages import label as label_stage
from hsistream.stages.divide import asked
from hsistream.stages.examine import judging_bytes
from hsistream.stages.features import (
    Features,
    load_features,
    reach_of,
    read_features,
    tile_strips,
)
from hsistream.stages.learn import MAP, Judge, load_judges
from hsistream.stores.raster import Layer, RasterStore
from hsistream.stores.tables import Table, read_table, write_table
from hsistream.tiles import Tile, Window, size, within


def run(context: Context) -> None:
    """Label all pixels."""
    scene, settings = context.scene, asked(context.config)
    names = class_names(context.run)
    task = partial(
        classify_tile,
        scene=scene,
        run=context.run,
        settings=settings,
        classes=len(names),
        fingerprint=context.fingerprint,
    )
    tiles = context.tiles(context.tile_px)
    store = RasterStore(context.run.labels_uri)
    ledger = context.write("label", task, tiles, store, layers(names, settings))
    table = label_stage.collect(ledger, tiles, scene, len(names))
    write_table(context.run.table(label_stage.TABLE), table)


def estimate(scene: Scene, config: RunConfig, tile_px: int) -> Needs:
    """Estimate what the stage needs."""
    settings = asked(config)
    pixels = min(tile_px, scene.longest_side) ** 2
    kept = settings.classes if settings.probabilities else 0
    return Needs(
        tiles=len(scene_tiles(scene, tile_px)),
        task={**judging_bytes(scene, config, tile_px), "labels": (24 + 3 * kept) * pixels},
        driver={},
        disk_bytes=(3 + kept) * scene.pixels,
    )


def class_names(run: RunDirectory) -> tuple[str, ...]:
    """Read the names of the classes of a run, by their labels."""
    return tuple(read_table(run.table(divide_stage.TABLE))["names"].tolist())


def classify_tile(
    tile: Tile,
    *,
    scene: Scene,
    run: RunDirectory,
    settings: ClassifySection,
    classes: int,
    fingerprint: str,
) -> Table:
    """Label one tile, strip by strip, and count the pixels of every label."""
    [judge] = load_judges(run, settings, (MAP,), fingerprint)
    features = load_features(run, settings.features, fingerprint)
    label = np.full(size(tile.core), NO_LABEL, np.uint16)
    stored = np.full((classes, *size(tile.core)), NO_CONFIDENCE, np.uint8)
    for strip in tile_strips(scene, tile.core):
        valid = scene.valid(tile.frame, strip)
        if valid.any():
            said = _judged(tile.frame, strip, valid, (scene, settings, features, judge))
            place = within(strip, tile.core)
            label[place][valid] = said.argmax(axis=1)
            stored[:, *place][:, valid] = np.rint(said * CONFIDENCE_STEPS).T
    if settings.probabilities:
        frame = scene.frames[tile.frame].name
        RasterStore(run.labels_uri).write(frame, PROBABILITY, tile.core, stored)
    best = np.where(label == NO_LABEL, NO_CONFIDENCE, _best(stored))
    return label_stage.write_labels(tile, scene, run, label, best.astype(np.uint8), classes)


def _judged(
    frame: int,
    strip: Window,
    valid: NDArray[np.bool_],
    by: tuple[Scene, ClassifySection, Features, Judge],
) -> NDArray[np.float32]:
    """Give the probabilities (valid pixel, class) of a strip."""
    scene, settings, features, judge = by
    seen = read_features(frame, strip, reach_of(settings), scene, features)
    return probabilities(judge.fitted.judge_window(seen, valid), judge.temperature)


def _best(stored: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Take the greatest stored probability of each pixel."""
    return np.asarray(stored.max(axis=0))


def layers(names: tuple[str, ...], settings: ClassifySection) -> list[Layer]:
    """Describe the store of labels, by the CF conventions."""
    labels, confidence = label_stage.layers(len(names))
    words = " ".join(re.sub(r"\W+", "_", name).strip("_") or "_" for name in names)
    attributes = {
        **labels.attributes,
        "long_name": "class of the pixel",
        "flag_meanings": words,
        "class_names": list(names),
    }
    scaled = {**confidence.attributes, "long_name": "probability of the likeliest class"}
    found = [
        Layer(LABELS, labels.dtype, labels.fill, attributes=attributes),
        Layer(CONFIDENCE, confidence.dtype, confidence.fill, attributes=scaled),
    ]
    if settings.probabilities:
        every = {**scaled, "long_name": "probability of each class", "class_names": list(names)}
        leading = ("class", len(names))
        found.append(Layer(PROBABILITY, "uint8", NO_CONFIDENCE, leading, every))
    return found
