"""The page of a run stands alone."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hsistream.config import RunConfig
from hsistream.execution import Execution
from hsistream.pipeline import run
from hsistream.runs import NO_LABEL, RunDirectory
from hsistream.scene.scene import Scene
from tests.integration.commands import command
from tests.laws.results import layer

LOADED = re.compile(
    r"""<(?:script|link|img|iframe|object|embed|source|use|image)\b[^>]*?"""
    r"""\b(?:src|href|data|srcset|xlink:href)\s*=\s*["']?\s*(?!data:|\#)([^\s"'>]+)""",
    re.IGNORECASE,
)
"""What a browser would fetch."""
IN_STYLE = re.compile(r"@import|url\(\s*['\"]?(?!data:|#)", re.IGNORECASE)
IN_SCRIPT = re.compile(r"\bfetch\(|XMLHttpRequest|\bimport\(|WebSocket|sendBeacon")


@pytest.mark.parametrize(
    ("pattern", "html"),
    [
        (LOADED, '<script src="https://a.b/c.js">'),
        (LOADED, "<link rel=stylesheet href='style.css'>"),
        (LOADED, '<img alt="" src="map.png">'),
        (IN_STYLE, "background: url(map.png)"),
        (IN_SCRIPT, "fetch('x')"),
    ],
)
def test_what_a_browser_would_fetch_is_seen(pattern: re.Pattern[str], html: str) -> None:
    assert pattern.search(html)


def test_the_page_is_one_file_that_loads_nothing(finished: RunDirectory) -> None:
    page = finished.page_path.read_text()
    assert page.lstrip().lower().startswith("<!doctype html>")
    assert page.rstrip().endswith("</html>")
    assert LOADED.findall(page) == []
    assert not IN_STYLE.search(page)
    assert not IN_SCRIPT.search(page)


def test_the_page_tells_of_the_run(finished: RunDirectory, scene: Scene) -> None:
    page = finished.page_path.read_text()
    for frame in scene.frames:
        assert frame.name in page
    assert "consensus" in page
    assert f"{scene.valid_pixels:,}" in page
    assert "clusters = 3" in page


@pytest.fixture
def own_scene_run(scene: Scene, tmp_path: Path) -> tuple[Scene, RunDirectory]:
    """A finished run on a copy of the scene, which a test may change."""
    copied = Scene.open(shutil.copytree(scene.uri, tmp_path / "scene.zarr"))
    config = RunConfig.make(settings=[("cluster.clusters", 3)])
    return copied, run(copied, config, tmp_path / "run", execution=Execution(tile_px=32))


def test_report_reads_no_spectrum(own_scene_run: tuple[Scene, RunDirectory]) -> None:
    scene, done = own_scene_run
    page = done.page_path.read_text()
    for frame in scene.frames:
        shutil.rmtree(Path(scene.uri) / frame.name)
    done.page_path.unlink()
    done.picture_path.unlink()
    outcome = command("report", done.path)
    assert outcome.code == 0, outcome.err
    assert str(done.page_path) in outcome.out
    assert done.picture_path.read_bytes().startswith(b"\x89PNG")
    again = done.page_path.read_text()
    assert again.count("data:image/png;base64,") == page.count("data:image/png;base64,")


def test_report_repeats_its_page_to_the_byte(own_run: RunDirectory) -> None:
    assert command("report", own_run.path).code == 0
    page = own_run.page_path.read_bytes()
    own_run.page_path.write_text("old")
    assert command("report", own_run.path).code == 0
    assert own_run.page_path.read_bytes() == page


def test_scores_stay_on_the_page(own_run: RunDirectory, scene: Scene, tmp_path: Path) -> None:
    maps = layer(own_run, scene)
    named = zip(scene.frames, maps, strict=True)
    truth: dict[str, Any] = {f.name: np.where(m == NO_LABEL, 0, m + 1) for f, m in named}
    np.savez(tmp_path / "truth.npz", **truth)
    assert "Adjusted Rand index" not in own_run.page_path.read_text()
    assert command("evaluate", own_run.path, "--truth", tmp_path / "truth.npz").code == 0
    assert "Adjusted Rand index" in own_run.page_path.read_text()
    assert command("report", own_run.path).code == 0
    assert "Adjusted Rand index" in own_run.page_path.read_text()


# --- networks ------------------------------------------------------------------------------


def networked(scene: Scene, folder: Path, *settings: tuple[str, Any], method: str = "dgc") -> str:
    """The page of a short run with a network."""
    asked = [("cluster.clusters", 3), ("reservoir.pixels", 1000), *settings]
    config = RunConfig.make(method, settings=asked)
    return run(scene, config, folder / "run", execution=Execution(tile_px=32)).page_path.read_text()


@pytest.mark.parametrize("steps", [0, 2])
def test_the_page_tells_of_the_network(scene: Scene, tmp_path: Path, steps: int) -> None:
    page = networked(scene, tmp_path, ("training.steps", steps), ("training.check_every", 1))
    assert "<h2>Training</h2>" in page
    assert ('class="loss"' in page) == bool(steps)
    assert page.count("<figcaption><b>Usage entropy") == bool(steps)
    assert "<h2>Merging</h2>" in page
    assert "cut: 3 clusters" in page
    assert "hsistream relabel run --clusters" in page
    assert page.count('data-layer="prototypes" hidden') == len(scene.frames)
    assert LOADED.findall(page) == []
    assert not IN_STYLE.search(page)
    assert not IN_SCRIPT.search(page)


def test_the_page_of_a_consensus_with_latents_tells_only_of_the_training(
    scene: Scene, tmp_path: Path
) -> None:
    page = networked(scene, tmp_path, ("training.steps", 0), method="consensus-dgc")
    assert "<h2>Training</h2>" in page
    assert "<h2>Merging</h2>" not in page
    assert 'data-shows="prototypes"' not in page


def test_the_page_without_a_network_says_nothing_of_one(finished: RunDirectory) -> None:
    page = finished.page_path.read_text()
    for word in ("<h2>Training</h2>", "<h2>Merging</h2>", "rototype", "relabel"):
        assert word not in page.replace('head = "consensus"', ""), word
