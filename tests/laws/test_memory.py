"""Memory is that of a tile, and what the plan promises, whatever the size of the scene."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from hsistream.scene.ingest import ingest
from hsistream.scene.scene import Scene
from hsistream.scene.synthetic import SyntheticFrame
from tests.integration.commands import process, start

SHAPES = {"small": (2048, 512), "long": (8192, 512)}
"""Both are larger than the tiles in work at once."""

OPTIONS = ("--clusters", 6, "--tile", 256, "--threads", 2)

GROWTH = 1.1
"""Peak on the long scene over that on the small one, which has a quarter of its pixels."""
LOOSENESS = 2.0
"""Promised peak over measured peak, at most."""

INTERVAL_S = 0.02

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Scene]:
    folder = tmp_path_factory.mktemp("scenes")
    return {
        name: ingest([SyntheticFrame(0, shape, bands=60, classes=6)], folder / f"{name}.zarr")
        for name, shape in SHAPES.items()
    }


@pytest.fixture(scope="module")
def peaks(
    scenes: dict[str, Scene], tmp_path_factory: pytest.TempPathFactory
) -> dict[tuple[str, str], int]:
    """Peak bytes of the process tree by scene and scheduler."""
    folder = tmp_path_factory.mktemp("runs")
    return {
        (name, scheduler): _peak_of(scene, folder / f"{name}-{scheduler}", scheduler)
        for name, scene in scenes.items()
        for scheduler in ("none", "local:2")
    }


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("scheduler", ["none", "local:2"])
def test_memory_does_not_grow_with_the_scene(
    peaks: dict[tuple[str, str], int], scheduler: str
) -> None:
    assert peaks["long", scheduler] <= GROWTH * peaks["small", scheduler], peaks


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("scheduler", ["none", "local:2"])
@pytest.mark.parametrize("name", SHAPES)
def test_the_plan_holds_and_is_not_loose(
    scenes: dict[str, Scene], peaks: dict[tuple[str, str], int], name: str, scheduler: str
) -> None:
    asked = ("plan", scenes[name].uri, *OPTIONS[:4], "--scheduler", scheduler, "--json")
    promised = process(*asked, "--threads", 2).json["peak_bytes"]
    measured = peaks[name, scheduler]
    assert measured <= promised <= LOOSENESS * measured, (promised, measured)


def _peak_of(scene: Scene, run: Path, scheduler: str) -> int:
    """Cluster in a process of its own and watch it and its children."""
    asked = ("cluster", scene.uri, "--run", run, *OPTIONS, "--scheduler", scheduler)
    running, peak = start(*asked, "--progress", "none"), 0
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
