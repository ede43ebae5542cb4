"""Time and memory of training and encoding: python benchmarks/networks.py [step] [encode] [memory].

``step`` times training steps of dgc (two pairs, 301 bands, two threads) on the
leaf phantom. ``encode`` takes the processor seconds of the stages that follow
on synthetic megapixels of 301 bands with one thread, without reading spectra.
``memory`` trains on sparse scenes of 512 and of 8,192 px and compares the peak
of the resident memory. Each line says what was measured; nothing is asserted.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

import hsistream as hs
from hsistream.events import Event, Progress
from hsistream.execution import Execution
from hsistream.scene.layout import choose_storage, create_frame
from hsistream.scene.leaf_phantom import leaf_frames
from hsistream.scene.scene import SPECTRA, VALID, Frame, root_attributes
from hsistream.scene.source import FrameHeader
from hsistream.scene.synthetic import SyntheticFrame
from hsistream.stages import assign as assign_stage
from hsistream.stages import encode as encode_stage
from hsistream.stages import lookup as lookup_stage
from hsistream.stores import arrays
from hsistream.tiles import TileGrid

BANDS = 301
PUBLISHED_S_PER_PAIR = 5.2 / 4
"""Seconds per crop pair of the authors' program on such a machine, at four pairs a step."""

MIB = 2**20

