"""What every preset owes, whatever it does inside."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hsistream.config import Execution, RunConfig
from hsistream.errors import ConfigError
from hsistream.pipeline import run
from hsistream.presets import PRESETS
from hsistream.runs import LABELS, NO_LABEL, RunDirectory
from hsistream.scene.scene import VALID, Scene
from tests.integration.commands import command
from tests.laws.results import stored_bytes

pytestmark = pytest.mark.parametrize("method", list(PRESETS))

CLUSTERS = 3


def clustered(scene: Scene, method: str, target: Path, seed: int = 0) -> RunDirectory:
    settings = [("cluster.clusters", CLUSTERS), ("seed", seed)]
    config = RunConfig.make(method, settings=settings)
    return run(scene, config, target, execution=Execution(tile_px=32, threads=2))


def test_every_pixel_with_data_has_a_label_and_no_other(
    method: str, scene: Scene, tmp_path: Path
) -> None:
    done = clustered(scene, method, tmp_path / "run")
    for frame in scene.frames:
        labels = done.open(LABELS, frame.name)
        valid = scene.open_frame(frame.name)[VALID].to_numpy()
        assert labels.dtype == np.uint16
        assert labels.shape == frame.shape
        assert ((labels.to_numpy() != NO_LABEL) == valid).all()
        assert set(np.unique(labels.to_numpy()[valid])) <= set(range(CLUSTERS))


def test_confidence_is_a_share_where_there_is_data(
    method: str, scene: Scene, tmp_path: Path
) -> None:
    done = clustered(scene, method, tmp_path / "run")
    for frame in scene.frames:
        confidence = done.open("confidence", frame.name).to_numpy()
        valid = scene.open_frame(frame.name)[VALID].to_numpy()
        assert (np.isfinite(confidence) == valid).all()
        assert confidence[valid].min() >= 0
        assert confidence[valid].max() <= 1


def test_labels_are_numbered_by_the_mass_of_their_clusters(
    method: str, scene: Scene, tmp_path: Path
) -> None:
    done = clustered(scene, method, tmp_path / "run")
    found = [done.open(LABELS, frame.name).to_numpy() for frame in scene.frames]
    labels = np.concatenate([each[each != NO_LABEL] for each in found])
    mass = np.bincount(labels, minlength=CLUSTERS)
    assert (np.diff(mass) <= 0).all()


def test_the_same_seed_gives_the_same_bytes(method: str, scene: Scene, tmp_path: Path) -> None:
    first = clustered(scene, method, tmp_path / "first", seed=7)
    second = clustered(scene, method, tmp_path / "second", seed=7)
    assert stored_bytes(first) == stored_bytes(second)


def test_an_unknown_setting_is_refused_by_name(method: str) -> None:
    with pytest.raises(ConfigError, match=r"views\.colour is not a known setting"):
        RunConfig.make(method, settings=[("cluster.clusters", 2), ("views.colour", 1)])


def test_a_preset_survives_the_way_through_its_file(method: str, tmp_path: Path) -> None:
    config = RunConfig.make(method, settings=[("cluster.clusters", 2)])
    (tmp_path / "run.toml").write_text(config.to_toml())
    assert RunConfig.from_toml(tmp_path / "run.toml") == config


def test_a_preset_is_listed_with_its_summary(method: str) -> None:
    outcome = command("methods")
    assert outcome.code == 0
    assert str(PRESETS[method]["summary"]) in outcome.out
