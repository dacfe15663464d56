"""Objects as files under one directory: the default, and enough for one machine."""

from __future__ import annotations

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

# What may name an object, and how large one may be that is read: the same on every storage.


LONGEST = 1024
"""Bytes of a key, as S3 has it."""
LONGEST_PART = 255
"""Bytes between two slashes: the longest name of a file."""
MOST_BYTES = 50 * 1024 * 1024
"""A larger object is not read: many threads read at once, and nobody asked for an image of that size."""


def key_parts(key: str) -> list[str]:
    """The parts of ``key`` between its slashes. Raises ValueError if it cannot name an object.

    No part may be one that a file system or an HTTP client resolves: ``a/../b`` would be read as ``b``, past the
    signature, past the bucket.
    """
    parts = key.split("/")
    if {"", ".", ".."} & set(parts) or "\\" in key or not key.isprintable():
        raise ValueError(f"{key!r} is not a storage key")
    if len(key.encode()) > LONGEST or any(len(part.encode()) > LONGEST_PART for part in parts):
        raise ValueError(f"{key!r} is too long for a storage key")
    return parts


def names_an_object(key: str) -> bool:
    try:
        key_parts(key)
    except ValueError:
        return False
    return True


def too_large(key: str, most: int) -> InputRejected:
    return InputRejected(f"The object {key!r} is larger than the {most // 2**20} MiB that are read of one.")


HALF_WRITTEN = ".half-written-"
"""Begins the name of a file that is being written. No key may: what a crash leaves behind is never an object."""
NO_OBJECT = (FileNotFoundError, NotADirectoryError, IsADirectoryError)


class DiskStorage:
    """Keeps each object in a file of its own under ``root``, whole or not at all, even if the power fails."""

    name = "disk"
    longest = 0.0
    """A disk answers at once. One that does not is broken, and whoever waits for it is stuck."""

    def __init__(self, root: Path, *, most_bytes: int = MOST_BYTES) -> None:
        self._root = root
        self._most_bytes = most_bytes

    def warm_up(self) -> None:
        """Create the directory and see whether it can be written. Raises StorageUnavailable."""
        with _told("cannot use the storage directory"):
            _make_directory(self._root)
            probe = self._root / _half_written()
            probe.touch(exist_ok=False)
            probe.unlink()

    def put(self, key: str, data: bytes, content_type: str) -> None:  # noqa: ARG002 - the key's extension says it
        """Store ``data``; who reads at the same time sees the old object or the new one.

        Raises StorageUnavailable, or ValueError if ``key`` cannot name an object.
        """
        path = self._path(key)
        with _told(f"cannot write {key}"):
            _make_directory(path.parent)
            _replace(path, data)

    def get(self, key: str) -> bytes | None:
        """The object's bytes, or None: also for a key that can name none, whatever lies there on the disk.

        Raises StorageUnavailable, or InputRejected if it is too large to be read.
        """
        try:
            path = self._path(key)
        except ValueError:
            return None
        with _told(f"cannot read {key}"):
            try:
                with path.open("rb") as file:
                    data = file.read(self._most_bytes + 1)
            except NO_OBJECT:
                return None
        if len(data) > self._most_bytes:
            raise too_large(key, self._most_bytes)
        return data

    def delete(self, key: str) -> None:
        """Remove the object if it is there. Raises StorageUnavailable, or ValueError if ``key`` can name none."""
        path = self._path(key)
        with _told(f"cannot delete {key}"), suppress(*NO_OBJECT):
            path.unlink()

    def link(self, key: str, *, seconds: float) -> str | None:  # noqa: ARG002 - a file has no address of its own
        return None

    def keys(self, prefix: str, *, start_after: str, limit: int) -> list[StoredObject]:
        """Objects whose keys begin with ``prefix``, in the order of their keys, from the first after ``start_after``.

        Fewer than ``limit`` only if there are no more, or if some went meanwhile. Raises StorageUnavailable.
        """
        folder = prefix.rpartition("/")[0]
        with _told(f"cannot list {prefix}"):
            ahead = (key for key in self._keys(folder) if key.startswith(prefix) and key > start_after)
            return [stored for key in heapq.nsmallest(limit, ahead) if (stored := self._stored(key)) is not None]

    def discard_unfinished(self, *, older_than: float) -> int:
        """Remove what writes that were cut off more than ``older_than`` seconds ago have left; how many there were."""
        with _told("cannot tidy up"):
            half_written = [Path(file) for file in self._files() if f"/{HALF_WRITTEN}" in file]
            left = [path for path in half_written if _age(path) > older_than]
            for path in left:
                path.unlink(missing_ok=True)
        return len(left)

    def _keys(self, folder: str) -> Iterator[str]:
        """The keys of all objects in ``folder``, in no order."""
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
        """Where the object lies. Raises ValueError if that is not below the root, links followed."""
        parts = key_parts(key)
        if any(part.startswith(HALF_WRITTEN) for part in parts):
            raise ValueError(f"{key!r} is not a storage key")
        path = self._root.joinpath(*parts)
        if not path.resolve().is_relative_to(self._root.resolve()):
            raise ValueError(f"{key!r} lies outside the storage")
        return path


def _replace(path: Path, data: bytes) -> None:
    """Write beside ``path`` and rename: the name never stands for half an object."""
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
    """``mkdir -p``, but each new name has reached the disk: an object in a directory that is forgotten is lost."""
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
    """Seconds since it was last written; 0 if it is gone."""
    try:
        return time.time() - path.lstat().st_mtime
    except NO_OBJECT:
        return 0.0


def _unless_gone(error: OSError) -> None:
    """What cannot be listed must not look empty."""
    if not isinstance(error, NO_OBJECT):
        raise error


def _half_written() -> str:
    return f"{HALF_WRITTEN}{uuid4().hex}"


@contextmanager
def _told(what: str) -> Generator[None]:
    try:
        yield
    except OSError as error:
        raise StorageUnavailable(f"disk: {what}: {error.strerror or type(error).__name__}") from error
