"""What runs short or gets in the way: the disk, permissions, another process, a key press."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from hsistream import planning
from hsistream.runs import RunDirectory
from hsistream.scene.scene import Scene
from tests.integration.commands import QUIET, command, start
from tests.laws.results import stored_bytes

OPTIONS = ("--clusters", 3, "--tile", 32, *QUIET)
WAIT_S = 120

Mount = Callable[[str], Path]


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Mount]:
    """Mount a small disk in memory with some options; needs root."""
    with ExitStack() as mounted:

        def at(options: str) -> Path:
            place = tmp_path / "disk"
            place.mkdir()
            words = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
            try:
                subprocess.run(words, check=True, capture_output=True)
            except (OSError, subprocess.CalledProcessError) as error:
                pytest.skip(f"a disk cannot be mounted here: {error}")
            mounted.callback(subprocess.run, ["umount", str(place)], check=True)
            return place

        yield at


def _enough_disk(path: Path) -> int:
    return 2**40


@pytest.mark.parametrize("size_kib", [100, 300, 600, 900])
def test_a_disk_that_fills_up_keeps_what_is_finished(
    scene: Scene,
    finished: RunDirectory,
    mount: Mount,
    monkeypatch: pytest.MonkeyPatch,
    size_kib: int,
) -> None:
    disk = mount(f"size={size_kib}k")
    asked = ("cluster", scene.uri, "--run", disk / "run", *OPTIONS)
    monkeypatch.setattr(planning, "_free_disk", _enough_disk)
    assert "is full" in command(*asked).refusal(4)
    assert command("status", disk / "run").code in (1, 3)

    subprocess.run(["mount", "-o", "remount,size=50m", str(disk)], check=True)
    outcome = command(*asked)
    assert outcome.code == 0, outcome.err
    assert stored_bytes(RunDirectory(disk / "run")) == stored_bytes(finished)


def test_a_disk_that_is_too_small_is_refused_before_the_run(scene: Scene, mount: Mount) -> None:
    disk = mount("size=300k")
    sentence = command("cluster", scene.uri, "--run", disk / "run", *OPTIONS).refusal(4)
    assert "of disk" in sentence
    assert not any(disk.iterdir())


def test_a_disk_that_fills_up_leaves_no_scene(tmp_path: Path, mount: Mount) -> None:
    disk = mount("size=200k")
    np.savez(tmp_path / "cube.npz", cube=np.random.default_rng(0).random((90, 90, 8)))
    asked = ("ingest", tmp_path / "cube.npz", disk / "scene.zarr", *QUIET)
    assert "is full" in command(*asked).refusal(4)
    assert not any(disk.iterdir())


def test_a_disk_that_fills_up_leaves_no_map(finished: RunDirectory, mount: Mount) -> None:
    disk = mount("size=8k")
    assert "full" in command("export", finished.path, disk / "maps").refusal(4)
    assert not list(disk.glob("maps/*.tif"))


@pytest.mark.parametrize("name", ["cluster", "ingest", "export"])
def test_a_disk_that_is_read_only_is_named(
    scene: Scene, finished: RunDirectory, tmp_path: Path, mount: Mount, name: str
) -> None:
    disk = mount("size=50m,ro")
    np.savez(tmp_path / "cube.npz", cube=np.random.default_rng(0).random((9, 9, 8)))
    asked: dict[str, tuple[object, ...]] = {
        "cluster": (scene.uri, "--run", disk / "run", *OPTIONS),
        "ingest": (tmp_path / "cube.npz", disk / "scene.zarr", *QUIET),
        "export": (finished.path, disk / "maps"),
    }
    sentence = command(name, *asked[name]).refusal(1)
    assert str(disk) in sentence
    assert "Read-only" in sentence


def test_a_run_whose_disk_became_read_only_is_named(
    scene: Scene, finished: RunDirectory, mount: Mount
) -> None:
    disk = mount("size=50m")
    shutil.copytree(finished.path, disk / "run")
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    assert "Read-only" in command("report", disk / "run").refusal(1)
    assert command("status", disk / "run").code == 0


@pytest.mark.parametrize("name", ["cluster", "export"])
def test_a_place_under_a_file_is_refused(
    scene: Scene, finished: RunDirectory, tmp_path: Path, name: str
) -> None:
    (tmp_path / "file").write_text("mine")
    place = tmp_path / "file" / "place"
    asked: dict[str, tuple[object, ...]] = {
        "cluster": (scene.uri, "--run", place, *OPTIONS),
        "export": (finished.path, place),
    }
    assert str(tmp_path / "file") in command(name, *asked[name]).refusal(1)
    assert (tmp_path / "file").read_text() == "mine"


def test_a_second_run_on_one_directory_is_refused(
    scene: Scene, own_run: RunDirectory, finished: RunDirectory
) -> None:
    with own_run.locked():
        other = start("cluster", scene.uri, "--run", own_run.path, *OPTIONS)
        _, err = other.communicate(timeout=WAIT_S)
    assert other.returncode == 1
    assert err.startswith(f"error: Another process is working in {own_run.path}.")
    assert len(err.splitlines()) == 1
    assert command("cluster", scene.uri, "--run", own_run.path, *OPTIONS).code == 0
    assert stored_bytes(own_run) == stored_bytes(finished)


def test_an_interrupted_command_ends_with_130_and_is_resumed(
    scene: Scene, finished: RunDirectory, tmp_path: Path
) -> None:
    target = RunDirectory(tmp_path / "run")
    asked = ("cluster", scene.uri, "--run", target.path, *OPTIONS)
    running = start(*asked)
    end = time.monotonic() + WAIT_S
    while not any(target.ledger("statistics").glob("*")) and time.monotonic() < end:
        assert running.poll() is None, running.communicate()
        time.sleep(0.002)
    os.kill(running.pid, signal.SIGINT)
    out, err = running.communicate(timeout=WAIT_S)
    assert (running.returncode, out) == (130, "")
    (sentence,) = (line for line in err.splitlines() if not line.startswith("warning: "))
    assert sentence.startswith("error: interrupted")
    assert command("status", target.path).code == 3
    assert command(*asked).code == 0
    assert stored_bytes(target) == stored_bytes(finished)
