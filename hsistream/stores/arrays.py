"""How hsistream writes and reads zarr arrays: codecs, errors and coordinates.

Chunks carry a checksum, because a flipped bit would otherwise be read as data,
and every chunk is written, because a missing one would be read as its fill
value. Errors of zarr are translated here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from numpy.typing import DTypeLike, NDArray
from zarr.codecs import Crc32cCodec, ZstdCodec

from hsistream.errors import DamagedError, HsistreamError, StoreError
from hsistream.files import file_error, first_line
from hsistream.georeference import Georeference

if TYPE_CHECKING:
    import xarray as xr

HEADER = "zarr.json"
"""Name of the file that describes an array or a group."""

ZSTD_LEVEL = 3
ASYNC_CONCURRENCY = 8
"""Chunks that zarr reads at once; more only grows memory."""

SPATIAL_REF = "spatial_ref"

if zarr.config.get("async.concurrency") == zarr.config.defaults[0]["async"]["concurrency"]:
    zarr.config.set({"async.concurrency": ASYNC_CONCURRENCY})  # unless the user has chosen


def create_group(uri: str, attributes: Mapping[str, Any]) -> zarr.Group:
    """Create an empty store at ``uri``; an existing one is an error."""
    with translated(uri):
        return zarr.open_group(uri, mode="w-", zarr_format=3, attributes=dict(attributes))


def open_group(uri: str, mode: str = "r") -> zarr.Group:
    """Open an existing store."""
    with translated(uri):
        return zarr.open_group(uri, mode=mode, zarr_format=3)  # type: ignore[arg-type]


def create_array(
    group: zarr.Group,
    name: str,
    *,
    shape: tuple[int, ...],
    dtype: DTypeLike,
    chunks: tuple[int, ...],
    shards: tuple[int, ...] | None = None,
    dimensions: Sequence[str],
    fill: float = 0,
    attributes: Mapping[str, Any] | None = None,
    compressed: bool = True,
) -> zarr.Array[Any]:
    """Create an array whose chunks carry checksums and are always written."""
    checked = ZstdCodec(level=ZSTD_LEVEL, checksum=True) if compressed else Crc32cCodec()
    return group.create_array(
        name,
        shape=shape,
        dtype=dtype,
        chunks=chunks,
        shards=None if shards == chunks else shards,
        compressors=[checked],
        fill_value=fill,
        dimension_names=list(dimensions),
        attributes=dict(attributes or {}),
        config={"write_empty_chunks": True},
    )


def create_vector(
    group: zarr.Group,
    name: str,
    dimension: str,
    values: NDArray[Any],
    attributes: Mapping[str, Any],
) -> None:
    """Write a one-dimensional coordinate in one chunk."""
    array = create_array(
        group,
        name,
        shape=values.shape,
        dtype=values.dtype,
        chunks=(max(1, len(values)),),
        dimensions=[dimension],
        attributes=attributes,
    )
    array[:] = values


def write_georeference(
    group: zarr.Group, georeference: Georeference | None, shape: tuple[int, int]
) -> None:
    """Give a frame's group its coordinates ``y``, ``x`` and ``spatial_ref``.

    A turned grid has no ``y`` and ``x``: no vector along an axis tells where its pixels lie.
    """
    if georeference is None:
        return
    group.attrs.update(georeference.group_attributes(shape))
    vectors = () if georeference.is_turned else georeference.coordinates(shape)
    for name, values in zip("yx", vectors, strict=False):
        axis = {"standard_name": f"projection_{name}_coordinate", "axis": name.upper()}
        create_vector(group, name, name, values, axis)
    mapping = create_array(
        group,
        SPATIAL_REF,
        shape=(),
        dtype=np.int64,
        chunks=(),
        dimensions=[],
        attributes=georeference.grid_mapping(),
    )
    mapping[...] = 0


def read(uri: str, path: str, selection: tuple[slice, ...]) -> NDArray[Any]:
    """Read part of an array, as stored."""
    with translated(f"{uri}/{path}", selection):
        array = zarr.open_array(uri, path=path, mode="r", zarr_format=3)
        return np.asarray(array[selection])


def write(uri: str, path: str, selection: tuple[slice, ...], values: NDArray[Any]) -> None:
    """Write part of an array; the caller owns every chunk or shard that it touches."""
    with translated(f"{uri}/{path}", selection):
        array = zarr.open_array(uri, path=path, mode="r+", zarr_format=3)
        # open_array takes a config and ignores it (zarr 3.1.6)
        array.with_config({"write_empty_chunks": True})[selection] = values


def missing_shards(uri: str, path: str) -> list[str]:
    """List the storage files that an array should have, but that are missing or empty.

    zarr reads them as fill value without a word, so a damaged store must be
    found by looking. Only local stores are looked at.
    """
    with translated(f"{uri}/{path}"):
        array = zarr.open_array(uri, path=path, mode="r", zarr_format=3)
    folder = Path(uri) / path
    if not folder.is_dir():
        return []
    units = array.shards or array.chunks
    counts = [range(-(-extent // unit)) for extent, unit in zip(array.shape, units, strict=True)]
    keys = (array.metadata.encode_chunk_key(index) for index in product(*counts))
    return [key for key in keys if not _has_content(folder / key)]


def check_whole(uri: str, path: str, remedy: str) -> None:
    """Find missing storage files of an array; ``remedy`` says what to do about them.

    Raises
    ------
    DamagedError
        If one is missing or empty.
    """
    try:
        missing = missing_shards(uri, path)
    except StoreError as error:
        if not isinstance(error.__cause__, FileNotFoundError):
            raise
        missing = [HEADER]
    if missing:
        raise DamagedError(
            f"{uri}/{path} lacks {len(missing)} of its storage files (the first: {missing[0]}). "
            f"{remedy}"
        )


def open_frame(uri: str, frame: str, layers: Sequence[str], remedy: str) -> xr.Dataset:
    """Open the group of a frame lazily in xarray, after a look at the files of some layers.

    Raises
    ------
    DamagedError
        If a layer or a coordinate lacks a file, or a header cannot be understood.
    """
    import xarray as xr

    for layer in layers:
        check_whole(uri, f"{frame}/{layer}", remedy)
    with translated(f"{uri}/{frame}"):
        try:
            found: xr.Dataset = xr.open_zarr(
                uri, group=frame, consolidated=False, decode_coords="all", zarr_format=3
            )
        except FileNotFoundError as error:  # the layers are there, but they are no group
            raise DamagedError(
                f"{uri}/{frame} lacks its {HEADER}, or it is damaged. {remedy}"
            ) from error
    for name in (str(each) for each, values in found.variables.items() if values.ndim < 2):
        check_whole(uri, f"{frame}/{name}", remedy)
    return found


@contextmanager
def translated(address: str, selection: tuple[slice, ...] = ()) -> Iterator[None]:
    """Turn the errors of zarr, its codecs and the file system into ours."""
    try:
        yield
    except (HsistreamError, KeyboardInterrupt):
        raise
    except OSError as error:
        raise file_error(address, error) from error
    except (ValueError, RuntimeError, KeyError, TypeError) as error:
        raise DamagedError(
            f"{address}{_describe(selection)} cannot be decoded: the stored bytes fail their "
            f"checksum or are cut short ({first_line(error)}). The file is damaged: restore it "
            f"from a copy, or make it again."
        ) from error


def _has_content(path: Path) -> bool:
    """Tell whether a file exists and is not empty."""
    try:
        return path.stat().st_size > 0
    except (FileNotFoundError, NotADirectoryError):
        return False


def _describe(selection: tuple[slice, ...]) -> str:
    """Write a selection as pixel ranges."""
    if len(selection) < 2:
        return ""
    rows, columns = selection[-2:]
    return f" (rows {rows.start}-{rows.stop}, columns {columns.start}-{columns.stop})"
