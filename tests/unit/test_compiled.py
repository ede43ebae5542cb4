from __future__ import annotations

from typing import Any

import pytest
from numba import njit

from hsistream import compiled as module
from hsistream.compiled import compiled


def twice(value: int) -> int:
    return 2 * value


def test_a_function_is_compiled_and_kept() -> None:
    assert compiled()(twice)(4) == 8


def test_where_no_cache_can_be_written_a_function_is_compiled_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def without_cache(**options: Any) -> Any:
        if options.get("cache"):
            raise RuntimeError("cannot cache function: no locator available")
        return njit(**options)

    monkeypatch.setattr(module, "njit", without_cache)
    assert compiled(error_model="numpy")(twice)(4) == 8
