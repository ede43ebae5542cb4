from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hsistream.runs import (
    CONFIDENCE,
    CONFIDENCE_STEPS,
    LABELS,
    NO_CONFIDENCE,
    NO_LABEL,
    RunDirectory,
)
from hsistream.scene.scene import Scene
from hsistream.stages import cluster as cluster_stage
from hsistream.stages import count as count_stage
from hsistream.stages.labelling import TABLE, cluster_pixels, layers
from hsistream.stores.raster import RasterStore
from hsistream.stores.tables import read_table
from tests.strategies import whole


def direct_labels(
    run: RunDirectory, name: str, shape: tuple[int, int], valid: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Nearest centre and margin of the valid pixels of a frame, from the stored codes."""
    table = read_table(run.table(cluster_stage.TABLE))
    codes = RasterStore(run.codes_uri).read(name, count_stage.LAYER, whole(shape), leading=1)
    landmarks = codes[:, valid].astype(np.int64) + table["starts"][:-1, None]
    places = table["coordinates"][landmarks].sum(axis=0)
    places /= np.linalg.norm(places, axis=1, keepdims=True)
    distance = np.linalg.norm(places[:, None] - table["centres"][None], axis=2)
    ordered = np.sort(distance, axis=1)
    return distance.argmin(axis=1), 1 - ordered[:, 0] / ordered[:, 1]


def test_labels_are_the_nearest_centres_and_confidence_their_margin(
    scene: Scene, finished: RunDirectory
) -> None:
    store = RasterStore(finished.labels_uri)
    for number, frame in enumerate(scene.frames):
        valid = scene.valid(number, whole(frame.shape))
        labels = store.read(frame.name, LABELS, whole(frame.shape))
        confidence = store.read(frame.name, CONFIDENCE, whole(frame.shape))
        expected, margin = direct_labels(finished, frame.name, frame.shape, valid)
        np.testing.assert_array_equal(labels[valid], expected)
        np.testing.assert_allclose(confidence[valid] / CONFIDENCE_STEPS, margin, atol=0.0021)
        assert (labels[~valid] == NO_LABEL).all()
        assert (confidence[~valid] == NO_CONFIDENCE).all()


def test_the_reservoir_has_the_labels_of_its_pixels(scene: Scene, finished: RunDirectory) -> None:
    found = read_table(finished.table(cluster_stage.TABLE))["reservoir_label"]
    store, first = RasterStore(finished.labels_uri), 0
    for frame in scene.frames:
        labels = store.read(frame.name, LABELS, whole(frame.shape))
        expected = labels[labels != NO_LABEL]
        np.testing.assert_array_equal(found[first : first + len(expected)], expected)
        first += len(expected)
    assert first == len(found)


def test_pixels_are_counted_per_frame_and_cluster(scene: Scene, finished: RunDirectory) -> None:
    table, store = read_table(finished.table(TABLE)), RasterStore(finished.labels_uri)
    for number, frame in enumerate(scene.frames):
        labels = store.read(frame.name, LABELS, whole(frame.shape))
        np.testing.assert_array_equal(
            table["pixels"][number], np.bincount(labels[labels != NO_LABEL], minlength=3)
        )
        np.testing.assert_array_equal(table[f"{LABELS}.{number}"], labels)
    assert cluster_pixels(finished).sum() == scene.valid_pixels


def test_the_layers_say_what_they_hold() -> None:
    labels, confidence = layers(3)
    assert labels.attributes["flag_values"] == [0, 1, 2]
    assert len(labels.attributes["flag_meanings"].split()) == 3
    assert (labels.fill, confidence.fill) == (NO_LABEL, NO_CONFIDENCE)
