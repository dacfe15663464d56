"""Reads the SQL statements: one a file in ``sql/protocol/``, named blocks in ``sql/<subject>.sql``.

A named block is a line ``-- name: find_job``, comment lines, and the statement. The files write the prefix
``generation.`` before every object of ours, and in the names of NOTIFY channels and advisory locks; it is replaced for
another schema. A percent sign stands doubled: every statement is run with parameters, even if it has none.
"""

import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from types import MappingProxyType

from generation_worker.domain.schema import SCHEMA, SCHEMA_NAME, SCHEMA_RULE

PREFIX = re.compile(r"\bgeneration\.")
NAME = re.compile(r"^-- name: (.*)\n", re.MULTILINE)
COMMENT = re.compile(r"^ *--.*\n", re.MULTILINE)


@cache
def load_statements(schema: str = SCHEMA) -> Mapping[str, bytes]:
    """All statements by name, as they are sent: each begins with its name, which is what pg_stat_activity shows first.

    Bytes, because psycopg takes text only if it is a literal. Raises ValueError for a name that no schema may have.
    """
    sources = statement_sources(schema)
    return MappingProxyType({name: f"-- {name}\n{COMMENT.sub('', text)}".encode() for name, text in sources.items()})


@cache
def statement_sources(schema: str = SCHEMA) -> Mapping[str, str]:
    """All statements by name, with their comments, as people read them."""
    found: dict[str, str] = {}
    for name, text in (*_protocol(), *_blocks()):
        if name in found:
            raise ValueError(f"sql: two statements are called {name}")
        if not COMMENT.sub("", text).strip():
            raise ValueError(f"sql: {name} has no statement")
        found[name] = in_schema(text, schema)
    return MappingProxyType(found)


def names_in(subject: str) -> list[str]:
    """The names of the blocks in ``sql/<subject>.sql``, in their order."""
    return NAME.findall(files("generation_worker.db").joinpath("sql", f"{subject}.sql").read_text())


def in_schema(text: str, schema: str) -> str:
    """`text` for another schema than the default. Raises ValueError for a name that no schema may have."""
    return text if schema == SCHEMA else PREFIX.sub(f"{quoted(schema)}.", text)


def quoted(schema: str) -> str:
    """The name of a schema as SQL writes it."""
    if not SCHEMA_NAME.fullmatch(schema):
        raise ValueError(f"{schema!r} cannot be the name of the schema: {SCHEMA_RULE}")
    return schema if schema == SCHEMA else f'"{schema}"'


def _protocol() -> list[tuple[str, str]]:
    folder = files("generation_worker.db").joinpath("sql", "protocol")
    return [
        (file.name.removesuffix(".sql"), file.read_text()) for file in folder.iterdir() if file.name.endswith(".sql")
    ]


def _blocks() -> list[tuple[str, str]]:
    blocks: list[tuple[str, str]] = []
    for file in files("generation_worker.db").joinpath("sql").iterdir():
        if file.name.endswith(".sql"):
            head, *parts = NAME.split(file.read_text())
            if COMMENT.sub("", head).strip():
                raise ValueError(f"sql/{file.name}: a statement stands before the first name")
            blocks += zip(parts[::2], (part.strip() + "\n" for part in parts[1::2]), strict=True)
    return blocks
