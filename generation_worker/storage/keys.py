"""What may name an object, and how large one may be that is read: the same on every storage."""

from __future__ import annotations

from generation_worker.domain.errors import InputRejected

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
