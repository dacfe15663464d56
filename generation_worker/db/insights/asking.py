"""How a question is asked: a statement of ``questions/`` by its name, and its rows as the answer."""

from __future__ import annotations

from typing import Any, TypeVar

import psycopg
from psycopg.rows import BaseRowFactory, class_row, dict_row

from generation_worker.db.running import Connections
from generation_worker.db.statements import load_statements

T = TypeVar("T")


class Asking:
    """Asks on connections in autocommit mode. Safe to use from many threads if its connections are.

    Every method may raise psycopg.Error.
    """

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._statements = load_statements("questions")

    def _ask(self, answer: type[T], question: str, **values: Any) -> list[T]:
        return self._run(class_row(answer), question, values)

    def _rows(self, question: str, **values: Any) -> list[dict[str, Any]]:
        return self._run(dict_row, question, values)

    def _run(self, factory: BaseRowFactory[T], question: str, values: dict[str, Any]) -> list[T]:
        with self._connections.connection() as connection, _cursor(connection, factory) as cursor:
            return cursor.execute(self._statements[question], values).fetchall()


def only(rows: list[T]) -> T | None:
    return rows[0] if rows else None


def _cursor(connection: psycopg.Connection[Any], factory: BaseRowFactory[T]) -> psycopg.Cursor[T]:
    return connection.cursor(row_factory=factory)
