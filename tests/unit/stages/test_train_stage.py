from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.cluster import KMeans

from hsistream.config import RunConfig
from hsistream.errors import ConfigError
from hsistream.events import Event, Noted, StageFinished
from hsistream.execution import Execution
from hsistream.methods.base import ORIGIN, Encoder, Gaps, Place, Probe, Reservoir, Trained
from hsistream.pipeline import run
from hsistream.runs import INDEX, RunDirectory
from hsistream.scene.crops import CROP_PX, Crop
from hsistream.scene.ingest import ingest
from hsistream.scene.scene import Scene
from hsistream.stages import statistics as statistics_stage
from hsistream.stages import train as train_stage
from hsistream.stages.train import TABLE, load_encoder, standard_of, valid_counts
from hsistream.stores.raster import RasterStore
from hsistream.stores.tables import read_table
from tests.strategies import array_source, whole

Floats = NDArray[np.float64]


def clustered(
    scene: Scene, folder: Path, *settings: tuple[str, Any], **others: Any
) -> RunDirectory:
    given = [("cluster.clusters", 3), ("training.steps", 2), *settings]
    execution = Execution(tile_px=32, threads=2)
    return run(
        scene, RunConfig.make("dgc", settings=given), folder, **{"execution": execution} | others
    )


def pixels_of(scene: Scene) -> Floats:
    """Spectra of all valid pixels in the good bands, (pixel, band)."""
    parts = []
    for number, frame in enumerate(scene.frames):
        window = whole(frame.shape)
        parts.append(scene.read(number, window)[:, scene.valid(number, window)].T)
    return np.concatenate(parts)[:, np.asarray(scene.good_bands)].astype(np.float64)


def checkpoint_bytes(run: RunDirectory) -> dict[str, bytes]:
    files = sorted(path for path in run.checkpoint_path.rglob("*") if path.is_file())
    return {
        str(path.relative_to(run.path)): path.read_bytes()
        for path in files
        if path.name != "elapsed.json"
    }


# --- what networks see ---------------------------------------------------------------------


def test_networks_see_standardised_features_and_their_principal_directions(
    scene: Scene, learnt: RunDirectory
) -> None:
    standard = standard_of(read_table(learnt.table(statistics_stage.STANDARD)))
    raw, found = pixels_of(scene), []
    for number, frame in enumerate(scene.frames):
        window = whole(frame.shape)
        valid = scene.valid(number, window)
        image = standard.standardise(scene.read(number, window), valid, number)
        assert image.dtype == np.float32
        assert not image[:, ~valid].any()
        found.append(image[:, valid])
    pixels = np.concatenate(found, axis=1).T
    expected = (raw - raw.mean(axis=0)) / raw.std(axis=0)
    np.testing.assert_allclose(pixels, expected, atol=1e-4)
    values = np.linalg.eigvalsh(np.cov(expected.T, bias=True))[::-1]
    np.testing.assert_allclose(standard.variance, values, rtol=1e-6)
    scores = expected @ standard.directions
    np.testing.assert_allclose(np.cov(scores.T, bias=True), np.diag(values), atol=1e-6)


def test_networks_may_see_features_from_the_least_to_the_greatest(
    scene: Scene, learnt: RunDirectory
) -> None:
    standard = standard_of(read_table(learnt.table(statistics_stage.STANDARD)))
    raw = pixels_of(scene)
    np.testing.assert_array_equal(standard.low[0], raw.min(axis=0))
    np.testing.assert_array_equal(standard.high[0], raw.max(axis=0))
    for number, frame in enumerate(scene.frames):
        window = whole(frame.shape)
        valid, spectra = scene.valid(number, window), scene.read(number, window)
        found = standard.in_range(spectra, number)[:, valid].T
        good = spectra[np.asarray(scene.good_bands)][:, valid].T
        expected = (good - raw.min(axis=0)) / np.ptp(raw, axis=0)
        np.testing.assert_allclose(found, expected, atol=1e-5)
    sampled = Reservoir(*_sampled(scene)).in_range(standard)
    assert sampled.min() == 0
    assert sampled.max() == pytest.approx(1, abs=1e-6)


