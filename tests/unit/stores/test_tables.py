from __future__ import annotations

import errno
import gc
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray

from hsistream.errors import DamagedError, ResourceError
from hsistream.stores.tables import Table, read_table, write_table

TABLE: Table = {
    "counts": np.arange(6).reshape(2, 3),
    "z.plain": np.array([0.5, np.nan], np.float32),
}


def same(first: Table, second: Table) -> bool:
    return first.keys() == second.keys() and all(
        first[name].dtype == second[name].dtype
        and np.array_equal(first[name], second[name], equal_nan=first[name].dtype.kind == "f")
        for name in first
    )


def contents() -> st.SearchStrategy[NDArray[Any]]:
    kinds = st.sampled_from([np.uint8, np.int64, np.float32, np.float64, np.bool_])
    shapes = npst.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)
    return npst.arrays(kinds, shapes)


@given(st.dictionaries(st.text("abz._", min_size=1, max_size=6), contents(), max_size=4))
def test_a_table_survives_its_file(tmp_path_factory: pytest.TempPathFactory, table: Table) -> None:
    path = tmp_path_factory.getbasetemp() / "table.npz"
    write_table(path, table)
    assert same(read_table(path), table)


def test_a_table_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "table.npz"
    write_table(path, TABLE)
    write_table(path, {"other": np.zeros(1)})
    assert list(read_table(path)) == ["other"]
    assert list(path.parent.iterdir()) == [path]


def test_a_full_disk_leaves_the_old_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "table.npz"
    write_table(path, TABLE)

    def half_written(file: Any, **arrays: Any) -> None:
        file.write(b"PK half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(np, "savez", half_written)
    with pytest.raises(ResourceError, match=r"table\.npz is full"):
        write_table(path, {"other": np.zeros(1)})
    monkeypatch.undo()
    assert same(read_table(path), TABLE)
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DamagedError, match="is missing"):
        read_table(tmp_path / "none.npz")


@pytest.fixture
def restless() -> Iterator[None]:
    """Let every thread give way wherever it makes an object."""

    def pause(phase: str, info: dict[str, int]) -> None:
        time.sleep(1e-5)

    thresholds, interval = gc.get_threshold(), sys.getswitchinterval()
    gc.callbacks.append(pause)
    gc.set_threshold(3, 5, 5)
    sys.setswitchinterval(1e-6)
    yield
    gc.callbacks.remove(pause)
    gc.set_threshold(*thresholds)
    sys.setswitchinterval(interval)


@pytest.mark.usefixtures("restless")
def test_threads_read_tables_at_once(tmp_path: Path) -> None:
    """Up to Python 3.11.7, which cannot parse in two threads, one read of some 300 failed."""
    path = tmp_path / "table.npz"
    write_table(path, TABLE)
    with ThreadPoolExecutor(4) as pool:
        assert all(same(table, TABLE) for table in pool.map(read_table, [path] * 3000))


@pytest.mark.parametrize("kept", [0.0, 0.01, 0.5, 0.9, 0.999])
def test_a_truncated_table_is_found(tmp_path: Path, kept: float) -> None:
    path = tmp_path / "table.npz"
    write_table(path, TABLE)
    stored = path.read_bytes()
    path.write_bytes(stored[: int(kept * len(stored))])
    with pytest.raises(DamagedError, match=r"table\.npz"):
        read_table(path)


@pytest.mark.parametrize("content", [b"not a table", b"\x80\x04N.", b"\x93NUMPY\x01\x00"])
def test_a_file_that_is_no_table_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "table.npz"
    path.write_bytes(content)
    with pytest.raises(DamagedError, match=r"table\.npz"):
        read_table(path)


@pytest.mark.parametrize("bit", [0, 3, 6])
def test_no_flipped_bit_is_read_as_other_data(tmp_path: Path, bit: int) -> None:
    path = tmp_path / "table.npz"
    write_table(path, TABLE)
    stored, found = path.read_bytes(), 0
    for place in range(len(stored)):
        damaged = bytearray(stored)
        damaged[place] ^= 1 << bit
        path.write_bytes(damaged)
        try:
            table = read_table(path)
        except DamagedError:
            found += 1
        else:
            assert same(table, TABLE), place
    assert found > len(stored) // 2
