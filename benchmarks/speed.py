"""Time the consensus head against reading its scene: python benchmarks/speed.py [--rows 10000].

Writes a synthetic scene (kept in --folder, and used again), reads and
decompresses it once before and once after a run of the command line, and
prints seconds and peak memory of every stage, the ratio of all passes to as
many readings, and what the plan had promised. All figures are of one machine
in one sitting; the ratio is what can be compared.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import zarr

from hsistream.cli.progress import shown
from hsistream.scene.ingest import ingest
from hsistream.scene.scene import Scene
from hsistream.scene.synthetic import SyntheticFrame
from hsistream.tiles import TileGrid

PASSES = ("statistics", "views", "count", "label")
SCENE_PASSES = 3
"""Passes that read the scene; the last one reads codes."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--columns", type=int, default=2000)
    parser.add_argument("--bands", type=int, default=100)
    parser.add_argument("--clusters", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "hsistream")
    asked = parser.parse_args()
    uri = asked.folder / f"speed-{asked.rows}x{asked.columns}x{asked.bands}.zarr"
    if not uri.exists():
        write(uri, asked)
    before = read_seconds(uri, asked.threads)
    promised = json.loads(command("plan", uri, "--json", *options(asked))[0])
    run = uri.with_suffix(".run")
    shutil.rmtree(run, ignore_errors=True)
    _, peak = command("cluster", uri, "--run", run, "--json", *options(asked))
    after = read_seconds(uri, asked.threads)
    stages = json.loads(command("status", run, "--json")[0])["stages"]
    print(f"{uri.name}: {asked.rows * asked.columns / 1e6:.1f} Mpx, {asked.threads} threads")
    for stage in stages:
        print(
            f"  {stage['stage']:<11} {stage['elapsed_s']:7.1f} s {stage['peak_bytes'] >> 20:6} MiB"
        )
    spent = sum(stage["elapsed_s"] for stage in stages if stage["stage"] in PASSES)
    reading = (before + after) / 2
    readings = SCENE_PASSES * reading
    print(f"  reading once {before:.1f} s before, {after:.1f} s after")
    print(f"  all passes {spent:.1f} s = {spent / readings:.2f} x {SCENE_PASSES} readings")
    print(f"  peak of all processes {peak >> 20} MiB, promised {promised['peak_bytes'] >> 20} MiB")


def options(asked: argparse.Namespace) -> list[str]:
    return ["--clusters", str(asked.clusters), "--threads", str(asked.threads)]


def write(uri: Path, asked: argparse.Namespace) -> None:
    uri.parent.mkdir(parents=True, exist_ok=True)
    shape = (asked.rows, asked.columns)
    frame = SyntheticFrame(shape=shape, bands=asked.bands, classes=asked.clusters, field_px=60)
    with shown("log") as notify:
        ingest([frame], uri, notify=notify)


def read_seconds(uri: Path, threads: int) -> float:
    """Read and decompress all shards once, through zarr."""
    scene = Scene.open(uri)
    array = zarr.open_array(uri, path=f"{scene.frames[0].name}/spectra", mode="r")
    tiles = TileGrid(scene.frames[0].shape, scene.shard_px)
    started = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(lambda tile: array[:, *tile.core].shape, tiles):
            pass
    return time.perf_counter() - started


def command(*arguments: object) -> tuple[str, int]:
    """Run the command line; return its output and the peak memory of its processes."""
    line = [sys.executable, "-m", "hsistream", *map(str, arguments)]
    process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    peak, stop = [0], threading.Event()

    def watch() -> None:
        watched = psutil.Process(process.pid)
        while not stop.wait(0.05):
            try:
                family = [watched, *watched.children(recursive=True)]
                peak[0] = max(peak[0], sum(each.memory_info().rss for each in family))
            except psutil.Error:
                continue

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    output, complaints = process.communicate()
    stop.set()
    if process.returncode:
        sys.exit(f"{' '.join(line)} ended with {process.returncode}: {complaints[-2000:].strip()}")
    return output, peak[0]


if __name__ == "__main__":
    main()
