"""What every preset owes, whatever it does inside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from hsistream.config import RunConfig
from hsistream.errors import ConfigError
from hsistream.execution import Execution
from hsistream.pipeline import run
from hsistream.presets import PRESETS
from hsistream.runs import LABELS, NO_LABEL, RunDirectory
from hsistream.scene.scene import VALID, Scene
from hsistream.stages.table import stream
from tests.integration.commands import command
from tests.laws.requests import TinyRun, tiny, tiny_options
from tests.laws.results import differing

pytestmark = pytest.mark.parametrize("method", list(PRESETS))

CLUSTERS = 3

WITHOUT_CHANCE = ("s2dl-paper",)
"""Methods that draw nothing where all pixels are in the reservoir."""


def pixels(run: RunDirectory, scene: Scene, name: str = LABELS) -> list[NDArray[Any]]:
    """One array (y, x) per frame, as xarray opens it."""
    return [run.open(name, frame.name).to_numpy() for frame in scene.frames]


def masks(scene: Scene) -> list[NDArray[np.bool_]]:
    """Which pixels (y, x) of every frame have data."""
    return [scene.open_frame(frame.name)[VALID].to_numpy() for frame in scene.frames]


def test_every_pixel_with_data_has_a_label_and_no_other(
    method: str, tiny_run: TinyRun, scene: Scene
) -> None:
    for labels, valid in zip(pixels(tiny_run(method), scene), masks(scene), strict=True):
        assert labels.dtype == np.uint16
        assert ((labels != NO_LABEL) == valid).all()
        assert set(np.unique(labels[valid])) <= set(range(CLUSTERS))


def test_every_label_occurs(method: str, tiny_run: TinyRun, scene: Scene) -> None:
    found = np.concatenate([each.ravel() for each in pixels(tiny_run(method), scene)])
    assert set(np.unique(found)) == {*range(CLUSTERS), NO_LABEL}


def test_confidence_is_a_share_where_there_is_data(
    method: str, tiny_run: TinyRun, scene: Scene
) -> None:
    found = pixels(tiny_run(method), scene, "confidence")
    for confidence, valid in zip(found, masks(scene), strict=True):
        assert (np.isfinite(confidence) == valid).all()
        assert confidence[valid].min() >= 0
        assert confidence[valid].max() <= 1


def test_labels_are_numbered_by_the_mass_of_their_clusters(
    method: str, tiny_run: TinyRun, scene: Scene
) -> None:
    found = np.concatenate([each.ravel() for each in pixels(tiny_run(method), scene)])
    mass = np.bincount(found[found != NO_LABEL], minlength=CLUSTERS)
    assert (np.diff(mass) <= 0).all()


def test_the_command_line_and_the_library_give_the_same_bytes(
    method: str, tiny_run: TinyRun, scene: Scene, tmp_path: Path
) -> None:
    options = (*tiny_options(method), "--tile", 32, "--threads", 1, "--run", tmp_path)
    assert command("cluster", scene.uri, *options).code == 0
    assert differing(RunDirectory(tmp_path), tiny_run(method)) == []


def test_another_seed_is_another_run(
    method: str, tiny_run: TinyRun, scene: Scene, tmp_path: Path
) -> None:
    execution = Execution(tile_px=32, threads=2)
    other = run(scene, tiny(method, ("seed", 7)), tmp_path, execution=execution)
    changed = set(differing(other, tiny_run(method)))
    assert changed == {"run.toml"} if method in WITHOUT_CHANCE else {"run.toml"} < changed


def test_the_stages_that_the_table_names_are_done_and_no_other(
    method: str, tiny_run: TinyRun
) -> None:
    done = tiny_run(method)
    stages = stream(tiny(method))
    assert list(done.manifest().stages) == [stage.name for stage in stages]
    assert all((done.path / name).exists() for stage in stages for name in stage.writes)
    written = {Path(name).parts[0] for stage in stages for name in stage.writes}
    kept = {path.name for path in done.path.iterdir()}
    assert kept == written | {"manifest.json", "run.toml", "log.jsonl", "lock", "ledger"}
    assert not list((done.path / "ledger").iterdir())


def test_the_configuration_of_a_run_is_the_one_that_was_asked(
    method: str, tiny_run: TinyRun
) -> None:
    assert tiny_run(method).config() == tiny(method)


def test_clusters_are_suggested_where_a_method_can(
    method: str, scene: Scene, tmp_path: Path
) -> None:
    execution = Execution(tile_px=32, threads=2)
    if PRESETS[method]["settings"].get("codebooks"):
        with pytest.raises(ConfigError, match="cannot estimate the number of clusters"):
            tiny(method, clusters=None)
        return
    done = run(scene, tiny(method, clusters=None), tmp_path, execution=execution)
    found = {label for each in pixels(done, scene) for label in np.unique(each)} - {NO_LABEL}
    assert found == set(range(len(found)))
    assert 2 <= len(found) <= done.config().cluster.most


def test_an_unknown_setting_is_refused_by_name(method: str) -> None:
    with pytest.raises(ConfigError, match=r"views\.colour is not a known setting"):
        RunConfig.make(method, settings=[("cluster.clusters", 2), ("views.colour", 1)])


@pytest.mark.parametrize("clusters", [1, 2, 60])
def test_a_preset_survives_the_way_through_its_file(
    method: str, tmp_path: Path, clusters: int
) -> None:
    config = RunConfig.make(method, settings=[("cluster.clusters", clusters)])
    (tmp_path / "run.toml").write_text(config.to_toml())
    assert RunConfig.from_toml(tmp_path / "run.toml") == config


def test_a_preset_is_listed_with_its_summary(method: str) -> None:
    outcome = command("methods")
    assert outcome.code == 0
    assert str(PRESETS[method]["summary"]) in outcome.out
