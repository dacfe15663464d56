"""Inputs that were fetched, on this machine's disk for the next job that wants them.

Several processes may share a directory: a file is written beside its name and then renamed, so a name never stands for
half of one. Nothing that lies there is believed: a file begins with the digest of what follows, and must not be larger
than an input may be. When the disk fails there is no cache, which costs a request and nothing else.
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

LIFE = 3600.0
"""Seconds for which an input is kept: a changed picture is seen after an hour at the latest."""
HALF_WRITTEN_LIFE = 600.0
"""Seconds after which a file that somebody began to write is nobody's."""
OVER = 0.0
"""In place of the time when a file was last used: it will not be used any more."""
DIGEST_BYTES = 32
_OURS = re.compile(r"[0-9a-f]{64}(?:\.[0-9a-f]{32})?")
"""A key; or, while it is written, a key and something that nobody else has."""


class _Kept(NamedTuple):
    used_at: float
    size: int
    path: Path


class DiskCache:
    """Keeps at most ``most_bytes`` in ``directory``, those that were used last.

    Of several processes, each may go beyond that by what it is just writing. A file's time of change is when its
    content was fetched; its time of access, which is set by hand, when it was last used.
    """

    def __init__(self, directory: Path, *, most_bytes: int) -> None:
        self._directory = directory
        self._most_bytes = most_bytes
        self._writing = threading.Lock()

    def prepare(self) -> None:
        """Make the directory, for this user alone. Raises OSError, also if others could put files there."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = self._directory.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
            raise PermissionError(0, "others can write there")
        probe = self._directory / _beside("0" * 64)
        probe.touch(exist_ok=False)
        probe.unlink(missing_ok=True)  # another process may have needed the room

    def get(self, key: str, *, most_bytes: int) -> bytes | None:
        """What was kept under ``key`` within the last hour, if it is whole and no larger than ``most_bytes``."""
        path = self._directory / key
        try:
            with path.open("rb") as file:
                found = os.fstat(file.fileno())
                if not 0 <= time.time() - found.st_mtime < LIFE or found.st_size > DIGEST_BYTES + most_bytes:
                    return None
                digest, data = file.read(DIGEST_BYTES), file.read(most_bytes + 1)
                if hashlib.sha256(data).digest() != digest:
                    return None
                os.utime(file.fileno(), ns=(time.time_ns(), found.st_mtime_ns))
                return data
        except OSError:
            return None

    def put(self, key: str, data: bytes) -> None:
        """Keep ``data``, which was fetched just now, if there is room for it. Never raises for the disk's sake."""
        size = DIGEST_BYTES + len(data)
        if size > self._most_bytes:
            return
        with suppress(OSError), self._writing:
            self._make_room(size)
            self._write(key, data)

    def _write(self, key: str, data: bytes) -> None:
        beside = self._directory / _beside(key)
        try:
            with beside.open("xb") as file:
                file.write(hashlib.sha256(data).digest())
                file.write(data)
            beside.replace(self._directory / key)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise

    def _make_room(self, size: int) -> None:
        """Remove what is over, and what was not used for longest until ``size`` more bytes are within the bound."""
        kept = sorted(self._kept())
        total = size + sum(file.size for file in kept)
        for file in kept:
            if total <= self._most_bytes and file.used_at > OVER:
                break
            file.path.unlink(missing_ok=True)
            total -= file.size

    def _kept(self) -> Iterator[_Kept]:
        """Every file of ours."""
        now = time.time()
        for entry in os.scandir(self._directory):
            if not _OURS.fullmatch(entry.name):
                continue
            with suppress(FileNotFoundError):  # another process was faster
                found = entry.stat(follow_symlinks=False)
                life = HALF_WRITTEN_LIFE if "." in entry.name else LIFE
                over = now - found.st_mtime >= life
                yield _Kept(OVER if over else found.st_atime, found.st_size, Path(entry.path))


def _beside(key: str) -> str:
    return f"{key}.{uuid4().hex}"
