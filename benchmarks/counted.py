"""Counts how often the server ran a statement of the worker, and how long that took.

pg_stat_statements keeps no comment before a statement, so not its name either, and puts ``$1`` and so on for each
parameter and each constant. What is left is searched for words that no other statement of the worker has.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any, NamedTuple

import psycopg

from generation_worker.db.statements import load_statements

COUNTED = {"shared_preload_libraries": "pg_stat_statements"}
"""The settings of a server that counts."""
REPLACED = re.compile(
    r"%\(\w+\)s | %% | '[^']*' | \d+ | \b(?:NULL|true|false)\b | (?<=extract\()\w+", re.VERBOSE | re.IGNORECASE
)
"""What the server keeps otherwise than it stands in our text: parameters and constants."""
COST = """
SELECT coalesce(sum(calls), 0)::int, coalesce(sum(total_exec_time), 0), coalesce(max(max_exec_time), 0)
  FROM pg_stat_statements WHERE strpos(query, %s) > 0
"""


class Cost(NamedTuple):
    """Milliseconds in the server."""

    calls: int
    total: float
    longest: float


def start_counting(connection: psycopg.Connection[Any]) -> None:
    connection.execute("CREATE EXTENSION pg_stat_statements")


def cost_of(connection: psycopg.Connection[Any], name: str) -> Cost:
    """What the statement has cost until now. Raises KeyError if the worker has none of this name."""
    return Cost(*connection.execute(COST, [words_of(name)]).fetchall()[0])


@cache
def words_of(name: str) -> str:
    """The longest part of a statement that the server keeps as it is and that no other statement has.

    Raises ValueError if there is none, as in a statement of a few words.
    """
    texts = {each: text.decode().partition("\n")[2].strip() for each, text in load_statements().items()}
    parts = REPLACED.split(texts.pop(name))
    return max((part for part in parts if not any(part in text for text in texts.values())), key=len)
