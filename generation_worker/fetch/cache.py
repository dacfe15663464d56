"""Caches fetched inputs on this machine's disk, for other jobs with the same inputs.

Several processes can share a directory: a file is written under a temporary name and then renamed, so a name never
holds half a file. The content is verified: a file begins with the digest of the rest, and its size is bounded. If the
disk fails there is no cache, which costs a request and nothing else.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

LIFETIME = 3600.0
"""Seconds that an input is kept: a changed picture is fetched again after an hour at the latest."""
PARTIAL_LIFETIME = 600.0
"""Seconds after which a partly written file counts as abandoned."""
EXPIRED = 0.0
"""Stands for the time of last use of a file that is no longer valid."""
DIGEST_BYTES = 32
_CACHE_FILE = re.compile(r"[0-9a-f]{64}(?:\.[0-9a-f]{32})?")
"""A key; while the file is written, a key and a unique suffix."""


class DiskCache:
    """Keeps the most recently used inputs in ``directory``, at most ``most_bytes`` of them.

    Each of several processes may exceed that by the file it is writing. A file's modification time is the time of the
    fetch; its access time, which is set explicitly, is the time of last use.
    """

    def __init__(self, directory: Path, *, most_bytes: int) -> None:
        self._directory = directory
        self._most_bytes = most_bytes
        self._writing = threading.Lock()

    def prepare(self) -> None:
        """Create the directory, accessible to this user only. Raises OSError, also if others can write to it."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = self._directory.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
            raise PermissionError(0, "others can write to it")
        probe = self._directory / _partial_name("0" * 64)
        probe.touch(exist_ok=False)
        probe.unlink(missing_ok=True)  # another process may have evicted it

    def get(self, key: str, *, most_bytes: int) -> bytes | None:
        """The input cached under ``key`` within the last hour, if it is intact and not larger than ``most_bytes``."""
        path = self._directory / key
        try:
            with path.open("rb") as file:
                found = os.fstat(file.fileno())
                if not 0 <= time.time() - found.st_mtime < LIFETIME or found.st_size > DIGEST_BYTES + most_bytes:
                    return None
                digest, data = file.read(DIGEST_BYTES), file.read(most_bytes + 1)
                if hashlib.sha256(data).digest() != digest:
                    return None
                os.utime(file.fileno(), ns=(time.time_ns(), found.st_mtime_ns))
                return data
        except OSError:
            return None

    def put(self, key: str, data: bytes) -> None:
        """Cache ``data``, which was just fetched, if it fits. Never raises OSError."""
        size = DIGEST_BYTES + len(data)
        if size > self._most_bytes:
            return
        with suppress(OSError), self._writing:
            self._evict(size)
            self._write(key, data)

    def _write(self, key: str, data: bytes) -> None:
        partial = self._directory / _partial_name(key)
        try:
            with partial.open("xb") as file:
                file.write(hashlib.sha256(data).digest())
                file.write(data)
            partial.replace(self._directory / key)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise

    def _evict(self, size: int) -> None:
        """Delete expired files, then the least recently used ones until ``size`` more bytes fit."""
        files = sorted(self._files())
        total = size + sum(file.size for file in files)
        for file in files:
            if total <= self._most_bytes and file.used_at > EXPIRED:
                break
            file.path.unlink(missing_ok=True)
            total -= file.size

    def _files(self) -> Iterator[_CachedFile]:
        """The cache's files, partly written ones included."""
        now = time.time()
        for entry in os.scandir(self._directory):
            if not _CACHE_FILE.fullmatch(entry.name):
                continue
            with suppress(FileNotFoundError):  # another process deleted it
                found = entry.stat(follow_symlinks=False)
                lifetime = PARTIAL_LIFETIME if "." in entry.name else LIFETIME
                expired = now - found.st_mtime >= lifetime
                yield _CachedFile(EXPIRED if expired else found.st_atime, found.st_size, Path(entry.path))


class _CachedFile(NamedTuple):
    used_at: float
    size: int
    path: Path


def _partial_name(key: str) -> str:
    return f"{key}.{uuid4().hex}"
