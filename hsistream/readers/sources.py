"""Every file format that can become frames of a scene, as a visible table."""

from __future__ import annotations

import glob
import logging
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path

from hsistream.errors import SceneError
from hsistream.files import local_path
from hsistream.readers.arrays import open_npy, open_npz
from hsistream.readers.cube_source import CubeSource
from hsistream.readers.envi_header import DATA_SUFFIXES, TIFF_SUFFIXES, find_header
from hsistream.readers.hdf import HDF_SUFFIXES, open_hdf
from hsistream.readers.labels import read_label_mosaic, read_labels
from hsistream.readers.matlab import open_mat
from hsistream.readers.mosaic import MosaicSource, hint_mosaic, join_mosaic
from hsistream.readers.options import ReadOptions
from hsistream.readers.rasters import RasterSource, data_file, open_envi, open_tiff
from hsistream.readers.zarr_stores import SceneSource, is_zarr, open_zarr
from hsistream.scene.checks import NAME_BYTES
from hsistream.scene.source import Source

__all__ = [
    "READERS",
    "ReadOptions",
    "Reader",
    "open_sources",
    "read_label_mosaic",
    "read_labels",
]

log = logging.getLogger(__name__)

FileSource = CubeSource | RasterSource | MosaicSource | SceneSource
"""What a reader makes: values that can be renamed."""

Reader = Callable[[Path, ReadOptions], Sequence[FileSource]]

READERS: dict[str, Reader] = {
    ".npz": open_npz,
    ".npy": open_npy,
    ".mat": open_mat,
    ".zarr": open_zarr,
    ".hdr": open_envi,
    **dict.fromkeys(DATA_SUFFIXES, open_envi),
    **dict.fromkeys(TIFF_SUFFIXES, open_tiff),
    **dict.fromkeys(HDF_SUFFIXES, open_hdf),
}
"""Suffix to reader; a file of another suffix is read as ENVI if its header lies beside it."""

GLOB_LETTERS = re.compile(r"[*?\[]")
UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
"""What a frame name may not hold: it is the name of a zarr group."""
NAME_CHARACTERS = NAME_BYTES - len("-999999")
"""A longer name is cut, so that a number still fits behind it."""


def open_sources(
    paths: str | PathLike[str] | Sequence[str | PathLike[str]],
    options: ReadOptions = ReadOptions(),  # noqa: B008 (a frozen value)
) -> list[Source]:
    """Open files as frames; their pixels are read later, window by window.

    A folder that is no zarr store stands for all readable files in it, a name
    with ``*``, ``?`` or ``[]`` for the files that match it, both sorted. The
    header and the data file of one raster count once.

    Parameters
    ----------
    paths : str, path-like or sequence of them
        Files, folders, zarr stores or patterns.
    options : ReadOptions
        What the files do not say themselves; one answer for all of them.

    Returns
    -------
    list of Source
        One per frame, in the order of ``paths``. Frames are named after their
        files, with the name of the folder before it where two are alike, and
        a number after it where that does not help.

    Raises
    ------
    SceneError
        If a file is missing, empty, damaged, of an unknown format, or does not
        say enough; the message names the option that helps.

    Notes
    -----
    Compressed files (npz, older mat, ENVI with a compressed body) are unpacked
    to a temporary folder (``TMPDIR``), which is removed with the source.
    """
    asked = [paths] if isinstance(paths, str | PathLike) else paths
    files = list(dict.fromkeys(_canonical(file) for path in asked for file in _expand(path)))
    opened = [(file, source) for file in files for source in _open(file, options)]
    rasters = [source for _, source in opened if isinstance(source, RasterSource)]
    if options.mosaic:
        return [_mosaic(opened, rasters, options)]
    hint_mosaic(rasters)
    return list(_named(opened))


def safe_name(text: str) -> str:
    """Turn any text into a name that a zarr group may have.

    Examples
    --------
    >>> safe_name("flight line #3 (corr)")
    'flight_line_3_corr'
    """
    return UNSAFE.sub("_", text).strip("._-")[:NAME_CHARACTERS] or "frame"


