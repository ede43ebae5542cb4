from __future__ import annotations

import pytest

from hsistream.config import RunConfig
from hsistream.execution import Execution
from hsistream.pipeline import run
from hsistream.runs import RunDirectory
from hsistream.scene.scene import Scene


@pytest.fixture(scope="session")
def learnt(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """A finished run with a network that was trained for some steps; never to be changed."""
    settings = [
        ("cluster.clusters", 3),
        ("training.steps", 4),
        ("training.warm_up", 0),
        ("training.learning_rate", 0.01),
    ]
    config = RunConfig.make("dgc", settings=settings)
    folder = tmp_path_factory.mktemp("learnt") / "run"
    return run(scene, config, folder, execution=Execution(tile_px=32, threads=2))