TASKS = ((encode_stage, "encode_tile"), (assign_stage, "assign_tile"), (lookup_stage, "label_tile"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", default=["step", "encode", "memory"])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--train-only", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.train_only:
        print(json.dumps({"peak_bytes": train_peak(Path(asked.train_only))}))
        return
    with tempfile.TemporaryDirectory() as scratch:
        for part in asked.parts:
            {"step": step, "encode": encode, "memory": memory}[part](Path(scratch), asked.repeats)


def step(folder: Path, repeats: int) -> None:
    scene = hs.ingest(leaf_frames(6), folder / "leaves.zarr")
    for number in range(repeats):
        marks: list[float] = []

        def listen(event: Event, marks: list[float] = marks) -> None:
            if isinstance(event, Progress) and event.stage == "train":
                marks.append(time.monotonic())

        settings = [("cluster.clusters", 4), ("seed", number), ("statistics.by", "frame")]
        settings += [("training.steps", 120), ("training.check_every", 1000)]
        config = hs.RunConfig.make("dgc", settings=settings)
        hs.run(
            scene, config, folder / f"step-{number}", execution=Execution(threads=2), notify=listen
        )
        seconds = np.diff(marks)[10:-2]
        per_pair = float(np.median(seconds)) / 2
        print(
            f"step: median {1e3 * 2 * per_pair:.0f} ms, 10 % {1e3 * np.quantile(seconds, 0.1):.0f}"
            f", 90 % {1e3 * np.quantile(seconds, 0.9):.0f}; per pair {1e3 * per_pair:.0f} ms, "
            f"{PUBLISHED_S_PER_PAIR / per_pair:.0f} times the published program",
            flush=True,
        )


def encode(folder: Path, repeats: int) -> None:
    frames = [SyntheticFrame(number, (1024, 1024), bands=BANDS, classes=6) for number in range(4)]
    scene = hs.ingest(frames, folder / "mpx.zarr")
    for number in range(repeats):
        settings = [("cluster.clusters", 6), ("seed", number), ("training.steps", 4)]
        config = hs.RunConfig.make("dgc", settings=settings)
        reading, spent = list[float](), {task: list[float]() for _, task in TASKS}
        with ExitStack() as patches:
            patches.enter_context(patch.object(hs.Scene, "read", clocked(hs.Scene.read, reading)))
            for place, task in TASKS:
                timed = clocked(getattr(place, task), spent[task], reading)
                patches.enter_context(patch.object(place, task, timed))
            hs.run(scene, config, folder / f"mpx-{number}", execution=Execution(threads=1))
        # the first tile of a process loads compiled code as well; the others are what grows
        medians = {task: float(np.median(each)) / 1.048576 for task, each in spent.items()}
        parts = ", ".join(f"{task} {seconds:.2f}" for task, seconds in medians.items())
        print(f"encode: processor s per Mpx: {parts}; sum {sum(medians.values()):.2f}", flush=True)


def clocked(
    function: Callable[..., Any], spent: list[float], without: Sequence[float] = ()
) -> Callable[..., Any]:
    """Append the processor seconds of every call to ``spent``, less what ``without`` grew by."""

    def timed(*values: Any, **settings: Any) -> Any:
        began, before = time.process_time(), sum(without)
        found = function(*values, **settings)
        spent.append(time.process_time() - began - (sum(without) - before))
        return found

    return timed


def memory(folder: Path, repeats: int) -> None:
    for side in (512, 8192):
        path = folder / f"sparse-{side}.zarr"
        write_sparse(path, side)
        for _ in range(repeats):
            command = [sys.executable, __file__, "--train-only", str(path)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            peak = json.loads(done.stdout.splitlines()[-1])["peak_bytes"]
            print(f"memory: {side} px: peak while training {peak / MIB:.0f} MiB", flush=True)


def write_sparse(path: Path, side: int) -> None:
    """Write a scene of blocks of constant spectra, which takes hardly any disk."""
    header = FrameHeader("frame0", (side, side), BANDS, np.dtype(np.uint16))
    chunk_px, shard_px = choose_storage(header, [header.shape])
    frame = Frame("frame0", header.shape, side * side, 1.0)
    scene = hs.Scene(
        str(path), f"sparse-{side}", (frame,), BANDS, "uint16", (True,) * BANDS, (), (),
        chunk_px, shard_px, None,
    )  # fmt: skip
    root = arrays.create_group(str(path), root_attributes(scene))
    create_frame(root, header, header, chunk_px, shard_px)
    spectra = np.random.default_rng(0).integers(500, 4000, (12, BANDS, 1, 1)).astype(np.uint16)
    ramp = np.arange(shard_px, dtype=np.uint16) // 32
    for tile in TileGrid(header.shape, shard_px):
        values = spectra[(tile.row * 5 + tile.column) % 12] + ramp[:, None] + 3 * ramp[None, :]
        rows, columns = (edge.stop - edge.start for edge in tile.core)
        arrays.write(
            str(path), f"frame0/{SPECTRA}", (slice(None), *tile.core), values[:, :rows, :columns]
        )
        arrays.write(str(path), f"frame0/{VALID}", tile.core, np.ones((rows, columns), np.bool_))


def train_peak(path: Path) -> int:
    """Train a few steps in this process and give its peak; statistics come from a corner."""
    import resource

    from hsistream.events import ignore
    from hsistream.methods import load_method
    from hsistream.methods.base import Material, Probe, Reservoir, Standard, Work
    from hsistream.scene.crops import CropSettings, open_crops

    scene = hs.Scene.open(path)
    chunks = -(-scene.longest_side // scene.chunk_px)
    counts = [np.full((chunks, chunks), scene.chunk_px**2, np.int32)]
    corner = scene.read(0, (slice(0, 256), slice(0, 256))).reshape(BANDS, -1)[:, ::3]
    wide = corner.astype(np.float64)
    mean, scale = wide.mean(axis=1), 1 / np.maximum(wide.std(axis=1), 1)
    directions = np.linalg.qr(np.random.default_rng(0).standard_normal((BANDS, 32)))[0]
    standard = Standard(
        np.ones(BANDS, np.bool_), "none", (), np.zeros(1, np.int64), mean[None], scale[None],
        wide.min(axis=1)[None], wide.max(axis=1)[None], directions, np.ones(32),
    )  # fmt: skip
    del wide
    stream = open_crops(scene, CropSettings(0, 60, 2), counts)
    pairs = [batch[0] for batch in open_crops(scene, CropSettings(1, 4, 1), counts).batches()]
    material = Material(
        standard,
        Reservoir(np.ascontiguousarray(corner.T), np.zeros(corner.shape[1], np.int64)),
        Probe([pair.first for pair in pairs], [0] * len(pairs)),
        stream.batches,
        lambda numbers, reach: np.zeros(0),
    )
    config = hs.RunConfig.make("dgc", settings=[("cluster.clusters", 4), ("training.steps", 60)])
    method = load_method("dgc")
    with tempfile.TemporaryDirectory() as scratch:
        work = Work(Path(scratch), "benchmark", 2, "cpu", ignore)
        method.train(config.encoder, config.training, 0, material, work)
    print(f"amplification {stream.counters.amplification:.3f}")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main()
