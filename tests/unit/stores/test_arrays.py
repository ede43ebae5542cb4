from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from hsistream.errors import DamagedError, HsistreamError, ResourceError, StoreError
from hsistream.stores import arrays

SHAPE, CHUNK, SHARD = (10, 14), (4, 4), (8, 8)
ALL = (slice(None), slice(None))


def make(
    folder: Path, *, sharded: bool, fill: float = 0, compressed: bool = True
) -> tuple[str, NDArray[np.uint16]]:
    """A store with one array ``a`` of numbers without pattern."""
    uri = str(folder / "store.zarr")
    group = arrays.create_group(uri, {"made": "here"})
    arrays.create_array(
        group,
        "a",
        shape=SHAPE,
        dtype=np.uint16,
        chunks=CHUNK,
        shards=SHARD if sharded else None,
        dimensions=["y", "x"],
        fill=fill,
        compressed=compressed,
    )
    values = np.random.default_rng(0).integers(0, 2**16, SHAPE, np.uint16)
    arrays.write(uri, "a", ALL, values)
    return uri, values


def storage_files(uri: str) -> list[Path]:
    return sorted(path for path in (Path(uri) / "a" / "c").rglob("*") if path.is_file())


@pytest.mark.parametrize("sharded", [False, True])
@pytest.mark.parametrize(
    "window", [ALL, (slice(3, 4), slice(5, 14)), (slice(7, 10), slice(0, 9))], ids=str
)
def test_what_is_written_is_read(tmp_path: Path, sharded: bool, window: Any) -> None:
    uri, values = make(tmp_path, sharded=sharded)
    found = arrays.read(uri, "a", window)
    assert found.dtype == values.dtype
    np.testing.assert_array_equal(found, values[window])


def test_arrays_name_their_dimensions_and_attributes(tmp_path: Path) -> None:
    uri, _ = make(tmp_path, sharded=True)
    group = arrays.open_group(uri)
    array: Any = group["a"]
    assert array.metadata.dimension_names == ("y", "x")
    assert array.shards == SHARD
    assert group.attrs["made"] == "here"


def test_a_shard_that_is_its_chunk_is_not_sharded(tmp_path: Path) -> None:
    group = arrays.create_group(str(tmp_path / "s.zarr"), {})
    array = arrays.create_array(
        group, "a", shape=(4,), dtype="u1", chunks=(4,), shards=(4,), dimensions=["x"]
    )
    assert array.shards is None


