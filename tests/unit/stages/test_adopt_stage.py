from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hsistream.config import RunConfig
from hsistream.errors import ConfigError, DamagedError
from hsistream.events import ignore
from hsistream.execution import Execution
from hsistream.runs import RunDirectory
from hsistream.scene.scene import Scene
from hsistream.sections import LearntSection
from hsistream.stages import Context, adopt
from hsistream.stages.adopt import LEFT_BEHIND, learnt_fingerprint, learnt_tables, written
from hsistream.stores.tables import read_table, write_table


@pytest.fixture
def own(learnt: RunDirectory, tmp_path: Path) -> RunDirectory:
    """A copy of the finished run with a network, to be changed."""
    return RunDirectory(shutil.copytree(learnt.path, tmp_path / "own"))


def context_of(scene: Scene, run: RunDirectory, target: Path, mark: str | None = None) -> Context:
    """Ask for labels by what a run has learnt."""
    config = run.config()
    section = LearntSection(run=str(run.path), fingerprint=mark or learnt_fingerprint(run, config))
    asked = config.model_copy(update={"learnt": section})
    return Context(RunDirectory(target), scene, asked, Execution(), 32, 1, None, ignore, "")


def test_what_was_learnt_is_taken_over_as_it_is(
    scene: Scene, own: RunDirectory, tmp_path: Path
) -> None:
    context = context_of(scene, own, tmp_path / "new")
    adopt.run(context)
    kept = {str(p.relative_to(tmp_path / "new")) for p in (tmp_path / "new").rglob("*")}
    assert set(written(context.config)) <= kept
    assert {Path(place).parts[0] for place in kept} == {
        "learnt", "clusters.npz", "training.npz", "checkpoint",
    }  # fmt: skip
    for place in ("learnt/statistics.npz", "learnt/standard.npz", "training.npz"):
        name = Path(place).name
        assert (tmp_path / "new" / place).read_bytes() == (own.path / name).read_bytes()
    for path in own.checkpoint_path.rglob("*.safetensors"):
        copied = tmp_path / "new" / path.relative_to(own.path)
        assert copied.read_bytes() == path.read_bytes()


def test_labels_of_the_earlier_reservoir_are_left_behind(
    scene: Scene, own: RunDirectory, tmp_path: Path
) -> None:
    adopt.run(context_of(scene, own, tmp_path / "new"))
    before, after = (
        read_table(run.table("clusters")) for run in (own, RunDirectory(tmp_path / "new"))
    )
    assert before.keys() - after.keys() == {LEFT_BEHIND[0]}
    for name, values in after.items():
        np.testing.assert_array_equal(values, before[name])


def test_half_a_copy_is_replaced(scene: Scene, own: RunDirectory, tmp_path: Path) -> None:
    left = tmp_path / "new" / "checkpoint" / "checkpoints" / "step-99999999"
    left.mkdir(parents=True)
    adopt.run(context_of(scene, own, tmp_path / "new"))
    assert not left.exists()


@pytest.mark.parametrize(
    ("method", "tables"),
    [
        ("consensus", ("statistics", "standard", "codebooks", "clusters")),
        ("dgc", ("statistics", "standard", "clusters", "training")),
        ("umae", ("statistics", "standard", "codebooks", "clusters", "training")),
    ],
)
def test_every_head_names_what_it_labels_by(method: str, tables: tuple[str, ...]) -> None:
    assert learnt_tables(RunConfig.make(method)) == tables


def _touch(name: str) -> Callable[[RunDirectory], None]:
    def change(run: RunDirectory) -> None:
        path = run.table(name)
        write_table(path, {**read_table(path), "more": np.ones(1)})

    return change


def _touch_weights(run: RunDirectory) -> None:
    path = next(run.checkpoint_path.rglob("*.safetensors"))
    path.write_bytes(path.read_bytes() + b"\0")


@pytest.mark.parametrize(
    "change",
    [*map(_touch, ("statistics", "standard", "clusters", "training")), _touch_weights],
    ids=["statistics", "standard", "clusters", "training", "weights"],
)
def test_a_run_that_learnt_something_else_is_refused(
    scene: Scene, own: RunDirectory, tmp_path: Path, change: Callable[[RunDirectory], None]
) -> None:
    mark = learnt_fingerprint(own, own.config())
    change(own)
    assert learnt_fingerprint(own, own.config()) != mark
    with pytest.raises(ConfigError, match="has been changed since"):
        adopt.run(context_of(scene, own, tmp_path / "new", mark))
    assert not (tmp_path / "new").exists()


def test_times_maps_and_the_place_are_nothing_learnt(own: RunDirectory, tmp_path: Path) -> None:
    mark = learnt_fingerprint(own, own.config())
    (own.checkpoint_path / "elapsed.json").write_text("{}")
    _touch("labels")(own)
    shutil.rmtree(own.labels_uri)
    moved = RunDirectory(own.path.rename(tmp_path / "moved"))
    assert learnt_fingerprint(moved, moved.config()) == mark


def test_a_missing_table_is_named(own: RunDirectory) -> None:
    own.table("training").unlink()
    with pytest.raises(DamagedError, match=r"training\.npz is missing"):
        learnt_fingerprint(own, own.config())
