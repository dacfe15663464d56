"""Connections to the database: the worker's pool, connections outside of it, and the pool of the HTTP API.

The server limits how long a statement waits and runs, so that a row locked in psql does not hold up a worker for ever.
"""

from __future__ import annotations

import math
import select
import threading
import time
from collections.abc import Generator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar

import psycopg
from psycopg import errors
from psycopg.abc import PQGen
from psycopg.rows import BaseRowFactory, class_row, dict_row
from psycopg_pool import ConnectionPool, PoolClosed, PoolTimeout

from generation_worker.db.statements import SCHEMA, load_statements
from generation_worker.ports import StoreBusy, StoreUnavailable

LOCK = 5.0
"""Seconds. Workers hold locks for milliseconds."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds, counted by the server. A statement that it ends has changed nothing, and may be sent again."""

    lock: float = LOCK
    """How long a statement waits for a lock."""
    statement: float = 30.0
    """How long a statement takes in all."""
    idle: float = 30.0
    """How long a transaction may be idle while it holds its locks."""

    @classmethod
    def sharing(cls, seconds: float, *, statements: int) -> Limits:
        """For so many statements that follow each other and must be over in ``seconds``."""
        each = seconds / statements
        return cls(lock=min(LOCK, each * 0.8), statement=each)

    def for_session(self) -> dict[str, str]:
        """Settings for all statements of a session, which has to be our own."""
        return self.for_transaction() | {"idle_in_transaction_session_timeout": milliseconds(self.idle)}

    def for_transaction(self) -> dict[str, str]:
        """Settings until the end of the transaction: through a pooler any other would stay for the next client.

        Without the limit on silence, which the server begins to count only between transactions' statements: the
        pooler ends a transaction whose client is gone.
        """
        return {
            "lock_timeout": milliseconds(self.lock),
            "statement_timeout": milliseconds(self.statement),
            "search_path": SAFE_PATH,
        }


def milliseconds(seconds: float) -> str:
    """Seconds as the server's settings take them."""
    return str(max(1, round(seconds * 1000)))  # 0 would mean without a limit


SAFE_PATH = "pg_catalog, pg_temp"
"""Statements name everything of ours in full. With this path nothing in another schema, such as a function that anybody
may define in public before PostgreSQL 15, can stand in for one of PostgreSQL's own."""


Row = tuple[Any, ...]

T = TypeVar("T")

PREPARE_AFTER = 2
"""A repeated statement is parsed once for a connection; the hot path has few and long ones."""
PLAN_EACH_TIME = {"plan_cache_mode": "force_custom_plan"}
"""Parsed once, but planned for what the tables hold now, which costs a third of a millisecond. A plan that was made
while they were empty would go through them row by row when a hundred thousand jobs have come in since."""
CHECK_AFTER = 1.0
"""Seconds after which a connection is checked before it is used again."""


class PooledConnection(psycopg.Connection[Row]):
    """Remembers when it was checked the last time."""

    checked_at = -math.inf


def connect(conninfo: str, *, prepare: bool, limits: Limits | None = None, **kwargs: Any) -> psycopg.Connection[Row]:
    """One connection in autocommit mode.

    ``prepare=False`` and no ``limits`` for a pooled address: there, session state is lost or reaches other clients.
    Raises psycopg.OperationalError.
    """
    connection = psycopg.connect(
        conninfo, autocommit=True, prepare_threshold=PREPARE_AFTER if prepare else None, **kwargs
    )
    _begin_session(connection, _session_settings(prepare, limits))
    return connection


def _session_settings(prepare: bool, limits: Limits | None) -> dict[str, str]:
    """The settings of a session of our own. Behind a pooler nothing is prepared, so each statement is planned."""
    return (PLAN_EACH_TIME if prepare else {}) | (limits.for_session() if limits else {})


def _begin_session(connection: psycopg.Connection[Any], settings: Mapping[str, str]) -> None:
    if not settings:
        return
    try:
        apply(connection, settings, to="session")
    except BaseException:
        connection.close()
        raise


def apply(
    connection: psycopg.Connection[Any], settings: Mapping[str, str], *, to: Literal["session", "transaction"]
) -> None:
    """Set settings of the server, by their names there."""
    statement = load_statements()[f"set_for_{to}"]
    connection.execute(statement, {"names": list(settings), "values": list(settings.values())}, prepare=False)


