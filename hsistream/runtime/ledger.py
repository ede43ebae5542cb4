"""Which tiles of a stage are done, and what each of them returned.

One small table per finished tile, written by the driver only, after the tile's
task has written its core. A ledger belongs to one fingerprint and one tile
size; another one starts it afresh.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from hsistream.files import filing, write_text
from hsistream.stores.tables import Table, read_table, write_table
from hsistream.tiles import Tile

_SUFFIX = ".npz"
_HEADER = "ledger.json"


@dataclass(frozen=True, slots=True)
class Ledger:
    """The finished tiles of one stage; see :meth:`open`."""

    path: Path

    @classmethod
    def open(cls, path: Path, fingerprint: str, tile_px: int) -> Ledger:
        """Continue the ledger at ``path`` if it is of the same work, else begin it anew."""
        header = json.dumps({"fingerprint": fingerprint, "tile_px": tile_px})
        with filing(path):
            known = path / _HEADER
            if not known.is_file() or known.read_bytes() != header.encode():
                shutil.rmtree(path, ignore_errors=True)
                path.mkdir(parents=True, exist_ok=True)
                write_text(known, header)
        return cls(path)

    def finished(self) -> set[str]:
        """Keys of the finished tiles."""
        return {entry.stem for entry in self.path.glob(f"[!.]*{_SUFFIX}")}

    def note(self, tile: Tile, result: Table) -> None:
        """Keep what a tile returned; from now on it is done."""
        write_table(self.path / f"{tile.key}{_SUFFIX}", result)

    def results(self, tiles: Iterable[Tile]) -> Iterator[tuple[Tile, Table]]:
        """Read the results back, in the order of ``tiles``."""
        for tile in tiles:
            yield tile, read_table(self.path / f"{tile.key}{_SUFFIX}")
