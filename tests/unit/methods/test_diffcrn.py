"""What only DiffCRN owes: windows anchored to the frame, views, and steps by angle."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch  # noqa: TID253 the layer of the networks
from numpy.typing import NDArray

from hsistream.methods import diffcrn
from hsistream.methods.base import Encoder, Place
from hsistream.methods.diffcrn_model import SCHEDULE, Model, make_model
from hsistream.network_sections import DiffcrnSection, TrainingSection
from hsistream.nn.diffcrn_network import DiffcrnNetwork
from hsistream.nn.exact import one_thread
from hsistream.nn.noise_losses import noise_loss
from hsistream.nn.spectral_angle import CANDIDATES
from tests.unit.methods.material import Image, fields, material_of, work_in

IMAGES = (fields(), fields((30, 36), seed=1, gain=1.2))
TRAINING = TrainingSection(steps=3, warm_up=1, check_every=3, learning_rate=1e-2)

Latents = NDArray[np.float32]


@pytest.fixture(autouse=True)
def alone() -> Iterator[None]:
    """Small tensors on many threads mostly wait."""
    with one_thread():
        yield


def settings_of(**others: Any) -> DiffcrnSection:
    return DiffcrnSection(name="diffcrn", prototypes=8, **others)


def trained(folder: Path, training: TrainingSection = TRAINING, **others: Any) -> Encoder:
    material, settings = material_of(IMAGES), settings_of(**others)
    diffcrn.train(settings, training, 0, material, work_in(folder))
    return diffcrn.load(settings, material.standard, folder, "cpu")


def model_of(encoder: Encoder) -> Model:
    found: Model = cast("Any", encoder)._model
    return found


def embedded_frame(encoder: Encoder, shape: tuple[int, int]) -> NDArray[np.float32]:
    """A frame with a corner without data, its edges repeated as far as the halo."""
    image = fields(shape, seed=4)
    found = encoder.embed(image.spectra.reshape(8, -1), 0).reshape(-1, *shape) * image.valid
    width = (encoder.halo, encoder.halo)
    return np.pad(found, ((0, 0), width, width), mode="edge")


def by_tiles(encoder: Encoder, wide: NDArray[np.float32], side: int, seed: int = 0) -> Latents:
    """Encode a frame tile by tile, in any order."""
    height, width = (extent - 2 * encoder.halo for extent in wide.shape[1:])
    latents = np.full((encoder.latent_size, height, width), np.nan, np.float32)
    corners = [(row, column) for row in range(0, height, side) for column in range(0, width, side)]
    beyond = side + 2 * encoder.halo
    for which in np.random.default_rng(seed).permutation(len(corners)):
        row, column = corners[which]
        part = np.ascontiguousarray(wide[:, row : row + beyond, column : column + beyond])
        found = encoder.refine(part, Place(row, column))
        latents[:, row : row + side, column : column + side] = found
    return latents


# --- windows ---------------------------------------------------------------------------------


@pytest.mark.parametrize("noise", ["none", "hash"])
def test_latents_depend_neither_on_tiles_nor_on_their_order(tmp_path: Path, noise: str) -> None:
    encoder = trained(tmp_path, noise=noise)
    wide = embedded_frame(encoder, (75, 61))
    whole = encoder.refine(wide)
    for side, seed in ((24, 0), (24, 1), (72, 2), (31, 3)):
        np.testing.assert_array_equal(by_tiles(encoder, wide, side, seed), whole)


def test_windows_that_begin_with_the_tile_would_not_do(tmp_path: Path) -> None:
    encoder = trained(tmp_path)
    wide = embedded_frame(encoder, (60, 60))
    part = np.ascontiguousarray(wide[:, 7:, 7:])
    anchored, loose = encoder.refine(part, Place(7, 7)), encoder.refine(part)
    whole = encoder.refine(wide)[:, 7:, 7:]
    np.testing.assert_array_equal(anchored, whole)
    assert np.abs(loose - whole).max() > 1e-3


def test_one_pixel_changes_the_windows_that_hold_it_and_no_other(tmp_path: Path) -> None:
    encoder = trained(tmp_path)
    wide = embedded_frame(encoder, (96, 96))
    changed, halo = wide.copy(), encoder.halo
    changed[:, halo + 26, halo + 70] += 0.5  # 2 px behind an edge: in the rim of a neighbour
    differs = (encoder.refine(wide) != encoder.refine(changed)).any(axis=0)
    cells = differs.reshape(4, 24, 4, 24).any(axis=(1, 3))
    assert np.argwhere(cells).tolist() == [[0, 2], [0, 3], [1, 2], [1, 3]]


def test_a_window_by_itself_gives_the_pixels_of_its_middle(tmp_path: Path) -> None:
    encoder = trained(tmp_path)
    model, wide, halo = model_of(encoder), embedded_frame(encoder, (72, 72)), encoder.halo
    window = torch.from_numpy(wide[None, :, halo + 20 : halo + 52, halo + 20 : halo + 52])
    with torch.inference_mode():
        features = model.features(window, [Place(20, 20)])[0, 4:28, 4:28]
        alone = model.latents(features.flatten(0, 1).T).view(-1, 24, 24)
    found = encoder.refine(wide)[:, 24:48, 24:48]
    np.testing.assert_allclose(found, alone.numpy(), atol=1e-5)


# --- learning --------------------------------------------------------------------------------


def learner_of(images: tuple[Image, ...] = IMAGES, **others: Any) -> diffcrn._Learner:
    material = material_of(images)
    model = make_model(settings_of(**others), material.standard.feature_count, 0)
    return diffcrn._Learner(0, 1, model, material)


def portion_of(images: tuple[Image, ...] = IMAGES) -> diffcrn._Portion:
    [portion, _] = next(diffcrn._batches(2, material_of(images), 0))
    return portion


def test_squares_without_data_cost_nothing() -> None:
    blank = Image(IMAGES[0].spectra, np.zeros_like(IMAGES[0].valid))
    learner = learner_of((IMAGES[0], blank), contrast=0.0)
    crop = material_of((IMAGES[0], blank)).probe.crops[4]
    assert float(learner.loss([(crop, 1, 0)], None, (5, 0)).detach()) == 0


def test_both_views_of_a_place_share_half_of_their_pixels() -> None:
    """Seen by the values of a frame in which every pixel is another."""
    rows, columns = np.mgrid[:40, :40]
    spectra = np.stack([100 + 40 * rows + columns] * 8).astype(np.float64)
    image = Image(spectra, np.ones((40, 40), np.bool_))
    learner, random = learner_of((image,), crop_px=8), torch.Generator().manual_seed(0)
    for _ in range(20):
        (clean, _), _ = learner._views(portion_of((image,)), random)
        first, second = (half[:, 0].flatten(1) for half in clean.chunk(2))
        for one, other in zip(first, second, strict=True):
            assert torch.isin(one, other).sum() >= 32


def test_places_that_share_a_pixel_are_no_contrast_to_each_other() -> None:
    rows, columns = np.mgrid[:40, :40]
    spectra = np.stack([100 + 40 * rows + columns] * 8).astype(np.float64)
    images = (Image(spectra, np.ones((40, 40), np.bool_)), Image(spectra + 5000, rows >= 0))
    learner, random = learner_of(images, crop_px=8), torch.Generator().manual_seed(0)
    portion = portion_of(images)
    (clean, _), starts = learner._views(portion, random)
    apart = diffcrn._apart_from_others(portion, starts, 8)
    shown = clean[:, 0].reshape(2, len(portion), -1).swapaxes(0, 1).flatten(1)
    found = set()
    for one, other in product(range(len(portion)), repeat=2):
        kept = portion[one][2] != portion[other][2]
        kept &= portion[one][1] != portion[other][1] or not torch.isin(*shown[[one, other]]).any()
        assert apart[one, other] == kept
        found.add(kept)
    assert found == {False, True}


def test_views_of_a_place_are_in_one_half_of_the_steps() -> None:
    random = torch.Generator().manual_seed(0)
    early, steps = diffcrn._draw_steps(4000, random)
    first, second = steps.chunk(2)
    assert ((first < 500) == early).all()
    assert ((second < 500) == early).all()
    assert 0.45 < early.double().mean() < 0.55
    assert (first != second).double().mean() > 0.99
    for low, high in ((0, 250), (250, 500), (500, 750), (750, 1000)):
        assert 0.22 < ((steps >= low) & (steps < high)).double().mean() < 0.28


def test_contrast_grows_with_the_steps_and_counts_only_if_asked() -> None:
    plain, learner, portion = learner_of(contrast=0.0), learner_of(contrast=1.0), portion_of()
    for key in ((0, 3), (1, 3)):
        losses = [float(each.loss(portion, None, key).detach()) for each in (plain, learner)]
        assert (losses[1] > losses[0] + 0.1) == (key[0] > 0)


def test_views_become_more_alike_than_places(tmp_path: Path) -> None:
    material = material_of(IMAGES, pairs=4)
    settings = settings_of(contrast=1.0, crop_px=8, portions=1)
    training = TrainingSection(steps=40, warm_up=5, check_every=40, learning_rate=3e-3)
    done = diffcrn.train(settings, training, 0, material, work_in(tmp_path))
    margin = done.checks["likeness of views"] - done.checks["likeness of places"]
    assert margin[-1] > 1.5 * margin[0]


def test_a_denoiser_learns_a_checkerboard() -> None:
    """Three materials in fields of 24 px; a guess of nothing costs 0.535."""
    torch.manual_seed(0)
    rows, columns = np.mgrid[:96, :96] // 24
    spectra = torch.rand(3, 32) * 2 - 1
    scene = spectra[torch.from_numpy((rows + columns) % 3)].permute(2, 0, 1)
    scene = scene + 0.05 * torch.randn_like(scene)
    network = DiffcrnNetwork(32)
    optimiser, losses = torch.optim.AdamW(network.parameters(), 1e-3), []
    for _ in range(300):
        corners = torch.randint(81, (4, 2)).tolist()
        clean = torch.stack([scene[:, t : t + 16, left : left + 16] for t, left in corners])
        noise, index = torch.randn_like(clean), torch.randint(1000, (4,))
        guess, _ = network(SCHEDULE.noised(clean, noise, index), index)
        loss = noise_loss(guess - noise).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert np.mean(losses[250:]) < 0.30
    assert np.mean(losses[:50]) > 0.40


# --- steps and latents -------------------------------------------------------------------------


def test_steps_are_chosen_by_angle_and_kept_with_the_weights(tmp_path: Path) -> None:
    encoder = trained(tmp_path, time_steps="angle")
    steps = model_of(encoder).steps.tolist()
    assert len(set(steps)) == 5
    assert steps == sorted(steps)
    assert set(steps) <= set(CANDIDATES)


def test_angles_are_nothing_where_the_noise_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    learner = learner_of()
    model = learner.network

    def all_known(noised: torch.Tensor, index: torch.Tensor) -> tuple[torch.Tensor, None]:
        kept = torch.from_numpy(SCHEDULE.kept)[index].float()
        return (noised - kept.sqrt() * clean) / (1 - kept).sqrt(), None

    clean = learner._windows(0)[0][:1]
    monkeypatch.setattr(model.denoiser, "forward", all_known)
    angles, spectra = learner._angles(model, 0)
    assert angles.shape == (20, spectra.shape[1])
    assert spectra.min() >= 0
    assert angles[:10].max() < 2e-3
    monkeypatch.setattr(model.denoiser, "forward", lambda noised, _: (0 * noised, None))
    lost = learner._angles(model, 0)[0].mean(dim=1)
    assert lost[0] < 0.1 < lost[10]


def test_latents_of_stages_are_all_features(tmp_path: Path) -> None:
    encoder = trained(tmp_path, latents="stages", time_steps=(40, 90))
    wide = embedded_frame(encoder, (24, 24))
    found = encoder.refine(wide)
    assert found.shape == (2 * 4 * 64, 24, 24)
    parts = found.reshape(8, 64, -1)
    np.testing.assert_allclose(parts.mean(axis=1), 0, atol=1e-5)
    np.testing.assert_allclose((8 * parts**2).sum(axis=1), 1, atol=1e-2)
    model, halo = model_of(encoder), encoder.halo
    window = torch.from_numpy(wide[None, :, halo - 4 : halo + 28, halo - 4 : halo + 28])
    with torch.inference_mode():
        of_stages = model.denoiser.features(window * SCHEDULE.kept[89] ** 0.5, torch.tensor([89]))
    for stage, features in enumerate(of_stages):
        normal = torch.nn.functional.layer_norm(features, (64,))[0, 4:28, 4:28].permute(2, 0, 1)
        expected = normal.flatten(1).numpy() / (8 * 64) ** 0.5
        np.testing.assert_allclose(parts[4 + stage], expected, atol=1e-5)


def test_components_of_some_stages_are_those_of_their_features(tmp_path: Path) -> None:
    first = trained(tmp_path / "first", stages=(1,), components=5)
    every = trained(tmp_path / "every", components=5)
    assert first.latent_size == every.latent_size == 6
    assert model_of(first).projection.matrix.shape == (5, 64 + 8)
    assert model_of(every).projection.matrix.shape == (5, 256 + 8)