def open_pool(
    conninfo: str, *, prepare: bool, size: int, timeout: float = 10.0, limits: Limits | None = None
) -> ConnectionPool[Any]:
    """A pool of at most ``size`` connections, as ``connect`` makes them; a statement waits ``timeout`` seconds for one.

    A connection is checked before it is used: one that died with the server costs a reconnect, not a statement.
    """
    settings = _session_settings(prepare, limits)
    return ConnectionPool(
        conninfo,
        connection_class=PooledConnection,
        kwargs={"autocommit": True, "prepare_threshold": PREPARE_AFTER if prepare else None},
        min_size=1,
        max_size=size,
        timeout=timeout,
        max_idle=120.0,
        max_lifetime=1800.0,
        configure=lambda connection: _begin_session(connection, settings),
        check=check_connection,
        open=True,
        name="generation-worker",
    )


def check_connection(connection: PooledConnection) -> None:
    """Raise psycopg's error if the connection is dead.

    One that is used often is not checked each time, which would be one more round trip for every statement. A server
    that closes a connection sends a message, which can be seen without a round trip.
    """
    now = time.monotonic()
    if now - connection.checked_at > CHECK_AFTER or _has_unread_input(connection):
        ConnectionPool.check_connection(connection)
    connection.checked_at = now


def _has_unread_input(connection: PooledConnection) -> bool:
    socket = select.poll()
    socket.register(connection.fileno(), select.POLLIN)
    return bool(socket.poll(0))


class OwnConnection:
    """One connection, opened again after it broke. For one thread."""

    def __init__(self, conninfo: str, *, prepare: bool, limits: Limits | None = None) -> None:
        self._conninfo = conninfo
        self._prepare = prepare
        self._limits = limits
        self._connection: psycopg.Connection[Row] | None = None
        self._lock = threading.Lock()

    @contextmanager
    def connection(self) -> Generator[psycopg.Connection[Row]]:
        with self._lock:
            if self._connection is None or self._connection.closed:
                self._connection = connect(self._conninfo, prepare=self._prepare, limits=self._limits)
            try:
                yield self._connection
            except psycopg.Error:
                if self._connection.broken:
                    self.close()
                raise

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


UNAVAILABLE = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    psycopg.errors.ReadOnlySqlTransaction,  # a failover put us on a replica, or a full disk stopped all writing
    psycopg.errors.IdleInTransactionSessionTimeout,
    psycopg.errors.TransactionTimeout,
    PoolTimeout,
    PoolClosed,
)
"""Errors of the server's state, which will pass; all others are errors of the statement."""


class Connections(Protocol):
    """A pool, or another source of connections in autocommit mode."""

    def connection(self) -> AbstractContextManager[psycopg.Connection[Row]]: ...


class Runner:
    """Runs statements by their names, for the worker. Safe to use from many threads if its connections are.

    ``limits`` go along with each statement, in the same round trip. They are for connections through a pooler; a
    session of our own gets its limits once. Every method raises StoreUnavailable, or StoreBusy for a lock that was not
    free in time.
    """

    def __init__(self, connections: Connections, *, schema: str = SCHEMA, limits: Limits | None = None) -> None:
        self._connections = connections
        self._limits = limits and limits.for_transaction()
        self._statements = load_statements(schema)

    def _all(self, row: type[T], statement: str, **values: Any) -> list[T]:
        return self._run(class_row(row), statement, values).fetchall()

    def _one_or_none(self, row: type[T], statement: str, **values: Any) -> T | None:
        found = self._all(row, statement, **values)
        return found[0] if found else None

    def _rows(self, statement: str, *, keep: bool = True, **values: Any) -> list[dict[str, Any]]:
        """With ``keep=False`` the changes are rolled back."""
        return self._run(dict_row, statement, values, keep=keep).fetchall()

    def _change(self, statement: str, **values: Any) -> int:
        """The number of rows that it changed or returned."""
        return self._run(dict_row, statement, values).rowcount

    def _run(
        self, factory: BaseRowFactory[T], statement: str, values: Mapping[str, Any], *, keep: bool = True
    ) -> psycopg.Cursor[T]:
        text = self._statements[statement]
        try:
            with self._connections.connection() as connection, nullcontext() if keep else _undone(connection):
                cursor = connection.cursor(row_factory=factory)
                if self._limits is None:
                    return cursor.execute(text, values)
                with connection.pipeline():  # without a BEGIN, a pipeline is one transaction
                    apply(connection, self._limits, to="transaction")
                    cursor.execute(text, values)
                return cursor
        except psycopg.errors.LockNotAvailable as error:
            raise StoreBusy(f"{statement}: {error}") from error
        except UNAVAILABLE as error:
            raise StoreUnavailable(f"{statement}: {error}") from error


