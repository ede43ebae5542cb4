"""Show how runs grow with their scene: python benchmarks/scale.py [--frames 1 4 16 64].

Writes painted scenes of known truth (kept in --folder, and used again), runs the
command line on each, and prints one line per scene and method: size, superpixels
and nodes, seconds, peak memory of all processes and what the plan had promised,
agreement with the truth over all pixels and over the first frame, which is the
same in all scenes, and seconds and MiB of every stage. At the end stand peak and
processor seconds per pixel of every method as ratios to those of its smallest
scene. Layouts are real where HSISTREAM_DATA names the folder of the scenes, and
synthetic otherwise. Without a method, scenes are written and nothing else.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from painted import MATERIALS, PaintedFrame, labels_folder, painted_frames
from speed import command
from threadpoolctl import threadpool_limits

from hsistream.cli.progress import shown
from hsistream.report.scores import Contingency, score_table
from hsistream.runs import LABELS, RunDirectory
from hsistream.scene.ingest import ingest
from hsistream.stores.raster import RasterStore
from hsistream.stores.tables import read_table
from hsistream.tiles import TileGrid

SCENES = Path(tempfile.gettempdir()) / "hsistream-scale"
TILE_PX = 1024
REGIONS = "regions"
"""Table of the runs that have superpixels."""

HEADER = (
    "method           frames    Mpx  superpx    nodes  total s  processor s  peak MiB  promised"
    "    ARI  frame0  stage s/MiB"
)


@dataclass(frozen=True, slots=True)
class Result:
    """What a run took: all that is printed of it, memory in bytes."""

    method: str
    frames: int
    pixels: int
    superpixels: int
    nodes: int
    elapsed_s: float
    processor_s: float
    peak_bytes: int
    promised_bytes: int
    ari: float
    ari_first: float
    stages: tuple[dict[str, Any], ...]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--method", nargs="*", default=["consensus"])
    parser.add_argument("--side", type=int, default=1000, help="height and width of a frame, px")
    parser.add_argument("--bands", type=int, default=100)
    parser.add_argument("--gain", type=float, default=0.1, help="exposures differ by as much; or 0")
    parser.add_argument("--scene-seed", type=int, default=1)
    parser.add_argument("--clusters", type=int, default=MATERIALS)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--set", nargs="*", default=[], help="settings, section.key=value")
    parser.add_argument("--tile", type=int, help="side of tiles, px; what the memory allows")
    parser.add_argument("--memory", help='limit such as "4 GiB"')
    parser.add_argument("--folder", type=Path, default=SCENES)
    parser.add_argument("--keep", action="store_true", help="keep the runs")
    asked = parser.parse_args()
    scenes = {count: prepare(count, asked) for count in sorted(asked.frames)}
    results: dict[str, list[Result]] = defaultdict(list)
    if asked.method:
        print(HEADER, flush=True)
    for count, uri in scenes.items():
        for method in asked.method:
            try:
                results[method].append(measure(method, count, uri, asked))
            except SystemExit as error:  # one refused run is a result; the others go on
                print(f"{method:<16} {count:6} {error}", flush=True)
            else:
                print(line(results[method][-1]), flush=True)
    for method, found in results.items():
        if len(found) > 1:
            print(growth(method, found))


def frames_of(count: int, asked: argparse.Namespace) -> list[PaintedFrame]:
    shape = (asked.side, asked.side)
    return painted_frames(
        count,
        shape,
        bands=asked.bands,
        gain=asked.gain,
        seed=asked.scene_seed,
        threads=asked.threads,
    )


def prepare(count: int, asked: argparse.Namespace) -> Path:
    """Write a scene unless it is there; its name tells all that determines it."""
    layouts = "real" if labels_folder() else "mosaic"
    size = f"{count}x{asked.side}x{asked.bands}"
    uri = Path(asked.folder) / f"{layouts}-{size}-gain{asked.gain}-seed{asked.scene_seed}.zarr"
    if uri.exists():
        return uri
    uri.parent.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    # one thread in each matrix product: squares are painted side by side
    with shown("log") as notify, threadpool_limits(1):
        ingest(frames_of(count, asked), uri, notify=notify)
    stored = sum(path.stat().st_size for path in uri.rglob("*") if path.is_file())
    raw = 2 * count * asked.side**2 * asked.bands
    spent = time.perf_counter() - started
    print(f"{uri}: written in {spent:.1f} s, {stored / 1e9:.2f} GB of {raw / 1e9:.2f}", flush=True)
    return uri


def measure(method: str, count: int, uri: Path, asked: argparse.Namespace) -> Result:
    run = uri.with_name(f"{uri.stem}-{method}.run")
    shutil.rmtree(run, ignore_errors=True)
    promised = json.loads(command("plan", uri, "--json", *options(method, asked))[0])
    started, before_s = time.perf_counter(), processor_seconds()
    _, peak = command("cluster", uri, "--run", run, "--json", *options(method, asked))
    elapsed_s, processor_s = time.perf_counter() - started, processor_seconds() - before_s
    tables = [contingency(run, frame) for frame in frames_of(count, asked)]
    superpixels, nodes = graph_size(RunDirectory(run))
    result = Result(
        method=method,
        frames=count,
        pixels=count * asked.side**2,
        superpixels=superpixels,
        nodes=nodes,
        elapsed_s=elapsed_s,
        processor_s=processor_s,
        peak_bytes=peak,
        promised_bytes=promised["peak_bytes"],
        ari=score_table(sum(tables, Contingency.empty())).ari,
        ari_first=score_table(tables[0]).ari,
        stages=tuple(json.loads(command("status", run, "--json")[0])["stages"]),
    )
    if not asked.keep:
        shutil.rmtree(run)
    return result


def processor_seconds() -> float:
    """Processor time of all programs that were started and have ended."""
    spent = os.times()
    return spent.children_user + spent.children_system


def options(method: str, asked: argparse.Namespace) -> list[str]:
    """Options that plan and run share."""
    chosen = ["--method", method, "--clusters", str(asked.clusters)]
    chosen += ["--threads", str(asked.threads)]
    chosen += [word for setting in asked.set for word in ("--set", setting)]
    given = {"--tile": asked.tile, "--memory": asked.memory}
    return chosen + [word for name, value in given.items() if value for word in (name, str(value))]


def contingency(run: Path, frame: PaintedFrame) -> Contingency:
    """Count materials against clusters in one frame, tile by tile."""
    store, name = RasterStore(RunDirectory(run).labels_uri), frame.header.name
    table = Contingency.empty()
    for tile in TileGrid(frame.shape, TILE_PX):
        materials = frame.materials(tile.core) + 1
        table += Contingency.from_pixels(materials, store.read(name, LABELS, tile.core))
    return table


def graph_size(run: RunDirectory) -> tuple[int, int]:
    """Count superpixels and nodes; none in a run without them."""
    if not run.table(REGIONS).exists():
        return 0, 0
    regions = read_table(run.table(REGIONS))
    return len(regions["count"]), len(regions["mass"])


def line(of: Result) -> str:
    stages = " ".join(
        f"{stage['stage']} {stage['elapsed_s']:.1f}/{stage['peak_bytes'] >> 20}"
        for stage in of.stages
    )
    return (
        f"{of.method:<16} {of.frames:6} {of.pixels / 1e6:6.1f} {of.superpixels:8} {of.nodes:8} "
        f"{of.elapsed_s:8.1f} {of.processor_s:12.1f} {of.peak_bytes >> 20:9} "
        f"{of.promised_bytes >> 20:9} {of.ari:6.3f} {of.ari_first:7.3f}  {stages}"
    )


def growth(method: str, found: list[Result]) -> str:
    """Compare peaks, and processor seconds per pixel, with those of the smallest scene."""
    first = found[0]
    cells = [
        f"{each.frames} frames {each.peak_bytes / first.peak_bytes:.2f} and "
        f"{each.processor_s / each.pixels * first.pixels / first.processor_s:.2f}"
        for each in found[1:]
    ]
    least = f"{first.frames} frame{'s' if first.frames > 1 else ''}"
    return f"{method}, peak and processor seconds per pixel in those of {least}: {', '.join(cells)}"


if __name__ == "__main__":
    main()
