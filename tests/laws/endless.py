"""Scenes of any size that cost the disk of one storage file, and trainings on them.

Every storage file of such a scene is the same one under another name. A training
runs in a process of its own, which is this module:
``python -m tests.laws.endless SCENE RUN FOLDER STEPS AMPLIFICATION``.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hsistream.config import RunConfig
from hsistream.events import ignore
from hsistream.methods import load_method
from hsistream.methods.base import Material, Work
from hsistream.planning import LATE_BYTES
from hsistream.runs import RunDirectory
from hsistream.runtime.memory import resident_bytes
from hsistream.scene.crops import open_crops
from hsistream.scene.layout import create_frame
from hsistream.scene.scene import SPECTRA, VALID, Scene, root_attributes
from hsistream.scene.source import FrameHeader
from hsistream.stages import statistics, train
from hsistream.stores import arrays
from hsistream.stores.tables import read_table


def repeated(pattern: Scene, uri: Path, side_px: int) -> Scene:
    """Repeat a scene of one storage file down and across, to one frame of ``side_px``."""
    (frame,) = pattern.frames
    assert frame.shape == (pattern.shard_px, pattern.shard_px)
    assert frame.valid_pixels == pattern.shard_px**2
    large = replace(
        pattern,
        uri=str(uri),
        identity=f"{pattern.identity}-{side_px}",
        frames=(replace(frame, shape=(side_px, side_px), valid_pixels=side_px**2),),
    )
    header = FrameHeader(frame.name, (side_px, side_px), pattern.bands, np.dtype(pattern.dtype))
    root = arrays.create_group(str(uri), root_attributes(large))
    create_frame(root, header, header, pattern.chunk_px, pattern.shard_px)
    for layer, leading in ((SPECTRA, "c/0"), (VALID, "c")):
        stored = Path(pattern.uri) / frame.name / layer / leading / "0" / "0"
        places = range(-(-side_px // pattern.shard_px))
        for row, column in product(places, places):
            place = uri / frame.name / layer / leading / str(row) / str(column)
            place.parent.mkdir(parents=True, exist_ok=True)
            os.link(stored, place)
    return Scene.open(uri)


def asked(steps: int, amplification: float) -> RunConfig:
    """Ask for a training of so many steps that reads so much."""
    settings = [
        ("cluster.clusters", 4),
        ("training.steps", steps),
        ("training.amplification", amplification),
    ]
    return RunConfig.make("dgc", settings=settings)


def full_counts(scene: Scene) -> list[NDArray[np.int32]]:
    """Valid pixels of every chunk of a frame without gaps, (chunk row, chunk column)."""
    side_px = scene.frames[0].shape[0]
    edges = np.minimum(np.arange(0, side_px, scene.chunk_px) + scene.chunk_px, side_px)
    extents = np.diff(edges, prepend=0)
    return [np.outer(extents, extents).astype(np.int32)]


def train_on(
    scene: Scene, config: RunConfig, statistics_of: RunDirectory, folder: Path
) -> dict[str, float]:
    """Train as the stage does, with the statistics of another scene, and tell what it took."""
    assert config.encoder is not None, "asked only with a network"
    counts, method = full_counts(scene), load_method(config.encoder.name)
    library_bytes = resident_bytes()
    standard = train.standard_of(read_table(statistics_of.table(statistics.STANDARD)))
    sampled = read_table(statistics_of.table(statistics.RESERVOIR))
    stream = open_crops(scene, train._crops(config), counts)
    material = Material(
        standard,
        train._reservoir(sampled),
        train._probe(scene, config, counts),
        stream.batches,
        partial(train._patches, scene, sampled),
    )
    work = Work(folder, "endless", 2, "cpu", ignore)
    method.train(config.encoder, config.training, config.seed, material, work)
    return {
        "peak_bytes": _peak_bytes(),
        "library_bytes": library_bytes,
        "promised_bytes": sum(train.estimate(scene, config, 256).driver.values()) + LATE_BYTES,
        "amplification": stream.counters.amplification,
    }


def _peak_bytes() -> int:
    """Largest resident memory of this process since it began; that of its parent is none of it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (peak,) = (line.split()[1] for line in lines if line.startswith("VmHWM"))
    return 1024 * int(peak)


def main() -> None:
    """Train in this process, and print what it took."""
    scene, of, folder, steps, amplification = sys.argv[1:]
    config = asked(int(steps), float(amplification))
    facts = train_on(Scene.open(scene), config, RunDirectory(of), Path(folder))
    sys.stdout.write(json.dumps(facts))


if __name__ == "__main__":
    main()