def _undone(connection: psycopg.Connection[Row]) -> AbstractContextManager[object]:
    return connection.transaction(force_rollback=True)


RV = TypeVar("RV")

APPLICATION = "generation-worker api"
CONNECTIONS = 4
QUEUE = 40
"""How many requests may wait for a connection; the next one gets a 503."""
ACQUIRE_TIMEOUT = 3.0
"""Seconds to wait for a connection."""
REQUEST_TIMEOUT = 5.0
"""Seconds for all statements of a request together, whatever the server or the network does."""
SESSION = PLAN_EACH_TIME | Limits(lock=2.0, statement=4.0, idle=10.0).for_session()
"""For a session of our own. Behind a pooler, which shares sessions, the client's deadline is the only limit."""


class ApiConnection(PooledConnection):
    """Has a deadline on the client's side, for a server that does not answer."""

    deadline = math.inf

    def wait(self, gen: PQGen[RV], interval: float = 0.1, timeout: float | None = None) -> RV:
        left = self.deadline - time.monotonic() if timeout is None else timeout
        try:
            return super().wait(gen, interval, None if left == math.inf else max(0.0, left))
        except errors._WaitTimeout:  # pyright: ignore[reportPrivateUsage] # there is no other name for it
            self.close()
            raise psycopg.OperationalError(f"no answer within {REQUEST_TIMEOUT:g} s") from None


def open_api_pool(conninfo: str, *, prepare: bool) -> ConnectionPool[ApiConnection]:
    """Opens its first connection for the first request, so that a serverless database may sleep until then."""
    return ConnectionPool(
        conninfo,
        connection_class=ApiConnection,
        kwargs={
            "autocommit": True,
            "prepare_threshold": PREPARE_AFTER if prepare else None,
            "connect_timeout": 3,
            "application_name": APPLICATION,
        },
        min_size=0,
        max_size=CONNECTIONS,
        max_waiting=QUEUE,
        timeout=ACQUIRE_TIMEOUT,
        max_idle=60.0,
        configure=_begin_api_session if prepare else None,
        check=_check_api_connection,
        open=True,
        name="generation-worker-api",
    )


class ApiConnections:
    """Connections of the API's pool. Errors of the server's state are raised as StoreUnavailable."""

    def __init__(self, pool: ConnectionPool[ApiConnection]) -> None:
        self._pool = pool

    @contextmanager
    def connection(self) -> Generator[psycopg.Connection[Row]]:
        try:
            with self._pool.connection() as connection:
                connection.deadline = time.monotonic() + REQUEST_TIMEOUT
                yield connection
        except UNAVAILABLE as error:
            raise StoreUnavailable(f"the HTTP API's database: {error}") from error


def _begin_api_session(connection: ApiConnection) -> None:
    connection.deadline = time.monotonic() + ACQUIRE_TIMEOUT
    apply(connection, SESSION, to="session")


def _check_api_connection(connection: ApiConnection) -> None:
    connection.deadline = time.monotonic() + ACQUIRE_TIMEOUT
    check_connection(connection)


Connection = psycopg.Connection[Row]


class TookTooLong(StoreUnavailable):
    """A query was not answered in time."""


class SingleConnection:
    """One connection as a source of connections, for code that takes a pool otherwise."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @contextmanager
    def connection(self) -> Generator[Connection]:
        yield self._connection


@contextmanager
def read_only(connections: Connections, *, seconds: float) -> Generator[SingleConnection]:
    """A connection in a transaction that only reads, in which no statement takes longer than ``seconds``.

    Raises StoreUnavailable, of which TookTooLong is one.
    """
    settings = {"transaction_read_only": "on", "statement_timeout": milliseconds(seconds)}
    try:
        with connections.connection() as connection, connection.transaction():
            apply(connection, settings, to="transaction")
            yield SingleConnection(connection)
    except (psycopg.errors.QueryCanceled, psycopg.errors.LockNotAvailable) as error:
        raise TookTooLong(f"not answered within {seconds:g} s, or before: {error}") from error
    except UNAVAILABLE as error:
        raise StoreUnavailable(str(error)) from error
