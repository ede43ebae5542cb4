"""The class of every pixel, and how likely it is, by what was learnt from all labels."""

from __future__ import annotations

import re
from functools import partial

import numpy as np

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
from hsistream.stages import Address, Context, Needs, labelling, scene_tiles, stored_pixels
from hsistream.stages import divide as divide_stage
from hsistream.stages.examine import judging_bytes
from hsistream.stages.features import (
    asked,
    load_features,
    reach_of,
    read_features,
    tile_strips,
)
from hsistream.stages.learn import MAP, load_judges
from hsistream.stores.raster import Layer, RasterStore
from hsistream.stores.tables import Table, read_table, write_table
from hsistream.tiles import Tile, size, within


def run(context: Context) -> None:
    """Label all pixels."""
    settings = asked(context.config)
    names = class_names(context.run)
    task = partial(classify_tile, address=context.address, settings=settings, classes=len(names))
    tiles = context.tiles(context.tile_px)
    store = RasterStore(context.run.labels_uri)
    ledger = context.write("label", task, tiles, store, layers(names, settings))
    table = labelling.collect(ledger, tiles, context.scene, len(names))
    write_table(context.run.table(labelling.TABLE), table)


def estimate(scene: Scene, config: RunConfig, tile_px: int) -> Needs:
    """Estimate what the stage needs."""
    settings = asked(config)
    pixels = stored_pixels(scene, tile_px)
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
    tile: Tile, *, address: Address, settings: ClassifySection, classes: int
) -> Table:
    """Label one tile, strip by strip, and count the pixels of every label."""
    [judge] = load_judges(address, settings, (MAP,))
    features, scene = load_features(address, settings.features), address.scene
    label = np.full(size(tile.core), NO_LABEL, np.uint16)
    best = np.full(size(tile.core), NO_CONFIDENCE, np.uint8)
    every = np.full(
        (classes if settings.probabilities else 0, *best.shape), NO_CONFIDENCE, np.uint8
    )
    for strip in tile_strips(scene, tile.core):
        valid = scene.valid(tile.frame, strip)
        if valid.any():
            seen = read_features(tile.frame, strip, reach_of(settings), scene, features)
            said, place = judge.probabilities(seen, valid), within(strip, tile.core)
            steps = np.rint(said * CONFIDENCE_STEPS).astype(np.uint8)
            label[place][valid] = said.argmax(axis=1)
            best[place][valid] = steps.max(axis=1)
            if settings.probabilities:
                every[:, *place][:, valid] = steps.T
    if settings.probabilities:
        frame = scene.frames[tile.frame].name
        address.write(address.run.labels_uri, frame, PROBABILITY, tile.core, every)
    return labelling.write_labels(tile, address, label, best, classes)


def layers(names: tuple[str, ...], settings: ClassifySection) -> list[Layer]:
    """Describe the store of labels, by the CF conventions."""
    labels, confidence = labelling.layers(len(names))
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
