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

    A statement may have parts that only a worker with limited keys needs, and that would cost every other one the time
    to plan them. They stand between lines ``-- limited`` and ``-- end``, after ``-- else`` what stands there otherwise.
    Such a text is two statements: by its own name without these parts, and by ``limited_`` and its name with them.
    """
    texts = load_statements(folder)
    limited = {f"limited_{name}": _chosen(text, limited=True) for name, text in texts.items() if MARK in text}
    chosen = {name: _chosen(text, limited=False) for name, text in texts.items()} | limited
    return {name: f"-- {name}\n".encode() + re.sub(rb"(?m)^ *--.*\n", b"", text) for name, text in chosen.items()}


MARK = b"\n-- limited\n"
PART = re.compile(rb"(?ms)^-- limited\n(?P<limited>.*?)(?:^-- else\n(?P<other>.*?))?^-- end\n")


def _chosen(text: bytes, *, limited: bool) -> bytes:
    return PART.sub(lambda part: part["limited"] if limited else part["other"] or b"", text)
