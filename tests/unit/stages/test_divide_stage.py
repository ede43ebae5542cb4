"""What labels are to splits, where frames show one ground."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from rasterio.crs import CRS

from hsistream.classifiers.splits import TEST, TRAIN, Labels, least_distance_px
from hsistream.config import RunConfig
from hsistream.georeference import Georeference
from hsistream.readers.labelled import Labelled
from hsistream.scene.scene import Scene
from hsistream.stages.divide import divided, has_data

WKT = CRS.from_epsg(32632).to_wkt()
WKT2 = CRS.from_epsg(32632).to_wkt(version="WKT2_2019")

Roles = NDArray[np.uint8]


def placed(scene: Scene, pixels_m: tuple[float, float], systems: tuple[str, str]) -> Scene:
    """Put the upper left corners of two frames at one place."""
    grids = [
        Georeference((px, 0.0, 5e5, 0.0, -px, 5e6), system)
        for px, system in zip(pixels_m, systems, strict=True)
    ]
    first, second = scene.frames[:2]
    frames = replace(first, georeference=grids[0]), replace(second, georeference=grids[1])
    return replace(scene, frames=frames)


def of_frames(scene: Scene, frames: tuple[int, ...], side_px: int) -> Labelled:
    """Label the upper left squares of frames: stripes of two classes."""
    row, column = np.indices((side_px, side_px)).reshape(2, -1)
    frame = np.repeat(frames, len(row))
    row, column = np.tile(row, len(frames)), np.tile(column, len(frames))
    return Labelled(frame, row, column, column // 5 % 2, ("a", "b"))


def roles_of(labels: Labelled, scene: Scene, *settings: tuple[str, object]) -> Roles:
    given = [("classify.labels", "x"), ("classify.splits", 1), *settings]
    found: Roles = divided(labels, scene, RunConfig.make("raw", settings=given))[0]
    return found


@pytest.mark.parametrize("systems", [(WKT, WKT), (WKT, WKT2)])
def test_a_place_in_two_frames_is_learnt_from_once_and_never_tested(
    scene: Scene, systems: tuple[str, str]
) -> None:
    two = placed(scene, (1.0, 1.0), systems)
    labels = of_frames(two, (0, 1), 20)
    first, second = roles_of(labels, two, ("classify.per_class", 7)).reshape(2, -1)
    assert np.bincount(labels.number[:400][first == TRAIN]).tolist() == [7, 7]
    assert not (second == TRAIN).any()
    assert not (second[first == TRAIN] == TEST).any()


def test_pixels_of_another_size_are_as_far_apart(scene: Scene) -> None:
    two = placed(scene, (1.0, 30.0), (WKT, WKT))
    labels = of_frames(two, (1,), 40)
    blocks = [("classify.split", "blocks"), ("classify.block_px", 10), ("classify.apart_px", 4)]
    roles = roles_of(labels, two, ("classify.per_class", 3), *blocks)
    every = Labels(labels.frame, labels.row, labels.column, labels.number)
    assert 4 <= least_distance_px(every, roles) < np.inf


def test_a_class_that_only_another_frame_sees_at_a_place_is_not_tested(scene: Scene) -> None:
    two = placed(scene, (1.0, 1.0), (WKT, WKT))
    labels = of_frames(two, (0, 1), 20)
    number = labels.number.copy()
    number[-1] = 2  # the place has the class of the first frame
    roles = roles_of(replace(labels, number=number, names=("a", "b", "c")), two)
    assert (roles == TEST).any()
    assert roles[-1] != TEST


def test_labels_have_data_where_their_own_pixel_has(scene: Scene) -> None:
    random = np.random.default_rng(0)
    frame = random.integers(0, len(scene.frames), 200)
    sizes = np.array([each.shape for each in scene.frames])
    row, column = (random.integers(0, sizes[frame, axis]) for axis in (0, 1))
    found = has_data(Labelled(frame, row, column, 0 * row, ("a",)), scene)
    for number, each in enumerate(scene.frames):
        height, width = each.shape
        valid = scene.valid(number, (slice(0, height), slice(0, width)))
        own = frame == number
        np.testing.assert_array_equal(found[own], valid[row[own], column[own]])
