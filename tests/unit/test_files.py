from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

import pytest

from hsistream.errors import ConfigError, HsistreamError, ResourceError, StoreError
from hsistream.files import file_error, filing, local_path, locked, replacing, write_text


@pytest.mark.parametrize(
    ("address", "path"),
    [
        ("file:///data/a.zarr", "/data/a.zarr"),
        ("file://localhost/data/a%20b", "/data/a b"),
        (Path("file:///data/a.zarr"), "/data/a.zarr"),
        ("runs/10:/a%20b", "runs/10:/a%20b"),
        ("C:/data", "C:/data"),
    ],
)
def test_local_addresses_are_paths(address: str | Path, path: str) -> None:
    assert local_path(address, StoreError) == Path(path)


@pytest.mark.parametrize(
    "address",
    ["s3://bucket/a", Path("s3://bucket/a"), "HTTPS://a.b/c", "zip::s3://a", "file://host/a"],
)
def test_remote_addresses_are_refused(address: str | Path) -> None:
    with pytest.raises(StoreError, match=r"local disks, .* is a remote address"):
        local_path(address, StoreError)


def failure(number: int) -> OSError:
    return OSError(number, os.strerror(number))


def test_a_file_is_written_whole_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "down" / "file.txt"
    write_text(path, "first")
    write_text(path, "second")
    assert path.read_text() == "second"
    assert list(path.parent.iterdir()) == [path]


def test_a_failed_write_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    write_text(path, "old")
    with pytest.raises(KeyError), replacing(path) as partial:  # noqa: PT012
        partial.write_text("half of the ne")
        raise KeyError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_old_file_is_there_until_the_new_one_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    write_text(path, "old")
    with replacing(path) as partial:
        partial.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"


def test_a_full_disk_while_writing_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    write_text(path, "old")
    with pytest.raises(ResourceError, match="full"), replacing(path) as partial:  # noqa: PT012
        partial.write_text("half")
        raise failure(errno.ENOSPC)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (failure(errno.ENOSPC), ResourceError, "full"),
        (failure(errno.EDQUOT), ResourceError, "full"),
        (failure(errno.EACCES), StoreError, "writable"),
        (failure(errno.EROFS), StoreError, "writable"),
        (failure(errno.ENOENT), StoreError, "no such file"),
        (failure(errno.EEXIST), StoreError, "a file lies in its place"),
        (failure(errno.ENOTDIR), StoreError, "a file lies in its place"),
        (failure(errno.EIO), StoreError, "cannot be read or written: Input/output error"),
        (OSError("first line.\nsecond line"), StoreError, "written: first line"),
        (OSError(), StoreError, "cannot be read or written"),
    ],
)
def test_errors_of_the_file_system_are_explained(
    error: OSError, kind: type[HsistreamError], message: str
) -> None:
    found = file_error("place.zarr", error)
    assert type(found) is kind
    assert "place.zarr" in str(found)
    assert message in str(found)


def test_our_own_errors_pass_unchanged() -> None:
    ours = StoreError("mine")
    with pytest.raises(StoreError) as caught, filing("place"):
        raise ours
    assert caught.value is ours


def test_errors_that_are_not_of_the_file_system_pass_unchanged() -> None:
    with pytest.raises(ConfigError), filing("place"):
        raise ConfigError("mine")
    with pytest.raises(ZeroDivisionError), filing("place"):
        raise ZeroDivisionError


def test_the_cause_is_kept() -> None:
    cause = failure(errno.EIO)
    with pytest.raises(StoreError) as caught, filing("place"):
        raise cause
    assert caught.value.__cause__ is cause


def test_a_file_system_without_locks_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(*asked: object) -> None:
        raise failure(errno.ENOSYS)

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(StoreError, match=r"lock must be on a file system that can lock files"):
        locked(tmp_path / "lock", "busy").__enter__()


def test_text_is_utf_8_whatever_the_locale_says(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    write_text(path, "Übung")
    assert path.read_bytes() == "Übung".encode()
