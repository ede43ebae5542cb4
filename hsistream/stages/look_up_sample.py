"""Labels of the sampled pixels, from the map itself: for the mean spectra of the page."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hsistream.config import RunConfig
from hsistream.events import StageStarted
from hsistream.places import inside
from hsistream.runs import LABELS, RunDirectory
from hsistream.scene.scene import Scene
from hsistream.stages import Context, Needs, reservoir_pixels, scene_tiles
from hsistream.stages import statistics as statistics_stage
from hsistream.stores.raster import RasterStore
from hsistream.stores.tables import Table, read_table, write_table

TABLE = "sample"

TILE_PX = 2048


def run(context: Context) -> None:
    """Look the labels up."""
    context.notify(StageStarted("sample", 1))
    places = read_table(context.run.table(statistics_stage.RESERVOIR))
    found = labels_at(places, context.run, context.scene)
    write_table(context.run.table(TABLE), {"label": found})


def estimate(scene: Scene, config: RunConfig, tile_px: int) -> Needs:
    """Estimate what the stage needs: the sampled spectra, and labels of one tile."""
    pixels = reservoir_pixels(scene, config)
    edge = min(TILE_PX, scene.longest_side)
    return Needs(
        tiles=0,
        task={},
        driver={
            "reservoir spectra": pixels * (scene.bands * scene.itemsize + 40),
            "labels of a tile": 4 * edge**2,
        },
        disk_bytes=2 * pixels,
    )


def labels_at(places: Table, run: RunDirectory, scene: Scene) -> NDArray[np.uint16]:
    """Read the labels (pixel,) of pixels at a frame, row and column each."""
    RasterStore(run.labels_uri).check_complete(scene.frames, LABELS)
    row, column = places["row"], places["column"]
    found = np.empty(len(row), np.uint16)
    order = np.lexsort((column, row, places["frame"]))
    ordered = {name: places[name][order] for name in ("frame", "row", "column")}
    for tile in scene_tiles(scene, TILE_PX):
        own = order[inside(ordered, tile.frame, tile.core)]
        if len(own):
            name = scene.frames[tile.frame].name
            labels = RasterStore(run.labels_uri).read(name, LABELS, tile.core)
            rows, columns = tile.core
            found[own] = labels[row[own] - rows.start, column[own] - columns.start]
    return found
