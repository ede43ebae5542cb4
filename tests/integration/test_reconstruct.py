"""The picture of what a diffusion model has learnt."""

from __future__ import annotations

from pathlib import Path

import pytest

from hsistream import reconstruction
from hsistream.scene.scene import Scene
from tests.integration.commands import QUIET, command


def test_a_run_of_a_diffusion_model_gives_a_picture(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconstruction, "SIDE_PX", 8)
    settings = ("--set", "training.steps=2", "--set", "training.check_every=2")
    asked = ("--method", "spectraldiff", "--clusters", 3, "--run", tmp_path / "run")
    assert command("cluster", scene.uri, *asked, *settings, *QUIET).code == 0
    outcome = command("reconstruct", tmp_path / "run", *QUIET)
    assert outcome.code == 0, outcome.err
    picture = Path(outcome.out.strip())
    assert picture == tmp_path / "run" / "report" / "reconstruct.png"
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_run_without_such_a_network_is_refused(scene: Scene, tmp_path: Path) -> None:
    asked = ("--method", "kmeans", "--clusters", 3, "--run", tmp_path / "run")
    assert command("cluster", scene.uri, *asked, *QUIET).code == 0
    told = command("reconstruct", tmp_path / "run", *QUIET).refusal(2)
    assert "reconstruct needs a run of a diffusion model" in told
    assert "--method spectraldiff" in told
