"""Reads statements from their files: one statement a file, known by the file's name."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable

COMMENTS = re.compile(rb"(?m)^ *--.*\n")
PLACE = re.compile(rb"\{(\w+)\}")


@cache
def load_statements(folder: str) -> dict[str, bytes]:
    """All statements of a folder beside this file, as bytes: psycopg takes text only when it is a literal.

    What several of them say stands once, in a file of the folder's ``parts/``, and as ``{name}`` where it belongs.
    """
    place = files("generation_worker.db").joinpath(folder)
    parts = {name: COMMENTS.sub(b"", text).strip() for name, text in _texts(place.joinpath("parts")).items()}
    return {name: PLACE.sub(lambda found: parts[found[1].decode()], text) for name, text in _texts(place).items()}


def _texts(folder: Traversable) -> dict[str, bytes]:
    found = folder.iterdir() if folder.is_dir() else ()
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
    return {name: f"-- {name}\n".encode() + COMMENTS.sub(b"", text) for name, text in chosen.items()}


MARK = b"\n-- limited\n"
PART = re.compile(rb"(?ms)^-- limited\n(?P<limited>.*?)(?:^-- else\n(?P<other>.*?))?^-- end\n")


def _chosen(text: bytes, *, limited: bool) -> bytes:
    return PART.sub(lambda part: part["limited"] if limited else part["other"] or b"", text)
