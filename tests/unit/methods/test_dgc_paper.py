from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch  # noqa: TID253 the layer of the networks
from numpy.typing import NDArray

from hsistream.events import Event, Progress, ignore
from hsistream.methods import dgc_paper, load_method, watching
from hsistream.methods.base import Material, Probe, Reservoir, Standard, Trained, Work
from hsistream.methods.watching import schedule_of
from hsistream.network_sections import DgcPaperSection, TrainingSection
from hsistream.nn.augment import turn
from hsistream.nn.checkpoint import checkpoint_steps, read_checkpoint
from hsistream.nn.paper_network import HALO, PaperNetwork
from hsistream.nn.training import part_of
from hsistream.tiles import Window

BANDS, SIDE_PX, CROP_PX, MATERIALS = 24, 40, 16, 3
STEPS = 24
SETTINGS = DgcPaperSection(name="dgc-paper", prototypes=MATERIALS)
TRAINING = TrainingSection(
    steps=STEPS, learning_rate=1e-3, momentum=0.0, check_every=8, warm_up=4, patience=9
)


@dataclass(frozen=True)
class Square:
    """A crop of the frame made below."""

    spectra: NDArray[Any]
    valid: NDArray[np.bool_]
    origin: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class Two:
    """A pair of crops at two origins."""

    frame: int
    first: Square
    second: Square
    origins: tuple[tuple[int, int], tuple[int, int]]

    def overlap(self) -> tuple[Window, Window]:
        down, right = np.subtract(self.origins[1], self.origins[0]).tolist()
        return (common(down), common(right)), (common(-down), common(-right))


def common(shift: int) -> slice:
    return slice(max(0, shift), CROP_PX + min(0, shift))


