"""Stored data that are cut short, flipped or gone are found, not read as something else."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest

from hsistream.config import RunConfig
from hsistream.errors import DamagedError
from hsistream.events import Event, Progress, StageStarted
from hsistream.execution import Execution
from hsistream.pipeline import run
from hsistream.runs import RunDirectory
from hsistream.scene.scene import Scene
from hsistream.stages.table import stream
from hsistream.stores import arrays
from hsistream.stores.tables import read_table, write_table
from tests.integration.commands import QUIET, command
from tests.laws.requests import TinyRun, tiny_options
from tests.laws.results import differing, stored_bytes

CONFIG = RunConfig.make(settings=[("cluster.clusters", 3)])
OPTIONS = ("--clusters", 3, "--tile", 32, *QUIET)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 16
    path.write_bytes(content)


def _flip_value(path: Path) -> None:
    """Flip a bit in the largest array of a table; some bytes between arrays are never read."""
    with ZipFile(path) as table:
        largest = max(table.infolist(), key=lambda member: member.file_size)
        assert largest.compress_size == largest.file_size
    content = bytearray(path.read_bytes())
    header = 30 + len(largest.filename) + content[largest.header_offset + 28]
    content[largest.header_offset + header + largest.file_size // 2] ^= 16
    path.write_bytes(content)


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _remove(path: Path) -> None:
    path.unlink()


Damage = Callable[[Path], None]
DAMAGES = {"cut": _cut, "flip": _flip, "empty": _empty, "remove": _remove}

damaged = pytest.mark.parametrize("damage", DAMAGES.values(), ids=list(DAMAGES))

LOSSES = (_empty, _remove)
"""What is seen without a file being read."""


class StoppedError(Exception):
    """Stands for an interruption."""


def _stop_before(stage: str) -> Callable[[Event], None]:
    def listen(event: Event) -> None:
        if isinstance(event, StageStarted) and event.stage == stage:
            raise StoppedError

    return listen


@pytest.fixture
def own_scene(scene: Scene, tmp_path: Path) -> Path:
    """A copy of the scene, which a test may damage."""
    return Path(shutil.copytree(scene.uri, tmp_path / "own.zarr"))


@damaged
@pytest.mark.parametrize("part", ["spectra/c/0/1/1", "valid/c/0/1"])
def test_a_damaged_scene_is_found(
    own_scene: Path, tmp_path: Path, damage: Damage, part: str
) -> None:
    damage(own_scene / "frame0" / part)
    asked = ("cluster", own_scene, "--run", tmp_path / "run", *OPTIONS)
    sentence = command(*asked).refusal(5)
    assert str(own_scene / "frame0" / part.split("/")[0]) in sentence
    assert command("status", tmp_path / "run").code in (1, 3)


def test_damage_names_the_pixels(own_scene: Path, tmp_path: Path) -> None:
    _flip(own_scene / "frame0" / "spectra" / "c" / "0" / "1" / "1")
    sentence = command("cluster", own_scene, "--run", tmp_path / "run", *OPTIONS).refusal(5)
    assert "rows 32-" in sentence
    assert "columns 32-64" in sentence


def test_a_repaired_scene_finishes_the_run(own_scene: Path, scene: Scene, tmp_path: Path) -> None:
    part = Path("frame1", "spectra", "c", "0", "0", "1")
    _flip(own_scene / part)
    asked = ("cluster", own_scene, "--run", tmp_path / "run", *OPTIONS)
    command(*asked).refusal(5)
    shutil.copy(scene.uri / part, own_scene / part)
    assert command(*asked).code == 0
    assert command("status", tmp_path / "run").code == 0


@pytest.mark.parametrize("byte", range(40, 2000, 160))
def test_damaged_attributes_of_a_scene_are_no_bug(own_scene: Path, byte: int) -> None:
    path = own_scene / "zarr.json"
    content = bytearray(path.read_bytes())
    content[byte] ^= 1
    path.write_bytes(content)
    outcome = command("info", own_scene)
    if outcome.code:
        outcome.refusal(outcome.code)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff"])
def test_a_scene_whose_header_is_lost_is_damaged(own_scene: Path, content: bytes) -> None:
    (own_scene / "zarr.json").write_bytes(content)
    assert "zarr.json is damaged" in command("info", own_scene).refusal(5)


TABLES = {
    "statistics": "count",
    "reservoir": "report",
    "pictures": "report",
    "views": "codebooks",
    "codebooks": "count",
    "counts": "cluster",
    "clusters": "label",
    "labels": "report",
}
"""Tables of a run, and a stage that reads them."""

NETWORK_TABLES = {
    "standard": "train",
    "reservoir": "train",
    "training": "assign",
    "assigned": "cluster",
    "clusters": "label",
}
"""The same of a run with prototypes."""

SUPERPIXEL_TABLES = {"superpixels": "report", "regions": "walks", "walks": "count"}
"""The same of a run with superpixels."""

TABLES_OF = {"consensus": TABLES, "dgc": NETWORK_TABLES, "s2dl": SUPERPIXEL_TABLES}


@pytest.fixture
def stopped_before(scene: Scene, tiny_run: TinyRun, tmp_path: Path) -> Callable[[str, str], Path]:
    """Give the directory of a run that was stopped before a stage."""

    def of(method: str, stage: str) -> Path:
        """Take back what a finished run did from a stage on, as if it had been stopped there."""
        target = RunDirectory(shutil.copytree(tiny_run(method).path, tmp_path / "run"))
        names = [each.name for each in stream(target.config())]
        manifest = target.manifest()
        kept = {name: manifest.stages[name] for name in names[: names.index(stage)]}
        target.save(replace(manifest, stages=kept))
        return target.path

    return of


@pytest.mark.parametrize(
    ("method", "table", "damage"),
    [
        *((method, table, _flip_value) for method, of in TABLES_OF.items() for table in of),
        *(("consensus", "codebooks", way) for way in (_cut, _empty)),
        *(("dgc", "training", way) for way in (_cut, _empty)),
    ],
)
def test_a_damaged_table_is_found_and_the_advice_helps(
    scene: Scene,
    tiny_run: TinyRun,
    stopped_before: Callable[[str, str], Path],
    method: str,
    table: str,
    damage: Damage,
) -> None:
    reader = TABLES_OF[method][table]
    stopped = RunDirectory(stopped_before(method, reader))
    damage(stopped.table(table))
    options = (*tiny_options(method), "--tile", 32, *QUIET)
    asked = ("cluster", scene.uri, "--run", stopped.path, *options)
    sentence = command(*asked).refusal(5)
    assert f"{stopped.table(table)} fails its checksum" in sentence
    assert "Delete it and run the same command again" in sentence
    assert command("status", stopped.path).code == 3
    stopped.table(table).unlink()
    assert command(*asked).code == 0
    assert differing(stopped, tiny_run(method)) == []


STORES = [
    ("dgc", "latents.zarr/frame0/latents/c/0/0/1", "assign"),
    ("dgc", "index.zarr/frame0/index/c/0/1", "label"),
    ("s2dl", "superpixels.zarr/frame0/superpixels/c/0/0", "describe"),
]
"""Files of stores that others than the labels are made of, and a stage that reads them."""


@damaged
@pytest.mark.parametrize(("method", "file", "reader"), STORES)
def test_damaged_results_between_stages_are_found_and_made_again(
    scene: Scene,
    tiny_run: TinyRun,
    stopped_before: Callable[[str, str], Path],
    method: str,
    file: str,
    reader: str,
    damage: Damage,
) -> None:
    stopped = RunDirectory(stopped_before(method, reader))
    damage(stopped.path / file)
    options = (*tiny_options(method), "--tile", 32, *QUIET)
    asked = ("cluster", scene.uri, "--run", stopped.path, *options)
    store = stopped.path / Path(file).parts[0]
    if damage not in LOSSES:
        assert str(store) in command(*asked).refusal(5)
        shutil.rmtree(store)
    assert command("status", stopped.path).code == 3
    assert command(*asked).code == 0
    assert differing(stopped, tiny_run(method)) == []


@damaged
@pytest.mark.parametrize("file", ["tensors.safetensors", "state.json"])
def test_a_damaged_network_is_found_and_the_advice_helps(
    scene: Scene,
    tiny_run: TinyRun,
    stopped_before: Callable[[str, str], Path],
    file: str,
    damage: Damage,
) -> None:
    stopped = RunDirectory(stopped_before("dgc", "encode"))
    newest = max((stopped.checkpoint_path / "checkpoints").iterdir())
    damage(newest / file)
    options = (*tiny_options("dgc"), "--tile", 32, *QUIET)
    asked = ("cluster", scene.uri, "--run", stopped.path, *options)
    sentence = command(*asked).refusal(5)
    advised = re.search(r"Delete (\S+) and run the same command again", sentence)
    assert advised
    shutil.rmtree(advised[1])
    again = command(*asked)
    assert again.code == 0, again.err
    assert differing(stopped, tiny_run("dgc")) == []


@damaged
def test_damaged_codes_are_found_and_made_again(
    scene: Scene, finished: RunDirectory, tmp_path: Path, damage: Damage
) -> None:
    stopped, execution = RunDirectory(tmp_path / "run"), Execution(tile_px=32, threads=2)
    with pytest.raises(StoppedError):
        run(scene, CONFIG, stopped.path, execution=execution, notify=_stop_before("label"))
    damage(Path(stopped.codes_uri) / "frame0" / "codes" / "c" / "0" / "1" / "0")
    asked = ("cluster", scene.uri, "--run", stopped.path, *OPTIONS)
    if damage not in LOSSES:
        assert stopped.codes_uri in command(*asked).refusal(5)
        shutil.rmtree(stopped.codes_uri)
    assert command("status", stopped.path).code == 3
    assert command(*asked).code == 0
    assert stored_bytes(stopped) == stored_bytes(finished)


@damaged
def test_damaged_labels_are_not_scored_or_exported(
    own_run: RunDirectory, tmp_path: Path, damage: Damage
) -> None:
    damage(Path(own_run.labels_uri) / "frame0" / "labels" / "c" / "0" / "1")
    np.savez(tmp_path / "truth.npz", frame0=np.ones((50, 70), int))
    scored = command("evaluate", own_run.path, "--truth", tmp_path / "truth.npz")
    assert own_run.labels_uri in scored.refusal(5)
    assert own_run.labels_uri in command("export", own_run.path, tmp_path / "maps").refusal(5)
    assert not own_run.scores_path.exists()
    assert not list(tmp_path.glob("maps/*.tif"))


def test_results_that_were_deleted_are_made_again(
    own_run: RunDirectory, finished: RunDirectory, scene: Scene
) -> None:
    shutil.rmtree(own_run.labels_uri)
    assert command("status", own_run.path).code == 3
    assert command("cluster", scene.uri, "--run", own_run.path, *OPTIONS).code == 0
    assert stored_bytes(own_run) == stored_bytes(finished)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b'{"format": 2}', b"null"])
@pytest.mark.parametrize("name", ["status", "report", "cluster"])
def test_a_damaged_manifest_is_no_bug(
    own_run: RunDirectory, scene: Scene, content: bytes, name: str
) -> None:
    own_run.manifest_path.write_bytes(content)
    asked: tuple[object, ...] = (name, own_run.path)
    if name == "cluster":
        asked = (name, scene.uri, "--run", own_run.path, *OPTIONS)
    assert str(own_run.manifest_path) in command(*asked).refusal(5)


@pytest.mark.parametrize(
    ("content", "code"), [(b"", 2), (b"seed = ", 5), (b"\xff", 5), (b"colour = 1\n", 5)]
)
def test_a_damaged_configuration_of_a_run_is_no_bug(
    own_run: RunDirectory, scene: Scene, content: bytes, code: int
) -> None:
    own_run.config_path.write_bytes(content)
    command("cluster", scene.uri, "--run", own_run.path, *OPTIONS).refusal(code)


@pytest.mark.parametrize("table", ["clusters", "pictures", "reservoir", "labels"])
def test_a_finished_run_that_lost_a_table_is_not_shown(own_run: RunDirectory, table: str) -> None:
    own_run.table(table).unlink()
    assert f"{table}.npz is missing" in command("report", own_run.path).refusal(5)


def test_damaged_scores_are_no_bug(own_run: RunDirectory) -> None:
    own_run.scores_path.write_text("{")
    assert str(own_run.scores_path) in command("report", own_run.path).refusal(5)


@pytest.mark.parametrize("content", [b"", b"other", b"\xff\xfe"])
def test_a_damaged_ledger_is_begun_anew(
    scene: Scene, own_run: RunDirectory, tmp_path: Path, content: bytes
) -> None:
    target, execution = RunDirectory(tmp_path / "run"), Execution(tile_px=32, threads=2)
    with pytest.raises(StoppedError):
        run(scene, CONFIG, target.path, execution=execution, notify=_stop_after_tiles(4))
    assert any(target.ledger("count").glob("*.npz"))
    (target.ledger("count") / "ledger.json").write_bytes(content)
    assert command("cluster", scene.uri, "--run", target.path, *OPTIONS).code == 0
    assert stored_bytes(target) == stored_bytes(own_run)


def test_a_damaged_entry_of_a_ledger_is_found_and_the_advice_helps(
    scene: Scene, own_run: RunDirectory, tmp_path: Path
) -> None:
    target, execution = RunDirectory(tmp_path / "run"), Execution(tile_px=32, threads=2)
    with pytest.raises(StoppedError):
        run(scene, CONFIG, target.path, execution=execution, notify=_stop_after_tiles(4))
    entry = next(target.ledger("count").glob("*.npz"))
    _flip(entry)
    asked = ("cluster", scene.uri, "--run", target.path, *OPTIONS)
    assert f"{entry} fails its checksum or is cut short. Delete it" in command(*asked).refusal(5)
    entry.unlink()
    assert command(*asked).code == 0
    assert stored_bytes(target) == stored_bytes(own_run)


def _stop_after_tiles(tiles: int) -> Callable[[Event], None]:
    def listen(event: Event) -> None:
        if isinstance(event, Progress) and (event.stage, event.done) == ("count", tiles):
            raise StoppedError

    return listen


TABLE = {"counts": np.arange(12).reshape(3, 4), "names": np.asarray(["z", "mnf"])}


def test_a_flipped_bit_of_a_table_is_found_or_harmless(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "table.npz"
    write_table(path, TABLE)
    content, found = path.read_bytes(), 0
    for byte in range(0, len(content) - 200, 7):
        path.write_bytes(_with_flipped_bit(content, byte))
        try:
            table = read_table(path)
        except DamagedError:
            found += 1
        else:
            np.testing.assert_equal(table, TABLE)
    assert found > 50


@pytest.mark.parametrize("shards", [None, (2, 8, 8)])
def test_a_flipped_bit_of_an_array_is_found(tmp_path: Path, shards: tuple[int, ...] | None) -> None:
    uri, everything = str(tmp_path / "store.zarr"), (slice(0, 2), slice(0, 8), slice(0, 8))
    values = np.random.default_rng(0).integers(0, 99, (2, 8, 8)).astype(np.uint16)
    chunks = (2, 4, 4) if shards else (2, 8, 8)
    group = arrays.create_group(uri, {})
    arrays.create_array(
        group, "a", shape=(2, 8, 8), dtype="u2", chunks=chunks, shards=shards, dimensions="byx"
    )
    arrays.write(uri, "a", everything, values)
    (path,) = (Path(uri) / "a" / "c").glob("*/*/*")
    content, found = path.read_bytes(), 0
    for byte in range(0, len(content), 3):
        path.write_bytes(_with_flipped_bit(content, byte))
        try:
            np.testing.assert_array_equal(arrays.read(uri, "a", everything), values)
        except DamagedError:
            found += 1
    assert found > 0.9 * len(content) / 3


def _with_flipped_bit(content: bytes, byte: int) -> bytes:
    flipped = bytearray(content)
    flipped[byte] ^= 1 << byte % 8
    return bytes(flipped)
