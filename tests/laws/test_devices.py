"""Networks run on a GPU as they do on a CPU, as far as that can be told where there is none."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch  # noqa: TID253 the layer of the networks

from hsistream import planning
from hsistream.config import RunConfig
from hsistream.events import Event, Progress
from hsistream.execution import Execution
from hsistream.methods import METHODS, dgc_paper, load_method, watching
from hsistream.methods.base import Encoder, Material, Trained
from hsistream.nn import paper_losses
from hsistream.nn.learner import Schedule
from hsistream.pipeline import run
from hsistream.planning import plan
from hsistream.prediction import predict
from hsistream.runs import LATENTS, RunDirectory
from hsistream.scene.scene import Scene
from tests.laws.requests import LIGHT, tiny
from tests.pretended import CUDA, Gpu, pretended_gpu
from tests.unit.methods.material import fields, material_of, work_in

STEPS = 2
IMAGE = fields((24, 28))

VARIANTS: dict[str, tuple[tuple[str, Any], ...]] = {
    "dgc": (
        ("encoder.spectral_branch", True),
        ("encoder.reconstruction", 0.1),
        ("encoder.repulsion", 0.1),
        ("encoder.band_dropout", 0.2),
        ("encoder.band_shift", 1),
        ("encoder.targets", "sinkhorn"),
    ),
    "dgc-paper": (("encoder.hard", True), ("encoder.uniformity", 0.1)),
    "diffcrn": (("encoder.latents", "stages"), ("encoder.noise", "hash")),
    "spectraldiff": (("encoder.tap", 1), ("encoder.noise", "hash")),
    "umae": (("encoder.profile", "paper"),),
}
"""Settings, by network, that use layers and losses which are off by default."""


class StoppedError(Exception):
    """Stands for an interruption."""


def config_of(name: str, *settings: tuple[str, Any]) -> RunConfig:
    training = (("training.steps", STEPS), ("training.check_every", STEPS), ("training.warm_up", 1))
    asked = (("cluster.clusters", 3), *LIGHT.get(name, ()), *training, *settings)
    return RunConfig.make(name, settings=[*asked])


def material() -> Material:
    found = material_of((IMAGE,))
    probe = replace(found.probe, crops=found.probe.crops[:2], frames=found.probe.frames[:2])
    return replace(found, probe=probe)


def train(
    name: str, folder: Path, device: str, *settings: tuple[str, Any], **others: Any
) -> Trained:
    config = config_of(name, *settings)
    work = work_in(folder, threads=2, device=device, **others)
    method = load_method(name)
    return method.train(config.encoder, config.training, 0, material(), work)


def encoder_of(name: str, folder: Path, device: str, *settings: tuple[str, Any]) -> Encoder:
    config = config_of(name, *settings)
    return load_method(name).load(config.encoder, material().standard, folder, device)


def latents_of(encoder: Encoder) -> np.ndarray[Any, np.dtype[np.float32]]:
    embedded = encoder.embed(IMAGE.spectra.reshape(len(IMAGE.spectra), -1), 0)
    wide = np.pad(
        embedded.reshape(-1, *IMAGE.valid.shape), ((0, 0), *((encoder.halo,) * 2,) * 2), mode="edge"
    )
    return encoder.refine(wide[:, : 2 * encoder.halo + 9, : 2 * encoder.halo + 7])


def stop(event: Event) -> None:
    if isinstance(event, Progress) and event.done == 1:
        raise StoppedError


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_networks_learn_and_encode_on_a_gpu(
    name: str, precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dgc_paper, "FOLLOWED_STEPS", 1)  # or no prototype would start anew so soon
    monkeypatch.setattr(paper_losses, "DEAD_SHARE", 1.0)
    low = (("training.precision", precision), *(VARIANTS[name] if precision != "float32" else ()))
    with pretended_gpu() as gpu:
        found = train(name, tmp_path, "cuda", *low)
        encoder = encoder_of(name, tmp_path, "cuda", *low)
        latents = latents_of(encoder)
        assert gpu.memory
        assert not gpu.loose
    assert np.isfinite(found.losses).all()
    same = latents_of(encoder_of(name, tmp_path, "cpu", *low))
    np.testing.assert_allclose(latents, same, atol=1e-4)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("devices", [("cuda", "cpu"), ("cpu", "cuda")], ids="-to-".join)
def test_a_training_goes_on_on_another_device(
    name: str, devices: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "Schedule", partial(Schedule, save_every_s=0.0))
    with pretended_gpu():
        with pytest.raises(StoppedError):
            train(name, tmp_path, devices[0], notify=stop)
        resumed = train(name, tmp_path, devices[1])
    whole = train(name, tmp_path / "whole", "cpu")
    np.testing.assert_allclose(resumed.losses, whole.losses, rtol=1e-3)


def test_a_run_and_a_prediction_use_the_gpu_and_give_its_memory_back(
    scene: Scene, tmp_path: Path
) -> None:
    with pretended_gpu() as gpu:
        on_gpu = Execution(tile_px=32, threads=2, device="auto")
        found = run(scene, tiny("dgc"), tmp_path / "gpu", execution=on_gpu)
        predicted = predict(scene, found.path, tmp_path / "predicted", execution=on_gpu)
        assert gpu.memory
        assert not gpu.loose
        assert gpu.given_back == 3  # a training, and two passes that encode
    on_cpu = Execution(tile_px=32, threads=2, device="cpu")
    expected = run(scene, tiny("dgc"), tmp_path / "cpu", execution=on_cpu)
    for frame in scene.frames:
        for made in (found, predicted):
            assert_same_latents(made, expected, frame.name)


@pytest.mark.parametrize(("scheduler", "processes"), [("none", 1), ("local:2", 3)])
@pytest.mark.parametrize(("method", "uses"), [("dgc", True), ("consensus", False)])
def test_a_plan_counts_what_the_libraries_of_a_gpu_take(
    scene: Scene,
    monkeypatch: pytest.MonkeyPatch,
    scheduler: str,
    processes: int,
    method: str,
    uses: bool,
) -> None:
    monkeypatch.setattr(planning, "own_bytes", lambda: 2**28)
    with pretended_gpu():
        on_gpu, on_cpu = (
            plan(scene, tiny(method), Execution(tile_px=32, scheduler=scheduler, device=device))
            for device in ("auto", "cpu")
        )
    expected = processes * planning.GPU_BYTES if uses else 0
    assert on_gpu.reserved_bytes - on_cpu.reserved_bytes == expected


def assert_same_latents(found: RunDirectory, expected: RunDirectory, frame: str) -> None:
    """Layers of a pretended GPU are those of a CPU."""
    np.testing.assert_array_equal(found.open(LATENTS, frame), expected.open(LATENTS, frame))


# --- a GPU that is there ----------------------------------------------------------------------


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device")
@pytest.mark.parametrize("name", METHODS)
def test_a_gpu_repeats_itself_and_encodes_nearly_as_a_cpu(name: str, tmp_path: Path) -> None:
    first, second = (train(name, tmp_path / each, "cuda") for each in "ab")
    np.testing.assert_array_equal(first.losses, second.losses)
    on_gpu, again = (latents_of(encoder_of(name, tmp_path / each, "cuda")) for each in "ab")
    np.testing.assert_array_equal(on_gpu, again)
    on_cpu = latents_of(encoder_of(name, tmp_path / "a", "cpu"))
    np.testing.assert_allclose(on_gpu, on_cpu, atol=1e-4)


# --- the pretended GPU ------------------------------------------------------------------------


@pytest.fixture
def gpu() -> Any:
    with pretended_gpu() as found:
        yield found


def test_devices_are_told_and_kept(gpu: Gpu) -> None:
    there, here = torch.zeros(3, device="cuda"), torch.zeros(3)
    assert there.is_cuda
    assert (there + torch.tensor(1.0))[1:].device == here.to("cuda").device == CUDA
    assert {here.device.type, there.cpu().device.type} == {"cpu"}
    layer = torch.nn.Linear(3, 1).to(CUDA)
    layer(there).backward()
    assert layer.weight.grad is not None
    assert layer.weight.grad.device == CUDA


REFUSED = {
    "sums": lambda there, here: there + here,
    "products": lambda there, here: there @ here,
    "joined": lambda there, here: torch.cat([there, here]),
    "in place": lambda there, here: here.add_(there),
    "indices": lambda there, here: here[(there > 0)],
    "picked": lambda there, here: there.gather(0, here.long()),
    "array": lambda there, here: np.asarray(there),
    "numpy": lambda there, here: there.numpy(),
    "random": lambda there, here: there.normal_(generator=torch.Generator()),
}


@pytest.mark.parametrize("mixed", REFUSED.values(), ids=REFUSED)
def test_devices_are_not_mixed(gpu: Gpu, mixed: Any) -> None:
    with pytest.raises((RuntimeError, TypeError), match=r"GPU|device"):
        mixed(torch.ones(3, device="cuda"), torch.ones(3))
