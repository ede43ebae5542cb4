"""Memory is that of a tile, and what the plan promises, whatever the size of the scene."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from hsistream.events import Event, StageFinished
from hsistream.execution import Execution
from hsistream.pipeline import run
from hsistream.presets import PRESETS
from hsistream.runs import RunDirectory
from hsistream.scene.crops import open_crops
from hsistream.scene.ingest import ingest
from hsistream.scene.scene import Scene
from hsistream.scene.synthetic import SyntheticFrame
from hsistream.stages import train
from tests.integration.commands import process, start
from tests.laws.endless import asked, full_counts, repeated
from tests.laws.requests import tiny, tiny_options
from tests.strategies import array_source, whole

SHAPES = {"small": (2048, 512), "long": (8192, 512)}
"""Both are larger than the tiles in work at once."""

OPTIONS = ("--tile", 256, "--threads", 2)

GROWTH = 1.1
"""Peak on the long scene over that on the small one, which has a quarter of its pixels."""
LOOSENESS = 2.0
"""Promised peak over measured peak, at most."""

INTERVAL_S = 0.02

SIDES_PX = (512, 2048, 8192)
BANDS = 301
TRAINING_STEPS = 30
TRAINING_GROWTH = 1.05
"""Largest peak of a training over the smallest, on scenes of these sides."""

pytestmark = pytest.mark.slow


class StoppedError(Exception):
    """The statistics are done."""


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Scene]:
    folder = tmp_path_factory.mktemp("scenes")
    return {
        name: ingest([SyntheticFrame(0, shape, bands=60, classes=6)], folder / f"{name}.zarr")
        for name, shape in SHAPES.items()
    }


Peak = Callable[[str, str, str], int]
"""Takes method, scene and scheduler, and gives the peak bytes of the process tree."""


@pytest.fixture(scope="module")
def peak(scenes: dict[str, Scene], tmp_path_factory: pytest.TempPathFactory) -> Peak:
    folder, known = tmp_path_factory.mktemp("runs"), dict[tuple[str, str, str], int]()

    def of(method: str, name: str, scheduler: str) -> int:
        key = (method, name, scheduler)
        if key not in known:
            known[key] = _peak_of(scenes[name], folder / "-".join(key), method, scheduler)
        return known[key]

    return of


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("method", "scheduler"),
    [
        ("consensus", "none"),
        ("consensus", "local:2"),
        ("dgc", "none"),
        ("diffcrn", "none"),
        ("spectraldiff", "none"),
    ],
)
def test_memory_does_not_grow_with_the_scene(peak: Peak, method: str, scheduler: str) -> None:
    small, long = (peak(method, name, scheduler) for name in ("small", "long"))
    assert long <= GROWTH * small, (long, small)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("method", "name", "scheduler"),
    [
        *(("consensus", name, each) for name in SHAPES for each in ("none", "local:2")),
        ("dgc", "small", "local:2"),
        ("dgc", "long", "none"),
        *((method, "small", "none") for method in PRESETS if method != "consensus"),
    ],
)
def test_the_plan_holds_and_is_not_loose(
    scenes: dict[str, Scene], peak: Peak, method: str, name: str, scheduler: str
) -> None:
    options = (*tiny_options(method, clusters=6), *OPTIONS, "--scheduler", scheduler)
    promised = process("plan", scenes[name].uri, *options, "--no-time", "--json").json["peak_bytes"]
    measured = peak(method, name, scheduler)
    assert measured <= promised <= LOOSENESS * measured, (promised, measured)


# Trainings


@pytest.fixture(scope="module")
def endless(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Scene]:
    """One frame of 301 bands that looks the same everywhere, by its side in px."""
    folder = tmp_path_factory.mktemp("endless")
    frame = SyntheticFrame(0, (320, 320), bands=BANDS, classes=4)
    source = array_source(frame.read(whole(frame.shape)), "frame")  # without a corner of no data
    pattern = ingest([source], folder / "pattern.zarr")
    return {
        side_px: repeated(pattern, folder / f"{side_px}.zarr", side_px) if side_px else pattern
        for side_px in (0, *SIDES_PX)
    }


@pytest.fixture(scope="module")
def measured(endless: dict[int, Scene], tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """A run on the pattern that has its statistics."""

    def listen(event: Event) -> None:
        if isinstance(event, StageFinished):
            raise StoppedError

    target = RunDirectory(tmp_path_factory.mktemp("measured") / "run")
    with suppress(StoppedError):
        run(endless[0], tiny("dgc"), target.path, execution=Execution(threads=2), notify=listen)
    return target


@pytest.mark.timeout(1800)
def test_the_memory_of_a_training_does_not_depend_on_the_scene(
    endless: dict[int, Scene], measured: RunDirectory, tmp_path: Path
) -> None:
    found = {
        side_px: _trained(endless[side_px], measured, tmp_path / str(side_px))
        for side_px in SIDES_PX
    }
    peaks = [facts["peak_bytes"] for facts in found.values()]
    assert max(peaks) <= TRAINING_GROWTH * min(peaks), found
    for facts in found.values():
        assert facts["peak_bytes"] - facts["library_bytes"] <= facts["promised_bytes"], found


@pytest.mark.parametrize("amplification", [1.0, 0.5])
def test_a_training_reads_no_more_of_a_large_scene_than_it_is_asked_to(
    endless: dict[int, Scene], amplification: float
) -> None:
    scene, config = endless[max(SIDES_PX)], asked(240, amplification)
    stream = open_crops(scene, train._crops(config), full_counts(scene))
    assert sum(len(batch) for batch in stream.batches()) == 240 * config.training.pairs
    assert 0.5 * amplification <= stream.counters.amplification <= 1.1 * amplification


def _trained(scene: Scene, statistics_of: RunDirectory, folder: Path) -> dict[str, Any]:
    """Train in a process of its own, and tell what it took."""
    words = [scene.uri, str(statistics_of.path), str(folder), str(TRAINING_STEPS), "1.0"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.laws.endless", *words],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    facts: dict[str, Any] = json.loads(done.stdout)
    return facts


def _peak_of(scene: Scene, run: Path, method: str, scheduler: str) -> int:
    """Cluster in a process of its own and watch it and its children."""
    options = (*tiny_options(method, clusters=6), *OPTIONS, "--scheduler", scheduler)
    words = ("cluster", scene.uri, "--run", run, *options, "--progress", "none")
    running, peak = start(*words), 0
    watched = psutil.Process(running.pid)
    while running.poll() is None:
        peak = max(peak, _resident(watched))
        with suppress(psutil.TimeoutExpired):
            watched.wait(INTERVAL_S)
    _, err = running.communicate()
    assert running.returncode == 0, err
    return peak


def _resident(process: psutil.Process, parent: tuple[str, ...] = ()) -> int:
    """Resident bytes of a process and its children.

    A child with the words of its parent is being forked: its pages are the parent's.
    """
    try:
        words = tuple(process.cmdline())
        if words == parent:
            return 0
        return int(process.memory_info().rss) + sum(
            _resident(child, words) for child in process.children()
        )
    except psutil.Error:
        return 0
