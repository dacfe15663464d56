"""LISTEN and NOTIFY on a connection of its own."""

from __future__ import annotations

import psycopg

from generation_worker.db.connections import Row, connect
from generation_worker.db.statements import load_statements
from generation_worker.domain.schema import SCHEMA
from generation_worker.ports import StoreUnavailable


class PostgresSignals:
    """Messages between the processes of one installation: the channel carries the schema's name. For one thread.

    Needs a direct address: through a transaction pooler LISTEN hears nothing, without an error.
    """

    def __init__(self, conninfo: str, *, schema: str = SCHEMA) -> None:
        self._conninfo = conninfo
        self._statements = load_statements(schema)
        self._connection: psycopg.Connection[Row] | None = None

    def open(self) -> None:
        self.close()
        try:
            self._connection = connect(self._conninfo, prepare=False)
            self._connection.execute(self._statements["listen"], {})
        except psycopg.Error as error:
            raise StoreUnavailable(f"listen: {error}") from error

    def send(self, message: str) -> None:
        """Over another connection: behind a pooler our own would bring its message back, and nobody else's."""
        try:
            with connect(self._conninfo, prepare=False) as other:
                other.execute(self._statements["send_message"], {"message": message})
        except psycopg.Error as error:
            raise StoreUnavailable(f"notify: {error}") from error

    def wait(self, seconds: float) -> list[str]:
        try:
            return [notify.payload for notify in self._opened().notifies(timeout=seconds, stop_after=1)]
        except psycopg.Error as error:
            raise StoreUnavailable(f"listen: {error}") from error

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _opened(self) -> psycopg.Connection[Row]:
        if self._connection is None or self._connection.closed:
            raise StoreUnavailable("listen: not connected")
        return self._connection
