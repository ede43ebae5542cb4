"""What two runs must agree on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsistream.runs import CONFIDENCE, LABELS, NO_LABEL, RunDirectory
from hsistream.scene.scene import Scene
from hsistream.stores.raster import RasterStore

UNLIKE = {"manifest.json", "log.jsonl", "lock", "report/page.html", "checkpoint/elapsed.json"}
"""Files with times in them."""


def stored_bytes(run: RunDirectory) -> dict[str, bytes]:
    """Every file of the store of labels and confidence, by its place in the store."""
    root = Path(run.labels_uri)
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


def result_bytes(run: RunDirectory) -> dict[str, bytes]:
    """Every file that a run keeps, by its place, but for times, the log and the page.

    Stores, tables, checkpoints, the map as a picture, and what was asked.
    """
    files = sorted(path for path in run.path.rglob("*") if path.is_file())
    found = {str(path.relative_to(run.path)): path for path in files}
    return {
        place: path.read_bytes()
        for place, path in found.items()
        if place not in UNLIKE and not place.startswith("ledger/")
    }


def differing(run: RunDirectory, other: RunDirectory) -> list[str]:
    """Places of the files in which two runs differ."""
    mine, theirs = result_bytes(run), result_bytes(other)
    assert len(mine) > len(UNLIKE)
    return sorted(p for p in mine.keys() | theirs.keys() if mine.get(p) != theirs.get(p))


def layer(run: RunDirectory, scene: Scene, name: str = LABELS) -> list[NDArray[Any]]:
    """One array (y, x) per frame."""
    store = RasterStore(run.labels_uri)
    return [
        store.read(frame.name, name, (slice(0, frame.shape[0]), slice(0, frame.shape[1])))
        for frame in scene.frames
    ]


def pixel_bytes(run: RunDirectory, scene: Scene) -> list[bytes]:
    """Labels and confidence of every frame, whatever the tiles that they are stored in."""
    return [array.tobytes() for name in (LABELS, CONFIDENCE) for array in layer(run, scene, name)]


def agreement(run: RunDirectory, other: RunDirectory, scene: Scene) -> float:
    """Share of the pixels with data that have the same label in both runs."""
    labels = np.concatenate([array.ravel() for array in layer(run, scene)])
    others = np.concatenate([array.ravel() for array in layer(other, scene)])
    known = labels != NO_LABEL
    np.testing.assert_array_equal(known, others != NO_LABEL)
    assert known.any()
    return float((labels == others)[known].mean())
