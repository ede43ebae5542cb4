"""The demonstration: a synthetic scene of three frames, from nothing to a score."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hsistream.config import RunConfig
from hsistream.evaluation import evaluate
from hsistream.events import Notify, ignore
from hsistream.execution import Execution
from hsistream.pipeline import run
from hsistream.report.scores import Scores
from hsistream.runs import RunDirectory
from hsistream.scene.ingest import IngestOptions, ingest
from hsistream.scene.scene import Scene
from hsistream.scene.synthetic import SyntheticFrame, synthetic_frames

CLASSES = 6
SHAPE = (240, 320)


def make_scene(folder: Path, notify: Notify = ignore) -> tuple[Scene, list[SyntheticFrame]]:
    """Write ``scene.zarr``, and ``truth.npz`` beside it, to a folder."""
    frames = synthetic_frames(3, SHAPE, classes=CLASSES)
    scene = ingest(frames, folder / "scene.zarr", IngestOptions(overwrite=True), notify)
    truth = {frame.header.name: frame.truth() for frame in frames}
    np.savez_compressed(folder / "truth.npz", **truth)  # type: ignore[arg-type]
    return scene, frames


def run_demo(folder: Path, notify: Notify = ignore) -> tuple[RunDirectory, Scores]:
    """Make the scene, cluster it without labels, then score it with them."""
    scene, frames = make_scene(folder, notify)
    config = RunConfig.make(settings=[("cluster.clusters", CLASSES)])
    done = run(scene, config, folder / "run", execution=Execution(), notify=notify)
    scores = evaluate(done.path, {frame.header.name: frame.truth() for frame in frames})
    return done, scores
