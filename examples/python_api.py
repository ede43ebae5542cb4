"""From a synthetic scene to the area of every cluster, in Python only.

Run with: python examples/python_api.py [FOLDER]

Writes a scene and a run to FOLDER (a temporary one by default), opens the
labels lazily in xarray and adds up the area that each cluster covers.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import hsistream as hs
from hsistream.scene.synthetic import synthetic_frames

CLUSTERS = 5
NO_DATA = 65535


def main(folder: Path) -> None:
    """Make a scene, cluster it, and print a table of areas."""
    scene_path, run_path = folder / "scene.zarr", folder / "run"
    if scene_path.exists():
        scene = hs.Scene.open(scene_path)
    else:
        scene = hs.ingest(synthetic_frames(frames=2), scene_path)
    print(f"{scene.valid_pixels:,} pixels with data, {scene.bands} bands")

    config = hs.RunConfig.make(settings=[("cluster.clusters", CLUSTERS)])
    needed = hs.plan(scene, config)
    print(f"needs at most {needed.peak_bytes / 2**20:.0f} MiB in tiles of {needed.tile_px} px")
    run = hs.run(scene, config, run_path)  # a second call returns at once

    areas = area_per_cluster(run, scene)
    print("cluster  hectares")
    for cluster, hectares in areas.items():
        print(f"{cluster:>7}  {hectares:8.2f}")


def area_per_cluster(run: hs.RunDirectory, scene: hs.Scene) -> dict[int, float]:
    """Add up the area of each cluster over all frames, hectares."""
    areas = dict.fromkeys(range(CLUSTERS), 0.0)
    for frame in scene.frames:
        labels = run.open("labels", frame.name)  # a lazy xarray.DataArray (y, x)
        pixel_m2 = frame.georeference.pixel_area_m2() if frame.georeference else None
        if pixel_m2 is None:
            raise SystemExit(f"{frame.name} has no metric georeference")
        found = labels.where(labels != NO_DATA)
        for cluster in areas:
            areas[cluster] += int((found == cluster).sum()) * pixel_m2 / 10_000
    return areas


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as scratch:
            main(Path(scratch))