@pytest.mark.parametrize("sharded", [False, True])
@pytest.mark.parametrize("place", [0.0, 0.1, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("bit", [0, 7])
@pytest.mark.parametrize("compressed", [True, False])
def test_a_flipped_bit_is_found(
    tmp_path: Path, sharded: bool, place: float, bit: int, compressed: bool
) -> None:
    uri, _ = make(tmp_path, sharded=sharded, compressed=compressed)
    for file in storage_files(uri):
        stored = bytearray(file.read_bytes())
        stored[int(place * (len(stored) - 1))] ^= 1 << bit
        file.write_bytes(stored)
    with pytest.raises(DamagedError, match=r"store\.zarr/a"):
        arrays.read(uri, "a", ALL)


@pytest.mark.parametrize("sharded", [False, True])
@pytest.mark.parametrize("kept", [0.0, 0.02, 0.5, 0.99])
def test_a_truncated_file_is_found(tmp_path: Path, sharded: bool, kept: float) -> None:
    uri, _ = make(tmp_path, sharded=sharded)
    for file in storage_files(uri):
        stored = file.read_bytes()
        file.write_bytes(stored[: int(kept * len(stored))])
    with pytest.raises(DamagedError, match=r"store\.zarr/a"):
        arrays.read(uri, "a", ALL)


def test_damage_is_found_in_the_chunks_that_are_read_and_named_by_pixels(tmp_path: Path) -> None:
    uri, values = make(tmp_path, sharded=False)
    file = Path(uri) / "a" / "c" / "1" / "2"
    file.write_bytes(b"\0" * len(file.read_bytes()))
    with pytest.raises(DamagedError, match="rows 5-6, columns 9-10"):
        arrays.read(uri, "a", (slice(5, 6), slice(9, 10)))
    np.testing.assert_array_equal(arrays.read(uri, "a", (slice(0, 4), slice(None))), values[:4])


@pytest.mark.parametrize(("sharded", "files"), [(False, 3 * 4), (True, 2 * 2)])
def test_missing_files_are_listed(tmp_path: Path, sharded: bool, files: int) -> None:
    uri, _ = make(tmp_path, sharded=sharded)
    assert arrays.missing_shards(uri, "a") == []
    assert len(storage_files(uri)) == files
    for file in (storage_files(uri)[0], storage_files(uri)[-1]):
        file.unlink()
    last = "c/1/1" if sharded else "c/2/3"
    assert arrays.missing_shards(uri, "a") == ["c/0/0", last]


@pytest.mark.parametrize("sharded", [False, True])
def test_chunks_that_hold_only_the_fill_value_are_stored(tmp_path: Path, sharded: bool) -> None:
    uri, _ = make(tmp_path, sharded=sharded, fill=7)
    for file in storage_files(uri):
        file.unlink()
    arrays.write(uri, "a", ALL, np.full(SHAPE, 7, np.uint16))
    assert arrays.missing_shards(uri, "a") == []


def test_an_existing_store_is_not_created_again(tmp_path: Path) -> None:
    uri, values = make(tmp_path, sharded=True)
    with pytest.raises(HsistreamError, match=r"store\.zarr"):
        arrays.create_group(uri, {})
    np.testing.assert_array_equal(arrays.read(uri, "a", ALL), values)


def test_a_store_or_array_that_is_not_there_is_refused(tmp_path: Path) -> None:
    uri, _ = make(tmp_path, sharded=True)
    with pytest.raises(StoreError, match=r"none\.zarr"):
        arrays.open_group(str(tmp_path / "none.zarr"))
    with pytest.raises(StoreError, match=r"store\.zarr/b"):
        arrays.missing_shards(uri, "b")
    with pytest.raises(StoreError, match=r"store\.zarr/b"):
        arrays.read(uri, "b", ALL)


def test_damaged_metadata_are_found(tmp_path: Path) -> None:
    uri, _ = make(tmp_path, sharded=True)
    (Path(uri) / "a" / "zarr.json").write_text('{"zarr_format": 3, "node_type": "arr')
    with pytest.raises(DamagedError):
        arrays.read(uri, "a", ALL)


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), ResourceError),
        (OSError(errno.EACCES, os.strerror(errno.EACCES)), StoreError),
        (RuntimeError("Zstd decompression error"), DamagedError),
        (ValueError(""), DamagedError),
        (KeyError("chunk_grid"), DamagedError),
        (KeyboardInterrupt(), KeyboardInterrupt),
        (StoreError("ours"), StoreError),
    ],
    ids=repr,
)
def test_errors_are_translated(raised: BaseException, expected: type[BaseException]) -> None:
    with pytest.raises(expected) as caught, arrays.translated("place"):
        raise raised
    assert type(caught.value) is expected


def test_a_vector_is_written_in_one_chunk(tmp_path: Path) -> None:
    uri = str(tmp_path / "v.zarr")
    group = arrays.create_group(uri, {})
    values = np.linspace(400, 2500, 7)
    arrays.create_vector(group, "wavelength", "band", values, {"units": "nm"})
    array: Any = group["wavelength"]
    assert array.chunks == (7,)
    assert array.attrs["units"] == "nm"
    np.testing.assert_array_equal(arrays.read(uri, "wavelength", (slice(None),)), values)


def test_without_a_georeference_nothing_is_written(tmp_path: Path) -> None:
    group = arrays.create_group(str(tmp_path / "g.zarr"), {})
    arrays.write_georeference(group, None, (3, 4))
    assert list(group.keys()) == []


def test_an_empty_file_counts_as_missing(tmp_path: Path) -> None:
    uri, _ = make(tmp_path, sharded=True)
    storage_files(uri)[1].write_bytes(b"")
    assert arrays.missing_shards(uri, "a") == ["c/0/1"]
