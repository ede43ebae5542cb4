"""A brighter scene has the same map: with statistics that follow it, and without its brightness."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hsistream.config import RunConfig
from hsistream.execution import Execution
from hsistream.pipeline import run
from hsistream.runs import RunDirectory
from hsistream.scene.ingest import ingest
from hsistream.scene.scene import Scene
from hsistream.scene.synthetic import SyntheticFrame
from tests.laws.results import agreement
from tests.strategies import array_source, whole

GAIN = 1.3
AGREED = 0.999


def lit(folder: Path, *gains: float) -> Scene:
    """Ingest two synthetic frames, each with a gain, as float32."""
    sources = []
    for number, gain in enumerate(gains):
        frame = SyntheticFrame(number, (61, 83), bands=24, classes=4)
        window, header = whole(frame.shape), frame.header
        sources.append(
            array_source(
                (frame.read(window) * gain).astype(np.float32),
                header.name,
                mask=frame.valid(window),
                wavelengths_nm=header.wavelengths_nm,
                good_bands=header.good_bands,
            )
        )
    return ingest(sources, folder)


def clustered(scene: Scene, illumination: str, folder: Path) -> RunDirectory:
    settings = [("cluster.clusters", 4), ("statistics.illumination", illumination)]
    config = RunConfig.make("kmeans", settings=settings)
    return run(scene, config, folder, execution=Execution(tile_px=64, threads=2))


@pytest.mark.parametrize(
    "illumination", ["none", "snv", "snv+brightness", "l2", "l2+brightness", "continuum"]
)
def test_a_gain_of_the_scene_does_not_move_labels(illumination: str, tmp_path: Path) -> None:
    scene, brighter = lit(tmp_path / "a.zarr", 1, 1), lit(tmp_path / "b.zarr", GAIN, GAIN)
    first = clustered(scene, illumination, tmp_path / "a")
    other = clustered(brighter, illumination, tmp_path / "b")
    assert agreement(first, other, scene) >= AGREED


@pytest.mark.parametrize("illumination", ["snv", "l2", "continuum"])
def test_a_gain_of_one_frame_does_not_move_labels_without_brightness(
    illumination: str, tmp_path: Path
) -> None:
    scene, uneven = lit(tmp_path / "a.zarr", 1, 1), lit(tmp_path / "b.zarr", 1, GAIN)
    first = clustered(scene, illumination, tmp_path / "a")
    other = clustered(uneven, illumination, tmp_path / "b")
    assert agreement(first, other, scene) >= AGREED
