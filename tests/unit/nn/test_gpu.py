from __future__ import annotations

import os
import threading
import time
from typing import Any

import pytest
import torch  # noqa: TID253 the layer of the networks

from hsistream.errors import ConfigError
from hsistream.nn import gpu
from hsistream.nn.gpu import TILES_AT_ONCE, repeatable, tile_on_gpu
from tests.pretended import CPU, CUDA, pretended_gpu


def settings() -> tuple[Any, ...]:
    """Whatever decides how a GPU adds and multiplies."""
    conv = torch.backends.cudnn.conv  # type: ignore[attr-defined]  # set when it is imported
    return (
        torch.are_deterministic_algorithms_enabled(),
        conv.fp32_precision,
        torch.backends.cuda.matmul.fp32_precision,
        torch.backends.cudnn.benchmark,
    )


@pytest.mark.parametrize("device", [CPU, CUDA], ids=str)
def test_sums_repeat_and_float32_is_whole_until_the_last_one_ends(device: torch.device) -> None:
    before = settings()
    with pretended_gpu():
        first, second = repeatable(device), repeatable(device)
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        assert settings() == (True, "ieee", "ieee", False)
        second.__exit__(None, None, None)
    assert settings() == before


def test_what_it_changes_is_put_back_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    before = settings()
    with pretended_gpu(), pytest.raises(KeyError), tile_on_gpu(CUDA):
        raise KeyError
    assert settings() == before


def test_products_are_told_to_repeat_before_the_first_of_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(gpu.WORKSPACE, raising=False)
    found = []
    monkeypatch.setattr(gpu, "_check_products", lambda _: found.append(os.environ[gpu.WORKSPACE]))
    with repeatable(CUDA):
        assert found == [":4096:8"]


def test_products_that_do_not_repeat_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any, **__: Any) -> None:
        raise RuntimeError("Deterministic behavior was enabled; set CUBLAS_WORKSPACE_CONFIG=...")

    gpu._check_products.cache_clear()
    with pretended_gpu():
        monkeypatch.setattr(torch, "mm", refused)
        with pytest.raises(ConfigError, match="Set it before Python starts"), repeatable(CUDA):
            pass


def test_few_tiles_are_on_a_gpu_at_a_time() -> None:
    inside: list[None] = []
    most: list[int] = []

    def encode() -> None:
        with tile_on_gpu(CUDA):
            inside.append(None)
            most.append(len(inside))
            time.sleep(0.005)
            inside.pop()

    with pretended_gpu():
        threads = [threading.Thread(target=encode) for _ in range(4 * TILES_AT_ONCE)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
    assert max(most) == TILES_AT_ONCE
