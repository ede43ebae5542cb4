from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch  # noqa: TID253 the layer of the networks
from numpy.typing import NDArray

from hsistream.config import RunConfig
from hsistream.errors import ConfigError
from hsistream.execution import Execution
from hsistream.methods import umae
from hsistream.methods.base import Encoder, Material, Trained
from hsistream.methods.watching import schedule_of, train_watched
from hsistream.network_sections import UmaeSection
from hsistream.nn.farthest_points import farthest_points
from hsistream.nn.masking import masks
from hsistream.pipeline import run
from hsistream.readers.sources import open_sources
from hsistream.runs import NO_LABEL
from hsistream.scene.ingest import ingest
from hsistream.scene.scene import Scene
from hsistream.stages import train as train_stage
from hsistream.stages.encode import embed_tile, refine_tile
from hsistream.stages.gaps import reading_halo
from hsistream.tiles import TileGrid
from tests.laws.requests import LIGHT, TinyRun, tiny
from tests.strategies import whole
from tests.unit.methods.material import BANDS, fields, material_of, work_in

IMAGES = (fields(), fields((30, 36), seed=1, gain=1.2))

PROFILES = ("paper", "fast")


def config_of(*settings: tuple[str, Any]) -> RunConfig:
    light = [("cluster.clusters", 3), *LIGHT["umae"]]
    return RunConfig.make("umae", settings=[*light, *settings])


def settings_of(**settings: Any) -> UmaeSection:
    found = config_of(*((f"encoder.{key}", value) for key, value in settings.items())).encoder
    assert isinstance(found, UmaeSection)
    return found


def train(
    folder: Path, material: Material, settings: UmaeSection, steps: int = 3, **others: Any
) -> Trained:
    training = config_of(("training.steps", steps)).training.model_copy(update=others)
    return umae.train(settings, training, 0, material, work_in(folder))


def encoder_of(folder: Path, material: Material, settings: UmaeSection) -> Encoder:
    return umae.load(settings, material.standard, folder, "cpu")


# --- what is learnt from -------------------------------------------------------------------


def test_pixels_are_far_from_each_other_in_principal_components() -> None:
    material = material_of(IMAGES)
    found = umae._chosen(settings_of(pixels=40), 0, material)
    spectra = material.reservoir.in_range(material.standard).astype(np.float64)
    expected, _ = farthest_points(spectra, 40, int(found[0]))  # 8 bands, 8 components
    np.testing.assert_array_equal(found, expected)


def test_only_the_leading_components_count() -> None:
    rng = np.random.default_rng(0)
    deviations = np.r_[np.full(umae.COMPONENTS, 5.0), np.full(10, 1.0)]
    spectra = (rng.standard_normal((500, 30)) * deviations).T.astype(np.float32)
    scores = umae._scores(spectra)
    assert scores.shape == (umae.COMPONENTS, 500)
    values = np.linalg.eigvalsh(np.cov(spectra, bias=True))[::-1]
    np.testing.assert_allclose((scores**2).mean(axis=1), values[: umae.COMPONENTS], rtol=1e-4)


def test_no_more_pixels_are_chosen_than_there_are() -> None:
    material = material_of(IMAGES)
    few = replace(
        material.reservoir,
        spectra=material.reservoir.spectra[:7],
        frame=material.reservoir.frame[:7],
    )
    found = umae._chosen(settings_of(), 0, replace(material, reservoir=few))
    assert sorted(found.tolist()) == list(range(7))


@pytest.mark.parametrize("groups", [(0, 0), (0, 1)])
def test_patches_are_in_range_mirrored_and_without_gaps(groups: tuple[int, int]) -> None:
    material = material_of(IMAGES, groups=groups)
    numbers = np.arange(0, len(material.reservoir.frame), 5)
    found = umae._patches(material, numbers, 3)
    assert found.shape == (len(numbers), BANDS, 49)
    assert found.min() >= 0
    assert found.max() <= 1 + 1e-6
    middles = material.reservoir.in_range(material.standard)[:, numbers].T
    np.testing.assert_allclose(found[:, :, 24], middles, atol=1e-6)


# --- steps ---------------------------------------------------------------------------------


def batches(batch: int, pixels: int, first_step: int, steps: int) -> list[list[Any]]:
    return list(itertools.islice(umae._batches(batch, 0, pixels, first_step), steps))


def test_an_epoch_shows_every_pixel_once() -> None:
    found = batches(48, 400, 0, 18)
    sizes = [sum(len(portion.places) for portion in step) for step in found]
    assert sizes == 2 * ([48] * 8 + [16])
    for epoch in (0, 1):
        steps = found[9 * epoch : 9 * epoch + 9]
        shown = [place for step in steps for portion in step for place in portion.places]
        assert sorted(shown) == list(range(400))
        assert {portion.epoch for step in steps for portion in step} == {epoch}
    first, second = (np.concatenate([p.places for p in found[at]]) for at in (0, 9))
    assert (first != second).any()


