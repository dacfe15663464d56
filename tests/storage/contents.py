"""Lists all objects of a storage."""

from __future__ import annotations

from generation_worker.ports import Storage


def everything(storage: Storage) -> list[str]:
    """All keys, in order."""
    return [stored.key for stored in storage.keys("", start_after="", limit=10_000)]
