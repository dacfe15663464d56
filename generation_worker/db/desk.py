"""What the HTTP API asks and changes: statements from ``desk/``, on connections that nobody else needs."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg.rows import dict_row

from generation_worker.db.running import Connections
from generation_worker.db.statements import load_bare_statements

Row = dict[str, Any]

STATEMENTS = load_bare_statements("desk")


class Desk:
    """One of the API's desks. Each method may raise StoreUnavailable."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def _ask(self, statement: str, **values: Any) -> list[Row]:
        with self._connections.connection() as connection:
            return ask(connection, statement, **values)

    def _only(self, statement: str, **values: Any) -> Row | None:
        found = self._ask(statement, **values)
        return found[0] if found else None


def ask(connection: psycopg.Connection[Any], statement: str, **values: Any) -> list[Row]:
    """The rows of a statement, by the names of their columns; none if it gives none."""
    with connection.cursor(row_factory=dict_row) as cursor:
        cursor.execute(STATEMENTS[statement], values)
        return cursor.fetchall() if cursor.description else []
