"""What the commands print, where, and what they load for it."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import rioxarray  # noqa: F401 (gives arrays .rio)

import hsistream as hs
from hsistream.cli import app as cli
from hsistream.runs import LABELS, NO_LABEL, RunDirectory
from hsistream.scene.scene import Scene
from tests.integration.commands import command, process
from tests.laws.results import layer

COMMANDS = (
    "demo",
    "ingest",
    "info",
    "plan",
    "cluster",
    "relabel",
    "predict",
    "status",
    "evaluate",
    "export",
    "report",
    "methods",
)
HEAVY = ("numpy", "zarr", "torch", "xarray", "dask", "distributed", "matplotlib", "sklearn")

STAGES = ("statistics", "views", "codebooks", "count", "cluster", "label", "report")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name: str) -> None:
    outcome = command(name, "--help")
    assert outcome.code == 0
    assert f"hsistream {name}" in outcome.out
    assert outcome.err == ""


def test_the_help_names_every_command() -> None:
    listed = command("--help").out
    assert [name for name in COMMANDS if f"\n  {name}" not in listed] == []


@pytest.mark.parametrize("arguments", [["--help"], ["cluster", "--help"], ["--version"]])
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys\nfrom hsistream.cli.app import app\n"
        f"try: app({arguments!r})\n"
        "except SystemExit as end: assert end.code == 0, end.code\n"
        f"print('loaded:', *sorted(set({HEAVY!r}) & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "loaded:"


def test_the_version_is_that_of_the_package() -> None:
    assert command("--version").out == f"hsistream {hs.__version__}\n"


def test_the_module_is_the_command() -> None:
    assert process("--version") == command("--version")


@pytest.mark.parametrize(
    ("style", "shown"), [("log", True), ("none", False), ("auto", True), ("bar", None)]
)
def test_progress_goes_to_stderr_and_the_result_to_stdout(
    scene: Scene, tmp_path: Path, style: str, shown: bool | None
) -> None:
    asked = ("cluster", scene.uri, "--clusters", 3, "--run", tmp_path, "--json")
    outcome = command(*asked, "--progress", style)
    assert outcome.code == 0
    assert outcome.json["clusters"] == 3
    assert Path(outcome.json["page"]).is_file()
    assert Path(outcome.json["map"]).is_file()
    lines = [f"{stage}: started" in outcome.err for stage in STAGES]
    if shown is None:
        assert all(stage in outcome.err for stage in STAGES)
    else:
        assert set(lines) == {shown}


def test_a_run_without_an_address_lies_beside_its_scene(scene: Scene, tmp_path: Path) -> None:
    copied = shutil.copytree(scene.uri, tmp_path / "field.zarr")
    outcome = command("cluster", copied, "--clusters", 3, "--json", "--progress", "none")
    assert outcome.code == 0
    assert Path(outcome.json["run"]).parent == tmp_path / "field.runs"


def test_results_may_be_asked_for_from_another_folder(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(Path(scene.uri).parent)
    name = Path(scene.uri).name
    assert command("cluster", name, "--clusters", 3, "--run", tmp_path / "run").code == 0
    monkeypatch.chdir(tmp_path)
    assert command("status", "run").code == 0
    outcome = command("report", "run", "--json")
    assert outcome.code == 0
    assert outcome.json["scene"] == scene.uri


def test_info_describes_the_scene(scene: Scene) -> None:
    facts = command("info", scene.uri, "--json").json
    assert facts["identity"] == scene.identity
    assert [frame["name"] for frame in facts["frames"]] == ["frame0", "frame1"]
    assert facts["valid_pixels"] == scene.valid_pixels
    text = command("info", scene.uri).out
    assert scene.identity in text
    assert "50 x 70" in text


def test_plan_says_what_every_stage_needs(scene: Scene) -> None:
    facts = command("plan", scene.uri, "--clusters", 3, "--tile", 32, "--no-time", "--json").json
    assert [stage["stage"] for stage in facts["stages"]] == list(STAGES)
    assert facts["tile_px"] == 32
    assert facts["peak_bytes"] == max(stage["peak_bytes"] for stage in facts["stages"])
    text = command("plan", scene.uri, "--clusters", 3, "--no-time").out
    assert all(stage in text for stage in STAGES)
    assert "-" in next(line for line in text.splitlines() if line.startswith("codebooks")).split()


def test_plan_ends_with_4_if_the_run_would_not_fit(scene: Scene) -> None:
    outcome = command("plan", scene.uri, "--memory", "10 MiB", "--json")
    assert "Stage" in outcome.refusal(4)
    assert outcome.json["limit_bytes"] == 10 * 2**20


def test_methods_are_listed() -> None:
    text = command("methods").out
    assert "consensus" in text
    assert "kmeans" in text


def test_settings_that_follow_from_others_are_comments() -> None:
    lines = command("methods", "--method", "dgc").out.splitlines()
    assert "# clusters is not set" in lines
    assert any(line.startswith("# prototypes = ") for line in lines)


@pytest.mark.parametrize("method", ["consensus", "kmeans"])
def test_printed_settings_are_a_configuration(scene: Scene, tmp_path: Path, method: str) -> None:
    text = command("methods", "--settings", "--method", method).out
    assert tomllib.loads(text)["method"] == method
    (tmp_path / "settings.toml").write_text(text)
    asked = ("cluster", scene.uri, "--config", tmp_path / "settings.toml", "--clusters", 3)
    assert command(*asked, "--run", tmp_path / "run").code == 0
    written = RunDirectory(tmp_path / "run").config()
    assert written.method == method
    assert written.kmeans == (method == "kmeans")


def test_single_settings_win_over_the_file(scene: Scene, tmp_path: Path) -> None:
    (tmp_path / "settings.toml").write_text("seed = 4\n[cluster]\nclusters = 5\nstarts = 3\n")
    asked = ("cluster", scene.uri, "--config", tmp_path / "settings.toml", "--clusters", 4)
    assert command(*asked, "--set", "cluster.clusters=3", "--run", tmp_path / "run").code == 0
    config = RunDirectory(tmp_path / "run").config()
    assert (config.seed, config.cluster.clusters, config.cluster.starts) == (4, 3, 3)


def test_several_files_become_frames_of_one_scene(data_folder: Path, tmp_path: Path) -> None:
    names = ["abu-airport-1", "abu-airport-2", "abu-airport-3"]
    files = [data_folder / f"{name}.npz" for name in names]
    outcome = command("ingest", *files, tmp_path / "scene.zarr", "--json", "--progress", "none")
    assert outcome.code == 0
    assert [frame["name"] for frame in outcome.json["frames"]] == names
    assert outcome.json["bands"] == 205
    scene = Scene.open(tmp_path / "scene.zarr")
    window = (slice(20, 40), slice(60, 100))
    with np.load(files[1]) as cube:
        stored = scene.read(1, window)
        np.testing.assert_array_equal(stored, cube["cube"][window].transpose(2, 0, 1))


def test_status_tells_of_every_stage(finished: RunDirectory) -> None:
    outcome = command("status", finished.path, "--json")
    assert outcome.code == 0
    assert outcome.json["done"] is True
    assert [stage["stage"] for stage in outcome.json["stages"]] == list(STAGES)
    text = command("status", finished.path).out
    assert all(f"{stage} " in text for stage in STAGES)


def test_export_writes_one_placed_map_per_frame(
    finished: RunDirectory, scene: Scene, tmp_path: Path
) -> None:
    outcome = command("export", finished.path, tmp_path / "maps")
    assert outcome.code == 0
    paths = [Path(line) for line in outcome.out.splitlines()]
    assert [path.name for path in paths] == ["frame0.tif", "frame1.tif"]
    for path, frame, labels in zip(paths, scene.frames, layer(finished, scene), strict=True):
        with rasterio.open(path) as file:
            np.testing.assert_array_equal(file.read(1), labels)
            assert frame.georeference is not None
            assert file.transform[:6] == frame.georeference.transform
            assert file.crs.to_epsg() == 32633
            assert file.nodata == NO_LABEL


def test_results_open_in_xarray(finished: RunDirectory, scene: Scene) -> None:
    for frame, labels in zip(scene.frames, layer(finished, scene), strict=True):
        found = hs.RunDirectory(finished.path).open(LABELS, frame.name)
        assert found.dims == ("y", "x")
        np.testing.assert_array_equal(found.to_numpy(), labels)
        np.testing.assert_allclose(np.diff(found["x"]), 5.0)
        assert found.rio.crs.to_epsg() == 32633
        confidence = hs.RunDirectory(finished.path).open("confidence", frame.name).to_numpy()
        np.testing.assert_array_equal(np.isnan(confidence), labels == NO_LABEL)
        known = confidence[labels != NO_LABEL]
        assert 0 <= known.min() < known.max() <= 1


def test_the_demonstration_finds_the_materials(tmp_path: Path) -> None:
    outcome = command("demo", tmp_path, "--progress", "none")
    assert outcome.code == 0
    scores = json.loads(RunDirectory(tmp_path / "run").scores_path.read_text())
    assert scores["ari"] >= 0.9
    assert f"{scores['ari']:.4f}" in outcome.out
    assert command("status", tmp_path / "run").code == 0

    again = command("demo", tmp_path, "--progress", "log")
    assert again.code == 0
    assert again.err.count("done before") == len(STAGES)


def test_a_truth_with_the_names_of_the_frames_is_scored(
    own_run: RunDirectory, scene: Scene, tmp_path: Path
) -> None:
    maps = layer(own_run, scene)
    named = zip(scene.frames, maps, strict=True)
    truth: dict[str, Any] = {f.name: np.where(m == NO_LABEL, 0, m + 1) for f, m in named}
    np.savez(tmp_path / "truth.npz", **truth)
    facts = command("evaluate", own_run.path, "--truth", tmp_path / "truth.npz", "--json").json
    assert facts["ari"] == 1
    assert facts["oa"] == 1
    assert facts["pixels"] == scene.valid_pixels


def test_who_interrupts_again_does_not_wait_for_the_tiles_in_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupted() -> None:
        raise SystemExit(130)

    settled: list[tuple[object, ...]] = []
    monkeypatch.setattr(cli, "app", interrupted)
    monkeypatch.setattr(signal, "signal", lambda *how: settled.append(how))
    with pytest.raises(SystemExit):
        cli.main()
    assert settled == [(signal.SIGINT, signal.SIG_DFL)]
