"""Two frames of one landscape, one exposed longer: which statistics suit them.

Run with: python examples/many_frames.py [FOLDER]

The same materials seen at two exposures look like two sets of materials, if
spectra are standardised over the whole scene. With statistics per frame, each
frame is compared with its own mean, and one set of labels fits both.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import hsistream as hs
from hsistream.scene.synthetic import SyntheticFrame

MATERIALS = 5
EXPOSURES = (1.0, 1.8)
SHAPE = (160, 200)


def main(folder: Path) -> None:
    """Cluster the two frames in both ways and print the agreement with the truth."""
    frames = [
        SyntheticFrame(number, SHAPE, classes=MATERIALS, field_px=16, gain=gain)
        for number, gain in enumerate(EXPOSURES)
    ]
    truth = {frame.header.name: frame.truth() for frame in frames}
    scene_path = folder / "scene.zarr"
    known = scene_path.exists()
    scene = hs.Scene.open(scene_path) if known else hs.ingest(frames, scene_path)
    for frame in scene.frames:
        print(f"{frame.name}: mean of the good bands {frame.brightness:.0f}")

    for by in ("scene", "frame"):
        settings = [("cluster.clusters", MATERIALS), ("statistics.by", by)]
        config = hs.RunConfig.make(settings=settings)
        run = hs.run(scene, config, folder / f"by-{by}")
        scores = hs.evaluate(run.path, truth)
        print(f"statistics by {by}: adjusted Rand index {scores.ari:.3f}")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as scratch:
            main(Path(scratch))
