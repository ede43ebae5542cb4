"""What a run works on and which of its stages are done: one file, replaced whole by rename."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from hsistream.errors import DamagedError, StoreError
from hsistream.files import filing, write_text

FORMAT = 2


@dataclass(frozen=True, slots=True)
class StageRecord:
    """What the manifest keeps of a finished stage."""

    fingerprint: str
    elapsed_s: float
    peak_bytes: int
    tiles: int = 0
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a run works on, and which of its stages are done."""

    scene_uri: str
    scene_identity: str
    version: str
    stages: Mapping[str, StageRecord] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> Manifest:
        """Read the manifest of a run directory.

        Raises
        ------
        StoreError
            If another version wrote it, or the file cannot be read.
        DamagedError
            If it cannot be understood.
        """
        with filing(path):
            text = path.read_bytes()
        try:
            facts = json.loads(text)
            if facts["format"] != FORMAT:
                raise StoreError(
                    f"{path.parent} has format {facts['format']}, but this version of hsistream "
                    f"reads format {FORMAT}. Use the version that made it, or run again elsewhere."
                )
            stages = {name: _record(record) for name, record in facts["stages"].items()}
            del facts["format"]
            return cls(**{**facts, "stages": stages})
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DamagedError(
                f"{path} cannot be understood. Delete {path.parent} and run again."
            ) from error

    def write(self, path: Path) -> None:
        """Replace the manifest of a run directory."""
        write_text(path, json.dumps({"format": FORMAT, **asdict(self)}, indent=2))

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the stages warned of, each once."""
        said = (each for stage in self.stages.values() for each in stage.warnings)
        return tuple(dict.fromkeys(said))


def _record(facts: Mapping[str, Any]) -> StageRecord:
    """Read what the manifest keeps of a stage."""
    return StageRecord(**{**facts, "warnings": tuple(facts["warnings"])})
