"""Small named arrays on disk: statistics, codebooks, counts, centres.

A table is one ``.npz`` file, without pickles, replaced whole by rename. Its
members carry a CRC, so damage is found when it is read.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsistream.errors import DamagedError
from hsistream.files import PARSING, filing, replacing

Table = dict[str, NDArray[Any]]


def write_table(path: Path, table: Mapping[str, NDArray[Any]]) -> None:
    """Write named arrays to ``path``, all or nothing."""
    with replacing(path) as partial, partial.open("wb") as file:
        np.savez(file, **table)  # type: ignore[arg-type]


def read_table(path: Path) -> Table:
    """Read all arrays of a table into memory.

    Raises
    ------
    DamagedError
        If it is missing, fails its checksum or is cut short.
    """
    check_table(path)
    with filing(path):
        file = path.open("rb")
    try:
        with PARSING, file, np.load(file, allow_pickle=False) as table:
            _check_directory(table.zip)
            return {name: table[name] for name in table.files}
    except Exception as error:  # zip and npy parsers fail on damaged bytes with nearly anything
        raise DamagedError(
            f"{path} fails its checksum or is cut short. Delete it and run the same command again: "
            f"what was in it is made again."
        ) from error


def check_table(path: Path) -> None:
    """Refuse to go on without a table: it was there, or nothing would ask for it.

    Raises
    ------
    DamagedError
        If there is no such file.
    """
    if not path.is_file():
        raise DamagedError(
            f"{path} is missing. Repeat the command that made its run: it is made again."
        )


def _check_directory(archive: zipfile.ZipFile) -> None:
    """Refuse comments: numpy writes none, so a flipped bit has hidden members in one."""
    if any(member.comment for member in archive.infolist()):
        raise zipfile.BadZipFile("a member has a comment")
