from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from hsistream.runs import (
    CONFIDENCE,
    CONFIDENCE_STEPS,
    INDEX,
    LABELS,
    LATENTS,
    NO_CONFIDENCE,
    NO_LABEL,
    RunDirectory,
)
from hsistream.scene.scene import Scene
from hsistream.stages import Address, lookup, scene_tiles
from hsistream.stages import assign as assign_stage
from hsistream.stages import cluster as cluster_stage
from hsistream.stages import train as train_stage
from hsistream.stages.assign import NO_PROTOTYPE
from hsistream.stages.labelling import TABLE, layers
from hsistream.stages.lookup import cluster_margin, label_tile
from hsistream.stores.raster import RasterStore
from hsistream.stores.tables import Table, read_table, write_table
from tests.strategies import whole

Tables = NDArray[np.int64]


def unit(rng: np.random.Generator, *shape: int) -> NDArray[np.float64]:
    """Random vectors of unit length along the first axis."""
    drawn = rng.standard_normal(shape)
    return np.asarray(drawn / np.linalg.norm(drawn, axis=0))


def direct_margin(
    latents: NDArray[np.float16], table: Tables, prototypes: NDArray[np.floating]
) -> NDArray[np.float64]:
    """The best cosine of the best cluster less that of the second, by brute force."""
    found = np.full(latents.shape[1], np.inf)
    for pixel, vector in enumerate(latents.T.astype(np.float64)):
        cosines = prototypes.astype(np.float64) @ vector
        best = sorted(cosines[table == cluster].max() for cluster in np.unique(table))
        if len(best) > 1:
            found[pixel] = best[-1] - best[-2]
    return found


def layer(run: RunDirectory, scene: Scene, frame: int, name: str) -> NDArray[np.integer]:
    place = scene.frames[frame]
    return RasterStore(run.labels_uri).read(place.name, name, whole(place.shape))


# --- the margin ----------------------------------------------------------------------------


@given(st.integers(1, 8), st.integers(1, 5), st.integers(1, 20), st.integers(0, 2**31))
def test_the_margin_is_that_of_brute_force(
    prototypes: int, clusters: int, pixels: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    places = unit(rng, 3, prototypes).T.astype(np.float32)
    latents = unit(rng, 3, pixels).astype(np.float16)
    table = np.unique(rng.integers(0, clusters, prototypes), return_inverse=True)[1]
    found = cluster_margin(latents, table.astype(np.int64), places)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, direct_margin(latents, table, places), atol=1e-5)
    assert (found >= 0).all()


def test_the_margin_does_not_depend_on_the_pixels_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(0)
    places, latents = unit(rng, 3, 6).T.astype(np.float32), unit(rng, 3, 50).astype(np.float16)
    table = np.array([0, 2, 1, 0, 2, 2])
    expected = cluster_margin(latents, table, places)
    monkeypatch.setattr(lookup, "PIXELS_AT_ONCE", 7)
    np.testing.assert_allclose(cluster_margin(latents, table, places), expected, atol=1e-6)


def test_a_tie_between_clusters_has_no_margin_and_one_within_a_cluster_has() -> None:
    places = np.eye(3, dtype=np.float32)
    latents = np.array([[1.0, 1, 0], [1, 0, 0]], np.float16).T
    assert cluster_margin(latents, np.array([0, 1, 1]), places).tolist() == [0, 1]
    assert cluster_margin(latents, np.array([0, 0, 1]), places).tolist() == [1, 1]


def test_pixels_without_data_have_no_margin_that_is_not_a_number() -> None:
    latents = np.full((3, 2), np.nan, np.float16)
    found = cluster_margin(latents, np.array([0, 1, 1]), np.eye(3, dtype=np.float32))
    assert np.isfinite(found).all()


# --- a run ---------------------------------------------------------------------------------


def test_labels_are_the_clusters_of_prototypes_and_confidence_their_margin(
    scene: Scene, learnt: RunDirectory
) -> None:
    table = read_table(learnt.table(cluster_stage.TABLE))["lookup"]
    prototypes = read_table(learnt.table(train_stage.TABLE))["prototypes"][-1]
    softness = learnt.config().encoder.softness  # type: ignore[union-attr]
    for number, frame in enumerate(scene.frames):
        window = whole(frame.shape)
        index = RasterStore(learnt.index_uri).read(frame.name, INDEX, window)
        latents = RasterStore(learnt.latents_uri).read(frame.name, LATENTS, window, leading=1)
        valid = scene.valid(number, window)
        labels, confidence = (layer(learnt, scene, number, name) for name in (LABELS, CONFIDENCE))
        assert ((index != NO_PROTOTYPE) == valid).all()
        np.testing.assert_array_equal(labels[valid], table[index[valid]])
        margin = direct_margin(latents[:, valid], table, prototypes)
        expected = np.tanh(margin / (2 * softness))
        np.testing.assert_allclose(confidence[valid] / CONFIDENCE_STEPS, expected, atol=0.003)
        assert (labels[~valid] == NO_LABEL).all()
        assert (confidence[~valid] == NO_CONFIDENCE).all()


