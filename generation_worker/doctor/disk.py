"""Room on this machine's disk, for images and for inputs."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from generation_worker.config import Settings
from generation_worker.domain.finding import Verdict, fault, ok, skipped, warning

MB, GB = 1024**2, 1024**3
LITTLE, TOO_LITTLE = 1 * GB, GB // 10
"""Free bytes from which on there is a warning, and a fault."""


def examine_disk(settings: Settings) -> list[Verdict]:
    return [_room_for_images(settings), _room_for_inputs(settings)]


def _room_for_images(settings: Settings) -> Verdict:
    if settings.storage != "disk":
        return skipped("no image is kept on this machine's disk")
    return judge_space(_free(settings.storage_dir))


def judge_space(free: int) -> Verdict:
    """``free`` is in bytes, where STORAGE_DIR lies."""
    told = f"{free / GB:.1f} GB are free in STORAGE_DIR"
    remedy = "Make room, or set STORAGE_DIR to a larger disk; an image takes about 0.3 MB"
    if free < TOO_LITTLE:
        return fault(told, remedy)
    return warning(told, remedy) if free < LITTLE else ok(told)


def _room_for_inputs(settings: Settings) -> Verdict:
    if settings.fetch_cache_mb == 0:
        return skipped("FETCH_CACHE_MB is 0: no input is kept")
    place = settings.fetch_cache_dir or Path(tempfile.gettempdir())
    there = _existing(place)
    if not os.access(there, os.W_OK | os.X_OK):
        told = f"inputs cannot be kept in {place}: this user may not write there"
        remedy = "Name another directory in FETCH_CACHE_DIR, or set FETCH_CACHE_MB=0"
        return fault(told, remedy) if settings.fetch_cache_dir else warning(told, remedy)
    free = _free(place) // MB
    told = f"{free} MB are free for inputs, which may take {settings.fetch_cache_mb} MB"
    return ok(told) if free >= settings.fetch_cache_mb else warning(told, "Lower FETCH_CACHE_MB, or make room")


def _free(place: Path) -> int:
    return shutil.disk_usage(_existing(place)).free


def _existing(place: Path) -> Path:
    """``place``, or the nearest directory above it that is there."""
    return next(path for path in (place, *place.absolute().parents) if path.exists())