def _sampled(scene: Scene) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """All valid spectra as stored, (pixel, band), and the frame of each."""
    parts = []
    for number, frame in enumerate(scene.frames):
        window = whole(frame.shape)
        parts.append(scene.read(number, window)[:, scene.valid(number, window)].T)
    frames = [np.full(len(part), number, np.int64) for number, part in enumerate(parts)]
    return np.concatenate(parts), np.concatenate(frames)


def test_a_constant_band_is_0_in_its_range(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(1, 99, (3, 9, 9)).astype(np.uint16)
    values[1] = 7
    blank = array_source(values, "blank", mask=np.zeros((9, 9), np.bool_))
    scene = ingest([array_source(values), blank], tmp_path / "scene.zarr")
    config = RunConfig.make(settings=[("cluster.clusters", 2), ("statistics.by", "frame")])
    done = run(scene, config, tmp_path / "run", execution=Execution(threads=1))
    standard = standard_of(read_table(done.table(statistics_stage.STANDARD)))
    found = standard.in_range(values, 0)
    assert not found[1].any()
    assert (found[[0, 2]].min(), found[[0, 2]].max()) == (0, 1)
    assert not standard.in_range(values, 1).any()


@pytest.mark.parametrize("by", ["scene", "frame"])
def test_glaring_pixels_need_not_squeeze_the_others(tmp_path: Path, by: str) -> None:
    values = np.random.default_rng(0).integers(100, 200, (3, 60, 60)).astype(np.uint16)
    values[1], values[1, 5, 5] = 7, 8  # hardly ever varies: keeps its extremes
    values[:, 30, 30] = 60_000
    blank = array_source(values, "blank", mask=np.zeros((60, 60), np.bool_))
    scene = ingest([array_source(values), blank], tmp_path / "scene.zarr")
    seen = {}
    for limits in ("extremes", "percentiles"):
        settings = [("statistics.limits", limits), ("statistics.by", by), ("cluster.clusters", 2)]
        done = run(scene, RunConfig.make(settings=settings), tmp_path / limits)
        standard = standard_of(read_table(done.table(statistics_stage.STANDARD)))
        seen[limits] = standard.in_range(values, 0)
    np.testing.assert_array_equal(seen["percentiles"][:, 30, 30], 1)
    assert (seen["percentiles"].min(), seen["percentiles"].max()) == (0, 1)
    assert np.median(seen["extremes"][0]) < 0.01
    assert 0.4 < np.median(seen["percentiles"][0]) < 0.6
    np.testing.assert_array_equal(seen["percentiles"][1], seen["extremes"][1])


def test_patches_are_read_around_pixels_of_the_reservoir(
    scene: Scene, learnt: RunDirectory
) -> None:
    table = read_table(learnt.table(statistics_stage.RESERVOIR))
    numbers = np.asarray([900, 3, 500])
    found = train_stage._patches(scene, table, numbers, 3)
    np.testing.assert_array_equal(found[:, :, 3, 3], table["spectra"][numbers])


def test_the_valid_pixels_of_every_chunk_are_counted(scene: Scene, learnt: RunDirectory) -> None:
    counts = valid_counts(read_table(learnt.table(statistics_stage.STANDARD)), scene)
    for number, (frame, found) in enumerate(zip(scene.frames, counts, strict=True)):
        valid = scene.valid(number, whole(frame.shape))
        for row, column in np.ndindex(found.shape):
            chunk = valid[row * 16 : (row + 1) * 16, column * 16 : (column + 1) * 16]
            assert found[row, column] == chunk.sum()
        assert found.sum() == frame.valid_pixels


@pytest.mark.parametrize(("method", "more"), [("umae", False), ("dgc", True)])
def test_crops_are_planned_for_networks_that_learn_from_crops(
    scene: Scene, method: str, more: bool
) -> None:
    frame = replace(scene.frames[0], shape=(9000, 9000), valid_pixels=9000**2)
    large = replace(scene, frames=(frame,), bands=150, chunk_px=64, shard_px=512)

    def needed(pairs: int) -> int:
        settings = [("cluster.clusters", 3), ("training.pairs", pairs)]
        config = RunConfig.make(method, settings=settings)
        return sum(train_stage.estimate(large, config, 512).driver.values())

    assert needed(32) >= needed(1)
    assert (needed(32) > needed(1)) == more


# --- what is left --------------------------------------------------------------------------


def test_a_training_leaves_what_later_stages_need(learnt: RunDirectory) -> None:
    table = read_table(learnt.table(TABLE))
    assert str(table["ending"]) == "finished"
    assert table["losses"].shape == (4,)
    assert table["check_steps"].tolist() == [0, 4]
    assert table["prototypes"].shape == (2, 16, 11)
    assert table["masses"].shape == (2, 16)
    assert 0 < table["edge_scale"] < 4
    checks = {name: values for name, values in table.items() if name.startswith("check.")}
    assert len(checks) >= 4
    assert all(values.shape == (2,) for values in checks.values())


def test_the_floor_is_k_means_on_principal_components(scene: Scene, tmp_path: Path) -> None:
    done = clustered(scene, tmp_path / "run", ("training.steps", 0), ("seed", 5))
    raw = pixels_of(scene)
    standardised = (raw - raw.mean(axis=0)) / raw.std(axis=0)
    _, _, axes = np.linalg.svd(standardised, full_matrices=False)
    scores = standardised @ axes.T
    scores /= np.sqrt(scores.var(axis=0).sum())
    lifted = np.concatenate([scores, np.ones((len(scores), 1))], axis=1)
    lifted /= np.linalg.norm(lifted, axis=1, keepdims=True)
    state = int(np.random.SeedSequence((5, 3)).generate_state(1)[0])
    reference = KMeans(16, n_init=3, random_state=state).fit(lifted.astype(np.float32))
    found = np.concatenate(
        [
            RasterStore(done.index_uri).read(frame.name, INDEX, whole(frame.shape)).ravel()
            for frame in scene.frames
        ]
    )
    table = np.zeros((16, 16))
    np.add.at(table, (found[found != 65535], reference.labels_), 1)
    assert table.sum() == scene.valid_pixels
    assert table.max(axis=0).sum() / table.sum() >= 0.999


def test_a_lost_table_is_written_again_without_training(
    scene: Scene, learnt: RunDirectory, tmp_path: Path
) -> None:
    own = RunDirectory(shutil.copytree(learnt.path, tmp_path / "run"))
    before, checkpoint = own.table(TABLE).read_bytes(), checkpoint_bytes(own)
    own.table(TABLE).unlink()
    heard: list[Event] = []
    run(scene, own.config(), own.path, execution=Execution(tile_px=32), notify=heard.append)
    done = [each.stage for each in heard if isinstance(each, StageFinished) and not each.skipped]
    assert done == ["train"]
    assert own.table(TABLE).read_bytes() == before
    assert checkpoint_bytes(own) == checkpoint


def test_a_run_may_be_trained_longer_elsewhere_but_not_here(
    scene: Scene, learnt: RunDirectory, tmp_path: Path
) -> None:
    own = RunDirectory(shutil.copytree(learnt.path, tmp_path / "run"))
    with pytest.raises(ConfigError, match=r"training\.steps = 4 there, 5 here"):
        clustered(scene, own.path, ("training.steps", 5))


def test_a_trained_network_is_read_back(learnt: RunDirectory, scene: Scene) -> None:
    settings = learnt.config().encoder
    assert settings is not None
    encoder = load_encoder(settings, learnt, "cpu")
    raw = scene.read(0, (slice(20, 30), slice(20, 30))).reshape(scene.bands, -1)
    assert encoder.embed(raw, 0).shape == (encoder.embedding_size, 100)


def test_small_frames_are_named_once(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    sources = [
        array_source(rng.integers(1, 100, (3, 8, 9)).astype(np.uint16), f"f{number}")
        for number in range(5)
    ]
    heard: list[Event] = []
    clustered(ingest(sources, tmp_path / "s.zarr"), tmp_path / "run", notify=heard.append)
    told = [each.message for each in heard if isinstance(each, Noted)]
    [padded] = [message for message in told if "reflection" in message]
    assert "f0, f1, f2 and 2 more" in padded
    assert str(CROP_PX) in padded
    assert any("amplification" in message for message in told)


def test_a_device_that_is_not_there_is_refused(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    execution = Execution(tile_px=32, threads=1, device="cuda")
    with pytest.raises(ConfigError, match="--device cuda needs a CUDA device"):
        clustered(scene, tmp_path / "run", execution=execution)


# --- the edge scale ------------------------------------------------------------------------


@dataclass(frozen=True)
class Sums:
    """An encoder whose latents are the sums of spectra over 3 x 3 pixels."""

    embedding_size: int = 3
    latent_size: int = 3
    halo: int = 1
    square_px: int = 128
    gaps: Gaps = "blank"

    def embed(self, raw: NDArray[Any], frame: int) -> NDArray[np.float32]:
        return raw.astype(np.float32)

    def refine(
        self, embedded: NDArray[np.float32], place: Place = ORIGIN, dtype: type = np.float32
    ) -> NDArray[Any]:
        height, width = embedded.shape[1] - 2, embedded.shape[2] - 2
        shifted = [
            embedded[:, top : top + height, left : left + width] for top, left in np.ndindex(3, 3)
        ]
        return np.asarray(np.sum(shifted, axis=0, dtype=np.float32), dtype)


@pytest.mark.parametrize("junk", [0.0, 7e4, np.nan, np.inf])
def test_neighbours_with_data_are_compared_whatever_the_others_hold(junk: float) -> None:
    rng = np.random.default_rng(0)
    valid = rng.random((9, 9)) < 0.7
    spectra = np.where(valid, rng.standard_normal((3, 9, 9)), 0)
    values = Sums().refine(np.pad(spectra, ((0, 0), (1, 1), (1, 1)), mode="edge"))
    encoder: Encoder = Sums()
    crop = Crop(np.where(valid, spectra, junk), valid, (0, 0))
    found = train_stage._neighbour_differences(encoder, Probe([crop], [0]))
    expected = [
        ((values[:, row, column] - values[:, row + down, column + right]) ** 2).sum()
        for down, right in ((1, 0), (0, 1))
        for row in range(9 - down)
        for column in range(9 - right)
        if valid[row, column] and valid[row + down, column + right]
    ]
    np.testing.assert_allclose(np.sort(found), np.sort(expected), rtol=1e-4, atol=1e-6)


# --- needs ---------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["dgc", "dgc-paper", "consensus-dgc", "umae"])
def test_training_needs_the_same_memory_for_a_scene_of_any_size(scene: Scene, method: str) -> None:
    config = RunConfig.make(method)
    found = []
    for side in (2_000, 20_000):
        frame = replace(scene.frames[0], shape=(side, side), valid_pixels=side**2)
        large = replace(scene, frames=(frame,), bands=200, chunk_px=128, shard_px=512)
        found.append(train_stage.estimate(large, config, 512))
    assert found[0] == found[1]
    assert all(amount > 0 for amount in found[0].driver.values())


def test_more_pairs_need_more_memory(scene: Scene) -> None:
    few, many = (
        sum(
            train_stage.estimate(
                scene, RunConfig.make("dgc", settings=[("training.pairs", pairs)]), 32
            ).driver.values()
        )
        for pairs in (1, 8)
    )
    assert few < many


@pytest.mark.parametrize(
    ("name", "values", "told"),
    [
        ("noise error", [0.84, 0.3, 0.9], True),
        ("masked error", [0.5, 0.5], True),
        ("noise error", [0.84, np.nan], True),
        ("noise error", [0.84, 0.83], False),
        ("noise error", [0.84], False),  # no step was done
        ("usage entropy", [1.0, 2.0], False),
    ],
)
def test_an_error_that_did_not_fall_is_told(name: str, values: list[float], told: bool) -> None:
    none = np.zeros(0)
    trained = Trained(
        "finished", np.ones(7), none.astype(np.int64), {name: np.asarray(values)}, none, none
    )
    messages = train_stage.errors_that_did_not_fall(trained, 0.005)
    assert len(messages) == told
    assert all("after 7 steps" in each and "0.005" in each for each in messages)
