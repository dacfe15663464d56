"""Checks of this machine: its disk, the processes that open images, its port."""

import base64
import errno
import os
import resource
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx2

from generation_worker import wiring
from generation_worker.config import Settings
from generation_worker.doctor.check import Check
from generation_worker.domain.errors import InternalError, JobError
from generation_worker.domain.finding import Verdict, fault, ok, skipped, warning
from generation_worker.domain.payload import Output
from generation_worker.images.tools import ImageTools

MEGABYTE, GB = 1024**2, 1024**3
LITTLE, TOO_LITTLE = 1 * GB, GB // 10
"""Free bytes: fewer are a warning, and a fault."""
MB = 1024 * 1024
DOT = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
"""A picture of one pixel."""
CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
SECONDS = 3.0


def leaving_no_directories(root: Path, *below: str) -> Callable[[], None]:
    """To be called afterwards: removes the directories that a disk storage made for the trial, if they are empty."""
    missing = [path for path in (*(root / name for name in below), root, *root.absolute().parents) if not path.exists()]

    def tidy_up() -> None:
        for path in missing:
            with suppress(OSError):
                path.rmdir()

    return tidy_up


def examine_disk(settings: Settings) -> list[Verdict]:
    return [_room_for_images(settings), _room_for_inputs(settings)]


def judge_space(free: int) -> Verdict:
    """``free`` is in bytes, where STORAGE_DIR lies."""
    found = f"{free / GB:.1f} GB are free in STORAGE_DIR"
    remedy = "Make room, or set STORAGE_DIR to a larger disk; an image takes about 0.3 MB"
    if free < TOO_LITTLE:
        return fault(found, remedy)
    return warning(found, remedy) if free < LITTLE else ok(found)


def image_checks(settings: Settings, closing: Callable[[Callable[[], object]], object]) -> list[Check]:
    tools: list[ImageTools] = []

    def prepare() -> None:
        tools.append(wiring.build_images(settings))
        closing(tools[0].close)

    return [
        Check("images.children", lambda: _examine(tools[0], settings), prepare=prepare),
        Check("images.memory", lambda: judge_memory(settings, available_memory())),
    ]


def judge_memory(settings: Settings, available: int | None) -> Verdict:
    """``available`` is what the machine or its container has, in bytes; None if that is unknown."""
    each, children = settings.image_memory_mb, settings.image_children
    need = f"{_count(children)} with up to {each} MB each"
    if sys.platform != "darwin" and 0 < _hard_limit() < each * MB:
        return warning(
            f"{need}, and the system allows {_hard_limit() // MB} MB to a process",
            "Raise the limit (ulimit -v), or lower IMAGE_MEMORY_MB and IMAGE_MAX_PIXELS",
        )
    if available is not None and each * MB * children > available:
        return warning(
            f"{need} could take more than the {available // MB} MB that there are",
            "Lower IMAGE_CHILDREN or IMAGE_MEMORY_MB, or give the machine more memory",
        )
    return ok(need if available is None else f"{need}, of {available // MB} MB that there are")


def available_memory() -> int | None:
    """Bytes of this container, or of the machine."""
    found: list[int] = []
    with suppress(ValueError, OSError):
        found.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    for path in CGROUP_LIMITS:
        with suppress(ValueError, OSError):  # "max" is no number: then there is no limit
            found.append(int(Path(path).read_text()))
    return min(found, default=None)


def find_worker(host: str, port: int) -> str | None:
    """The worker that serves ``port`` of this machine, or None if it is another program."""
    name = host if host not in ("", "0.0.0.0", "::") else "127.0.0.1"  # noqa: S104 - compared, not opened
    address = f"http://[{name}]:{port}/health" if ":" in name else f"http://{name}:{port}/health"
    try:
        answer: Any = httpx2.get(address, timeout=SECONDS, trust_env=False).json()
        return f"worker {answer['id']} ({answer['version']}, {answer['worker']})"
    except (httpx2.HTTPError, ValueError, TypeError, KeyError):
        return None


def machine_checks(settings: Settings) -> list[Check]:
    return [
        Check("machine.port", lambda: _port(settings), prepare=_load),
        Check("machine.disk", lambda: examine_disk(settings)),
    ]


def _room_for_images(settings: Settings) -> Verdict:
    if settings.storage != "disk":
        return skipped("no image is kept on this machine's disk")
    return judge_space(_free(settings.storage_dir))


def _room_for_inputs(settings: Settings) -> Verdict:
    if settings.fetch_cache_mb == 0:
        return skipped("FETCH_CACHE_MB is 0: no input is kept")
    place = settings.fetch_cache_dir or Path(tempfile.gettempdir())
    there = _existing(place)
    if not os.access(there, os.W_OK | os.X_OK):
        problem = f"inputs cannot be kept in {place}: this user may not write there"
        remedy = "Name another directory in FETCH_CACHE_DIR, or set FETCH_CACHE_MB=0"
        return fault(problem, remedy) if settings.fetch_cache_dir else warning(problem, remedy)
    free = _free(place) // MEGABYTE
    room = f"{free} MB are free for inputs, which may take {settings.fetch_cache_mb} MB"
    return ok(room) if free >= settings.fetch_cache_mb else warning(room, "Lower FETCH_CACHE_MB, or make room")


def _free(place: Path) -> int:
    return shutil.disk_usage(_existing(place)).free


def _existing(place: Path) -> Path:
    """``place``, or the nearest directory above it that is there."""
    return next(path for path in (place, *place.absolute().parents) if path.exists())


def _examine(tools: ImageTools, settings: Settings) -> Verdict:
    try:
        tools.warm_up()
        rendered = tools.render(DOT, Output(format="webp"))
    except JobError as error:
        remedy = "Raise IMAGE_MEMORY_MB, or see whether this user may start processes"
        return fault(error.message, remedy if isinstance(error, InternalError) else "Is Pillow whole? Install again")
    return ok(f"{_count(settings.image_children)}, and a picture became {rendered.image.content_type}")


def _hard_limit() -> int:
    """Bytes that one process may have; -1 for no limit."""
    return resource.getrlimit(resource.RLIMIT_AS)[1]


def _count(children: int) -> str:
    return "1 process" if children == 1 else f"{children} processes"


def _port(settings: Settings) -> Verdict:
    if not settings.serves_http:
        return skipped("nothing is served over HTTP")
    if settings.port == 0:
        return ok("any that is free")
    try:
        _load()(settings.health_host, settings.port).close()
    except OSError as error:
        return _taken(settings, error)
    return ok(f"{settings.port} is free")


def _load() -> Callable[[str, int], socket.socket]:
    from generation_worker.web.app import open_socket  # noqa: PLC0415 - half a second

    return open_socket


def _taken(settings: Settings, error: OSError) -> Verdict:
    if error.errno == errno.EADDRINUSE:
        worker = find_worker(settings.health_host, settings.port)
        if worker is not None:
            return ok(f"{settings.port} is served by {worker}; a second worker on this machine needs another PORT")
        return fault(f"{settings.port} is in use by another program", "Choose another PORT, or end that program")
    if error.errno in (errno.EACCES, errno.EPERM):
        return fault(f"{settings.port} may not be opened by this user", "Choose a PORT from 1024 on")
    return fault(f"{settings.port} cannot be opened ({error.strerror})", "Correct PORT and HEALTH_HOST")