def test_the_steps_do_not_depend_on_the_first_one() -> None:
    for late, early in zip(batches(48, 130, 4, 5), batches(48, 130, 0, 9)[4:], strict=True):
        for one, other in zip(late, early, strict=True):
            np.testing.assert_array_equal(one.places, other.places)
            assert (one.epoch, one.weight) == (other.epoch, other.weight)


@pytest.mark.parametrize("batch", [1, 24, 25, 48, 61])
def test_every_pixel_of_a_step_weighs_the_same(batch: int) -> None:
    for step in batches(batch, 150, 0, 8):
        pixels = sum(len(portion.places) for portion in step)
        for portion in step:
            assert portion.weight / len(step) == pytest.approx(len(portion.places) / pixels)


@pytest.mark.parametrize(("mode", "again"), [("fixed", True), ("resample", False)])
def test_masks_are_drawn_anew_or_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str, again: bool
) -> None:
    asked: dict[int, list[int]] = {}

    def listen(seed: int, pixels: list[int], epoch: int, *sizes: int) -> Any:
        for pixel in pixels:
            asked.setdefault(pixel, []).append(epoch)
        return masks(seed, pixels, epoch, *sizes)

    monkeypatch.setattr(umae, "masks", listen)
    settings = settings_of(mask_mode=mode, pixels=48, sample=1)
    train(tmp_path, material_of(IMAGES), settings, steps=3, check_every=3)
    learnt = [[epoch for epoch in epochs if epoch != umae.WATCHED] for epochs in asked.values()]
    shown = [epochs for epochs in learnt if epochs]
    assert len(shown) == 48
    assert all(epochs == ([0, 0, 0] if again else [0, 1, 2]) for epochs in shown)


