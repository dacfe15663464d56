"""A migrated database that is as new for each test, within a few milliseconds."""

from __future__ import annotations

import os
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row

from generation_worker.db import migrations, statements
from generation_worker.db.query import Queries
from generation_worker.db.statements import in_schema, quoted
from generation_worker.domain.schema import SCHEMA as DEFAULT
from tests.canaries import tables
from tests.support.servers import Server

Connection = psycopg.Connection[Any]

SCHEMA = os.environ.get("TEST_DATABASE_SCHEMA", DEFAULT)
"""Where the tables of the tests are."""
PATH = f"{quoted(SCHEMA)},public"
"""What tests write into their statements need not name the schema. Sessions of the product have no such path."""

OPTIONS = f"-c search_path={PATH}"
"""The path as the server takes it at the start of a session."""
NAMESPACE = f"'{quoted(SCHEMA)}'::regnamespace"
"""The schema as the catalogues know it."""

if SCHEMA != DEFAULT:
    # What a test builds without naming a schema is in the tests' schema, too. That the program hands its schema to
    # everything is shown without this, by processes and by tests/db/test_schema.py.
    statements.in_schema = lambda text, schema: in_schema(text, SCHEMA if schema == DEFAULT else schema)
    statements.load_statements.cache_clear()
    statements.statement_sources.cache_clear()

# DELETE is quicker than TRUNCATE for the few rows that most tests leave. Rows that a migration has put there come back.
# The triggers that guard rows are asleep in this session only.
RESET = """
CREATE SCHEMA as_new;
DO $$
DECLARE name text;
BEGIN
  FOR name IN
    SELECT relname FROM pg_class WHERE relnamespace = split_part('generation.', '.', 1)::regnamespace AND relkind = 'r'
  LOOP
    EXECUTE format('CREATE TABLE as_new.%1$I AS TABLE generation.%1$I', name);
  END LOOP;
END $$;
CREATE FUNCTION as_new.reset() RETURNS void LANGUAGE plpgsql SET session_replication_role = replica AS $$
DECLARE name text;
BEGIN
  PERFORM pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND backend_type = 'client backend' AND state <> 'idle'
      AND pid <> pg_backend_pid();
  FOR name IN SELECT relname FROM pg_class WHERE relnamespace = 'as_new'::regnamespace AND relkind = 'r' LOOP
    CASE
      WHEN pg_relation_size(format('generation.%I', name)) > 65536 THEN
        EXECUTE format('TRUNCATE generation.%I CASCADE', name);
      WHEN pg_relation_size(format('generation.%I', name)) > 0 THEN
        EXECUTE format('DELETE FROM generation.%I', name);
      ELSE NULL;
    END CASE;
  END LOOP;
  FOR name IN
    SELECT relname FROM pg_class
     WHERE relnamespace = 'as_new'::regnamespace AND relkind = 'r' AND pg_relation_size(oid) > 0
  LOOP
    EXECUTE format('INSERT INTO generation.%1$I SELECT * FROM as_new.%1$I', name);
  END LOOP;
END $$;
"""


def listen(connection: Connection) -> None:
    """Hear the messages between the processes of the tests' installation."""
    connection.execute(statements.load_statements(SCHEMA)["listen"], {})


class Database:
    """One database of the test server.

    `conninfo` may lead through a pooler, `direct_conninfo` does not; both are URLs that libpq accepts.
    """

    def __init__(self, server: Server) -> None:
        self.conninfo = server.url
        self.direct_conninfo = server.direct_url
        self.pooled = server.pooled
        self._connections: list[Connection] = []
        self._keeper: Connection | None = None
        self._first: Connection | None = None
        self._first_is_lent = False

    @property
    def environment(self) -> dict[str, str]:
        """The settings with which a worker uses this database."""
        pooled = "?pgbouncer=true" if self.pooled else ""
        return {
            "DATABASE_URL": self.conninfo + pooled,
            "DIRECT_URL": self.direct_conninfo,
            "DATABASE_SCHEMA": SCHEMA,
        }

    def connect(self, **options: Any) -> Connection:
        """A connection of its own, autocommit unless told otherwise, closed after the test.

        The first one is the same session in every test, made as new: what a session does first costs it the most.
        """
        if options or self.pooled or self._first_is_lent or not self._sessions_begin_as_usual():
            path = {} if self.pooled else {"options": OPTIONS}
            return self._open(self.conninfo, path | options)
        if self._first is None:
            self._first = _connect(self.conninfo, options=OPTIONS)
        self._first_is_lent = True
        return self._first

    def connect_direct(self, **options: Any) -> Connection:
        """As `connect`, past the pooler: for what belongs to a session, such as LISTEN, SET or a temporary table."""
        return self._open(self.direct_conninfo, {"options": OPTIONS} | options)

    def migrate(self) -> None:
        """Make the tables, and remember how they look when new."""
        migrations.upgrade(self.direct_conninfo, schema=SCHEMA)
        self._keeper = psycopg.connect(self.direct_conninfo, autocommit=True, options=OPTIONS)
        if self.pooled:  # a pooler takes no options, and no session keeps its path
            self._keeper.execute(f"ALTER DATABASE {self._keeper.info.dbname} SET search_path = {PATH}".encode())
        self._keeper.execute(in_schema(RESET, SCHEMA).encode())
        tables.prepare(self._keeper)

    def reset(self) -> None:
        """Make the tables as new, and end what other connections are in the middle of."""
        assert self._keeper is not None
        self._keeper.execute("SELECT as_new.reset()")

    def look_for_secrets(self) -> None:
        """Look at all that a test leaves in the tables."""
        assert self._keeper is not None
        tables.look_at_tables(self._keeper)

    def close_connections(self) -> None:
        """Close those of a test, but for the first if it can be made as new."""
        while self._connections:
            self._connections.pop().close()
        if self._first is not None and self._first_is_lent and not _made_as_new(self._first):
            self._first.close()
            self._first = None
        self._first_is_lent = False

    def close(self) -> None:
        for connection in (*self._connections, self._first, self._keeper):
            if connection is not None:
                connection.close()

    def _open(self, conninfo: str, options: dict[str, Any]) -> Connection:
        connection = _connect(conninfo, **options)
        self._connections.append(connection)
        return connection

    def _sessions_begin_as_usual(self) -> bool:
        """Not after ALTER DATABASE … SET, which only a new session heeds, nor in a database for one test alone."""
        usual = "SELECT NOT EXISTS (SELECT FROM pg_db_role_setting)"
        return self._keeper is not None and self._keeper.execute(usual).fetchone() == (True,)


def queries_on(connection: Connection) -> Queries:
    """The product's queries on a connection of the tests, within its transaction."""
    return Queries.on(connection, schema=SCHEMA)


def _connect(conninfo: str, **options: Any) -> Connection:
    defaults: dict[str, Any] = {"autocommit": True, "prepare_threshold": None}
    return psycopg.connect(conninfo, **(defaults | options))


def _made_as_new(connection: Connection) -> bool:
    """Whether it could be: not when it was closed, killed or left in the middle of something."""
    if connection.closed or connection.info.transaction_status != TransactionStatus.IDLE:
        return False
    try:
        connection.execute("DISCARD ALL")  # settings, locks, LISTEN, temporary tables, plans
    except psycopg.OperationalError:
        return False
    list(connection.notifies(timeout=0))  # what nobody has read
    connection.row_factory = tuple_row
    return connection.autocommit and connection.prepare_threshold is None
