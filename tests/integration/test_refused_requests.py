"""Requests that cannot be met end with one sentence and the documented code."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hsistream import planning
from hsistream.runs import RunDirectory
from hsistream.runtime import cluster
from hsistream.scene.scene import Scene
from tests.integration.commands import command

USAGE = [
    ["cluster", "{scene}", "--colour", "red"],
    ["cluster", "{scene}", "--clusters", "0"],
    ["cluster", "{scene}", "--clusters", "many"],
    ["cluster", "{scene}", "--threads", "0"],
    ["cluster", "{scene}", "--seed", "-1"],
    ["cluster", "{scene}", "--device", "tpu"],
    ["cluster", "{scene}", "--statistics", "pixel"],
    ["cluster", "{scene}", "--progress", "loud"],
    ["cluster"],
    ["clutser", "{scene}"],
]
"""Requests that the parser of options refuses in its own words."""


@pytest.mark.parametrize("arguments", USAGE, ids=" ".join)
def test_a_request_that_is_no_command_is_refused(
    scene: Scene, tmp_path: Path, arguments: list[str]
) -> None:
    outcome = command(*(word.format(scene=scene.uri) for word in arguments))
    assert outcome.code == 2
    assert "Error: " in outcome.err
    assert "Traceback" not in outcome.err
    assert outcome.out == ""


SETTINGS = {
    "segment.balance=-1": "segment.balance: ",
    "segment.compactness=2": "segment.compactness is not a known setting",
    "graph.time=abc": "graph.time: Input should be 'settled' or 'central'",
    "clusterz=3": "clusterz is not a known setting",
    "cluster.clusterz=3": "cluster.clusterz is not a known setting",
    "cluster.clusters": "section.key=value",
    "=3": "section.key=value",
    "cluster.clusters=zero": "cluster.clusters",
    "cluster.clusters=0": "cluster.clusters",
    "cluster.clusters=2.5": "cluster.clusters",
    "cluster=3": "cluster",
    "seed=-1": "seed",
    "views.spectral=[]": "views",
    "views.spectral=['q']": "'z', 'l2', 'mnf' or 'latents'",
    "views.spectral=['z', 'z']": "none twice",
    "views.weights={colour=1}": "colour",
    "statistics.by=group": "[statistics.groups]",
    "codebooks.multiples=[]": "multiples",
    "reservoir.pixels=1": "reservoir.pixels",
}


@pytest.mark.parametrize(("setting", "named"), SETTINGS.items())
def test_a_bad_setting_is_refused_by_name(
    scene: Scene, tmp_path: Path, setting: str, named: str
) -> None:
    asked = ("cluster", scene.uri, "--run", tmp_path / "run", "--set", setting)
    assert named in command(*asked).refusal(2)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("method", "setting", "used"),
    [
        ("consensus", "graph.alpha=0.3", False),
        ("s2dl", "graph.alpha=0.3", True),
        ("consensus", "training.steps=9", False),
        ("dgc", "training.steps=9", True),
        ("dgc", "codebooks.draws=3", False),
        ("dgc", "views.spectral=['z']", True),
    ],
)
def test_a_setting_that_the_method_has_no_use_for_is_told(
    scene: Scene, method: str, setting: str, used: bool
) -> None:
    asked = ("plan", scene.uri, "--no-time", "--method", method, "--set", setting)
    outcome = command(*asked)
    assert outcome.code == 0
    assert ("changes nothing" not in outcome.err) is used


OPTIONS = [
    (("--method", "magic"), "ds2dl-paper, kmeans"),
    (("--method", "kmeans"), "--clusters"),
    (("--tile", "4"), "--tile"),
    (("--tile", "-1"), "--tile"),
    (("--memory", "lots"), "lots"),
    (("--memory", "1..5 GiB"), "1..5 GiB"),
    (("--scheduler", "cloud"), "local:N"),
    (("--scheduler", "local:0"), "local:0"),
    (("--scheduler", "carrier://pigeon:1"), "carrier"),
    (("--clusters", "9999"), "9999"),
    (("--seed", "4294967296"), "seed"),
    (("--statistics", "group"), "[statistics.groups]"),
]


@pytest.mark.parametrize(("options", "named"), OPTIONS, ids=lambda value: str(value))
def test_a_bad_option_is_refused_by_name(
    scene: Scene, tmp_path: Path, options: tuple[str, ...], named: str
) -> None:
    asked = ("cluster", scene.uri, "--run", tmp_path / "run", *options)
    assert named in command(*asked).refusal(2)
    assert not (tmp_path / "run").exists()


FILES = {
    "unknown section": (b"[colour]\nred = 1\n", "colour is not a known setting"),
    "unknown key": (b"[cluster]\nclusterz = 1\n", "cluster.clusterz is not a known setting"),
    "too large": (b"[cluster]\nclusters = 4000\n", "cluster.clusters"),
    "unknown method": (b'method = "magic"\n', "magic"),
    "no toml": (b"clusters = [", "is not valid TOML"),
    "no text": (b"\xff\xfe\x00", "is not valid TOML"),
    "groups of other frames": (
        b'[statistics]\nby = "group"\n[statistics.groups]\nnorth = "a"\n',
        "frame0, frame1, north",
    ),
}


@pytest.mark.parametrize(("text", "named"), FILES.values(), ids=FILES)
def test_a_bad_configuration_file_is_refused(
    scene: Scene, tmp_path: Path, text: bytes, named: str
) -> None:
    (tmp_path / "settings.toml").write_bytes(text)
    asked = ("cluster", scene.uri, "--config", tmp_path / "settings.toml")
    assert named in command(*asked, "--run", tmp_path / "run").refusal(2)
    assert not (tmp_path / "run").exists()


def test_a_run_within_its_scene_is_refused(scene: Scene) -> None:
    place = Path(scene.uri) / "run"
    assert "outside of the scene" in command("cluster", scene.uri, "--run", place).refusal(2)
    assert not place.exists()


@pytest.mark.parametrize("name", ["missing.toml", "."])
def test_a_configuration_that_is_no_file_is_refused(
    scene: Scene, tmp_path: Path, name: str
) -> None:
    command("cluster", scene.uri, "--config", tmp_path / name).refusal(2)


Address = Callable[[Path], Path]


def _text(folder: Path) -> Path:
    (folder / "scene.txt").write_text("no scene")
    return folder / "scene.txt"


def _matlab(folder: Path) -> Path:
    (folder / "cube.mat").write_bytes(b"MATLAB 5.0 MAT-file")
    return folder / "cube.mat"


def _folder(folder: Path) -> Path:
    (folder / "empty").mkdir()
    return folder / "empty"


def _foreign(folder: Path) -> Path:
    import zarr

    zarr.open_group(str(folder / "foreign.zarr"), mode="w", zarr_format=3)
    return folder / "foreign.zarr"


NO_SCENES: dict[str, tuple[Address, str]] = {
    "missing": (lambda folder: folder / "none.zarr", "there is none at"),
    "text": (_text, "is a file. Ingest it first"),
    "matlab": (_matlab, "is a file. Ingest it first"),
    "folder": (_folder, "there is none at"),
    "foreign store": (_foreign, "not a scene written by hsistream"),
}


@pytest.mark.parametrize("name", ["cluster", "plan", "info"])
@pytest.mark.parametrize(("make", "named"), NO_SCENES.values(), ids=NO_SCENES)
def test_what_is_no_scene_is_refused(tmp_path: Path, name: str, make: Address, named: str) -> None:
    address = make(tmp_path)
    sentence = command(name, address).refusal(1)
    assert named in sentence
    assert str(address) in sentence


def test_a_real_matlab_file_is_no_scene(data_folder: Path) -> None:
    sentence = command("cluster", data_folder / "native" / "abu-beach-2.mat").refusal(1)
    assert "hsistream ingest" in sentence


@pytest.mark.parametrize("name", ["status", "report", "export", "evaluate"])
def test_what_is_no_run_is_refused(tmp_path: Path, name: str) -> None:
    np.savez(tmp_path / "truth.npz", gt=np.ones((2, 2), int))
    further: dict[str, list[object]] = {
        "export": [tmp_path / "maps"],
        "evaluate": ["--truth", tmp_path / "truth.npz"],
    }
    sentence = command(name, tmp_path, *further.get(name, [])).refusal(1)
    assert f"{tmp_path} is none" in sentence


@pytest.mark.parametrize("place", ["scene", "file", "folder with a file"])
def test_a_run_directory_that_is_something_else_is_refused(
    scene: Scene, tmp_path: Path, place: str
) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    where = {"scene": Path(scene.uri), "file": tmp_path / "notes.txt"}.get(place, tmp_path)
    code = 1 if place == "file" else 2
    sentence = command("cluster", scene.uri, "--clusters", 3, "--run", where).refusal(code)
    assert str(where) in sentence
    assert (tmp_path / "notes.txt").read_text() == "mine"


def _cube(folder: Path) -> Path:
    np.savez(folder / "cube.npz", cube=np.random.default_rng(0).random((6, 7, 5)))
    return folder / "cube.npz"


def _cut(folder: Path) -> Path:
    content = _cube(folder).read_bytes()
    (folder / "cut.npz").write_bytes(content[: len(content) // 2])
    return folder / "cut.npz"


def _flipped(folder: Path) -> Path:
    content = bytearray(_cube(folder).read_bytes())
    content[len(content) // 2] ^= 4
    (folder / "flipped.npz").write_bytes(content)
    return folder / "flipped.npz"


def _noise(folder: Path) -> Path:
    (folder / "noise.mat").write_bytes(np.random.default_rng(0).bytes(500))
    return folder / "noise.mat"


def _empty(folder: Path) -> Path:
    (folder / "empty.npz").touch()
    return folder / "empty.npz"


SOURCES: dict[str, Address] = {
    "missing": lambda folder: folder / "none.npz",
    "cut short": _cut,
    "flipped bit": _flipped,
    "noise": _noise,
    "empty": _empty,
    "text": _text,
    "empty folder": _folder,
}


@pytest.mark.parametrize("make", SOURCES.values(), ids=SOURCES)
def test_a_file_that_cannot_be_read_leaves_no_scene(tmp_path: Path, make: Address) -> None:
    source, target = make(tmp_path), tmp_path / "made" / "scene.zarr"
    assert str(source) in command("ingest", source, target, "--progress", "none").refusal(1)
    assert not target.exists()
    assert not target.parent.exists() or not any(target.parent.iterdir())


INGEST = [
    (("--axes", "yxz"), 2, "--axes"),
    (("--axes", "yx"), 1, "--axes"),
    (("--shape", "3"), 2, "--shape"),
    (("--key", "spectra"), 1, "'spectra'"),
    (("--wavelength-units", "m"), 2, "--wavelength-units"),
    (("--mosaic",), 1, "--mosaic"),
]


@pytest.mark.parametrize(("options", "code", "named"), INGEST, ids=lambda value: str(value))
def test_a_bad_answer_about_a_file_is_refused(
    tmp_path: Path, options: tuple[str, ...], code: int, named: str
) -> None:
    asked = ("ingest", _cube(tmp_path), tmp_path / "scene.zarr", *options)
    assert named in command(*asked).refusal(code)
    assert not (tmp_path / "scene.zarr").exists()


def test_one_path_alone_is_not_enough_to_ingest(tmp_path: Path) -> None:
    sentence = command("ingest", tmp_path / "cube.hdr").refusal(2)
    assert sentence.endswith(f"hsistream ingest {tmp_path / 'cube.hdr'} cube.zarr.")


@pytest.mark.parametrize("options", [(), ("--overwrite",)])
def test_ingest_writes_over_nothing_that_is_no_scene(
    tmp_path: Path, options: tuple[str, ...]
) -> None:
    source, taken = _cube(tmp_path), tmp_path / "taken.zarr"
    taken.write_text("mine")
    assert str(taken) in command("ingest", source, taken, *options).refusal(1)
    assert taken.read_text() == "mine"


def test_a_scene_under_a_file_is_refused(tmp_path: Path) -> None:
    source = _cube(tmp_path)
    assert str(source) in command("ingest", source, source / "scene.zarr").refusal(1)


def test_files_of_other_bands_are_not_one_scene(tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", cube=np.ones((6, 7, 4)))
    asked = ("ingest", _cube(tmp_path), tmp_path / "other.npz", tmp_path / "scene.zarr")
    sentence = command(*asked).refusal(1)
    assert "cube has 5 and other has 4" in sentence


def test_a_second_scene_needs_overwrite(tmp_path: Path) -> None:
    asked = ("ingest", _cube(tmp_path), tmp_path / "scene.zarr", "--progress", "none")
    assert command(*asked).code == 0
    assert "--overwrite" in command(*asked).refusal(1)
    assert command(*asked, "--overwrite").code == 0


def test_a_truth_of_another_size_is_refused(
    finished: RunDirectory, scene: Scene, tmp_path: Path
) -> None:
    np.savez(tmp_path / "truth.npz", frame0=np.ones((50, 69), int), frame1=np.ones((33, 48), int))
    sentence = command("evaluate", finished.path, "--truth", tmp_path / "truth.npz").refusal(2)
    assert "50 x 70 px (y, x), but is 50 x 69" in sentence


def test_a_sentence_that_asks_ends_with_its_question(
    finished: RunDirectory, tmp_path: Path
) -> None:
    np.savez(tmp_path / "truth.npz", frame0=np.ones((70, 50), int))
    outcome = command("evaluate", finished.path, "--truth", tmp_path / "truth.npz")
    assert outcome.code == 2
    assert outcome.err.endswith("but is 70 x 50. Is it transposed?\n")


TRUTHS = {
    "no frame of that name": ({"gt": np.ones((50, 70), int)}, (), 2, "frame0, frame1"),
    "unknown frame": ({"gt": np.ones((50, 70), int)}, ("--frame", "north"), 1, "'north'"),
    "unknown key": ({"gt": np.ones((50, 70), int)}, ("--key", "labels"), 1, "'labels'"),
    "nothing labelled": ({"frame0": np.zeros((50, 70), int)}, (), 1, "0 everywhere"),
    "fractions": ({"frame0": np.full((50, 70), 0.5)}, (), 1, "integer"),
    "three axes": ({"frame0": np.ones((1, 50, 70), int)}, (), 1, "integer raster (y, x)"),
}


@pytest.mark.parametrize(("arrays", "options", "code", "named"), TRUTHS.values(), ids=TRUTHS)
def test_a_truth_that_does_not_fit_is_refused(
    finished: RunDirectory,
    tmp_path: Path,
    arrays: dict[str, np.ndarray],
    options: tuple[str, ...],
    code: int,
    named: str,
) -> None:
    np.savez(tmp_path / "truth.npz", **arrays)  # type: ignore[arg-type]
    asked = ("evaluate", finished.path, "--truth", tmp_path / "truth.npz", *options)
    assert named in command(*asked).refusal(code)
    assert not finished.scores_path.exists()


@pytest.mark.parametrize(
    ("beyond_libraries_mib", "helps"),
    [(-100, ["--memory"]), (1, ["worker", "--tile", "reservoir.pixels", "--memory"])],
)
def test_too_little_memory_names_the_stage_and_what_helps(
    scene: Scene,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    beyond_libraries_mib: int,
    helps: list[str],
) -> None:
    monkeypatch.setattr(planning, "own_bytes", lambda: 100 * 2**20)
    libraries = command("plan", scene.uri, "--no-time", "--json").json["reserved_bytes"]
    memory = f"{libraries // 2**20 + beyond_libraries_mib} MiB"
    asked = ("cluster", scene.uri, "--run", tmp_path / "run", "--memory", memory)
    sentence = command(*asked).refusal(4)
    assert re.search(r"Stage (statistics|views|codebooks|count|cluster|label|report) ", sentence)
    assert [word for word in helps if word not in sentence] == []
    assert not (tmp_path / "run").exists()


def test_memory_that_the_advice_names_suffices(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning, "own_bytes", lambda: 100 * 2**20)
    asked = ("cluster", scene.uri, "--run", tmp_path / "run", "--clusters", 3, "--threads", 1)
    sentence = command(*asked, "--memory", "10 MiB").refusal(4)
    advised = re.search(r"--memory of at least ([\d.]+ GiB)", sentence)
    assert advised
    assert command(*asked, "--memory", advised[1]).code == 0


def test_a_scheduler_that_does_not_answer_is_an_interrupted_run(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "CONNECT_TIMEOUT_S", 1)
    address = "tcp://127.0.0.1:9"
    asked = ("cluster", scene.uri, "--run", tmp_path / "run", "--scheduler", address)
    assert address in command(*asked).refusal(3)
    assert not (tmp_path / "run").exists()
