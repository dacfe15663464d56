"""Runs statements that the worker knows by name, and says of errors whether the server or the statement is to blame."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar, Protocol

import psycopg
from psycopg_pool import PoolClosed, PoolTimeout

from generation_worker.db.limits import Limits
from generation_worker.db.statements import load_bare_statements
from generation_worker.ports import StoreBusy, StoreUnavailable

Row = tuple[Any, ...]

UNAVAILABLE = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    psycopg.errors.ReadOnlySqlTransaction,  # a failover put us on a replica, or a full disk stopped all writing
    psycopg.errors.IdleInTransactionSessionTimeout,
    psycopg.errors.TransactionTimeout,
    PoolTimeout,
    PoolClosed,
)
"""Errors that lie in the server's state and will pass; all others lie in what was asked."""


class Connections(Protocol):
    """A pool, or anything else that lends a connection in autocommit mode."""

    def connection(self) -> AbstractContextManager[psycopg.Connection[Row]]: ...


class Runner:
    """Runs the statements of ``folder``. Safe to use from many threads if its connections are.

    ``limits`` go along with each statement, in the same round trip. They are for connections through a pooler; a
    session of our own is told its limits once.
    """

    folder: ClassVar[str]

    def __init__(self, connections: Connections, *, limits: Limits | None = None) -> None:
        self._connections = connections
        self._limits = limits and limits.for_transaction()
        self._statements = load_bare_statements(self.folder)

    def _run(self, statement: str, **values: Any) -> list[Row]:
        return self._execute(statement, values).fetchall()

    def _change(self, statement: str, **values: Any) -> int:
        return self._execute(statement, values).rowcount

    def _execute(self, statement: str, values: Mapping[str, Any], *, keep: bool = True) -> psycopg.Cursor[Row]:
        """``keep=False``: as if, whatever it changes is rolled back."""
        text = self._statements[statement]
        try:
            with self._connections.connection() as connection, nullcontext() if keep else _undone(connection):
                if self._limits is None:
                    return connection.execute(text, values)
                with connection.pipeline():  # without a BEGIN all that goes together is one transaction
                    connection.execute(self._limits)
                    cursor = connection.execute(text, values)
                return cursor
        except psycopg.errors.LockNotAvailable as error:
            raise StoreBusy(f"{statement}: {error}") from error
        except UNAVAILABLE as error:
            raise StoreUnavailable(f"{statement}: {error}") from error


def _undone(connection: psycopg.Connection[Row]) -> AbstractContextManager[object]:
    return connection.transaction(force_rollback=True)
