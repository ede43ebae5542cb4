"""Clusterings of superpixels as codebooks: what they hold, and how they enter the consensus."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from hsistream.config import RunConfig
from hsistream.execution import Execution
from hsistream.graph.clustering import TIME_FACTORS
from hsistream.pipeline import run
from hsistream.runs import LABELS, NO_LABEL, SUPERPIXELS, RunDirectory
from hsistream.scene.scene import Scene
from hsistream.stages import cluster as cluster_stage
from hsistream.stages import codebooks as codebooks_stage
from hsistream.stages import count as count_stage
from hsistream.stages import describe as describe_stage
from hsistream.stages import statistics as statistics_stage
from hsistream.stages import walks as walks_stage
from hsistream.stages.walks import Walks
from hsistream.stores.raster import RasterStore
from hsistream.stores.tables import read_table
from tests.strategies import whole

SEGMENT_PX = 32
CLUSTERS = 3
SETTINGS = [
    ("cluster.clusters", CLUSTERS),
    ("segment.tile_px", SEGMENT_PX),
    ("graph.neighbours", 8),
]


@pytest.fixture(scope="module")
def joint(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """A finished run of the head joint, never to be changed."""
    folder = tmp_path_factory.mktemp("joint") / "run"
    config = RunConfig.make("s2dl", settings=SETTINGS)
    return run(scene, config, folder, execution=Execution(tile_px=64, threads=2))


def regions_of(joint: RunDirectory, scene: Scene, frame: int) -> NDArray[np.int64]:
    """Number of the superpixel of every pixel, (y, x), counted tile by tile; -1 = no data."""
    shape = scene.frames[frame].shape
    ids = joint.open(SUPERPIXELS, scene.frames[frame].name).to_numpy()
    listed = read_table(joint.table(describe_stage.TABLE))["ids"].tolist()
    numbers = {each: number for number, each in enumerate(listed)}
    return np.array([numbers.get(each, -1) for each in ids.ravel()]).reshape(shape)


def test_there_is_a_clustering_for_every_time_and_size(joint: RunDirectory) -> None:
    table = read_table(joint.table(walks_stage.TABLE))
    sizes = [CLUSTERS * multiple for multiple in (1, 2, 3)]
    regions = len(read_table(joint.table(describe_stage.TABLE))["count"])
    assert table["codes"].shape == (len(TIME_FACTORS) * len(sizes), regions)
    found = [len(np.unique(codes)) for codes in table["codes"]]
    assert all(1 < n <= size for n, size in zip(found, 3 * sizes, strict=True))
    assert walks_stage.landmark_sizes(joint.config()) == 3 * sizes


def test_cuts_of_one_time_are_nested(joint: RunDirectory) -> None:
    """A vote may move a superpixel; those whose nodes agree are divided further and no more."""
    codes = read_table(joint.table(walks_stage.TABLE))["codes"].astype(np.int64)
    for few, more in ((codes[3], codes[4]), (codes[4], codes[5])):
        pairs = np.zeros((few.max() + 1, more.max() + 1))
        np.add.at(pairs, (few, more), 1)
        assert pairs.max(axis=0).sum() >= 0.9 * len(few)


def test_pixels_have_the_codes_of_their_superpixels(scene: Scene, joint: RunDirectory) -> None:
    table = read_table(joint.table(walks_stage.TABLE))
    books = len(table["codes"])
    store = RasterStore(joint.codes_uri)
    for number, frame in enumerate(scene.frames):
        regions = regions_of(joint, scene, number)
        codes = store.read(frame.name, count_stage.LAYER, whole(frame.shape), leading=1)
        known = regions >= 0
        np.testing.assert_array_equal(known, scene.valid(number, whole(frame.shape)))
        expected = table["codes"][:, regions[known]]
        np.testing.assert_array_equal(codes[-books:, known], expected)
        assert (codes[:, ~known] == np.iinfo(codes.dtype).max).all()


def test_ids_of_several_tiles_are_looked_up() -> None:
    # tiles of 4 px, of which the second keeps two superpixels but its first
    walks = Walks(np.array([[0, 1, 2, 0]], np.uint16), np.array([0, 17, 18, 32]), np.array([3]))
    ids = np.array([0, 2 * 16, 16 + 2, 16 + 1])
    np.testing.assert_array_equal(walks.of_pixels(ids), [[0, 0, 2, 1]])


def test_all_clusterings_together_weigh_as_much_as_a_spectral_name(joint: RunDirectory) -> None:
    config = joint.config()
    weights = cluster_stage.codebook_weights(config)
    of_walks = len(walks_stage.landmark_sizes(config))
    assert len(weights) == len(codebooks_stage.landmark_sizes(config))
    assert sum(weights[-of_walks:]) == pytest.approx(sum(weights) / 3)
    graph = config.graph.model_copy(update={"weight": 4.0})
    heavy = cluster_stage.codebook_weights(config.model_copy(update={"graph": graph}))
    assert sum(heavy[-of_walks:]) == pytest.approx(4 * sum(weights[-of_walks:]))
    assert heavy[:-of_walks] == weights[:-of_walks]


def test_the_reservoir_has_the_labels_of_its_pixels(scene: Scene, joint: RunDirectory) -> None:
    places = read_table(joint.table(statistics_stage.RESERVOIR))
    found = read_table(joint.table(cluster_stage.TABLE))["reservoir_label"]
    for number, frame in enumerate(scene.frames):
        labels = joint.open(LABELS, frame.name).to_numpy()
        own = places["frame"] == number
        np.testing.assert_array_equal(found[own], labels[places["row"][own], places["column"][own]])


def test_without_weight_the_labels_are_those_of_the_consensus(
    scene: Scene, joint: RunDirectory, tmp_path: Path
) -> None:
    alone = run(scene, RunConfig.make(settings=SETTINGS), tmp_path / "alone")
    light = RunConfig.make("s2dl", settings=[*SETTINGS, ("graph.weight", 0.0)])
    both = run(scene, light, tmp_path / "light")
    for frame in scene.frames:
        expected = alone.open(LABELS, frame.name).to_numpy()
        found = both.open(LABELS, frame.name).to_numpy()
        np.testing.assert_array_equal(found, expected)
        assert (expected != NO_LABEL).any()


def test_modes_lie_in_different_superpixels(scene: Scene, joint: RunDirectory) -> None:
    modes = read_table(joint.table(walks_stage.TABLE))["modes"]
    found = [regions_of(joint, scene, frame)[row, column] for frame, row, column in modes]
    assert len(set(found)) == len(found) == CLUSTERS
    assert min(found) >= 0
