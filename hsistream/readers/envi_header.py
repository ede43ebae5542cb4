"""The text header of an ENVI raster.

GDAL reads the pixels and the place; what it drops or spells differently from
one version to the next (bad bands, widths, units, comments) is read here.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from hsistream.errors import SceneError
from hsistream.readers.spectral_axis import BandFacts, parse_numbers

log = logging.getLogger(__name__)

DATA_TYPES = {
    1: "u1", 2: "i2", 3: "i4", 4: "f4", 5: "f8", 6: "c8", 9: "c16",
    12: "u2", 13: "u4", 14: "i8", 15: "u8",
}  # fmt: skip
"""ENVI's numbers of data types."""

REQUIRED = ("samples", "lines", "bands", "data type", "interleave")
CARRIED = ("wavelength", "fwhm", "bbl")
"""Fields that become part of the spectral axis, and need not be kept as text."""
IGNORED = "data ignore value"

DATA_SUFFIXES = (".img", ".bsq", ".bil", ".bip", ".dat", ".raw", ".bin", ".cube", ".envi")
TIFF_SUFFIXES = (".tif", ".tiff")
SIDECARS = (
    ".hdr",
    ".xml",
    ".ovr",
    ".png",
    ".jpg",
    ".txt",
    ".json",
    ".enp",
    ".sta",
    ".prj",
    ".npz",
    ".npy",
    ".mat",
    ".h5",
)
"""Files that lie beside a raster and are none."""


@dataclass(frozen=True, slots=True)
class EnviHeader:
    """The fields of a header: lower-case names to their text, braces removed."""

    path: Path
    fields: Mapping[str, str]

    @property
    def shape(self) -> tuple[int, int]:
        """Size (y, x), px."""
        return self.integer("lines"), self.integer("samples")

    @property
    def bands(self) -> int:
        """Number of bands."""
        return self.integer("bands")

    @property
    def is_compressed(self) -> bool:
        """Whether the data file is said to be compressed by gzip."""
        return self.integer("file compression", 0) != 0

    @property
    def is_classification(self) -> bool:
        """Whether the file holds class numbers."""
        return "classification" in self.fields.get("file type", "").lower()

    @property
    def needed_bytes(self) -> int:
        """Size of the data file, uncompressed."""
        number = self.integer("data type")
        if number not in DATA_TYPES:
            raise SceneError(
                f"{self.path} gives the data type {number}, which ENVI does not know; "
                f"it must be one of {', '.join(map(str, DATA_TYPES))}."
            )
        pixels = self.shape[0] * self.shape[1]
        itemsize = np.dtype(DATA_TYPES[number]).itemsize
        return pixels * self.bands * itemsize + self.integer("header offset", 0)

    @property
    def no_data(self) -> float | None:
        """The data ignore value, if there is one."""
        values = parse_numbers(self.fields.get(IGNORED, "").split(";")[0])
        return values[0] if values else None

    def no_data_of(self, stored: float | None) -> float | None:
        """Give the no-data value of the raster, of which GDAL has read ``stored``.

        GDAL takes a number in braces, a word, and nothing for 0, which would make
        values of spectra missing. A word is left out with a logged warning.
        """
        if IGNORED not in self.fields:
            return stored
        if self.no_data is None and self.fields[IGNORED].strip():
            log.warning(
                "The data ignore value %r of %s is no number; it is left out. Give it as "
                "--no-data.",
                self.fields[IGNORED], self.path,
            )  # fmt: skip
        return self.no_data if self.no_data is None or stored == 0 else stored

    @property
    def band_facts(self) -> BandFacts:
        """What the header says of its bands."""
        wavelengths, fwhm, quality = (parse_numbers(self.fields.get(name, "")) for name in CARRIED)
        return BandFacts(wavelengths, fwhm, quality, self.fields.get("wavelength units", ""))

    @property
    def attributes(self) -> dict[str, str]:
        """All other fields as text; that values are divided by a factor as all files say it."""
        other = {name: text for name, text in self.fields.items() if text and name not in CARRIED}
        factor = parse_numbers(self.fields.get("reflectance scale factor", ""))
        if len(factor) == 1 and factor[0] not in (0, 1):
            other["scale_factor"] = str(1 / factor[0])
        return other

    def integer(self, name: str, default: int | None = None) -> int:
        """Read a whole number.

        Raises
        ------
        SceneError
            If the field is missing without a default, or is no whole number.
        """
        text = self.fields.get(name, "").split(";")[0].strip()
        if not text and default is not None:
            return default
        try:
            return int(text)
        except ValueError as error:
            raise SceneError(
                f"{self.path} needs a whole number for {name!r}, but has {text!r}."
            ) from error

    def check_complete(self) -> None:
        """Refuse a header that does not describe a raster.

        Raises
        ------
        SceneError
            If a required field is missing.
        """
        missing = [name for name in REQUIRED if not self.fields.get(name)]
        if missing:
            raise SceneError(
                f"An ENVI header needs {', '.join(REQUIRED)}, but {self.path} lacks "
                f"{', '.join(missing)}."
            )


