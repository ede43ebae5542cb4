"""A run with superpixels tells how often labels change at the seams between them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from hsistream.runs import NO_LABEL, RunDirectory
from hsistream.scene.scene import Scene
from hsistream.stages.labelling import SEAMS, TABLE
from hsistream.stores.tables import read_table, write_table
from tests.integration.commands import QUIET, Outcome, command
from tests.laws.results import layer

SEGMENT_PX = 32


def cluster(scene: Scene, folder: Path, *more: object) -> Outcome:
    asked = ("--method", "s2dl", "--clusters", 3, "--run", folder / "run", *more)
    return command("cluster", scene.uri, *asked, "--json", *QUIET)


@pytest.fixture(scope="module", params=["diffusion", "joint"])
def told(
    request: pytest.FixtureRequest, scene: Scene, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """What a run in segmentation tiles says of itself; never to be changed."""
    folder = tmp_path_factory.mktemp("seams")
    settings = ("--set", f"cluster.head={request.param}", "--set", f"segment.tile_px={SEGMENT_PX}")
    outcome = cluster(scene, folder, *settings, "--tile", 16)
    assert outcome.code == 0, outcome.err
    return dict(outcome.json)


def rates(frames: list[NDArray[Any]]) -> tuple[float, float]:
    """Share of changed neighbours at seams and elsewhere, of the frames that have seams."""
    known, changed, seam = [], [], []
    for labels in frames:
        for axis in (0, 1):
            moved = np.moveaxis(labels, axis, 0).astype(int)
            known.append(((moved[1:] != NO_LABEL) & (moved[:-1] != NO_LABEL)).ravel())
            changed.append((np.diff(moved, axis=0) != 0).ravel())
            at = np.arange(1, len(moved)) % SEGMENT_PX == 0
            seam.append(np.repeat(at, moved.shape[1]))
    all_known, all_changed, all_seam = map(np.concatenate, (known, changed, seam))
    return (
        float(all_changed[all_known & all_seam].mean()),
        float(all_changed[all_known & ~all_seam].mean()),
    )


def test_rates_are_those_of_the_labels(scene: Scene, told: dict[str, Any]) -> None:
    seam_rate, inner_rate = rates(layer(RunDirectory(told["run"]), scene))
    found = told["seams"]
    assert found["tile_px"] == SEGMENT_PX
    assert found["seam_rate"] == pytest.approx(seam_rate, rel=1e-12)
    assert found["inner_rate"] == pytest.approx(inner_rate, rel=1e-12)
    assert found["ratio"] == pytest.approx(seam_rate / inner_rate, rel=1e-12)
    assert f"at the edges of tiles of {SEGMENT_PX} px" in Path(told["page"]).read_text()


@pytest.mark.parametrize(("changes", "is_told"), [(20, True), (10, False)])
def test_only_a_notable_ratio_is_printed(
    told: dict[str, Any], tmp_path: Path, changes: int, is_told: bool
) -> None:
    run = RunDirectory(shutil.copytree(told["run"], tmp_path / "run"))
    table = read_table(run.table(TABLE))
    write_table(run.table(TABLE), {**table, SEAMS: np.array([100, changes, 1000, 100])})
    outcome = command("report", run.path)
    assert outcome.code == 0, outcome.err
    assert ("2.00 times as often" in outcome.out) == is_told
    assert f"labels of {changes}.0% of all neighbours" in run.page_path.read_text()


def test_a_run_without_seams_says_nothing(scene: Scene, tmp_path: Path) -> None:
    outcome = cluster(scene, tmp_path, "--set", "cluster.head=diffusion")
    assert outcome.json["seams"] is None
    assert "edges of tiles" not in Path(outcome.json["page"]).read_text()
    printed = command("report", tmp_path / "run")
    assert "edges of tiles" not in printed.out
