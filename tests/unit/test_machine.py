from __future__ import annotations

import os
from pathlib import Path

import psutil
import pytest

from hsistream.machine import usable_bytes, usable_cores


def test_a_machine_that_tells_no_affinity_has_all_its_cores(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 7)
    assert usable_cores() == 7


@pytest.mark.parametrize(
    ("lines", "limits", "expected"),
    [
        ("0::/", {"memory.max": "max"}, None),
        ("0::/", {"memory.max": "2000"}, 2000),
        ("0::/job/step", {"job/memory.max": "3000", "job/step/memory.max": "max"}, 3000),
        ("0::/job", {"memory.max": "1000", "job/memory.max": "3000"}, 1000),
        ("3:cpu:/\n2:memory:/a", {"memory/a/memory.limit_in_bytes": "4000"}, 4000),
        ("2:memory:/", {"memory/memory.limit_in_bytes": str(2**63 - 4096)}, None),
    ],
)
def test_the_memory_of_a_container_or_job_counts(
    tmp_path: Path, lines: str, limits: dict[str, str], expected: int | None
) -> None:
    own = tmp_path / "cgroup"
    own.write_text(lines + "\n")
    for name, limit in limits.items():
        file = tmp_path / "groups" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(limit + "\n")
    total = psutil.virtual_memory().total
    assert usable_bytes(tmp_path / "groups", own) == (expected or total)
    assert usable_bytes(tmp_path / "groups", tmp_path / "none") == total