def read_envi_header(path: Path) -> EnviHeader:
    """Read the header of an ENVI raster.

    Parameters
    ----------
    path : Path
        The ``.hdr`` file.

    Returns
    -------
    EnviHeader
        Its fields.

    Raises
    ------
    SceneError
        If the file is no ENVI header, or a brace is never closed.
    """
    data = path.read_bytes()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    if not text.lstrip().upper().startswith("ENVI"):
        raise SceneError(
            f"An ENVI header starts with the word ENVI, but {path} starts with {text[:20]!r}. "
            f"Headers of other formats are not read."
        )
    return EnviHeader(path, parse_envi_header(text, str(path)))


def parse_envi_header(text: str, where: str = "the header") -> dict[str, str]:
    r"""Split the text of a header into its fields.

    Names are case-insensitive, values in braces may take many lines, and lines
    that start with a semicolon are comments. Of a name given twice the last
    value counts.

    Parameters
    ----------
    text : str
        The whole header.
    where : str
        Its address, for messages.

    Returns
    -------
    dict of str to str
        Lower-case names and values without their outer braces.

    Raises
    ------
    SceneError
        If a brace is never closed.

    Examples
    --------
    >>> parse_envi_header("ENVI\nBands = 2\n; a comment\nbbl = {1.0,\n 0}")
    {'bands': '2', 'bbl': '1.0,\n0'}
    """
    fields: dict[str, str] = {}
    lines = iter(line.strip() for line in text.splitlines()[1:])
    for line in lines:
        if line.startswith(";") or "=" not in line:
            continue
        name, _, value = line.partition("=")
        key, value = " ".join(name.lower().split()), value.strip()
        if value.startswith("{"):
            parts = [value]
            while not parts[-1].endswith("}"):
                parts.append(_next_line(lines, key, where))
            value = "\n".join(part for part in parts if part)[1:-1].strip()
        fields[key] = value
    return fields


def _next_line(lines: Iterator[str], key: str, where: str) -> str:
    """Take the next line inside braces; a comment counts as empty."""
    line = next(lines, None)
    if line is None:
        raise SceneError(f"The value of {key!r} in {where} opens a brace that is never closed.")
    return "" if line.startswith(";") else line


def find_header(data: Path) -> Path | None:
    """Find the header of a data file: its name with ``.hdr`` instead of or after its suffix."""
    wanted = (f"{data.stem}.hdr".lower(), f"{data.name}.hdr".lower())
    beside = {path.name.lower(): path for path in _siblings(data)}
    found = [beside[name] for name in wanted if name in beside]
    return found[0] if found else None


def find_data(header: Path) -> Path:
    """Find the data file of a header.

    Raises
    ------
    SceneError
        If there is none, or more than one could be meant.
    """
    base = header.name[: -len(".hdr")].lower()
    candidates = [
        path
        for path in _siblings(header)
        if path.suffix.lower() not in SIDECARS and base in (path.name.lower(), path.stem.lower())
    ]
    ranks = ["", *DATA_SUFFIXES, *TIFF_SUFFIXES]
    known = [path for path in candidates if _rank(path, base) in ranks]
    known.sort(key=lambda path: ranks.index(_rank(path, base)))
    if known:
        return known[0]
    if len(candidates) == 1:
        return candidates[0]
    found = ", ".join(path.name for path in candidates) or "no such file"
    raise SceneError(
        f"The header {header} needs its data file beside it, such as {header.stem}.img or "
        f"{header.stem}, but found {found}. Name the data file itself."
    )


def _rank(path: Path, base: str) -> str:
    """Suffix that a file has beyond the name of its header."""
    return path.name.lower()[len(base) :]


def _siblings(path: Path) -> list[Path]:
    """Files of the same folder, sorted."""
    return list(_files_of(path.parent, path.parent.stat().st_mtime_ns))


@lru_cache(maxsize=8)
def _files_of(folder: Path, _changed_ns: int) -> tuple[Path, ...]:
    """List a folder once for all files in it that are asked for, and anew when it has changed."""
    return tuple(sorted(other for other in folder.iterdir() if other.is_file()))
