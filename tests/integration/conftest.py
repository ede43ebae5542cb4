from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from hsistream.runs import RunDirectory
from tests.integration.commands import QUIET, MakeScene, command


@pytest.fixture
def own_run(finished: RunDirectory, tmp_path: Path) -> RunDirectory:
    """A copy of the finished run, which a test may change."""
    return RunDirectory(shutil.copytree(finished.path, tmp_path / "own-run"))


@pytest.fixture
def make_scene(tmp_path: Path) -> MakeScene:
    """Ingest a cube (y, x, band) by the command line and return the scene."""

    def of(cube: NDArray[Any], *options: object, name: str = "frame", **arrays: Any) -> Path:
        np.savez(tmp_path / f"{name}.npz", cube=cube, **arrays)
        target = tmp_path / f"{name}.zarr"
        outcome = command("ingest", tmp_path / f"{name}.npz", target, *options, *QUIET)
        assert outcome.code == 0, outcome.err
        return target

    return of
