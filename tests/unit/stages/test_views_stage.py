from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from hsistream.config import RunConfig
from hsistream.consensus.views import spatial_view
from hsistream.errors import DamagedError
from hsistream.events import ignore
from hsistream.execution import Execution
from hsistream.illumination import features
from hsistream.runs import LATENTS, RunDirectory
from hsistream.scene.ingest import ingest
from hsistream.scene.scene import Scene
from hsistream.scene.synthetic import SyntheticFrame
from hsistream.sections import ViewsSection
from hsistream.stages import Address, Context, scene_tiles
from hsistream.stages import count as count_stage
from hsistream.stages import statistics as statistics_stage
from hsistream.stages import views as views_stage
from hsistream.stages.statistics import TABLE as STATISTICS
from hsistream.stages.statistics import Constants, from_table
from hsistream.stages.views import (
    TABLE,
    components,
    fixed_tile_px,
    halo,
    load_constants,
    tile_views,
)
from hsistream.stores.raster import RasterStore
from hsistream.stores.tables import read_table
from hsistream.tiles import Tile, TileGrid
from tests.strategies import array_source, whole

Views = dict[str, NDArray[np.float32]]
Setup = tuple[Scene, ViewsSection, Constants]

CHANGES = ("snv", "snv+brightness", "l2", "l2+brightness", "continuum")
"""All illuminations but none."""


@pytest.fixture(scope="module")
def constants(finished: RunDirectory) -> Constants:
    return from_table(read_table(finished.table(STATISTICS)))


@pytest.fixture(scope="module", params=CHANGES)
def relit(
    request: pytest.FixtureRequest, scene: Scene, tmp_path_factory: pytest.TempPathFactory
) -> Setup:
    """The scene, its views and its constants under one illumination."""
    settings: list[tuple[str, Any]] = [
        ("statistics.illumination", request.param),
        ("views.spectral", ["z", "l2", "mnf"]),
        *((f"views.{name}_components", 5) for name in ("z", "l2", "mnf")),
    ]
    config = RunConfig.make(settings=settings)
    run = RunDirectory(tmp_path_factory.mktemp("run"))
    statistics_stage.run(Context(run, scene, config, Execution(), 32, 1, None, ignore, ""))
    return scene, config.views, from_table(read_table(run.table(STATISTICS)))


def views_by_tile(
    scene: Scene, frame: int, tile_px: int, constants: Constants, section: ViewsSection
) -> Views:
    """All views of a frame, put together from tiles; 0 where there is no data."""
    shape = scene.frames[frame].shape
    valid = scene.valid(frame, whole(shape))
    found: Views = {}
    for tile in TileGrid(shape, tile_px, halo(section), frame):
        for strip, name, values in tile_views(tile, scene, section, constants):
            image = found.setdefault(name, np.zeros((len(values), *shape), np.float32))
            image[:, *strip] = values * valid[strip]
    return found


def test_views_are_projected_and_filtered_in_float64_alike(
    scene: Scene, constants: Constants, finished: RunDirectory
) -> None:
    section, frame = finished.config().views, 0
    window = whole(scene.frames[frame].shape)
    valid = scene.valid(frame, window)
    spectra = scene.read(frame, window)[np.asarray(scene.good_bands)].astype(np.float64)
    found = views_by_tile(scene, frame, 4096, constants, section)
    assert tuple(found) == section.names
    for projection, scale in zip(constants.projections, constants.edge_scales, strict=True):
        scores = projection.scores(spectra.reshape(len(spectra), -1), 0)
        image = (scores.reshape(-1, *valid.shape) * valid).astype(np.float32)
        for name in section.spatial:
            expected = spatial_view(name, image, valid, scale)[:, valid]
            values = found[f"{projection.name}.{name}"][:, valid]
            np.testing.assert_allclose(values, expected, atol=2e-4 * abs(expected).max())


@pytest.mark.parametrize("tile_px", [8, 16, 23, 32, 48])
def test_views_by_tile_are_those_of_the_whole_frame(
    scene: Scene, constants: Constants, finished: RunDirectory, tile_px: int
) -> None:
    section = finished.config().views
    expected = views_by_tile(scene, 0, 4096, constants, section)
    found = views_by_tile(scene, 0, tile_px, constants, section)
    assert found.keys() == expected.keys()
    for name, values in found.items():
        np.testing.assert_array_equal(values, expected[name], err_msg=name)


