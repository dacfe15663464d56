"""Objects as files under one directory: the default, and enough for one machine."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from generation_worker.domain.errors import StorageUnavailable

HALF_WRITTEN = ".half-written-"
"""Begins the name of a file that is being written. No key may: what a crash leaves behind is never an object."""
NAME_LIMIT = 255
"""Longest name of a file, in bytes."""
NO_OBJECT = (FileNotFoundError, NotADirectoryError, IsADirectoryError)


class DiskStorage:
    """Keeps each object in a file of its own under ``root``, whole or not at all, even if the power fails."""

    name = "disk"

    def __init__(self, root: Path) -> None:
        self._root = root

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

        Raises StorageUnavailable.
        """
        try:
            path = self._path(key)
        except ValueError:
            return None
        with _told(f"cannot read {key}"):
            try:
                return path.read_bytes()
            except NO_OBJECT:
                return None

    def delete(self, key: str) -> None:
        """Remove the object if it is there. Raises StorageUnavailable, or ValueError if ``key`` can name none."""
        path = self._path(key)
        with _told(f"cannot delete {key}"), suppress(*NO_OBJECT):
            path.unlink()

    def _path(self, key: str) -> Path:
        """Where the object lies. Raises ValueError if that is not below the root, links followed."""
        parts = key.split("/")
        if {"", ".", ".."} & set(parts) or "\\" in key or not key.isprintable():
            raise ValueError(f"{key!r} is not a storage key")
        if any(part.startswith(HALF_WRITTEN) or len(part.encode()) > NAME_LIMIT for part in parts):
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


def _half_written() -> str:
    return f"{HALF_WRITTEN}{uuid4().hex}"


@contextmanager
def _told(what: str) -> Generator[None]:
    try:
        yield
    except OSError as error:
        raise StorageUnavailable(f"disk: {what}: {error.strerror or type(error).__name__}") from error
