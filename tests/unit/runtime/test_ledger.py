from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hsistream.errors import DamagedError
from hsistream.runtime.ledger import Ledger
from hsistream.tiles import TileGrid

TILES = list(TileGrid((20, 30), 10, frame=2))


def test_a_new_ledger_is_empty(tmp_path: Path) -> None:
    ledger = Ledger.open(tmp_path / "count", "mark", 10)
    assert not ledger.finished()
    assert ledger.finished() == set()


def test_what_is_noted_is_finished_and_read_back_in_the_order_asked_for(tmp_path: Path) -> None:
    ledger = Ledger.open(tmp_path / "count", "mark", 10)
    for number in (4, 0, 2):
        ledger.note(TILES[number], {"pixels": np.asarray(number), "sum": np.arange(number)})
    assert ledger.finished()
    assert ledger.finished() == {"2-0-0", "2-0-2", "2-1-1"}
    found = list(ledger.results([TILES[0], TILES[2], TILES[4]]))
    assert [tile for tile, _ in found] == [TILES[0], TILES[2], TILES[4]]
    assert [int(table["pixels"]) for _, table in found] == [0, 2, 4]
    np.testing.assert_array_equal(found[2][1]["sum"], np.arange(4))


def test_the_same_work_is_resumed(tmp_path: Path) -> None:
    first = Ledger.open(tmp_path / "count", "mark", 10)
    first.note(TILES[1], {"pixels": np.asarray(7)})
    again = Ledger.open(tmp_path / "count", "mark", 10)
    assert again == first
    assert again.finished() == {TILES[1].key}


@pytest.mark.parametrize(("mark", "tile_px"), [("other", 10), ("mark", 20)])
def test_other_work_or_another_tile_size_starts_afresh(
    tmp_path: Path, mark: str, tile_px: int
) -> None:
    Ledger.open(tmp_path / "count", "mark", 10).note(TILES[1], {"pixels": np.asarray(7)})
    assert not Ledger.open(tmp_path / "count", mark, tile_px).finished()
    assert not Ledger.open(tmp_path / "count", "mark", 10).finished()


@pytest.mark.parametrize("header", [b"", b"{", b"\xff\xfe"])
def test_a_damaged_header_starts_afresh(tmp_path: Path, header: bytes) -> None:
    ledger = Ledger.open(tmp_path / "count", "mark", 10)
    ledger.note(TILES[1], {"pixels": np.asarray(7)})
    (ledger.path / "ledger.json").write_bytes(header)
    assert not Ledger.open(tmp_path / "count", "mark", 10).finished()


def test_a_half_written_result_is_not_finished(tmp_path: Path) -> None:
    ledger = Ledger.open(tmp_path / "count", "mark", 10)
    (ledger.path / f".{TILES[0].key}.npz.partial").write_bytes(b"PK")
    assert not Ledger.open(tmp_path / "count", "mark", 10).finished()


def test_a_result_noted_twice_counts_once(tmp_path: Path) -> None:
    ledger = Ledger.open(tmp_path / "count", "mark", 10)
    for value in (1, 2):
        ledger.note(TILES[0], {"pixels": np.asarray(value)})
    assert [int(table["pixels"]) for _, table in ledger.results(TILES[:1])] == [2]


def test_results_that_are_missing_or_damaged_are_errors(tmp_path: Path) -> None:
    ledger = Ledger.open(tmp_path / "count", "mark", 10)
    with pytest.raises(DamagedError):
        list(ledger.results(TILES[:1]))
    (ledger.path / f"{TILES[0].key}.npz").write_bytes(b"PK\x03\x04 torn")
    with pytest.raises(DamagedError):
        list(ledger.results(TILES[:1]))
