"""Superpixels in three stages: cut, described, clustered; and their labels looked up."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage, stats

from hsistream.config import RunConfig
from hsistream.consensus.projections import unit_length
from hsistream.execution import Execution
from hsistream.graph.nodes import Superpixels
from hsistream.pipeline import run
from hsistream.regions.density import density_scale, kernel_density, neighbour_distances
from hsistream.regions.representatives import choose_representatives
from hsistream.regions.seams import LabelChanges
from hsistream.runs import CONFIDENCE_STEPS, CUTS, NO_LABEL, SUPERPIXELS, RunDirectory
from hsistream.scene.scene import Scene
from hsistream.stages import cluster as cluster_stage
from hsistream.stages import describe as describe_stage
from hsistream.stages import reference as reference_table
from hsistream.stages import scene_tiles
from hsistream.stages import statistics as statistics_stage
from hsistream.stages.cut import Slots
from hsistream.stages.diffuse import cluster_means, margins
from hsistream.stages.segment import first_id
from hsistream.stores.raster import RasterStore
from hsistream.stores.tables import read_table
from hsistream.tiles import Tile, TileGrid
from tests.strategies import whole

SEGMENT_PX = 32


@pytest.fixture(scope="module")
def cut(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """A finished run whose frames were cut at tiles; never to be changed."""
    settings = [
        ("cluster.head", "diffusion"),
        ("cluster.clusters", 3),
        ("segment.tile_px", SEGMENT_PX),
        ("graph.neighbours", 8),
        ("graph.features", "bands"),
    ]
    config = RunConfig.make("s2dl", settings=settings)
    folder = tmp_path_factory.mktemp("cut") / "run"
    return run(scene, config, folder, execution=Execution(tile_px=64, threads=2))


def ids_of(run: RunDirectory, scene: Scene, frame: int) -> NDArray[np.int64]:
    place = scene.frames[frame]
    return RasterStore(run.superpixels_uri).read(place.name, SUPERPIXELS, whole(place.shape))


def spectral(scene: Scene, frame: int) -> NDArray[np.float64]:
    """Unit spectra in the good bands, (pixel with data, band), in rows."""
    shape = scene.frames[frame].shape
    raw = scene.read(frame, whole(shape)).astype(np.float64)[np.asarray(scene.good_bands)]
    return np.asarray(unit_length(raw)[:, scene.valid(frame, whole(shape))].T)


def every_unit_spectrum(scene: Scene) -> NDArray[np.float64]:
    return np.concatenate([spectral(scene, frame) for frame in range(len(scene.frames))])


# --- segment -------------------------------------------------------------------------------


def own_ids(ids: NDArray[np.int64], tile: Tile, scene: Scene) -> NDArray[np.bool_]:
    """Pixels of a frame whose superpixels a tile keeps."""
    first = first_id(tile, scene, SEGMENT_PX)
    return (ids >= first) & (ids < first + SEGMENT_PX**2)


def test_every_pixel_with_data_belongs_to_a_superpixel_of_its_tile_or_of_one_around(
    scene: Scene, cut: RunDirectory
) -> None:
    margin = cut.config().segment.margin_px
    for number, frame in enumerate(scene.frames):
        ids = ids_of(cut, scene, number)
        np.testing.assert_array_equal(ids >= 0, scene.valid(number, whole(frame.shape)))
        for tile in TileGrid(frame.shape, SEGMENT_PX, margin, number):
            mine = own_ids(ids, tile, scene)
            mine[tile.window(frame.shape)] = False
            assert not mine.any()


def test_superpixels_of_an_earlier_tile_are_whole_where_tiles_overlap(
    scene: Scene, cut: RunDirectory
) -> None:
    """So they meet where one of them ends, and not in a straight line at the edge of a tile."""
    slots, store = Slots.of(cut.config().segment), RasterStore(cut.cuts_uri)
    for number, frame in enumerate(scene.frames):
        ids, taken = ids_of(cut, scene, number), np.zeros(frame.shape, np.bool_)
        for tile in (tile for tile in slots.tiles(scene) if tile.frame == number):
            window = tile.window(frame.shape)
            kept = store.read(frame.name, CUTS, slots.place(window, tile))
            free = (kept >= 0) & ~taken[window]
            first = first_id(tile, scene, SEGMENT_PX)
            np.testing.assert_array_equal(ids[window][free], kept[free] + first)
            taken[window] |= kept >= 0
        assert taken[scene.valid(number, whole(frame.shape))].mean() > 0.9


def test_superpixels_end_at_seams_no_more_often_than_elsewhere(
    scene: Scene, cut: RunDirectory, tmp_path: Path
) -> None:
    apart = ratio_of_ends(scene, cut)
    settings = [("cluster.clusters", 3), ("segment.tile_px", SEGMENT_PX)]
    config = RunConfig.make("s2dl", settings=[*settings, ("segment.overlap_px", 0)])
    alone = run(scene, config, tmp_path)
    assert ratio_of_ends(scene, alone) > 2  # there, superpixels end at all seams
    assert 0.6 < apart < 1.4


def ratio_of_ends(scene: Scene, run: RunDirectory) -> float:
    found = LabelChanges()
    for number, frame in enumerate(scene.frames):
        all_of_it = whole(frame.shape)
        found += LabelChanges.from_window(
            ids_of(run, scene, number), all_of_it, all_of_it, tile_px=SEGMENT_PX, no_data=-1
        )
    return found.ratio


def test_without_overlap_superpixels_are_connected_parts_of_their_tiles(
    scene: Scene, tmp_path: Path
) -> None:
    settings = [("cluster.clusters", 3), ("segment.tile_px", SEGMENT_PX)]
    config = RunConfig.make("s2dl", settings=[*settings, ("segment.overlap_px", 0)])
    done = run(scene, config, tmp_path)
    wanted = config.segment.count(scene.valid_pixels)
    for tile in scene_tiles(scene, SEGMENT_PX):
        ids = ids_of(done, scene, tile.frame)
        valid = scene.valid(tile.frame, tile.core)
        found = np.unique(ids[own_ids(ids, tile, scene)])
        np.testing.assert_array_equal(np.unique(ids[tile.core][valid]), found)
        for each in found:
            assert ndimage.label(ids == each, structure=np.ones((3, 3)))[1] == 1
        pieces = ndimage.label(valid, structure=np.ones((3, 3)))[1]
        share = round(wanted * int(valid.sum()) / scene.valid_pixels)
        assert len(found) == (0 if not valid.any() else max(1, share, pieces))


@pytest.mark.parametrize("name", ["ers", "slic"])
def test_all_segmenters_cut(scene: Scene, tmp_path: Path, name: str) -> None:
    settings = [("cluster.clusters", 3), ("segment.name", name), ("segment.superpixels", 60)]
    done = run(scene, RunConfig.make("s2dl", settings=settings), tmp_path)
    count = len(read_table(done.table(describe_stage.TABLE))["count"])
    assert 10 <= count <= 90  # SLIC makes roughly as many as are asked for


# --- describe ------------------------------------------------------------------------------


def test_densities_are_those_among_all_pixels_of_a_small_scene(
    scene: Scene, cut: RunDirectory
) -> None:
    spectra, settings = every_unit_spectrum(scene), cut.config().graph
    near = neighbour_distances(spectra, spectra, settings.neighbours, own=np.arange(len(spectra)))
    scale = density_scale(near, settings.percentile)
    density = kernel_density(near, scale)
    assert float(read_table(cut.table(reference_table.TABLE))["scale"]) == pytest.approx(
        scale, rel=1e-4
    )
    nodes = read_table(cut.table(describe_stage.TABLE))
    first = 0
    for number, frame in enumerate(scene.frames):
        valid = scene.valid(number, whole(frame.shape))
        image = np.zeros(frame.shape)
        image[valid] = density[first : first + int(valid.sum())]
        first += int(valid.sum())
        own = nodes["frame"] == number
        expected = image[nodes["row"][own], nodes["column"][own]]
        np.testing.assert_allclose(nodes["density"][own], expected, rtol=5e-3, atol=1e-6)


def test_nodes_are_the_densest_pixels_of_their_superpixels(scene: Scene, cut: RunDirectory) -> None:
    nodes = read_table(cut.table(describe_stage.TABLE))
    size = cut.config().graph.representatives
    per_region = np.bincount(nodes["region"], minlength=len(nodes["count"]))
    np.testing.assert_array_equal(per_region, np.minimum(nodes["count"], size))
    assert nodes["mass"].sum() == pytest.approx(scene.valid_pixels)
    assert nodes["count"].sum() == scene.valid_pixels
    key = np.stack([nodes["frame"], nodes["row"], nodes["column"]])
    np.testing.assert_array_equal(np.lexsort(key[::-1]), np.arange(key.shape[1]))


def test_means_and_features_are_those_of_unit_spectra(scene: Scene, cut: RunDirectory) -> None:
    nodes = read_table(cut.table(describe_stage.TABLE))
    tiles = scene_tiles(scene, SEGMENT_PX)
    for number, frame in enumerate(scene.frames):
        valid = scene.valid(number, whole(frame.shape))
        image = np.zeros((*frame.shape, sum(scene.good_bands)))
        image[valid] = spectral(scene, number)
        own = nodes["frame"] == number
        np.testing.assert_allclose(
            nodes["features"][own], image[nodes["row"][own], nodes["column"][own]], atol=1e-6
        )
        ids = ids_of(cut, scene, number)
        for tile in (tile for tile in tiles if tile.frame == number):
            mine = own_ids(ids, tile, scene)
            for region in np.unique(ids[mine]):
                total = image[ids == region].sum(axis=0)
                found = nodes["feature_sum"][nodes["ids"] == region]
                np.testing.assert_allclose(found, [total], rtol=1e-5, atol=1e-5)


def test_a_scene_in_one_tile_has_the_nodes_of_plain_arrays(scene: Scene, tmp_path: Path) -> None:
    settings = [("cluster.clusters", 3), ("graph.neighbours", 8)]
    done = run(scene, RunConfig.make("s2dl", settings=settings), tmp_path)
    nodes = read_table(done.table(describe_stage.TABLE))
    for number, frame in enumerate(scene.frames):
        ids = ids_of(done, scene, number)
        own = nodes["frame"] == number
        density = np.zeros(frame.shape)
        density[nodes["row"][own], nodes["column"][own]] = nodes["density"][own]
        chosen = choose_representatives(ids.ravel(), density.ravel(), 3)
        pixels = nodes["row"][own] * frame.shape[1] + nodes["column"][own]
        np.testing.assert_array_equal(chosen.pixels, pixels)


def test_few_reference_pixels_give_about_the_same_densities(scene: Scene, tmp_path: Path) -> None:
    settings = [("cluster.clusters", 3), ("graph.reference_pixels", 1000)]
    exact = run(scene, RunConfig.make("s2dl", settings=settings[:1]), tmp_path / "all")
    rough = run(scene, RunConfig.make("s2dl", settings=settings), tmp_path / "few")
    assert len(read_table(rough.table(reference_table.TABLE))["features"]) == 1000
    found, expected = (
        dict(zip(zip(t["frame"], t["row"], t["column"], strict=True), t["density"], strict=True))
        for t in (read_table(each.table(describe_stage.TABLE)) for each in (rough, exact))
    )
    both = sorted(found.keys() & expected.keys())
    likeness = stats.spearmanr(*([each[key] for key in both] for each in (found, expected)))
    assert likeness.statistic > 0.7


# --- cluster and label ---------------------------------------------------------------------


def test_labels_are_those_of_the_superpixels(scene: Scene, cut: RunDirectory) -> None:
    clusters, described = (
        read_table(cut.table(name)) for name in (cluster_stage.TABLE, describe_stage.TABLE)
    )
    for number, frame in enumerate(scene.frames):
        ids = ids_of(cut, scene, number)
        labels = RasterStore(cut.labels_uri).read(frame.name, "labels", whole(frame.shape))
        np.testing.assert_array_equal(labels == NO_LABEL, ids < 0)
        for region, label in zip(described["ids"], clusters["labels"], strict=True):
            assert (labels[ids == region] == label).all()
        assert np.isin(ids[ids >= 0], described["ids"]).all()


def test_the_reservoir_has_the_labels_of_its_pixels(scene: Scene, cut: RunDirectory) -> None:
    places = read_table(cut.table(statistics_stage.RESERVOIR))
    found = read_table(cut.table(cluster_stage.TABLE))["reservoir_label"]
    for number, frame in enumerate(scene.frames):
        labels = RasterStore(cut.labels_uri).read(frame.name, "labels", whole(frame.shape))
        own = places["frame"] == number
        np.testing.assert_array_equal(found[own], labels[places["row"][own], places["column"][own]])


def test_modes_lie_on_pixels_with_data_in_different_superpixels(
    scene: Scene, cut: RunDirectory
) -> None:
    modes = read_table(cut.table(cluster_stage.TABLE))["modes"]
    found = [ids_of(cut, scene, frame)[row, column] for frame, row, column in modes.tolist()]
    assert len(found) == 3
    assert len(set(found)) == len(found)
    assert min(found) >= 0


def test_a_margin_is_that_between_the_two_nearest_means() -> None:
    means = np.array([[0.0], [1.0], [10.0]])
    labels = np.array([0, 0, 1])
    centres = cluster_means(Superpixels(np.array([1, 1, 2]), means), labels)
    np.testing.assert_array_equal(centres, [[0.5], [10.0]])
    found = margins(means, labels, centres)
    np.testing.assert_allclose(found, [1 - 0.5 / 10, 1 - 0.5 / 9, 1.0])
    alone = margins(means, np.zeros(3, np.int64), means[:1])
    np.testing.assert_array_equal(alone, 1)
    assert CONFIDENCE_STEPS > 1