def test_the_learning_rate_falls_in_stairs() -> None:
    schedule = schedule_of(RunConfig.make("umae").training)
    expected = [5e-4 * 0.9 ** (epoch // 10) for epoch in range(100)]
    found = [schedule.rate(9 * epoch) for epoch in range(100)]
    np.testing.assert_allclose(found, expected)


# --- latents -------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=PROFILES)
def profile(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture(scope="module")
def encoder(profile: str, tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    folder, material = tmp_path_factory.mktemp("checkpoint"), material_of(IMAGES)
    settings = settings_of(profile=profile, depth=1)
    train(folder, material, settings)
    return encoder_of(folder, material, settings)


def test_a_latent_is_that_of_the_patch_around_its_pixel(encoder: Encoder) -> None:
    material = material_of(IMAGES)
    valid, spectra = IMAGES[0].valid, IMAGES[0].spectra
    numbers = np.arange(int(valid.sum()))
    patches = material.patches(numbers, 3)
    embedded = encoder.embed(patches.transpose(1, 0, 2, 3).reshape(BANDS, -1), 0)
    squares = embedded.reshape(-1, len(numbers), 7, 7).swapaxes(0, 1)
    expected = np.concatenate([encoder.refine(np.ascontiguousarray(s))[:, 0] for s in squares], 1)
    whole_frame = _encoded_in_memory(encoder, spectra, valid)
    np.testing.assert_allclose(whole_frame[:, valid], expected, atol=1e-5)


def _encoded_in_memory(
    encoder: Encoder, spectra: NDArray[Any], valid: NDArray[np.bool_]
) -> NDArray[np.float32]:
    embedded = encoder.embed(spectra.reshape(len(spectra), -1), 0).reshape(-1, *valid.shape)
    umae_fill(embedded, valid)
    return encoder.refine(np.pad(embedded, ((0, 0), (3, 3), (3, 3)), mode="symmetric"))


def umae_fill(embedded: NDArray[np.float32], valid: NDArray[np.bool_]) -> None:
    """Fill gaps by the nearest pixel, one at a time."""
    places = np.argwhere(valid)
    for row, column in np.argwhere(~valid):
        nearest = places[((places - (row, column)) ** 2).sum(axis=1).argmin()]
        embedded[:, row, column] = embedded[:, *nearest]


@pytest.mark.parametrize("tokens_at_once", [1, 100, 10_000])
def test_how_many_are_encoded_at_once_does_not_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tokens_at_once: int
) -> None:
    settings, material = settings_of(), material_of(IMAGES)
    train(tmp_path, material, settings, steps=0)
    encoder = encoder_of(tmp_path, material, settings)
    monkeypatch.setattr(umae, "TOKENS_AT_ONCE", tokens_at_once)
    other = encoder_of(tmp_path, material, settings)
    square = np.random.default_rng(0).random((encoder.embedding_size, 20, 17), np.float32)
    np.testing.assert_allclose(other.refine(square), encoder.refine(square), atol=1e-6)


def test_dropout_has_no_part_in_latents(tmp_path: Path) -> None:
    material, found = material_of(IMAGES), []
    train(tmp_path, material, settings_of(), steps=0)
    for dropout in (0.0, 0.9):
        encoder = encoder_of(tmp_path, material, settings_of(dropout=dropout))
        square = np.ones((encoder.embedding_size, 9, 9), np.float32)
        found.append(encoder.refine(square))
    np.testing.assert_array_equal(found[0], found[1])


def test_latents_of_the_sample_are_standardised(tmp_path: Path) -> None:
    material, settings = material_of(IMAGES[:1]), settings_of(sample=5000)
    train(tmp_path, material, settings)
    encoder = encoder_of(tmp_path, material, settings)
    network = encoder._network  # type: ignore[attr-defined]  # the protocol does not show it
    valid = IMAGES[0].valid
    patches = torch.from_numpy(umae._patches(material, np.arange(int(valid.sum())), 3))
    with torch.inference_mode():
        latents = network.latents(network.embed_patches(patches)).double()
    np.testing.assert_allclose(network.centre, latents.mean(dim=0), atol=1e-5)
    np.testing.assert_allclose(network.spread, latents.std(dim=0), rtol=1e-4)


# --- frames --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def learnt(
    profile: str, scene: Scene, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Encoder, Scene]:
    """A network that was trained by its stage, and the scene that it was trained on."""
    config = tiny("umae", ("encoder.profile", profile), ("encoder.depth", 1))
    folder = tmp_path_factory.mktemp("umae")
    done = run(scene, config, folder / "run", execution=Execution(tile_px=32, threads=2))
    assert config.encoder is not None
    return train_stage.load_encoder(config.encoder, done, "cpu"), scene


@pytest.mark.parametrize("frame", [0, 1])
@pytest.mark.parametrize("tile_px", [7, 32, 100])
def test_latents_by_tile_are_those_of_the_whole_frame(
    learnt: tuple[Encoder, Scene], tile_px: int, frame: int
) -> None:
    encoder, scene = learnt
    shape = scene.frames[frame].shape
    window = whole(shape)
    raw, valid = scene.read(frame, window), scene.valid(frame, window)
    expected = _encoded_in_memory(encoder, raw, valid)
    found = np.zeros((encoder.latent_size, *shape), np.float32)
    for tile in TileGrid(shape, tile_px, reading_halo(encoder), frame):
        side = min(encoder.square_px, tile_px)
        own = scene.valid(frame, tile.window(shape))
        embedded = embed_tile(tile, own, scene, encoder, side)
        found[:, *tile.core] = refine_tile(embedded, tile.core, encoder, side)
    np.testing.assert_allclose(found[:, valid], expected[:, valid], atol=1e-5)


def test_the_consensus_of_latents_labels_every_pixel(tiny_run: TinyRun, scene: Scene) -> None:
    done = tiny_run("umae")
    for number, frame in enumerate(scene.frames):
        labels = done.open("labels", frame.name).to_numpy()
        assert ((labels != NO_LABEL) == scene.valid(number, whole(frame.shape))).all()


# --- requests ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (("encoder.patch_px", 6), "must be odd"),
        (("encoder.group", 4), "must be odd"),
        (("encoder.heads", 5), "multiple of heads"),
        (("encoder.decoder_width", 50), "multiple of heads"),
        (("encoder.mask_ratio", 1.0), "less than 1"),
    ],
)
def test_impossible_sizes_are_refused(setting: tuple[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config_of(setting)


@pytest.mark.parametrize(("profile_name", "values"), [("paper", 204), ("fast", 48)])
def test_few_values_of_a_spectrum_are_kept(profile_name: str, values: int) -> None:
    settings = settings_of(profile=profile_name)
    assert umae.embedding_size(settings, 204) == values
    assert umae.latent_size(settings, 204) == 48
    assert umae.halo(settings) == 3


# --- the published training ----------------------------------------------------------------


@pytest.mark.slow
def test_the_first_epoch_costs_what_the_published_one_does(
    data_folder: Path, tmp_path: Path
) -> None:
    scene = ingest(open_sources([data_folder / "salinasA.npz"]), tmp_path / "scene.zarr")
    settings = [("cluster.clusters", 6), ("encoder.profile", "paper"), ("training.steps", 9)]
    config = RunConfig.make("umae", settings=[*settings, ("encoder.sample", 16)])
    table = []

    def keep(learner: Any, *others: Any, **options: Any) -> Any:
        done = train_watched(learner, *others, **options)
        table.append((learner._numbers, done.losses))
        raise StopIteration

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(umae, "train_watched", keep)
        with pytest.raises(StopIteration):
            run(scene, config, tmp_path / "run", execution=Execution(threads=2))
    ((numbers, losses),) = table
    assert numbers[0] == 6071
    weights = np.asarray([48] * 8 + [16])
    assert 0.38 < np.average(losses, weights=weights) < 0.48
