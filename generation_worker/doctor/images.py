"""The processes that open images, and whether the machine has the memory that they may use."""

from __future__ import annotations

import base64
import os
import resource
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from generation_worker import wiring
from generation_worker.config import Settings
from generation_worker.doctor.check import Check
from generation_worker.domain.errors import InternalError, JobError
from generation_worker.domain.finding import Verdict, fault, ok, warning
from generation_worker.domain.payload import Output
from generation_worker.images.tools import ImageTools

MB = 1024 * 1024
DOT = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
"""A picture of one pixel."""
CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def image_checks(settings: Settings, closing: Callable[[Callable[[], object]], object]) -> list[Check]:
    tools: list[ImageTools] = []

    def prepare() -> None:
        tools.append(wiring.build_images(settings))
        closing(tools[0].close)

    return [
        Check("images.children", lambda: _examine(tools[0], settings), prepare=prepare),
        Check("images.memory", lambda: judge_memory(settings, available_memory())),
    ]


def _examine(tools: ImageTools, settings: Settings) -> Verdict:
    try:
        tools.warm_up()
        rendered = tools.render(DOT, Output(format="webp"))
    except JobError as error:
        remedy = "Raise IMAGE_MEMORY_MB, or see whether this user may start processes"
        return fault(error.message, remedy if isinstance(error, InternalError) else "Is Pillow whole? Install again")
    return ok(f"{_count(settings.image_children)}, and a picture became {rendered.image.content_type}")


def judge_memory(settings: Settings, available: int | None) -> Verdict:
    """``available`` is what the machine or its container has, in bytes; None if nobody knows."""
    each, children = settings.image_memory_mb, settings.image_children
    told = f"{_count(children)} with up to {each} MB each"
    if sys.platform != "darwin" and 0 < _hard_limit() < each * MB:
        return warning(
            f"{told}, and the system allows {_hard_limit() // MB} MB to a process",
            "Raise the limit (ulimit -v), or lower IMAGE_MEMORY_MB and IMAGE_MAX_PIXELS",
        )
    if available is not None and each * MB * children > available:
        return warning(
            f"{told} could take more than the {available // MB} MB that there are",
            "Lower IMAGE_CHILDREN or IMAGE_MEMORY_MB, or give the machine more memory",
        )
    return ok(told if available is None else f"{told}, of {available // MB} MB that there are")


def available_memory() -> int | None:
    """Bytes of this container, or of the machine."""
    found: list[int] = []
    with suppress(ValueError, OSError):
        found.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    for path in CGROUP_LIMITS:
        with suppress(ValueError, OSError):  # "max" is no number: then there is no limit
            found.append(int(Path(path).read_text()))
    return min(found, default=None)


def _hard_limit() -> int:
    """Bytes that one process may have; -1 for no limit."""
    return resource.getrlimit(resource.RLIMIT_AS)[1]


def _count(children: int) -> str:
    return "1 process" if children == 1 else f"{children} processes"
