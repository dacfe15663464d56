"""Reads statements from their files: one statement a file, known by the file's name."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files


@cache
def load_statements(folder: str) -> dict[str, bytes]:
    """All statements of a folder beside this file, as bytes: psycopg takes text only when it is a literal."""
    found = files("generation_worker.db").joinpath(folder).iterdir()
    return {file.name.removesuffix(".sql"): file.read_bytes() for file in found if file.name.endswith(".sql")}


@cache
def load_bare_statements(folder: str) -> dict[str, bytes]:
    """As ``load_statements``, with the name of each where its comments stood.

    What comes first is what pg_stat_activity shows, and psycopg reads a long text anew each time that it is sent.
    """
    texts = load_statements(folder)
    return {name: f"-- {name}\n".encode() + re.sub(rb"(?m)^ *--.*\n", b"", text) for name, text in texts.items()}
