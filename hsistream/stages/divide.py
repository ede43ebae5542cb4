"""Read the labels, and divide them anew for every split."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hsistream.classifiers.splits import (
    TEST,
    TRAIN,
    UNUSED,
    Labels,
    at_most,
    classes_in_several_blocks,
    split,
    without_doubt,
)
from hsistream.config import RunConfig
from hsistream.errors import ConfigError
from hsistream.events import StageStarted, Warned
from hsistream.places import numbered
from hsistream.readers.label_sources import read_labelled
from hsistream.readers.labelled import Labelled, LabelOptions
from hsistream.readers.map_places import ground_places
from hsistream.runtime.memory import kept
from hsistream.scene.scene import Scene
from hsistream.sections import ClassifySection
from hsistream.stages import Address, Context, Needs
from hsistream.stages.features import asked, seen_px
from hsistream.stores.tables import Table, read_table, write_table

TABLE = "labelled"

TILE_PX = 1024
"""Side of the squares in which it is looked up whether labels have data."""

LABEL_BYTES = 8 * 4 * 10
"""Memory of a labelled pixel while it is read and sorted."""

SEEDS = 1_000_000
"""Splits of one seed, at most: those of the next one are others."""

NAMED = 8
"""Names of classes that a message lists."""


def run(context: Context) -> None:
    """Read and divide."""
    context.notify(StageStarted("divide", 1))
    settings = asked(context.config)
    labels = labels_with_data(context)
    splits = divided(labels, context.scene, context.config)
    for note in labels.notes:
        context.notify(Warned(note))
    write_table(
        context.run.table(TABLE), _table(labels) | _roles(labels, splits, settings, context)
    )


def estimate(scene: Scene, config: RunConfig, tile_px: int) -> Needs:
    """Estimate what the stage needs: labels of all pixels, if a raster has so many."""
    settings = asked(config)
    labels = settings.labelled * (LABEL_BYTES + 2 * settings.splits)
    driver = {"labels": labels, "rasters of labels": 9 * scene.pixels, "mask": TILE_PX**2}
    disk_bytes = settings.labelled * (32 + settings.splits)
    return Needs(tiles=0, task={}, driver=driver, disk_bytes=disk_bytes)


@kept(results=2)
def load_places(address: Address) -> Table:
    """Read the labelled pixels once for many tiles."""
    return read_table(address.run.table(TABLE))


def options_of(settings: ClassifySection) -> LabelOptions:
    """Say how the file of the labels is read."""
    return LabelOptions(settings.key, settings.frame, settings.field)


def labels_with_data(context: Context) -> Labelled:
    """Read the labels of pixels with data; a warning counts the others.

    Raises
    ------
    ConfigError
        If the file has changed since the run was begun, or labels of fewer than two
        classes have data.
    """
    settings, scene = asked(context.config), context.scene
    labels = read_labelled(settings.labels, scene, options_of(settings))
    if labels.fingerprint != settings.fingerprint:
        raise ConfigError(
            f"The labels with which {context.run.path} was begun are needed, but "
            f"{settings.labels} has changed since. Choose another directory with --run."
        )
    known = has_data(labels, scene)
    dropped = int((~known).sum())
    if dropped:
        context.notify(
            Warned(f"{dropped:,} of {len(known):,} labelled pixels have no data and are left out")
        )
    kept = labels.at(known)
    if len(np.unique(kept.number)) < 2:
        raise ConfigError(
            f"Labels of at least two classes are needed, but {settings.labels} has "
            f"{len(np.unique(kept.number))} on pixels with data."
        )
    return kept


def has_data(labels: Labelled, scene: Scene) -> NDArray[np.bool_]:
    """Tell which labelled pixels (pixel,) have data."""
    squares = np.stack([labels.frame, labels.row // TILE_PX, labels.column // TILE_PX])
    found = np.zeros(len(labels.number), np.bool_)
    first, square = numbered(squares)
    members = np.split(np.argsort(square, kind="stable"), np.cumsum(np.bincount(square))[:-1])
    for (frame, down, right), own in zip(squares[:, first].T, members, strict=True):
        top, left = int(down) * TILE_PX, int(right) * TILE_PX
        height, width = scene.frames[frame].shape
        window = slice(top, min(height, top + TILE_PX)), slice(left, min(width, left + TILE_PX))
        valid = scene.valid(int(frame), window)
        found[own] = valid[labels.row[own] - top, labels.column[own] - left]
    return found


def divided(labels: Labelled, scene: Scene, config: RunConfig) -> NDArray[np.uint8]:
    """Divide labels for every split, (split, pixel); refuse splits without a test.

    Pixels that show one place on the ground, in several frames, have one role; the first
    of them is learnt from for all.

    Raises
    ------
    ConfigError
        If a split has nothing to test.
    """
    settings, apart_px = asked(config), apart(config)
    first, places, member = one_of_each_place(labels, scene)
    every = Labels(labels.frame, labels.row, labels.column, labels.number)
    later = first[member] != np.arange(len(member))
    found = np.zeros((settings.splits, len(member)), np.uint8)
    for number in range(settings.splits):
        roles = split(places, settings, apart_px, SEEDS * config.seed + number)[member]
        roles[later & (roles == TRAIN)] = UNUSED
        # frames may have pixels of other sizes, and disagree about the class of a place
        found[number] = without_doubt(every, roles, apart_px if settings.split == "blocks" else 0)
        if not (found[number] == TEST).any():
            raise ConfigError(_no_test(places, settings, apart_px))
    return found


def apart(config: RunConfig) -> int:
    """Least distance of test and training in a split by blocks, px."""
    settings = asked(config)
    return seen_px(config) if settings.apart_px is None else settings.apart_px


def one_of_each_place(
    labels: Labelled, scene: Scene
) -> tuple[NDArray[np.int64], Labels, NDArray[np.int64]]:
    """Find the first pixel (place,) of each place on the ground.

    Gives its number, its label at that place, and for every pixel the number of its place.
    """
    places = np.stack(ground_places(scene, labels.frame, labels.row, labels.column))
    first, member = numbered(places)
    frame, row, column = places[:, first]
    return first, Labels(frame, row, column, labels.number[first]), member


def _no_test(places: Labels, settings: ClassifySection, apart_px: int) -> str:
    """Say why a split has nothing to test, and what would help."""
    if settings.split == "blocks":
        if not classes_in_several_blocks(places, settings.block_px):
            return (
                f"Labels to test are needed, but no class has labels in two blocks of "
                f"{settings.block_px} px. Use smaller blocks (--block), label each class in "
                f"several places, or use --split random."
            )
        return (
            f"Labels to test are needed, but none lies {apart_px} px from all that are learnt "
            f"from. Use larger or fewer blocks (--block, --set classify.block_share), a smaller "
            f"window, or --split random."
        )
    return (
        "Labels to test are needed, but no class has two. Give more labels, or ask for a map "
        "without scores: --set classify.splits=0."
    )


def _table(labels: Labelled) -> Table:
    """Write labels as arrays."""
    return {
        "frame": labels.frame.astype(np.int32),
        "row": labels.row.astype(np.int32),
        "column": labels.column.astype(np.int32),
        "number": labels.number.astype(np.int16),
        "names": np.asarray(labels.names),
    }


def _roles(
    labels: Labelled, splits: NDArray[np.uint8], settings: ClassifySection, context: Context
) -> Table:
    """Write what each labelled pixel is to each split, and whether the map is learnt from it."""
    final = at_most(labels.number, settings.most, context.config.seed)
    untested = ~np.isin(np.arange(len(labels.names)), labels.number[(splits == TEST).any(axis=0)])
    if settings.splits and untested.any():
        names = [name for name, alone in zip(labels.names, untested, strict=True) if alone]
        more = ", ..." if len(names) > NAMED else ""
        context.notify(
            Warned(
                f"Classes {', '.join(names[:NAMED])}{more} have too few labels to be tested; "
                f"scores say nothing of them"
            )
        )
    learnt = final | (splits == TRAIN).any(axis=0)
    return {
        "roles": splits,
        "final": final,
        "learnt": learnt,
        "apart_px": np.asarray(apart(context.config)),
    }
