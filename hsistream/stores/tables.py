"""Small named arrays on disk: statistics, codebooks, counts, centres.

A table is one ``.npz`` file, without pickles, replaced whole by rename. Its
members carry a CRC, so damage is found when it is read.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsistream.errors import DamagedError, StoreError
from hsistream.files import replacing

Table = dict[str, NDArray[Any]]


def write_table(path: Path, table: Mapping[str, NDArray[Any]]) -> None:
    """Write named arrays to ``path``, all or nothing."""
    with replacing(path) as partial, partial.open("wb") as file:
        np.savez(file, **table)  # type: ignore[arg-type]


def read_table(path: Path) -> Table:
    """Read all arrays of a table into memory."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except FileNotFoundError as error:
        raise StoreError(f"{path} is needed, but there is no such file.") from error
    except (zipfile.BadZipFile, zlib.error, ValueError, EOFError, KeyError) as error:
        raise DamagedError(
            f"{path} fails its checksum or is cut short. Delete it and run the same command "
            f"again: its stage is then repeated."
        ) from error
