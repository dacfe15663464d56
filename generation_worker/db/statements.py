"""Reads statements from their files: one statement a file, known by the file's name."""

from __future__ import annotations

from functools import cache
from importlib.resources import files


@cache
def load_statements(folder: str) -> dict[str, bytes]:
    """All statements of a folder beside this file, as bytes: psycopg takes text only when it is a literal."""
    found = files("generation_worker.db").joinpath(folder).iterdir()
    return {file.name.removesuffix(".sql"): file.read_bytes() for file in found if file.name.endswith(".sql")}
