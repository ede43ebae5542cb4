"""What every network owes, whatever it does inside."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch  # noqa: TID253 the layer of the networks
from numpy.typing import NDArray

from hsistream.config import RunConfig
from hsistream.errors import ConfigError, ResourceError
from hsistream.events import Event, Progress
from hsistream.methods import METHODS, choose_device, load_method, using, watching
from hsistream.methods.base import Encoder, Material, Method, Place, Trained
from hsistream.network_sections import EncoderSection, TrainingSection
from hsistream.nn import loop
from hsistream.nn.learner import Inspection, Schedule
from hsistream.presets import PRESETS
from tests.laws.requests import LIGHT
from tests.pretended import pretended_gpu
from tests.unit.methods.material import Image, fields, material_of, work_in

STEPS = 5
FAST = {"spectraldiff": {"learning_rate": 0.02}}
"""What lets a network learn in few steps that usually takes many."""
CLUSTERS = 3

IMAGES = (fields(), fields((30, 36), seed=1, gain=1.2))

Latents = NDArray[np.float32]


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Small tensors on many threads mostly wait."""
    cores = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(cores)


@dataclass(frozen=True)
class Subject:
    """A network of the table, its settings, and what its training has left."""

    method: Method
    settings: Any
    material: Material
    folder: Path
    trained: Trained

    def encoder(self) -> Encoder:
        return self.method.load(self.settings, self.material.standard, self.folder, "cpu")


class StoppedError(Exception):
    """Stands for an interruption."""


def config_of(name: str, *settings: tuple[str, Any]) -> RunConfig:
    """The configuration of the preset that is named like the network."""
    assert name in PRESETS
    light = LIGHT.get(name, ())
    return RunConfig.make(name, settings=[("cluster.clusters", CLUSTERS), *light, *settings])


def settings_of(name: str) -> EncoderSection:
    settings = config_of(name).encoder
    assert settings is not None
    return settings


def training_of(name: str, **others: Any) -> TrainingSection:
    section = config_of(name).training
    return section.model_copy(update={"steps": STEPS, "warm_up": 1, "check_every": 2} | others)


def train(
    name: str, folder: Path, material: Material | None = None, seed: int = 0, **others: Any
) -> Subject:
    method, settings = load_method(name), settings_of(name)
    material = material or material_of(IMAGES)
    keys = {key: others.pop(key) for key in ("threads", "notify") if key in others}
    work = work_in(folder, **keys)
    done = method.train(settings, training_of(name, **others), seed, material, work)
    return Subject(method, settings, material, folder, done)


def latents_of(encoder: Encoder, image: Image, frame: int = 0) -> Latents:
    """Latents of all pixels of a frame, whose edges are repeated."""
    embedded = embedded_of(encoder, image, frame)
    width = (encoder.halo, encoder.halo)
    return encoder.refine(np.pad(embedded, ((0, 0), width, width), mode="edge"))


def embedded_of(encoder: Encoder, image: Image, frame: int = 0) -> NDArray[np.float32]:
    found = encoder.embed(image.spectra.reshape(len(image.spectra), -1), frame)
    return found.reshape(-1, *image.valid.shape) * image.valid


def widely_embedded(encoder: Encoder) -> NDArray[np.float32]:
    """What the second part sees of a frame of 40 px inside of its halo."""
    return embedded_of(encoder, fields((40 + 2 * encoder.halo,) * 2))


def assert_same_training(found: Trained, expected: Trained) -> None:
    assert found.ending == expected.ending
    np.testing.assert_array_equal(found.losses, expected.losses)
    np.testing.assert_array_equal(found.check_steps, expected.check_steps)
    np.testing.assert_array_equal(found.prototypes, expected.prototypes)
    np.testing.assert_array_equal(found.masses, expected.masses)
    assert found.checks.keys() == expected.checks.keys()
    for name, values in found.checks.items():
        np.testing.assert_array_equal(values, expected.checks[name], err_msg=name)


