"""Every example runs, and prints what it promises."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "examples"

EXAMPLES = {
    "python_api.py": ((), "cluster  hectares"),
    "many_frames.py": ((), "statistics by frame: adjusted Rand index"),
    "own_reader.py": ((), "map: "),
    "leaf_survey.py": (
        ("--frames", "2", "--size", "90", "--bands", "40", "--steps", "8"),
        "IoU of background and tissue with two clusters: ",
    ),
}
"""Name of a script, what it is given after the folder, and what it must print."""


def test_every_example_is_tested() -> None:
    assert sorted(path.name for path in FOLDER.glob("*.py")) == sorted(EXAMPLES)
    listed = (FOLDER / "README.md").read_text()
    assert [name for name in EXAMPLES if f"]({name})" not in listed] == []


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_runs(
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    further, promised = EXAMPLES[name]
    monkeypatch.setattr(sys, "argv", [name, str(tmp_path), *further])
    runpy.run_path(str(FOLDER / name), run_name="__main__")
    assert promised in capsys.readouterr().out
