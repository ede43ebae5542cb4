from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch  # noqa: TID253 the layer of the networks
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from torch import Tensor, nn  # noqa: TID253 the layer of the networks

from hsistream.errors import StoreError
from hsistream.illumination import illuminated
from hsistream.methods import dgc
from hsistream.methods.base import Material, Reservoir
from hsistream.methods.dgc import load, train
from hsistream.methods.watching import kmeans_centres
from hsistream.network_sections import DgcSection, TrainingSection
from hsistream.nn.assignment import balanced_targets
from hsistream.nn.augment import TURNS
from hsistream.nn.dgc_network import HALO, DgcNetwork, component_count
from hsistream.nn.learner import Mapped
from hsistream.nn.training import load_average
from hsistream.scene.crops import CropPair
from tests.unit.methods.material import (
    SIDE_PX,
    Image,
    crop_of,
    fields,
    material_of,
    pair_of,
    standard_of,
    work_in,
)

PROTOTYPES = 6
ILLUMINATIONS = ("none", "snv", "snv+brightness", "l2", "l2+brightness", "continuum")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Small tensors on many threads mostly wait."""
    cores = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(cores)


def section(**others: Any) -> DgcSection:
    return DgcSection(**{"name": "dgc", "prototypes": PROTOTYPES, "least": 1, "hidden": 8} | others)


def still(**others: Any) -> DgcSection:
    """Settings that leave views as they are, but for turns."""
    return section(**{"gain": 0.0, "noise": 0.0} | others)


def one_by_one() -> Mapped:
    def mapped(function, items, /):  # type: ignore[no-untyped-def]
        with torch.no_grad():
            return [function(item) for item in items]

    return mapped


def learner_of(settings: DgcSection, material: Material, seed: int = 0) -> dgc._Learner:
    return dgc._Learner(settings, seed, dgc._start(settings, seed, material), material)


def inspect(learner: dgc._Learner) -> None:
    with torch.no_grad():  # as in the loop
        learner.inspect(learner.network, one_by_one())


def latents_of(network: DgcNetwork, standardised: NDArray[np.float32]) -> Tensor:
    with torch.no_grad():
        valid = torch.ones(standardised.shape[1:])
        return dgc._latents(network, torch.from_numpy(standardised), valid)


def everything(image: Image) -> NDArray[np.bool_]:
    return np.ones(image.valid.shape, np.bool_)


# --- the start -----------------------------------------------------------------------------


@pytest.mark.parametrize("groups", [None, (0, 1)])
def test_the_start_is_k_means_on_principal_components(groups: tuple[int, ...] | None) -> None:
    images = [fields(), fields(seed=1, gain=1.4)]
    found, expected = [], []
    settings, material = section(components=5), material_of(images, groups=groups)
    network = dgc._start(settings, 3, material)
    for number, image in enumerate(images):
        own = [number] if groups else [0, 1]
        pixels = np.concatenate([images[n].pixels for n in own], axis=1).astype(np.float64)
        mean, deviation = pixels.mean(axis=1), pixels.std(axis=1)
        expected.append((image.pixels.T - mean) / deviation)
        standardised = material.standard.standardise(image.spectra, image.valid, number)
        with torch.no_grad():
            cosines = network.cosines(latents_of(network, standardised))
        found.append(cosines.argmax(dim=0).numpy()[image.valid.ravel()])
    standardised_pixels = np.concatenate(expected)
    _, _, axes = np.linalg.svd(standardised_pixels, full_matrices=False)
    scores = standardised_pixels @ axes[:5].T
    scores /= np.sqrt(scores.var(axis=0).sum())
    lifted = np.concatenate([scores, np.ones((len(scores), 1))], axis=1)
    lifted /= np.linalg.norm(lifted, axis=1, keepdims=True)
    state = int(np.random.SeedSequence((3, 3)).generate_state(1)[0])
    reference = KMeans(PROTOTYPES, n_init=3, random_state=state).fit(lifted.astype(np.float32))
    table = np.zeros((PROTOTYPES, PROTOTYPES))
    np.add.at(table, (np.concatenate(found), reference.labels_), 1)
    assert table.max(axis=0).sum() / table.sum() >= 0.999


def test_at_the_start_a_pixel_is_looked_at_by_itself() -> None:
    images = [fields()]
    material = material_of(images)
    network = dgc._start(section(), 0, material)
    standardised = material.standard.standardise(images[0].spectra, everything(images[0]), 0)
    order = np.random.default_rng(0).permutation(40)
    whole, shuffled = (
        latents_of(network, standardised),
        latents_of(network, np.ascontiguousarray(standardised[:, order])),
    )
    np.testing.assert_allclose(shuffled, whole[:, torch.from_numpy(order)], atol=1e-6)


def test_prototypes_are_of_unit_length_and_latents_too() -> None:
    images = [fields()]
    material = material_of(images)
    network = dgc._start(section(), 0, material)
    standardised = material.standard.standardise(images[0].spectra, images[0].valid, 0)
    np.testing.assert_allclose(network.prototypes.detach().norm(dim=1), 1, atol=1e-6)
    np.testing.assert_allclose(latents_of(network, standardised).norm(dim=0), 1, atol=1e-6)


def test_fewer_kinds_of_pixels_than_prototypes_are_no_obstacle(tmp_path: Path) -> None:
    material = material_of([fields()])
    few = Reservoir(material.reservoir.spectra[[0, 5, 9] * 20], material.reservoir.frame[:60])
    material, settings = replace(material, reservoir=few), section()
    done = train(settings, TrainingSection(steps=2), 0, material, work_in(tmp_path))
    assert done.prototypes.shape == (2, PROTOTYPES, 9)
    encoder = load(settings, material.standard, tmp_path, "cpu")
    assert encoder.latent_size == 9


@pytest.mark.parametrize(("asked", "features", "found"), [(16, 301, 16), (40, 30, 30), (5, 5, 5)])
def test_there_are_no_more_components_than_features(asked: int, features: int, found: int) -> None:
    assert component_count(section(components=asked), features) == found


def test_fewer_directions_than_components_leave_scores_of_zero() -> None:
    material = material_of([fields()])
    standard = material.standard
    flat = replace(standard, directions=standard.directions[:, :2], variance=standard.variance[:2])
    network = dgc._start(section(components=5), 0, replace(material, standard=flat))
    assert network.stem.weight.shape == (5, 8)
    assert not network.stem.weight[2:].any()
    assert network.stem.weight[:2].any(dim=1).all()


def test_unit_prototypes_win_the_pixels_of_their_centres() -> None:
    material = material_of([fields(), fields(seed=1)])
    network = dgc._start(section(prototypes=32), 0, material)
    spectra = material.reservoir.standardised(material.standard)
    with torch.no_grad():
        lifted = torch.cat([network.embed(torch.from_numpy(spectra)), torch.ones(1, 3170)])
        latents = nn.functional.normalize(lifted, dim=0)
        found = network.cosines(latents).argmax(dim=0)
    centres = kmeans_centres(np.ascontiguousarray(latents.T), 32, 0)
    nearest = ((latents.T[:, None] - torch.from_numpy(centres)) ** 2).sum(dim=2).argmin(dim=1)
    assert float((found == nearest).float().mean()) >= 0.999


def test_the_start_leaves_the_seed_of_others_alone() -> None:
    material = material_of([fields()])
    torch.manual_seed(3)
    expected = torch.randn(4)
    torch.manual_seed(3)
    learner_of(section(), material)
    assert torch.equal(torch.randn(4), expected)


# --- matching ------------------------------------------------------------------------------


class Coordinates(nn.Module):
    """Latents are the spectra, and so is what they are compared with."""

    def __init__(self) -> None:
        super().__init__()
        self.prototypes = nn.Parameter(torch.eye(3))
        self.undo = None

    def embed(self, spectra: Tensor) -> Tensor:
        return spectra

    def latents(self, scores: Tensor) -> Tensor:
        return scores

    def cosines(self, latents: Tensor) -> Tensor:
        return latents.flatten(1)


class Turning(np.random.Generator):
    """A generator that asks for one turn."""

    def __init__(self, which: int) -> None:
        super().__init__(np.random.PCG64(0))
        self._which = which

    def integers(self, *bounds: int) -> int:  # type: ignore[override]
        assert bounds == (TURNS,)
        return self._which


@pytest.mark.parametrize("shift", [(0, 0), (5, -3), (-7, 9), (-12, -12)])
def test_pixels_of_both_views_are_matched_whatever_their_turns(shift: tuple[int, int]) -> None:
    rows, columns = np.mgrid[:40, :40]
    image = Image(np.stack([rows, columns, rows * 0 + 1]).astype(np.float32), rows + columns > 30)
    plain = replace(standard_of([fields(bands=3)]), mean=np.zeros((1, 3)), scale=np.ones((1, 3)))
    material, network = replace(material_of([image]), standard=plain), Coordinates()
    learner = dgc._Learner(still(), 0, network, material)  # type: ignore[arg-type]
    first = (14, 13)
    second = (first[0] + shift[0], first[1] + shift[1])
    seen = learner._look(network, pair_of([image], 0, first, second))
    inside = [(slice(at, at + SIDE_PX), slice(to, to + SIDE_PX)) for at, to in (first, second)]
    shared = np.zeros((2, 40, 40), np.bool_)
    shared[0][inside[0]], shared[1][inside[1]] = True, True
    expected = np.argwhere(shared.all(axis=0) & image.valid)
    for scores in seen.scores:
        np.testing.assert_array_equal(scores[:, :2], expected)
    views = [
        [
            dgc._shared(
                network.cosines(learner._student(seen, view, Turning(which))), window, seen.pixels
            )[:, :2]
            for which in range(TURNS)
        ]
        for view, window in enumerate(seen.windows)
    ]
    for found in (*views[0], *views[1]):
        np.testing.assert_array_equal(found, expected)


def test_a_pair_without_a_shared_pixel_with_data_teaches_nothing() -> None:
    image = fields()
    blind = Image(image.spectra, np.zeros_like(image.valid))
    learner = learner_of(section(), material_of([image]))
    pair = pair_of([blind], 0, (0, 0), (5, 5))
    [target] = learner.targets(learner.network, [pair], one_by_one())
    loss = learner.loss(pair, target, (0, 0))
    trained = [each for group in learner.parameter_groups() for each in group["params"]]
    gradients = torch.autograd.grad(loss, trained, materialize_grads=True)
    assert loss.item() == 0
    assert not any(each.any() for each in gradients)
    inspect(learner)
    usage = learner._usage.clone()
    learner.advance(learner.network, [target], 0)
    assert torch.equal(learner._usage, usage)


@pytest.mark.parametrize("others", [{}, {"reconstruction": 1.0}, {"repulsion": 1.0}])
def test_pixels_without_data_weigh_nothing(others: dict[str, float]) -> None:
    image = fields(dtype="float32")
    valid = image.valid & (np.random.default_rng(0).random(image.valid.shape) < 0.8)
    material, losses = material_of([Image(image.spectra, valid)]), []
    for junk in (0.0, 5e4, np.nan, np.inf):
        spoilt = image.spectra.copy()
        spoilt[:, ~valid] = junk
        pair = pair_of([Image(spoilt, valid)], 0, (3, 3), (9, 0))
        learner = learner_of(section(**others), material)
        [target] = learner.targets(learner.network, [pair], one_by_one())
        losses.append(learner.loss(pair, target, (4, 1)).item())
    assert np.isfinite(losses).all()
    assert losses == [losses[0]] * 4


def test_reconstruction_is_asked_of_pixels_with_data_only() -> None:
    image = fields()
    learner = learner_of(section(reconstruction=1.0), material_of([image]))
    undo = learner.network.undo
    assert undo is not None
    with torch.no_grad():
        undo.weight.zero_()
        undo.bias.fill_(0.25)
    crop = crop_of(image, (0, 0))
    pair = CropPair(0, 0, crop, crop)
    [target] = learner.targets(learner.network, [pair], one_by_one())
    latents = [torch.zeros(9, SIDE_PX, SIDE_PX)] * 2
    known = target.spectra[0][:, torch.from_numpy(crop.valid)]
    expected = (known - 0.25).square().mean()
    with torch.no_grad():
        assert learner._lost(target, latents).item() == pytest.approx(expected.item(), rel=1e-5)


# --- light ---------------------------------------------------------------------------------


@pytest.mark.parametrize("gain", [0.6, 1.0, 1.7])
@pytest.mark.parametrize("illumination", ILLUMINATIONS)
def test_another_light_is_that_of_raw_spectra(illumination: str, gain: float) -> None:
    images = [fields(dtype="float32"), fields(seed=1, gain=1.3, dtype="float32")]
    material = material_of(images, illumination, groups=(0, 1))
    learner = learner_of(still(), material)
    for frame, image in enumerate(images):
        valid = everything(image)
        standardised = material.standard.standardise(image.spectra, valid, frame)
        expected = material.standard.standardise(gain * image.spectra, valid, frame)
        found = learner._brightened(torch.from_numpy(standardised), frame, gain)
        np.testing.assert_allclose(found, expected, atol=2e-4)


def test_views_are_changed_by_their_key_alone() -> None:
    learner = learner_of(section(band_dropout=0.2, band_shift=2), material_of([fields()]))
    spectra = torch.randn(8, 6, 6)
    keys = [(0, 4, 7, 0), (0, 4, 7, 0), (0, 4, 7, 1), (0, 4, 8, 0)]
    found = [learner._changed(spectra, 0, np.random.default_rng(key)) for key in keys]
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])
    assert not torch.equal(found[0], found[3])


def test_a_shift_along_the_bands_leaves_the_brightness_where_it_is() -> None:
    material = material_of([fields()], "snv+brightness")
    learner = learner_of(still(band_shift=3), material)
    spectra = torch.arange(9.0)[:, None, None].expand(9, 4, 4)
    for seed in range(20):
        found = learner._changed(spectra, 0, np.random.default_rng(seed))
        assert (found[-1] == 8).all()
        assert (found[:-1] < 8).all()


# --- balance -------------------------------------------------------------------------------


def one_sided(learner: dgc._Learner, winner: int, pixels: int = 50) -> list[dgc._Seen]:
    """What the teacher would see if one prototype won every pixel."""
    scores = torch.zeros(pixels, PROTOTYPES)
    scores[:, winner] = 0.9
    pair = pair_of([fields()], 0, (5, 5), (8, 8))
    return [replace(learner._look(learner.network, pair), scores=[scores, scores])]


@pytest.fixture
def learner() -> dgc._Learner:
    found = learner_of(section(), material_of([fields()]))
    inspect(found)
    return found


def test_usage_begins_as_that_of_the_probe(learner: dgc._Learner) -> None:
    np.testing.assert_array_equal(learner._usage, learner.watch.shares())
    before = learner._usage.clone()
    inspect(learner)
    assert torch.equal(learner._usage, before)


def test_usage_follows_the_prototypes_that_the_teacher_sees(learner: dgc._Learner) -> None:
    before = learner._usage.clone()
    learner.advance(learner.network, one_sided(learner, 2), 0)
    expected = 0.98 * before
    expected[2] += 0.02
    np.testing.assert_allclose(learner._usage, expected, atol=1e-6)


def test_targets_are_balanced_once_usage_becomes_uneven(learner: dgc._Learner) -> None:
    seen = one_sided(learner, 0)
    for step in range(300):
        share = learner.watch.entropy_share(learner._usage)
        learner.advance(learner.network, seen, step)
        if learner.watch.entropy_share(learner._usage) < 0.8:
            break
        assert not learner._balances
    assert share >= 0.8
    assert learner._balances
    even = torch.full((PROTOTYPES,), 1 / PROTOTYPES)
    learner._usage.copy_(even)
    learner.advance(learner.network, seen, step + 1)
    assert learner._balances  # and stay so


def test_without_a_guard_targets_stay_as_they_are() -> None:
    unguarded = learner_of(section(guard=False), material_of([fields()]))
    inspect(unguarded)
    for step in range(400):
        unguarded.advance(unguarded.network, one_sided(unguarded, 0), step)
    assert not unguarded._balances
    assert unguarded.watch.entropy_share(unguarded._usage) < 0.1


def test_the_guard_survives_its_state(learner: dgc._Learner) -> None:
    seen = one_sided(learner, 0)
    before = {name: value.clone() for name, value in learner.state().items()}
    for step in range(300):
        learner.advance(learner.network, seen, step)
    after = {name: value.clone() for name, value in learner.state().items()}
    other = learner_of(section(), material_of([fields()]))
    other.load_state(after)
    assert other._balances
    assert torch.equal(other._usage, learner._usage)
    assert other.watch.checks == 1
    learner.load_state(before)
    assert not learner._balances
    np.testing.assert_array_equal(learner._usage, learner.watch.shares())


@pytest.mark.parametrize("targets", ["sharpened", "sinkhorn"])
def test_targets_sum_to_one_and_belong_to_their_pixels(targets: str) -> None:
    images = [fields(), fields(seed=1)]
    teacher = learner_of(section(targets=targets), material_of(images))
    inspect(teacher)
    pairs = [pair_of(images, 0, (3, 3), (9, 0)), pair_of(images, 1, (20, 10), (20, 24))]
    found = teacher.targets(teacher.network, pairs, one_by_one())
    for seen, pair in zip(found, pairs, strict=True):
        assert seen.sample is pair
        for scores, target in zip(seen.scores, seen.targets, strict=True):
            assert target.shape == scores.shape == (len(seen.pixels), PROTOTYPES)
            np.testing.assert_allclose(target.sum(dim=1), 1, atol=1e-5)
            if targets == "sharpened":
                expected = torch.softmax(scores / 0.03, dim=1)
                np.testing.assert_allclose(target, expected, atol=1e-6)


def test_balanced_targets_balance_all_pixels_of_a_step(learner: dgc._Learner) -> None:
    learner._balances.fill_(True)
    learner._usage.copy_(torch.full((PROTOTYPES,), 1 / PROTOTYPES))
    pairs = [pair_of([fields()], 0, (6, 6), (9, 9)), pair_of([fields()], 0, (20, 20), (18, 24))]
    seen = learner.targets(learner.network, pairs, one_by_one())
    scores = torch.cat([part for each in seen for part in each.scores])
    found = torch.cat([part for each in seen for part in each.targets])
    expected = balanced_targets(scores, learner._usage, 0.03)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_prototypes_that_nobody_uses_do_not_spoil_balanced_targets(tmp_path: Path) -> None:
    settings, image = section(prototypes=60, targets="sinkhorn"), fields()
    material = material_of([image])
    few = replace(material.probe, crops=[crop_of(image, (20, 20), 6)], frames=[0])
    material = replace(material, probe=few)
    done = train(settings, TrainingSection(steps=3), 0, material, work_in(tmp_path))
    assert (done.masses[0] == 0).any()
    assert np.isfinite(done.losses).all()


# --- what is trained -----------------------------------------------------------------------


def trained_network(settings: DgcSection, material: Material, folder: Path) -> DgcNetwork:
    train(settings, TrainingSection(steps=4, warm_up=0), 0, material, work_in(folder))
    network = DgcNetwork(settings, material.standard.feature_count, PROTOTYPES)
    load_average(folder, network)
    return network


@pytest.mark.parametrize("train_stem", [False, True])
def test_the_stem_is_trained_only_if_asked(tmp_path: Path, *, train_stem: bool) -> None:
    settings, material = section(train_stem=train_stem), material_of([fields()])
    start = dgc._start(settings, 0, material)
    network = trained_network(settings, material, tmp_path)
    assert torch.equal(network.stem.weight, start.stem.weight) is not train_stem
    assert not torch.equal(network.prototypes, start.prototypes)
    assert network.narrow.weight.any()


def test_prototypes_do_not_decay() -> None:
    learner = learner_of(section(train_stem=True, spectral_branch=True), material_of([fields()]))
    groups = learner.parameter_groups()
    chosen = [id(value) for group in groups for value in group["params"]]
    assert sorted(chosen) == sorted(map(id, learner.network.parameters()))
    [own] = [group for group in groups if group.get("weight_decay") == 0]
    assert [id(value) for value in own["params"]] == [id(learner.network.prototypes)]


@pytest.mark.parametrize(
    "others",
    [
        {"spectral_branch": True},
        {"reconstruction": 0.1},
        {"repulsion": 0.1},
        {"targets": "sinkhorn"},
        {"band_shift": 2, "band_dropout": 0.2},
        {"train_stem": True},
        {"gain": 0.0, "noise": 0.0},
    ],
    ids=lambda each: "-".join(each),
)
def test_every_variant_can_be_trained_and_used(others: dict[str, Any], tmp_path: Path) -> None:
    settings, image = section(**others), fields()
    material = material_of([image])
    done = train(settings, TrainingSection(steps=3), 0, material, work_in(tmp_path))
    assert np.isfinite(done.losses).all()
    encoder = load(settings, material.standard, tmp_path, "cpu")
    embedded = encoder.embed(image.spectra.reshape(len(image.spectra), -1), 0)
    latents = encoder.refine(embedded.reshape(-1, 40, 40))
    np.testing.assert_allclose(np.linalg.norm(latents, axis=0), 1, atol=1e-5)


def test_the_branch_looks_along_the_bands_and_not_along_the_pixels() -> None:
    network = dgc._start(section(spectral_branch=True), 0, material_of([fields()]))
    assert network.branch is not None
    nn.init.normal_(network.branch.last.weight)
    spectra = torch.randn(8, 50)
    pixels, bands = torch.randperm(50), torch.tensor([1, 0, 2, 3, 4, 5, 7, 6])
    with torch.no_grad():
        found = network.branch(spectra)
        np.testing.assert_allclose(network.branch(spectra[:, pixels]), found[:, pixels], atol=1e-6)
        assert not torch.allclose(network.branch(spectra[bands]), found, atol=1e-4)


def test_a_frame_that_is_shifted_has_shifted_latents(tmp_path: Path) -> None:
    image = fields()
    material = material_of([image])
    train(section(), TrainingSection(steps=4, warm_up=0), 0, material, work_in(tmp_path))
    encoder = load(section(), material.standard, tmp_path, "cpu")
    embedded = encoder.embed(image.spectra.reshape(8, -1), 0).reshape(-1, 40, 40)
    for shift in ((0, 3), (5, 0), (4, 7)):
        part = np.ascontiguousarray(embedded[:, shift[0] :, shift[1] :])
        whole = encoder.refine(embedded)[:, shift[0] :, shift[1] :]
        np.testing.assert_allclose(encoder.refine(part), whole, atol=1e-6)


def test_the_encoder_gives_what_the_teacher_saw(tmp_path: Path) -> None:
    images = [fields(), fields(seed=2, gain=0.7)]
    for others in ({}, {"spectral_branch": True}):
        settings, material = section(**others), material_of(images, groups=(0, 1))
        folder = tmp_path / "-".join(["network", *others])
        network = trained_network(settings, material, folder)
        encoder = load(settings, material.standard, folder, "cpu")
        for frame, image in enumerate(images):
            standardised = material.standard.standardise(image.spectra, everything(image), frame)
            expected = latents_of(network, standardised)
            embedded = encoder.embed(image.spectra.reshape(8, -1), frame).reshape(-1, 40, 40)
            padded = np.pad(embedded, ((0, 0), (HALO, HALO), (HALO, HALO)), mode="edge")
            np.testing.assert_allclose(encoder.refine(padded), expected, atol=1e-5)


def test_whatever_is_added_to_the_network_needs_more_memory() -> None:
    least = dgc.training_bytes(section(), 300)
    for others in ({"spectral_branch": True}, {"hidden": 64}, {"prototypes": 200}):
        assert dgc.training_bytes(section(**others), 300) > least
    activations = 4 * 2 * 64**2 * 32 * (75 + 19 + 5)
    assert dgc.training_bytes(section(spectral_branch=True), 300) > least + activations


def test_a_network_of_other_settings_is_refused(tmp_path: Path) -> None:
    material = material_of([fields()])
    train(section(), TrainingSection(steps=0), 0, material, work_in(tmp_path))
    for others in ({"hidden": 9}, {"prototypes": 7}, {"spectral_branch": True}):
        with pytest.raises(StoreError, match="other parameters"):
            load(section(**others), material.standard, tmp_path, "cpu")


def test_bad_bands_are_not_looked_at(tmp_path: Path) -> None:
    image = fields(dtype="float32")
    nothing = np.full((2, 40, 40), np.nan, np.float32)
    worse = Image(np.concatenate([image.spectra, nothing]), image.valid)
    material = material_of([image])
    good = np.r_[np.ones(8, np.bool_), False, False]
    wide = Reservoir(worse.pixels.T, material.reservoir.frame)
    found = []
    for name, standard, reservoir, shown in (
        ("good", material.standard, material.reservoir, image),
        ("all", replace(material.standard, good=good), wide, worse),
    ):
        own = replace(material, standard=standard, reservoir=reservoir)
        folder = tmp_path / name
        train(section(), TrainingSection(steps=0), 0, own_crops(own, shown), work_in(folder))
        encoder = load(section(), standard, folder, "cpu")
        found.append(encoder.embed(shown.spectra.reshape(len(shown.spectra), -1), 0))
    np.testing.assert_array_equal(found[0], found[1])


def own_crops(material: Material, image: Image) -> Material:
    """Watch a material on crops of another image."""
    crops: Sequence[Any] = [crop_of(image, (0, 0)), crop_of(image, (20, 20))]
    return replace(material, probe=replace(material.probe, crops=crops, frames=[0, 0]))


def test_features_are_made_as_by_the_rest_of_the_package() -> None:
    image = fields()
    standard = standard_of([image], "continuum")
    expected = illuminated("continuum", image.pixels, np.asarray(standard.wavelengths_nm))
    found = standard.centred(image.pixels, 0)
    np.testing.assert_allclose(found, expected - standard.mean[0][:, None], atol=1e-6)
