"""What the first stage keeps as it is: the seeded sample of spectra, and thinned pictures."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsistream.places import join_places
from hsistream.scene.scene import Scene
from hsistream.stages.fitting import Measured
from hsistream.stages.pictures import assemble_frames, picture_step
from hsistream.stores.tables import Table
from hsistream.tiles import Window, size


def sample_strip(
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


def join_strips(parts: list[Table], scene: Scene) -> Table:
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


def join_reservoir(measured: Measured) -> Table:
    """Join the reservoir of all tiles, sorted by frame, row and column."""
    parts = []
    for tile, table in measured.results():
        part = {name: table[name] for name in ("row", "column", "spectra")}
        parts.append(part | {"frame": np.full(len(table["row"]), tile.frame, np.int32)})
    return join_places(parts)


def join_valid_counts(measured: Measured, scene: Scene) -> Table:
    """Join the valid pixels of every storage chunk, (chunk row, chunk column), by frame number."""
    parts = ((tile, table["valid_per_chunk"]) for tile, table in measured.results())
    counts = assemble_frames(parts, scene, scene.chunk_px, 0)
    return {f"valid_per_chunk.{frame}": found for frame, found in counts.items()}


def join_pictures(measured: Measured, scene: Scene) -> Table:
    """Join the three shown bands of every frame, (3, y, x), named by the frame's number."""
    parts = ((tile, table["shown"]) for tile, table in measured.results())
    pictures = assemble_frames(parts, scene, picture_step(scene), 0)
    return {str(frame): picture for frame, picture in pictures.items()}