def test_views_of_features_are_projected_in_float64_alike(relit: Setup) -> None:
    scene, section, constants = relit
    window, good = whole(scene.frames[0].shape), np.asarray(scene.good_bands)
    valid = scene.valid(0, window)
    values = features(
        constants.illumination,
        scene.read(0, window)[good],
        np.asarray(scene.wavelengths_nm)[good],
    ).astype(np.float64)
    found = views_by_tile(scene, 0, 4096, constants, section)
    for projection in constants.projections:
        expected = projection.scores(values[:, valid], 0)
        scores = found[f"{projection.name}.plain"][:, valid]
        np.testing.assert_allclose(scores, expected, atol=2e-4 * abs(expected).max())


@pytest.mark.parametrize("tile_px", [16, 23])
def test_views_of_features_by_tile_are_those_of_the_whole_frame(relit: Setup, tile_px: int) -> None:
    scene, section, constants = relit
    expected = views_by_tile(scene, 0, 4096, constants, section)
    found = views_by_tile(scene, 0, tile_px, constants, section)
    assert found.keys() == expected.keys()
    for name, values in found.items():
        np.testing.assert_array_equal(values, expected[name], err_msg=name)


def test_pixels_without_data_score_nothing_whatever_they_hold(relit: Setup, tmp_path: Path) -> None:
    _, section, constants = relit
    source = SyntheticFrame(0, (50, 70), bands=12, classes=3)
    values = source.read(whole(source.shape)).astype(np.float32)
    valid = source.valid(whole(source.shape))
    scores = []
    for number, junk in enumerate((np.nan, -np.inf, 3e38)):
        values[:, ~valid] = junk
        lit = array_source(
            values,
            mask=valid,
            wavelengths_nm=source.header.wavelengths_nm,
            good_bands=source.header.good_bands,
        )
        scene = ingest([lit], tmp_path / f"{number}.zarr")
        scores.append(views_by_tile(scene, 0, 4096, constants, section))
    for name, found in scores[0].items():
        np.testing.assert_array_equal(found, scores[1][name], err_msg=name)
        np.testing.assert_array_equal(found, scores[2][name], err_msg=name)


