"""Leaves a disk as it was found."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path


def leaving_no_directories(root: Path, *below: str) -> Callable[[], None]:
    """To be called afterwards: removes the directories that a disk storage made for the trial, if they are empty."""
    missing = [path for path in (*(root / name for name in below), root, *root.absolute().parents) if not path.exists()]

    def tidy_up() -> None:
        for path in missing:
            with suppress(OSError):
                path.rmdir()

    return tidy_up