def test_labels_are_numbered_by_their_pixels(scene: Scene, learnt: RunDirectory) -> None:
    table = read_table(learnt.table(TABLE))
    pixels = table["pixels"]
    for number in range(len(scene.frames)):
        labels = layer(learnt, scene, number, LABELS)
        counted = np.bincount(labels[labels != NO_LABEL].astype(np.int64), minlength=3)
        np.testing.assert_array_equal(pixels[number], counted)
        np.testing.assert_array_equal(table[f"{LABELS}.{number}"], labels)
    mass = pixels.sum(axis=0)
    assert (np.diff(mass) <= 0).all()
    assert (mass > 0).all()
    assert mass.sum() == scene.valid_pixels


def test_the_reservoir_has_the_labels_of_its_pixels(scene: Scene, learnt: RunDirectory) -> None:
    found = read_table(learnt.table(cluster_stage.TABLE))["reservoir_label"]
    places = read_table(learnt.table("reservoir"))
    labels = [layer(learnt, scene, number, LABELS) for number in range(len(scene.frames))]
    spots = zip(places["frame"], places["row"], places["column"], strict=True)
    expected = np.asarray([labels[frame][row, column] for frame, row, column in spots])
    assert (found != expected).mean() < 0.001


# --- one tile ------------------------------------------------------------------------------


def labelled(run: RunDirectory, scene: Scene, table: Tables, softness: float = 0.05) -> list[Table]:
    """Give the prototypes of a run to clusters, and label all tiles again."""
    path = run.table(cluster_stage.TABLE)
    write_table(path, read_table(path) | {"lookup": table})
    clusters = int(table.max()) + 1
    RasterStore.create(run.labels_uri, layers(clusters), scene.frames, 32)
    address = Address(scene, run, str(table.tolist()))
    tiles = scene_tiles(scene, 32)
    return [label_tile(tile, address=address, softness=softness) for tile in tiles]


@pytest.fixture
def own_run(learnt: RunDirectory, tmp_path: Path) -> RunDirectory:
    """A copy of the finished run, to be changed."""
    return RunDirectory(shutil.copytree(learnt.path, tmp_path / "run"))


def test_one_cluster_is_certain(scene: Scene, own_run: RunDirectory) -> None:
    labelled(own_run, scene, np.zeros(16, np.int64))
    for number, frame in enumerate(scene.frames):
        valid = scene.valid(number, whole(frame.shape))
        assert (layer(own_run, scene, number, LABELS)[valid] == 0).all()
        assert (layer(own_run, scene, number, CONFIDENCE)[valid] == CONFIDENCE_STEPS).all()


@pytest.mark.parametrize("softness", [1e-5, 0.05, 10.0])
def test_confidence_is_a_share_whatever_the_softness(
    scene: Scene, own_run: RunDirectory, softness: float
) -> None:
    labelled(own_run, scene, np.arange(16), softness)
    for number, frame in enumerate(scene.frames):
        valid = scene.valid(number, whole(frame.shape))
        found = layer(own_run, scene, number, CONFIDENCE)
        assert found[valid].max() <= CONFIDENCE_STEPS
        assert (found[~valid] == NO_CONFIDENCE).all()


def test_as_many_clusters_as_prototypes_are_the_index(scene: Scene, own_run: RunDirectory) -> None:
    tables = labelled(own_run, scene, np.arange(16))
    usage = read_table(own_run.table(assign_stage.TABLE))["usage"]
    np.testing.assert_array_equal(sum(table["pixels"] for table in tables), usage)
    for number, frame in enumerate(scene.frames):
        index = RasterStore(own_run.index_uri).read(frame.name, INDEX, whole(frame.shape))
        labels = layer(own_run, scene, number, LABELS)
        np.testing.assert_array_equal(labels, index)


def test_larger_tiles_need_more_memory(scene: Scene, learnt: RunDirectory) -> None:
    small, large = (lookup.estimate(scene, learnt.config(), tile) for tile in (8, 64))
    assert sum(small.task.values()) < sum(large.task.values())
    assert small.disk_bytes == large.disk_bytes > 0