def collapsed(quality: float, _: bool, *others: Any) -> Inspection:
    """A look at a network that became useless."""
    return Inspection(quality, True, *others)


@pytest.fixture(scope="module", params=list(METHODS))
def name(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture(scope="module")
def subject(name: str, one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> Subject:
    return train(name, tmp_path_factory.mktemp("checkpoint"))


# --- sizes ---------------------------------------------------------------------------------


def test_latents_have_the_declared_size(subject: Subject) -> None:
    encoder, features = subject.encoder(), subject.material.standard.feature_count
    assert encoder.latent_size == subject.method.latent_size(subject.settings, features)
    assert encoder.halo == subject.method.halo(subject.settings)
    embedded = embedded_of(encoder, IMAGES[0])
    assert embedded.shape == (encoder.embedding_size, 40, 40)
    assert embedded.dtype == np.float32
    wide = widely_embedded(encoder)
    for height, width in ((1, 1), (1, 9), (5, 3)):
        part = wide[:, : height + 2 * encoder.halo, : width + 2 * encoder.halo]
        latents = encoder.refine(np.ascontiguousarray(part))
        assert latents.shape == (encoder.latent_size, height, width)
        assert latents.dtype == np.float32


def test_prototypes_are_unit_vectors_among_the_latents(subject: Subject) -> None:
    done, encoder = subject.trained, subject.encoder()
    shape = (len(done.prototypes), subject.settings.prototypes, encoder.latent_size)
    assert done.prototypes.shape == shape
    assert done.masses.shape == shape[:2]
    np.testing.assert_allclose(np.linalg.norm(done.prototypes, axis=2), 1, atol=1e-5)


def test_latents_are_unit_vectors(subject: Subject) -> None:
    length = np.linalg.norm(latents_of(subject.encoder(), IMAGES[0]), axis=0)
    np.testing.assert_allclose(length[IMAGES[0].valid], 1, atol=1e-5)


def test_every_step_and_every_check_is_told(subject: Subject) -> None:
    done = subject.trained
    assert done.ending == "finished"
    assert done.losses.shape == (STEPS,)
    assert np.isfinite(done.losses).all()
    assert done.check_steps[0] == 0
    assert done.check_steps[-1] == STEPS
    assert (np.diff(done.check_steps) > 0).all()
    assert done.checks
    for values in done.checks.values():
        assert values.shape == done.check_steps.shape
        assert np.isfinite(values).all()
    assert (done.masses.sum(axis=1) > 0).all()


def test_more_features_and_pixels_need_more_memory(subject: Subject) -> None:
    method, settings = subject.method, subject.settings
    training = [method.training_bytes(settings, features) for features in (10, 100, 400)]
    squares = [method.square_bytes(settings, 100, pixels) for pixels in (100, 1000, 100_000)]
    assert 0 < training[0] < training[1] < training[2]
    assert 0 < squares[0] < squares[1] < squares[2]


# --- what a latent depends on ----------------------------------------------------------------


def test_nothing_beyond_the_halo_changes_a_latent(subject: Subject) -> None:
    encoder = subject.encoder()
    embedded, halo = widely_embedded(encoder), encoder.halo
    before = encoder.refine(embedded)
    row, column = 17 + halo, 22 + halo
    changed = embedded.copy()
    changed[:, row, column] += 5 * embedded.std()
    differs = (encoder.refine(changed) != before).any(axis=0)
    rows, columns = np.nonzero(differs)
    assert len(rows)
    assert np.abs(rows + halo - row).max() <= halo
    assert np.abs(columns + halo - column).max() <= halo


def test_a_part_of_a_frame_with_its_halo_gives_the_latents_of_the_whole(
    subject: Subject,
) -> None:
    encoder = subject.encoder()
    embedded, halo = widely_embedded(encoder), encoder.halo
    whole = encoder.refine(embedded)
    for top, left, height, width in ((0, 0, 7, 9), (3, 11, 8, 8), (6, 2, 1, 1), (9, 9, 12, 5)):
        part = embedded[:, top : top + height + 2 * halo, left : left + width + 2 * halo]
        found = encoder.refine(np.ascontiguousarray(part), Place(top, left))
        expected = whole[:, top : top + height, left : left + width]
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_pixels_are_embedded_one_by_one(subject: Subject) -> None:
    encoder, raw = subject.encoder(), IMAGES[0].spectra.reshape(8, -1)
    whole = encoder.embed(raw, 0)
    order = np.random.default_rng(0).permutation(raw.shape[1])
    np.testing.assert_allclose(encoder.embed(raw[:, order], 0), whole[:, order], atol=1e-5)
    for pixels in (1, 2, 17, 1000):
        found = encoder.embed(np.ascontiguousarray(raw[:, :pixels]), 0)
        np.testing.assert_allclose(found, whole[:, :pixels], atol=1e-5)


def test_a_pixel_of_nonsense_spoils_no_other(subject: Subject) -> None:
    encoder, raw = subject.encoder(), IMAGES[0].spectra.reshape(8, -1).astype(np.float32)
    before = encoder.embed(raw, 0)
    for junk in (np.nan, np.inf, -3e38):
        spoilt = raw.copy()
        spoilt[:, 5] = junk
        found = encoder.embed(spoilt, 0)
        np.testing.assert_array_equal(np.delete(found, 5, 1), np.delete(before, 5, 1))


def test_the_order_of_the_bands_matters(subject: Subject) -> None:
    encoder, raw = subject.encoder(), IMAGES[0].spectra.reshape(8, -1)
    assert not np.allclose(encoder.embed(raw[::-1], 0), encoder.embed(raw, 0), atol=1e-3)


def test_spectra_are_standardised_by_the_group_of_their_frame(name: str, tmp_path: Path) -> None:
    images = (fields(dtype="float32"), fields(gain=3.0, dtype="float32"))
    alike = Image(3 * images[0].spectra, images[0].valid)
    own = train(name, tmp_path / "own", material_of((images[0], alike), groups=(0, 1)), steps=0)
    first, second = (
        embedded_of(own.encoder(), image, frame) for frame, image in enumerate((images[0], alike))
    )
    np.testing.assert_allclose(first, second, atol=1e-4)


# --- repeatability ---------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_latents(subject: Subject, name: str, tmp_path: Path) -> None:
    again, other = train(name, tmp_path / "same"), train(name, tmp_path / "other", seed=1)
    assert_same_training(again.trained, subject.trained)
    expected = latents_of(subject.encoder(), IMAGES[1], 1)
    np.testing.assert_array_equal(latents_of(again.encoder(), IMAGES[1], 1), expected)
    assert not np.array_equal(latents_of(other.encoder(), IMAGES[1], 1), expected)


def test_a_network_that_was_saved_and_read_gives_the_same_bits(subject: Subject) -> None:
    first, second = (latents_of(subject.encoder(), IMAGES[0]) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_a_training_that_ended_is_only_read_back(
    subject: Subject, name: str, tmp_path: Path
) -> None:
    first = train(name, tmp_path)
    files = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert_same_training(train(name, tmp_path).trained, first.trained)
    for path, content in files.items():
        if path.name != "elapsed.json":
            assert path.read_bytes() == content


@pytest.mark.parametrize("stop", [1, 4])
def test_a_training_that_was_interrupted_ends_the_same(
    subject: Subject, name: str, tmp_path: Path, stop: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def listen(event: Event) -> None:
        if isinstance(event, Progress) and event.done == stop:
            raise StoppedError

    monkeypatch.setattr(watching, "Schedule", partial(Schedule, save_every_s=0.0))
    with pytest.raises(StoppedError):
        train(name, tmp_path, notify=listen)
    resumed = train(name, tmp_path)
    assert_same_training(resumed.trained, subject.trained)
    np.testing.assert_array_equal(
        latents_of(resumed.encoder(), IMAGES[0]), latents_of(subject.encoder(), IMAGES[0])
    )


def test_threads_do_not_change_a_bit(subject: Subject, name: str, tmp_path: Path) -> None:
    found = train(name, tmp_path, threads=3)
    assert_same_training(found.trained, subject.trained)


def test_the_threads_of_torch_do_not_change_a_bit_and_are_left_alone(subject: Subject) -> None:
    encoder, image = subject.encoder(), fields((64, 70), seed=3)
    found = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        found.append((embedded_of(encoder, image), latents_of(encoder, image)))
        assert torch.get_num_threads() == threads
    torch.set_num_threads(1)
    for embedded, latents in found[1:]:
        np.testing.assert_array_equal(embedded, found[0][0])
        np.testing.assert_array_equal(latents, found[0][1])


def test_the_random_numbers_of_others_are_left_alone(name: str, tmp_path: Path) -> None:
    torch.manual_seed(3)
    expected = torch.randn(4)
    torch.manual_seed(3)
    train(name, tmp_path, steps=1).encoder()
    assert torch.equal(torch.randn(4), expected)


def test_what_pixels_without_data_hold_does_not_matter(name: str, tmp_path: Path) -> None:
    found = []
    for junk in (0.0, np.nan, 3e38):
        image = fields(dtype="float32")
        spoilt = np.where(image.valid, image.spectra, np.float32(junk))
        shown = Image(spoilt.astype(np.float32), image.valid)
        found.append(train(name, tmp_path / str(junk), material_of((shown,)), steps=2).trained)
    assert_same_training(found[1], found[0])
    assert_same_training(found[2], found[0])


# --- learning --------------------------------------------------------------------------------


def test_some_steps_lower_the_loss(name: str, tmp_path: Path) -> None:
    material = material_of(IMAGES)
    batch = next(material.batches(2))
    same = replace(material, batches=lambda first_step: repeat(batch))
    asked = {"steps": 24, "check_every": 24, **FAST.get(name, {})}
    losses = train(name, tmp_path, same, seed=2, **asked).trained.losses
    assert losses[-8:].mean() < 0.9 * losses[:8].mean()


def test_materials_are_told_apart(name: str, tmp_path: Path) -> None:
    found = train(name, tmp_path, steps=8, check_every=8)
    image = IMAGES[0]
    rows, columns = np.mgrid[:40, :40]
    material = (rows // 7 + 2 * (columns // 9)) % 3
    cosines = found.trained.prototypes[-1] @ latents_of(found.encoder(), image).reshape(
        found.encoder().latent_size, -1
    )
    labels = cosines.argmax(axis=0).reshape(40, 40)
    right = sum(
        np.bincount(material[(labels == label) & image.valid]).max(initial=0)
        for label in np.unique(labels)
    )
    assert right / image.valid.sum() > 0.5


def test_no_steps_leave_the_start(name: str, tmp_path: Path) -> None:
    found = train(name, tmp_path, steps=0)
    assert found.trained.ending == "finished"
    assert found.trained.losses.shape == (0,)
    assert found.trained.check_steps.tolist() == [0]
    assert np.isfinite(latents_of(found.encoder(), IMAGES[0])).all()


def test_a_training_that_collapses_ends_as_its_start(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = train(name, tmp_path / "start", steps=0)
    monkeypatch.setattr(loop, "Inspection", collapsed)  # what a collapse is, each network knows
    found = train(name, tmp_path / "collapsed", steps=9)
    assert found.trained.ending == "floor"
    assert len(found.trained.losses) == 6  # two roll-backs are allowed
    np.testing.assert_array_equal(found.trained.prototypes[-1], start.trained.prototypes[-1])
    np.testing.assert_array_equal(found.trained.masses[-1], start.trained.masses[-1])
    np.testing.assert_array_equal(
        latents_of(found.encoder(), IMAGES[0]), latents_of(start.encoder(), IMAGES[0])
    )


def test_low_precision_gives_numbers_and_the_same_ones(name: str, tmp_path: Path) -> None:
    first, second = (
        train(name, tmp_path / each, precision="bfloat16", steps=3) for each in ("a", "b")
    )
    assert np.isfinite(first.trained.losses).all()
    assert np.isfinite(latents_of(first.encoder(), IMAGES[0])).all()
    assert_same_training(second.trained, first.trained)


def test_a_frame_without_data_and_one_of_one_pixel_are_no_obstacle(
    name: str, tmp_path: Path
) -> None:
    blank = fields(seed=2)
    lone = np.zeros_like(blank.valid)
    lone[7, 9] = True
    images = (IMAGES[0], Image(blank.spectra, lone & False), Image(blank.spectra, lone))
    material = material_of(images)
    found = train(name, tmp_path, material, steps=4)
    assert np.isfinite(found.trained.losses).all()
    assert np.isfinite(latents_of(found.encoder(), images[2], 2)).all()


def test_less_pixels_than_prototypes_are_no_obstacle(name: str, tmp_path: Path) -> None:
    material = material_of(IMAGES)
    few = replace(
        material.reservoir,
        spectra=material.reservoir.spectra[[0, 40]],
        frame=material.reservoir.frame[[0, 40]],
    )
    found = train(name, tmp_path, replace(material, reservoir=few), steps=2)
    assert len(found.trained.prototypes[0]) == found.settings.prototypes
    assert found.encoder().latent_size == found.trained.prototypes.shape[2]


@pytest.mark.parametrize("illumination", ["snv", "snv+brightness", "continuum"])
def test_features_may_be_more_than_bands(name: str, tmp_path: Path, illumination: str) -> None:
    material = material_of(IMAGES, illumination)
    found = train(name, tmp_path, material, steps=2)
    assert np.isfinite(latents_of(found.encoder(), IMAGES[0])).all()


@pytest.mark.parametrize("bands", [1, 2, 3])
def test_few_bands_are_enough(name: str, tmp_path: Path, bands: int) -> None:
    image = fields(bands=bands)
    found = train(name, tmp_path, material_of((image,)), steps=2)
    assert np.isfinite(latents_of(found.encoder(), image)).all()


# --- requests --------------------------------------------------------------------------------


def test_an_unknown_setting_is_refused_by_its_name(name: str) -> None:
    with pytest.raises(ConfigError, match=r"encoder\.colour is not a known setting"):
        config_of(name, ("encoder.colour", 1))


def test_settings_that_are_known_are_taken(name: str) -> None:
    for key, value in settings_of(name).model_dump(exclude={"name"}).items():
        if isinstance(value, int | float):
            found, asked = _with_another(name, key, value)
            assert getattr(found, key) == asked != value


def _with_another(name: str, key: str, value: float) -> tuple[Any, float]:
    """Settings of a network with another number that is allowed, and this number."""
    others = (
        [not value]
        if isinstance(value, bool)
        else [value * 2, value / 2, value + 1, value + 2, 0.5]
    )
    for asked in {type(value)(each) for each in others} - {value}:
        with suppress(ConfigError):
            return config_of(name, (f"encoder.{key}", asked)).encoder, asked
    raise AssertionError(f"encoder.{key} takes no number but {value}")


def test_a_device_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto") == choose_device("cpu") == "cpu"
    with pytest.raises(ConfigError, match=r"--device cpu"):
        choose_device("cuda")


def test_an_exhausted_gpu_is_told_and_its_memory_given_back() -> None:
    full = torch.cuda.OutOfMemoryError("CUDA out of memory. Tried 2 GiB. GPU 0 has a total of")
    message = r"The GPU has too little free memory\. .*2 GiB\. Use --device cpu"
    with pretended_gpu() as gpu:
        with pytest.raises(ResourceError, match=message), using("cuda"):
            raise full
        assert gpu.given_back == 1
        with using("cpu"):
            pass
        assert gpu.given_back == 1


def test_every_network_of_the_table_has_its_section_and_its_preset() -> None:
    for name in METHODS:
        assert settings_of(name).name == name