def _expand(path: str | PathLike[str]) -> Iterator[Path]:
    """List the files that one argument stands for."""
    place = local_path(path, SceneError)
    if place.is_dir() and not is_zarr(place):
        yield from _readable_files(place)
    elif place.exists():
        yield place
    elif GLOB_LETTERS.search(str(place)):
        found = sorted(Path(name) for name in glob.glob(str(place)))  # noqa: PTH207 (absolute too)
        if not found:
            raise SceneError(f"No file matches {path}.")
        yield from found
    else:
        raise SceneError(
            f"A file or folder is needed, but there is none at {place}. Check the name."
        )


def _readable_files(folder: Path) -> list[Path]:
    """List the files of a folder that a reader knows, sorted by name."""
    entries = sorted(folder.iterdir())
    files = [entry for entry in entries if _is_readable(entry)]
    if not files:
        raise SceneError(
            f"{folder} holds no file that can be read; known are {', '.join(READERS)}. "
            f"Folders inside it are not searched."
        )
    ignored = [entry.name for entry in entries if entry.is_file() and not _is_readable(entry)]
    if ignored:
        log.info("Ignored in %s: %s", folder, ", ".join(ignored))
    return files


def _is_readable(entry: Path) -> bool:
    """Tell whether a reader knows an entry of a folder; data files need their header for it."""
    suffix = entry.suffix.lower()
    if entry.name.startswith("."):
        return False
    if entry.is_dir():
        return is_zarr(entry)
    if suffix in DATA_SUFFIXES:
        return find_header(entry) is not None
    return suffix in READERS and suffix != ".zarr"


def _canonical(path: Path) -> Path:
    """Give one name to the header and the data file of a raster, whatever folder is current."""
    return (data_file(path) if path.is_file() else path).absolute()


def _open(path: Path, options: ReadOptions) -> Sequence[FileSource]:
    """Choose the reader of a file and use it."""
    if path.is_file() and path.stat().st_size == 0:
        raise SceneError(f"A file with a cube is needed, but {path} is empty (0 bytes).")
    if is_zarr(path):
        return open_zarr(path, options)
    suffix = path.suffix.lower()
    if suffix in READERS and path.is_file() and suffix != ".zarr":
        return READERS[suffix](path, options)
    if path.is_file() and find_header(path) is not None:
        return open_envi(path, options)
    raise SceneError(
        f"A file of a known format is needed, but {path} has the suffix {suffix or '(none)'} and "
        f"no ENVI header beside it; known are {', '.join(READERS)}. Convert it, for example to npy."
    )


def _mosaic(
    opened: Sequence[tuple[Path, FileSource]],
    rasters: Sequence[RasterSource],
    options: ReadOptions,
) -> MosaicSource:
    """Join all files to one frame."""
    others = [str(path) for path, source in opened if not isinstance(source, RasterSource)]
    if others or not rasters:
        raise SceneError(
            f"--mosaic joins georeferenced rasters (GeoTIFF, ENVI), but found "
            f"{', '.join(others) or 'no file'}. Ingest other files without it."
        )
    joined = join_mosaic(rasters)
    return replace(
        joined,
        header=replace(joined.header, name=safe_name(joined.header.name)),
        no_data=options.no_data,
        keep_zeros=options.keep_zeros,
    )


def _named(opened: Sequence[tuple[Path, FileSource]]) -> Iterator[FileSource]:
    """Give frames safe names that are unique."""
    names = [safe_name(source.header.name) for _, source in opened]
    for parents in (True, False):
        counts = Counter(names)
        names = [
            _longer(name, path, source, parents, names[:number]) if counts[name] > 1 else name
            for number, (name, (path, source)) in enumerate(zip(names, opened, strict=True))
        ]
    for name, (_, source) in zip(names, opened, strict=True):
        yield replace(source, header=replace(source.header, name=name))


def _longer(name: str, path: Path, source: FileSource, parents: bool, before: Sequence[str]) -> str:
    """Tell a name from its likes: by the folder or scene that it comes from, or by a number."""
    if parents:
        origin = path.stem if isinstance(source, SceneSource) else path.resolve().parent.name
        return safe_name(f"{origin}-{name}")
    return f"{name}-{before.count(name) + 1}"