def test_views_do_not_depend_on_the_height_of_strips_and_blocks(
    scene: Scene,
    constants: Constants,
    finished: RunDirectory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    section = finished.config().views
    expected = views_by_tile(scene, 0, 48, constants, section)
    monkeypatch.setattr(views_stage, "STRIP_PX", 7)
    found = views_by_tile(scene, 0, 48, constants, section)
    for name, values in found.items():
        np.testing.assert_array_equal(values, expected[name], err_msg=name)


def test_the_views_of_the_reservoir_are_those_of_its_pixels(
    scene: Scene, constants: Constants, finished: RunDirectory
) -> None:
    section, table = finished.config().views, read_table(finished.table(TABLE))
    images = [views_by_tile(scene, frame, 4096, constants, section) for frame in (0, 1)]
    for name in section.names:
        parts = [
            images[frame][name][:, scene.valid(frame, whole(scene.frames[frame].shape))].T
            for frame in (0, 1)
        ]
        np.testing.assert_array_equal(table[name], np.concatenate(parts), err_msg=name)


def test_the_tiles_of_the_reservoir_hold_whole_chunks(scene: Scene) -> None:
    for chunk_px in (16, 64, 128, 256, 2048):
        tile_px = fixed_tile_px(replace(scene, chunk_px=chunk_px))
        assert tile_px % chunk_px == 0
        assert tile_px > 0


@pytest.mark.parametrize(
    ("spatial", "expected"), [(("plain",), 0), (("edge",), 3), (("plain", "gaussian"), 4)]
)
def test_the_halo_is_that_of_the_widest_filter(spatial: tuple[str, ...], expected: int) -> None:
    assert halo(ViewsSection.model_validate({"spatial": spatial})) == expected


def test_no_more_components_are_counted_than_bands_and_a_brightness(scene: Scene) -> None:
    settings = [("views.spectral", ["z", "l2", "mnf"]), ("views.z_components", 5)]
    assert components(RunConfig.make(settings=settings), scene) == 5 + 13 + 12


def test_latents_are_counted_among_the_components(scene: Scene) -> None:
    settings: list[tuple[str, Any]] = [("encoder.components", 7)]
    config = RunConfig.make("consensus-dgc", settings=settings)
    assert components(config, scene) == 13 + 12 + 8


# --- latents -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def encoded(scene: Scene, learnt: RunDirectory) -> tuple[RunConfig, Constants]:
    """Settings that view latents, and constants that have some: those of a run with a network."""
    config = RunConfig.make("consensus-dgc", settings=[("cluster.clusters", 3)])
    return config, load_constants(Address(scene, learnt, "mark"), config.views.spectral)


def test_latents_are_a_source_of_views(
    scene: Scene, learnt: RunDirectory, encoded: tuple[RunConfig, Constants]
) -> None:
    config, constants = encoded
    assert constants.latents is not None
    assert constants.latents.edge_scale == read_table(learnt.table("training"))["edge_scale"]
    found = views_by_tile(scene, 0, 4096, constants, config.views)
    assert [name for name in found if name.startswith("latents")] == [
        "latents.plain",
        "latents.gaussian",
        "latents.edge",
    ]
    window = whole(scene.frames[0].shape)
    valid = scene.valid(0, window)
    latents = RasterStore(learnt.latents_uri).read("frame0", LATENTS, window, leading=1)
    image = np.where(valid, latents.astype(np.float32), np.float32(0))
    np.testing.assert_array_equal(found["latents.plain"][:, valid], image[:, valid])
    expected = spatial_view("edge", image, valid, constants.latents.edge_scale)
    np.testing.assert_array_equal(found["latents.edge"][:, valid], expected[:, valid])


@pytest.mark.parametrize("tile_px", [16, 23, 48])
def test_views_of_latents_by_tile_are_those_of_the_whole_frame(
    scene: Scene, encoded: tuple[RunConfig, Constants], tile_px: int
) -> None:
    config, constants = encoded
    expected = views_by_tile(scene, 1, 4096, constants, config.views)
    found = views_by_tile(scene, 1, tile_px, constants, config.views)
    assert found.keys() == expected.keys()
    for name, values in found.items():
        np.testing.assert_array_equal(values, expected[name], err_msg=name)


def test_latents_may_be_the_only_source(scene: Scene, encoded: tuple[RunConfig, Constants]) -> None:
    _, constants = encoded
    alone = replace(constants, projections=(), edge_scales=())
    section = ViewsSection(spectral=("latents",))
    found = views_by_tile(scene, 0, 32, alone, section)
    assert tuple(found) == section.names
    both = views_by_tile(scene, 0, 32, constants, section)
    for name, values in found.items():
        np.testing.assert_array_equal(values, both[name], err_msg=name)


@pytest.mark.parametrize("stage", [views_stage, count_stage], ids=["views", "count"])
def test_latents_with_a_missing_file_are_refused(
    scene: Scene, encoded: tuple[RunConfig, Constants], learnt: RunDirectory, tmp_path: Path,
    stage: Any,
) -> None:  # fmt: skip
    own = RunDirectory(shutil.copytree(learnt.path, tmp_path / "run"))
    files = [path for path in Path(own.latents_uri).rglob("c/*/*/*") if path.is_file()]
    files[0].unlink()
    context = Context(own, scene, encoded[0], Execution(), 32, 1, None, ignore, "mark")
    with pytest.raises(DamagedError, match="lacks 1 of its storage files"):
        stage.run(context)


def test_without_latents_none_are_looked_for(
    scene: Scene, learnt: RunDirectory, tmp_path: Path
) -> None:
    own = RunDirectory(tmp_path)
    own.table(STATISTICS).write_bytes(learnt.table(STATISTICS).read_bytes())
    assert load_constants(Address(scene, own, "mark"), ("z",)).latents is None


def test_tiles_of_a_scene_come_frame_by_frame(scene: Scene) -> None:
    tiles = scene_tiles(scene, 32, 4)
    assert tiles == sorted(tiles)
    assert len({tile.key for tile in tiles}) == len(tiles) == 6 + 4
    assert tiles[0] == Tile(0, 0, 0, (slice(0, 32), slice(0, 32)), 4)
