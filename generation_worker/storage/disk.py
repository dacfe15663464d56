"""Stores objects as files under one directory: the default, for a single machine. Also defines valid keys."""

import heapq
import os
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from generation_worker.domain.errors import InputRejected, StorageUnavailable
from generation_worker.ports import StoredObject

LONGEST_KEY = 1024
"""Bytes: the limit of S3."""
LONGEST_PART = 255
"""Bytes between two slashes: the longest file name."""
MOST_BYTES = 50 * 1024 * 1024
"""A larger object is not read: many threads read at once, and no image should be that large."""
HALF_WRITTEN = ".half-written-"
"""Prefix for names of files that are being written. No key may have it: what a crash leaves is never an object."""
NO_OBJECT = (FileNotFoundError, NotADirectoryError, IsADirectoryError)


class DiskStorage:
    """Stores each object in its own file under ``root``, completely or not at all, even if the power fails.

    An object of more than ``most_bytes`` is not read.
    """

    name = "disk"
    longest = 0.0
    """A disk responds at once. A thread that waits for a broken one is stuck."""

    def __init__(self, root: Path, *, most_bytes: int = MOST_BYTES) -> None:
        self._root = root
        self._most_bytes = most_bytes

    def warm_up(self) -> None:
        """Create the directory and check that it is writable. Raises StorageUnavailable."""
        with _translated_errors(f"cannot use the storage directory {self._root} (STORAGE_DIR)"):
            _make_directory(self._root)
            probe = self._root / _half_written()
            probe.touch(exist_ok=False)
            probe.unlink()

    def put(self, key: str, data: bytes, content_type: str) -> None:  # noqa: ARG002 - the key's extension says it
        """Store ``data``; a concurrent reader sees the old object or the new one.

        Raises StorageUnavailable, or ValueError for an invalid key.
        """
        path = self._path(key)
        with _translated_errors(f"cannot write {key}"):
            _make_directory(path.parent)
            _replace(path, data)

    def get(self, key: str) -> bytes | None:
        """The object's bytes; None if there is none or the key is invalid, whatever is on the disk under that name.

        Raises StorageUnavailable, or InputRejected if the object is too large.
        """
        try:
            path = self._path(key)
        except ValueError:
            return None
        with _translated_errors(f"cannot read {key}"):
            try:
                with path.open("rb") as file:
                    data = file.read(self._most_bytes + 1)
            except NO_OBJECT:
                return None
        if len(data) > self._most_bytes:
            raise too_large(key, self._most_bytes)
        return data

    def delete(self, key: str) -> None:
        """Remove the object if it is there. Raises StorageUnavailable, or ValueError for an invalid key."""
        path = self._path(key)
        with _translated_errors(f"cannot delete {key}"), suppress(*NO_OBJECT):
            path.unlink()

    def link(self, key: str, *, seconds: float) -> str | None:  # noqa: ARG002 - a file has no URL
        return None

    def keys(self, prefix: str, *, start_after: str, limit: int) -> list[StoredObject]:
        """Objects whose keys begin with ``prefix`` and come after ``start_after``, in the order of their keys.

        Fewer than ``limit`` only if there are no more, or if some were deleted meanwhile. Raises StorageUnavailable.
        """
        folder = prefix.rpartition("/")[0]
        with _translated_errors(f"cannot list {prefix}"):
            ahead = (key for key in self._keys(folder) if key.startswith(prefix) and key > start_after)
            return [stored for key in heapq.nsmallest(limit, ahead) if (stored := self._stored(key)) is not None]

    def discard_unfinished(self, *, older_than: float) -> int:
        """Delete the files of writes that ended unfinished over ``older_than`` seconds ago; return their number."""
        with _translated_errors("cannot delete the files of interrupted writes"):
            half_written = [Path(file) for file in self._files() if f"/{HALF_WRITTEN}" in file]
            stale = [path for path in half_written if _age(path) > older_than]
            for path in stale:
                path.unlink(missing_ok=True)
        return len(stale)

    def _keys(self, folder: str) -> Iterator[str]:
        """The keys of all objects in ``folder``, unordered."""
        root = len(f"{self._root}/")
        return (file[root:] for file in self._files(folder) if f"/{HALF_WRITTEN}" not in file)

    def _files(self, folder: str = "") -> Iterator[str]:
        for directory, _, names in os.walk(self._root / folder, onerror=_unless_gone):
            yield from (f"{directory}/{name}" for name in names)

    def _stored(self, key: str) -> StoredObject | None:
        try:
            return StoredObject(key, datetime.fromtimestamp((self._root / key).stat().st_mtime, UTC))
        except NO_OBJECT:
            return None

    def _path(self, key: str) -> Path:
        """The object's file. Raises ValueError if it is not below the root after links are resolved."""
        parts = key_parts(key)
        if any(part.startswith(HALF_WRITTEN) for part in parts):
            raise ValueError(f"{key!r} is not a storage key")
        path = self._root.joinpath(*parts)
        if not path.resolve().is_relative_to(self._root.resolve()):
            raise ValueError(f"{key!r} leads outside the storage directory")
        return path


def key_parts(key: str) -> list[str]:
    """The parts of ``key`` between its slashes. Raises ValueError if the key is invalid.

    No part may be one that a file system or an HTTP client resolves: ``a/../b`` would become ``b``, outside the
    signature and the bucket.
    """
    parts = key.split("/")
    if {"", ".", ".."} & set(parts) or "\\" in key or not key.isprintable():
        raise ValueError(f"{key!r} is not a storage key")
    if len(key.encode()) > LONGEST_KEY or any(len(part.encode()) > LONGEST_PART for part in parts):
        raise ValueError(f"{key!r} is too long for a storage key")
    return parts


def is_valid_key(key: str) -> bool:
    try:
        key_parts(key)
    except ValueError:
        return False
    return True


def too_large(key: str, most: int) -> InputRejected:
    return InputRejected(f"The object {key!r} is larger than {most // 2**20} MiB, the limit for reading an object.")


def _replace(path: Path, data: bytes) -> None:
    """Write a temporary file and rename it to ``path``, so that the name never holds half an object."""
    beside = path.parent / _half_written()
    try:
        with beside.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    _sync_directory(path.parent)


def _make_directory(path: Path) -> None:
    """``mkdir -p`` that syncs each new name to the disk: an object in a directory that a power cut removes is lost."""
    if path.is_dir():
        return
    _make_directory(path.parent)
    path.mkdir(exist_ok=True)
    _sync_directory(path.parent)


def _sync_directory(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _age(path: Path) -> float:
    """Seconds since the file was last written; 0 if it is gone."""
    try:
        return time.time() - path.lstat().st_mtime
    except NO_OBJECT:
        return 0.0


def _unless_gone(error: OSError) -> None:
    """A directory that cannot be listed must not look empty."""
    if not isinstance(error, NO_OBJECT):
        raise error


def _half_written() -> str:
    return f"{HALF_WRITTEN}{uuid4().hex}"


@contextmanager
def _translated_errors(operation: str) -> Generator[None]:
    """Raise every OSError as StorageUnavailable."""
    try:
        yield
    except OSError as error:
        raise StorageUnavailable(f"disk: {operation}: {error.strerror or type(error).__name__}") from error
