"""Score what was learnt in every split on the labels of its test, and on no others."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
from numpy.typing import NDArray

from hsistream.classifiers import load_classifier
from hsistream.classifiers.metrics import confusion
from hsistream.classifiers.splits import TEST
from hsistream.config import RunConfig
from hsistream.places import inside
from hsistream.scene.scene import Scene
from hsistream.sections import ClassifySection
from hsistream.stages import Address, Context, Needs, largest_tile, scene_tiles
from hsistream.stages import divide as divide_stage
from hsistream.stages.divide import load_places
from hsistream.stages.features import (
    asked,
    feature_total,
    load_features,
    reach_of,
    read_features,
    strip_bytes,
    strip_px,
    tile_strips,
)
from hsistream.stages.gather import tiles_of
from hsistream.stages.learn import load_judges
from hsistream.stores.tables import Table, read_table, write_table
from hsistream.tiles import Tile, size

TABLE = "examined"

BINS = 10
"""Steps of probability in which it is measured how often a class was right."""


def run(context: Context) -> None:
    """Judge the pixels of all tests, tile by tile."""
    settings = asked(context.config)
    places = read_table(context.run.table(divide_stage.TABLE))
    tiles = tiles_of(context, places, (places["roles"] == TEST).any(axis=0))
    task = partial(examine_tile, address=context.address, settings=settings)
    ledger = context.work("examine", task, tiles, context.tile_px)
    write_table(context.run.table(TABLE), _sum(ledger.results(tiles), settings, places))


def estimate(scene: Scene, config: RunConfig, tile_px: int) -> Needs:
    """Estimate what the stage needs."""
    return Needs(
        tiles=len(scene_tiles(scene, tile_px)),
        task=judging_bytes(scene, config, tile_px),
        driver={"labels": asked(config).labelled * (32 + asked(config).splits)},
    )


def judging_bytes(scene: Scene, config: RunConfig, tile_px: int) -> dict[str, int]:
    """Memory of judging the pixels of a strip, term by term."""
    settings = asked(config)
    classifier, features = load_classifier(settings.classifier), feature_total(scene, config)
    rows, columns = largest_tile(scene, tile_px)
    pixels = min(rows, strip_px(scene)) * columns
    judged = classifier.judging_bytes(settings, features, settings.classes, pixels)
    return {**strip_bytes(scene, config, tile_px), "logits and probabilities": judged}


def examine_tile(tile: Tile, *, address: Address, settings: ClassifySection) -> Table:
    """Count, for each split, what was said of the pixels of its test in one tile."""
    places, scene = load_places(address), address.scene
    names = tuple(str(split) for split in range(settings.splits))
    judges = load_judges(address, settings, names)
    features = load_features(address, settings.features)
    reach, classes = reach_of(settings), len(places["names"])
    found = _nothing(settings.splits, classes)
    for strip in tile_strips(scene, tile.core):
        here = inside(places, tile.frame, strip)
        here = here[(places["roles"][:, here] == TEST).any(axis=0)]
        if not len(here):
            continue
        seen = read_features(tile.frame, strip, reach, scene, features)
        row, column = places["row"][here], places["column"][here]
        for split, judge in enumerate(judges):
            own = places["roles"][split, here] == TEST
            wanted = np.zeros(size(strip), np.bool_)
            wanted[row[own] - strip[0].start, column[own] - strip[1].start] = True
            said = judge.probabilities(seen, wanted)  # labels are sorted as pixels are
            _count(found, split, places["number"][here[own]].astype(np.int64), said)
    return found


def _nothing(splits: int, classes: int) -> Table:
    """Start the sums of all splits."""
    return {
        "confusion": np.zeros((splits, classes, classes), np.int64),
        "confidence": np.zeros((splits, BINS)),
        "right": np.zeros((splits, BINS), np.int64),
        "judged": np.zeros((splits, BINS), np.int64),
    }


def _count(sums: Table, split: int, number: NDArray[np.int64], said: NDArray[np.float32]) -> None:
    """Add what was said of some pixels, probabilities (pixel, class), to the sums of a split."""
    best, likeliest = said.max(axis=1), said.argmax(axis=1)
    sums["confusion"][split] += confusion(number, likeliest, said.shape[1])
    bins = np.minimum((best * BINS).astype(np.int64), BINS - 1)
    sums["judged"][split] += np.bincount(bins, minlength=BINS)
    sums["right"][split] += np.bincount(bins[likeliest == number], minlength=BINS)
    sums["confidence"][split] += np.bincount(bins, best.astype(np.float64), minlength=BINS)


def _sum(results: Iterator[tuple[Tile, Table]], settings: ClassifySection, places: Table) -> Table:
    """Add up the tiles."""
    total = _nothing(settings.splits, len(places["names"]))
    for _, table in results:
        for name, values in table.items():
            total[name] = total[name] + values
    return total