def frame_of(seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Three materials in stripes: spectra (band, y, x) and materials (y, x)."""
    random = np.random.default_rng(seed)
    truth = np.broadcast_to(np.arange(SIDE_PX) // 5 % MATERIALS, (SIDE_PX, SIDE_PX))
    curves = np.cumsum(random.normal(size=(BANDS, MATERIALS)), axis=0)
    noise = 0.3 * random.normal(size=(BANDS, SIDE_PX, SIDE_PX))
    return (curves[:, truth] + noise).astype(np.float32), truth


def square_at(origin: tuple[int, int]) -> Square:
    spectra, _ = frame_of()
    rows, columns = (slice(start, start + CROP_PX) for start in origin)
    valid = np.ones((SIDE_PX, SIDE_PX), np.bool_)
    valid[10:14, 8:20] = False
    spectra = np.where(valid, spectra, np.nan)
    return Square(spectra[:, rows, columns], valid[rows, columns])


def pair_at(first: tuple[int, int], second: tuple[int, int]) -> Two:
    return Two(0, square_at(first), square_at(second), (first, second))


def batches(first: int) -> Iterator[Sequence[Two]]:
    for step in range(first, 10_000):
        random = np.random.default_rng((7, step))
        yield [pair_at(*drawn_origins(random)) for _ in range(2)]


def drawn_origins(random: np.random.Generator) -> tuple[tuple[int, int], tuple[int, int]]:
    first = random.integers(0, SIDE_PX - CROP_PX, 2)
    second = (first + random.integers(-6, 7, 2)).clip(0, SIDE_PX - CROP_PX)
    return (int(first[0]), int(first[1])), (int(second[0]), int(second[1]))


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Crops are too small to be divided among cores."""
    cores = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(cores)


def no_patches(numbers: NDArray[np.int64], reach: int) -> NDArray[Any]:
    raise AssertionError("this network learns from crops")


@pytest.fixture(scope="module")
def material() -> Material:
    spectra, _ = frame_of()
    pixels = spectra.reshape(BANDS, -1)
    standard = Standard(
        good=np.ones(BANDS, np.bool_),
        illumination="none",
        wavelengths_nm=(),
        group_of_frame=np.zeros(1, np.int64),
        mean=pixels.mean(axis=1, dtype=np.float64)[None],
        scale=1 / pixels.std(axis=1, dtype=np.float64)[None],
        low=pixels.min(axis=1).astype(np.float64)[None],
        high=pixels.max(axis=1).astype(np.float64)[None],
        directions=np.eye(BANDS),
        variance=np.ones(BANDS),
    )
    reservoir = Reservoir(pixels.T[::3].copy(), np.zeros(len(pixels.T[::3]), np.int64))
    probe = Probe([square_at((0, 0)), square_at((20, 9))], [0, 0])
    return Material(standard, reservoir, probe, batches, no_patches)


def work_in(folder: Path, threads: int = 1, notify: Callable[[Event], None] = ignore) -> Work:
    return Work(folder, "mark", threads, "cpu", notify)


def train(
    folder: Path, material: Material, settings: DgcPaperSection = SETTINGS, **others: Any
) -> Trained:
    return dgc_paper.train(settings, TRAINING, 0, material, work_in(folder, **others))


def started(material: Material, settings: DgcPaperSection = SETTINGS, seed: int = 0) -> Any:
    return dgc_paper._start(settings, seed, material, 1)


def learner_of(material: Material, settings: DgcPaperSection = SETTINGS) -> Any:
    return dgc_paper._Learner(settings, 0, started(material, settings), material)


def plainly(function: Callable[[Any], Any], items: Any) -> list[Any]:
    with torch.no_grad():
        return [function(item) for item in items]


def targets_of(learner: Any, pairs: Sequence[Two]) -> Sequence[Any]:
    with torch.no_grad():
        found: Sequence[Any] = learner.targets(learner.network, pairs, plainly)
    return found


def checkpoint_bytes(folder: Path) -> dict[str, bytes]:
    root = folder / "checkpoints"
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


# Start


def test_prototypes_start_at_kmeans_of_the_latents_of_the_reservoir(material: Material) -> None:
    network = started(material)
    spectra = torch.from_numpy(material.reservoir.standardised(material.standard))
    with torch.no_grad():
        latents = network.alone(spectra)
        cosines = network.prototypes @ latents
    torch.testing.assert_close(network.prototypes.norm(dim=1), torch.ones(MATERIALS))
    labels = cosines.argmax(dim=0)
    means = torch.stack([latents[:, labels == number].mean(dim=1) for number in range(MATERIALS)])
    expected = torch.nn.functional.normalize(means, dim=1)
    assert (expected * network.prototypes).sum(dim=1).min() > 0.9999


def test_prototypes_may_start_anywhere(material: Material) -> None:
    settings = SETTINGS.model_copy(update={"start": "random"})
    one, other = (started(material, settings, seed).prototypes for seed in (0, 1))
    assert not torch.allclose(one, other)
    assert not torch.allclose(one, started(material).prototypes)
    assert torch.equal(one, started(material, settings).prototypes)


def test_few_different_pixels_leave_other_prototypes_where_chance_has_put_them(
    material: Material,
) -> None:
    spectra = np.repeat(material.reservoir.spectra[:2], 30, axis=0)
    few = replace(material, reservoir=Reservoir(spectra, np.zeros(60, np.int64)))
    prototypes = started(few).prototypes
    torch.testing.assert_close(prototypes.norm(dim=1), torch.ones(MATERIALS))
    random = started(few, SETTINGS.model_copy(update={"start": "random"})).prototypes
    assert torch.equal(prototypes[2:], random[2:])
    constant = np.broadcast_to(material.standard.mean.astype(np.float32), (60, BANDS))
    none = replace(material, reservoir=Reservoir(constant.copy(), np.zeros(60, np.int64)))
    assert torch.equal(started(none).prototypes[2:], random[2:])


# Learner


def test_prototypes_are_not_in_the_optimiser(material: Material) -> None:
    learner = learner_of(material)
    trained = {id(each) for group in learner.parameter_groups() for each in group["params"]}
    assert trained == {id(each) for each in learner.network.parameters()}
    assert id(learner.network.prototypes) not in trained
    bandwidth = learner.parameter_groups()[1]
    assert bandwidth == {"params": [learner.network.raw_bandwidth], "weight_decay": 0.0}


def test_shared_pixels_are_matched_exactly(material: Material) -> None:
    """With a place instead of a share, both crops must tell the same place."""
    pair = pair_at((7, 5), (12, 2))
    learner = learner_of(material)
    (seen,) = targets_of(learner, [pair])
    rows, columns = np.meshgrid(np.arange(SIDE_PX), np.arange(SIDE_PX), indexing="ij")
    found = []
    for crop, origin in zip(seen.crops, pair.origins, strict=True):
        inside = np.s_[origin[0] : origin[0] + CROP_PX, origin[1] : origin[1] + CROP_PX]
        places = np.stack([rows[inside].ravel(), columns[inside].ravel()])
        found.append(places[:, crop.places.numpy()][:, crop.shared.numpy()])
    np.testing.assert_array_equal(found[0], found[1])
    hidden = ((found[0][0] >= 10) & (found[0][0] < 14)) & ((found[0][1] >= 8) & (found[0][1] < 20))
    assert not hidden.any()
    assert found[0].shape[1] == 11 * 13 - 2 * 10


def test_equal_crops_agree_until_they_are_changed(
    material: Material, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = {"compactness": 0, "orthogonality": 0, "balance": 0, "confidence": 0}
    learner = learner_of(material, SETTINGS.model_copy(update=weights))
    pair = pair_at((3, 4), (3, 4))
    (target,) = targets_of(learner, [pair])
    assert float(learner.loss(pair, target, (0, 0)).detach()) > 0
    monkeypatch.setattr(dgc_paper, "BAND_SHIFT", 0)
    monkeypatch.setattr(dgc_paper, "TURNS", 1)
    assert float(learner.loss(pair, target, (0, 0)).detach()) == 0


def test_views_are_turned_and_turned_back(
    material: Material, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network without a sense of direction sees the same after any turn."""
    monkeypatch.setattr(dgc_paper, "BAND_SHIFT", 0)
    learner = learner_of(material)
    with torch.no_grad():
        for layer in (learner.network.near, learner.network.far):
            layer.weight.copy_(sum(turn(layer.weight, which) for which in range(8)) / 8)
    pair = pair_at((3, 4), (6, 2))
    (target,) = targets_of(learner, [pair])
    for seed in range(8):
        random = np.random.default_rng(seed)
        for crop in target.crops:
            plain, moved = learner._changed(crop, random)
            for found, expected in ((plain, crop.view.plain), (moved, crop.view.moved)):
                chosen = found.flatten(1).T[crop.places].detach()
                torch.testing.assert_close(chosen, expected, atol=1e-5, rtol=0)


def test_the_loss_depends_on_its_key_only(material: Material) -> None:
    learner = learner_of(material)
    pair = next(iter(batches(0)))[0]
    (target,) = targets_of(learner, [pair])
    keys = [(0, 0), (0, 0), (0, 1), (1, 0)]
    losses = [float(learner.loss(pair, target, key).detach()) for key in keys]
    assert losses[0] == losses[1]
    assert len(set(losses)) == 3


def test_every_term_reaches_the_network(material: Material) -> None:
    terms = "compactness", "orthogonality", "consistency", "balance", "confidence", "uniformity"
    pair = pair_at((3, 4), (6, 2))
    for term in terms:
        weights = {name: float(name == term) for name in terms}
        learner = learner_of(material, SETTINGS.model_copy(update=weights))
        (target,) = targets_of(learner, [pair])
        loss = learner.loss(pair, target, (0, 0))
        parameters = [learner.network.near.weight, learner.network.branch.last.weight]
        for gradient in torch.autograd.grad(loss, parameters):
            assert gradient.isfinite().all(), term
            assert gradient.abs().max() > 0, term


def test_crops_without_data_are_no_loss(material: Material) -> None:
    nothing = Square(
        np.full((BANDS, CROP_PX, CROP_PX), np.nan, np.float32),
        np.zeros((CROP_PX, CROP_PX), np.bool_),
    )
    pair = Two(0, nothing, nothing, ((0, 0), (2, 2)))
    learner = learner_of(material)
    targets = targets_of(learner, [pair, pair_at((3, 4), (6, 2))])
    loss = learner.loss(pair, targets[0], (0, 0))
    gradients = torch.autograd.grad(loss, list(learner.network.parameters()), allow_unused=True)
    assert all(not each.any() for each in gradients if each is not None)
    with torch.no_grad():
        learner.advance(learner.network, targets, 0)
    assert learner.network.prototypes.isfinite().all()


def test_a_step_moves_the_prototypes_of_both_networks(material: Material) -> None:
    learner, average = learner_of(material), started(material)
    before = learner.network.prototypes.clone()
    targets = targets_of(learner, next(iter(batches(0))))
    with torch.no_grad():
        learner.advance(average, targets, 0)
    views = [crop.view for pair in targets for crop in pair.crops]
    shares = torch.cat([view.shares for view in views])
    latents = torch.cat([view.moved for view in views])
    means = shares.T @ latents / shares.sum(dim=0)[:, None]
    expected = torch.nn.functional.normalize(0.99 * before + 0.01 * means, dim=1)
    torch.testing.assert_close(learner.network.prototypes, expected)
    assert torch.equal(average.prototypes, learner.network.prototypes)


def test_a_dead_prototype_starts_anew_at_the_most_doubtful_pixel(
    material: Material, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dgc_paper, "FOLLOWED_STEPS", 3)
    results = []
    for _ in range(2):
        learner = learner_of(material)
        lost = torch.nn.functional.normalize(-torch.ones(32), dim=0)
        learner.network.prototypes[1] = lost
        for step, pairs in zip(range(5), batches(0), strict=False):
            targets = targets_of(learner, pairs)
            with torch.no_grad():
                learner.advance(learner.network, targets, step)
            seen = learner.network.prototypes[1] @ lost
            assert bool(seen > 0.9) == (step < 2)
            if step == 2:
                views = [crop.view for pair in targets for crop in pair.crops]
                share, latent = min((view.most_doubtful() for view in views), key=lambda v: v[0])
                assert torch.equal(learner.network.prototypes[1], latent)
                assert share < 1
        assert learner._followed.tolist() == [5, 2, 5]
        results.append(learner.network.prototypes.clone())
    assert torch.equal(*results)


def test_more_dead_prototypes_than_doubtful_pixels_wait(
    material: Material, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dgc_paper, "FOLLOWED_STEPS", 1)
    settings = SETTINGS.model_copy(update={"prototypes": 9})
    learner = learner_of(material, settings)
    learner.network.prototypes[1:] = torch.nn.functional.normalize(-torch.ones(8, 32), dim=1)
    with torch.no_grad():
        learner.advance(learner.network, targets_of(learner, [pair_at((3, 4), (6, 2))]), 0)
    anew = (learner.network.prototypes.sum(dim=1) > 0).nonzero()[:, 0]
    assert anew.tolist() == [0, 1, 2]
    assert not torch.equal(*learner.network.prototypes[1:3])


# Training


@pytest.fixture(scope="module")
def finished(material: Material, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Trained]:
    folder = tmp_path_factory.mktemp("training")
    return folder, train(folder, material)


def test_a_training_tells_how_it_went(finished: tuple[Path, Trained]) -> None:
    _, done = finished
    assert done.ending == "finished"
    assert done.losses.shape == (STEPS,)
    assert done.check_steps.tolist() == [0, 8, 16, 24]
    assert done.prototypes.shape == (4, MATERIALS, 32)
    assert done.masses.shape == (4, MATERIALS)
    assert done.losses[-5:].mean() < done.losses[:5].mean()
    assert done.checks["prototypes in use"].tolist() == [MATERIALS] * 4


def test_the_last_prototypes_are_those_that_are_kept(finished: tuple[Path, Trained]) -> None:
    folder, done = finished
    tensors = read_checkpoint(folder, checkpoint_steps(folder)[0]).tensors
    network, average = part_of(tensors, "network."), part_of(tensors, "average.module.")
    assert all(torch.equal(network[name], average[name]) for name in network)
    np.testing.assert_array_equal(done.prototypes[-1], average["prototypes"].double().numpy())
    assert not np.array_equal(done.prototypes[-1], done.prototypes[-2])


def test_threads_and_an_interruption_change_no_byte(
    material: Material, finished: tuple[Path, Trained], tmp_path: Path
) -> None:
    class Killed(Exception):  # noqa: N818 not an error of the package
        pass

    def kill(event: Event) -> None:
        if isinstance(event, Progress) and event.done == 11:
            raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            watching,
            "schedule_of",
            lambda *known: replace(schedule_of(*known), save_every_s=0.0),
        )
        with pytest.raises(Killed):
            train(tmp_path, material, threads=2, notify=kill)
        assert checkpoint_steps(tmp_path)[0] == 11
        again = train(tmp_path, material, threads=2)
    folder, done = finished
    np.testing.assert_array_equal(again.losses, done.losses)
    np.testing.assert_array_equal(again.prototypes, done.prototypes)
    last = f"step-{STEPS:08d}/tensors.safetensors"
    assert checkpoint_bytes(tmp_path)[last] == checkpoint_bytes(folder)[last]


@pytest.mark.parametrize("changes", [{"hard": True}, {"uniformity": 0.1}, {"start": "random"}])
def test_every_choice_trains(
    material: Material, tmp_path: Path, changes: dict[str, object]
) -> None:
    training = TRAINING.model_copy(update={"steps": 3})
    settings = SETTINGS.model_copy(update=changes)
    done = dgc_paper.train(settings, training, 0, material, work_in(tmp_path))
    assert np.isfinite(done.losses).all()


def test_low_precision_has_about_the_same_gradient(material: Material) -> None:
    """Few bands: some weights of the last spectral layer meet none of them."""
    learner, pair = learner_of(material), pair_at((3, 4), (6, 2))
    (target,) = targets_of(learner, [pair])
    parameters, gradients = list(learner.network.parameters()), []
    for low in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=low, cache_enabled=False):
            loss = learner.loss(pair, target, (0, 0))
        parts = torch.autograd.grad(loss, parameters)
        gradients.append(torch.cat([part.flatten() for part in parts]))
    full, low_one = gradients
    assert float(full @ low_one / full.norm() / low_one.norm()) > 0.98
    assert float(low_one.norm()) == pytest.approx(float(full.norm()), rel=0.1)


def test_low_precision_trains(material: Material, tmp_path: Path) -> None:
    training = TRAINING.model_copy(update={"steps": 3, "precision": "bfloat16"})
    done = dgc_paper.train(SETTINGS, training, 0, material, work_in(tmp_path))
    assert np.isfinite(done.losses).all()


# Encoder


def test_tiles_are_encoded_as_the_whole(material: Material, finished: tuple[Path, Trained]) -> None:
    encoder = dgc_paper.load(SETTINGS, material.standard, finished[0], "cpu")
    assert (encoder.halo, encoder.embedding_size, encoder.latent_size) == (HALO, 32, 32)
    spectra, truth = frame_of()
    embedded = encoder.embed(spectra.reshape(BANDS, -1), 0).reshape(32, SIDE_PX, SIDE_PX)
    around = np.pad(embedded, ((0, 0), (HALO, HALO), (HALO, HALO)), mode="edge")
    whole = encoder.refine(around)
    assert whole.dtype == np.float32
    assert whole.shape == (32, SIDE_PX, SIDE_PX)
    for top, left in ((0, 0), (13, 26), (26, 13)):
        inside = np.s_[:, top : top + 13, left : left + 13]
        window = np.s_[:, top : top + 13 + 2 * HALO, left : left + 13 + 2 * HALO]
        np.testing.assert_allclose(
            encoder.refine(np.ascontiguousarray(around[window])), whole[inside], atol=1e-5
        )
    labels = np.tensordot(finished[1].prototypes[-1], whole, 1).argmax(axis=0)
    pairs = np.zeros((MATERIALS, MATERIALS))
    np.add.at(pairs, (labels, truth), 1)
    assert pairs.max(axis=1).sum() > 0.8 * pairs.sum()


def test_the_encoder_is_what_was_watched(
    material: Material, finished: tuple[Path, Trained]
) -> None:
    """The labels of the probe are those of the last check."""
    folder, done = finished
    encoder = dgc_paper.load(SETTINGS, material.standard, folder, "cpu")
    counts = np.zeros(MATERIALS)
    for crop in material.probe.crops:
        raw = np.where(crop.valid, crop.spectra, 0).reshape(BANDS, -1)
        embedded = encoder.embed(raw, 0).reshape(32, CROP_PX, CROP_PX) * crop.valid
        latents = encoder.refine(
            np.pad(embedded, ((0, 0), (HALO, HALO), (HALO, HALO)), mode="edge")
        )
        labels = np.tensordot(done.prototypes[-1], latents, 1).argmax(axis=0)[crop.valid]
        counts += np.bincount(labels, minlength=MATERIALS)
    np.testing.assert_array_equal(counts, done.masses[-1])


def test_sizes_are_told_before_anything_is_trained() -> None:
    method = load_method("dgc-paper")
    assert method.latent_size(SETTINGS, 301) == 32
    assert method.halo(SETTINGS) == HALO == 4
    assert method.square_bytes(SETTINGS, 301, 264**2) < 64 * 2**20
    assert 2**27 < method.training_bytes(SETTINGS, 301) < 2**29
    assert sum(p.numel() for p in PaperNetwork(301, 4, 0.3, 5).parameters()) == 42_465
