"""Label changes at the seams of superpixels, counted when all labels are written."""

from __future__ import annotations

from hsistream.regions.seams import LabelChanges
from hsistream.runs import LABELS, NO_LABEL
from hsistream.scene.scene import Scene
from hsistream.stages import Address, scene_tiles
from hsistream.stores.raster import RasterStore

WINDOW_PX = 2048
"""Side of what is read at once, whatever the tiles of the run: this is no work for tasks."""

PIXEL_BYTES = 12
"""Labels of a pixel as stored and as read, and what is compared."""


def measure_seams(address: Address, segment_px: int) -> LabelChanges:
    """Count the label changes of all frames that are larger than a tile of ``segment_px``."""
    scene, store, found = address.scene, RasterStore(address.run.labels_uri), LabelChanges()
    for tile in scene_tiles(scene, WINDOW_PX, halo=1):
        frame = scene.frames[tile.frame]
        if max(frame.shape) > segment_px:
            window = tile.window(frame.shape)
            labels = store.read(frame.name, LABELS, window)
            found += LabelChanges.from_window(
                labels, window, tile.core, tile_px=segment_px, no_data=NO_LABEL
            )
    return found


def seam_bytes(scene: Scene) -> int:
    """Memory for counting, bytes."""
    return PIXEL_BYTES * min(WINDOW_PX + 2, scene.longest_side) ** 2
