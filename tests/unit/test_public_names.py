from __future__ import annotations

import re
from pathlib import Path

import pytest

import hsistream as hs
from hsistream.errors import HsistreamError

ROOT = Path(__file__).parents[2]
NAME = re.compile(r"`(?:hsistream\.)?(\w+)")


def test_every_public_name_can_be_imported() -> None:
    assert sorted(hs.__all__) == sorted(set(hs.__all__))
    for name in hs.__all__:
        assert getattr(hs, name) is not None
    assert issubclass(hs.errors.DamagedError, HsistreamError)


def test_a_name_that_is_none_is_refused() -> None:
    with pytest.raises(AttributeError, match="'clusterise'"):
        hs.__getattr__("clusterise")


def test_the_table_of_names_holds_all_of_them_and_no_others() -> None:
    text = (ROOT / "docs" / "how-to" / "python.md").read_text()
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    named = {name for row in rows for name in NAME.findall(row)}
    spoken = {name for name in NAME.findall(text) if name in hs.__all__}  # in what a row says
    assert named <= set(hs.__all__)
    assert set(hs.__all__) - {"__version__"} == spoken
