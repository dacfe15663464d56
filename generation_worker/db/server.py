"""Answers about the server and the tables in it. Spans are in seconds."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from generation_worker.db.query import Asking


class Server(NamedTuple):
    """A server and the settings that a session of this role begins with."""

    version: str
    version_number: int
    database: str
    role: str
    replica: bool
    identity: str
    """The same for two addresses of one database."""
    isolation: str
    read_only: bool
    keeps_files: bool
    keeps_commits: bool
    """Whether a commit is on the disk when it is confirmed."""
    autovacuum: bool
    statement_timeout: float
    """0: none."""
    max_connections: int
    connections: int
    oldest_xid: int
    """Transactions since the oldest row that is not frozen."""


class VacuumHolder(NamedTuple):
    """Somebody who keeps vacuum from removing dead rows. What this role may not see is None."""

    kind: str
    """transaction, prepared transaction or replication slot."""
    name: str
    """The process, the transaction's name or the slot's."""
    application: str | None
    role: str | None
    state: str | None
    seconds: float | None
    since: datetime | None
    """When the last query began, or the transaction was prepared."""
    query: str | None
    """How the last query begins, without what stands in quotes."""
    transactions: int | None
    """How many began since."""
    kept_bytes: float | None


class TableHealth(NamedTuple):
    name: str
    live: int
    dead: int
    vacuumed_at: datetime | None
    autovacuum: bool
    bytes: float


class TableRights(NamedTuple):
    """What the current role may do with a table; ``hidden``: row-level security hides rows from it."""

    name: str
    owner: str
    owned: bool
    hidden: bool
    rights: list[str]


class Function(NamedTuple):
    """A function beside our tables; ``definer``: it calls others with the rights of its owner."""

    name: str
    source: str
    definer: bool
    allowed: bool


class SchemaPlace(NamedTuple):
    """Where the current role looks for our tables, and which schemas have some of their name."""

    role: str
    schema: str | None
    search_path: str
    job_table: str | None
    has_revision: bool
    schemas: list[str]


# Questions about the server and the tables in it.


class ServerInsights(Asking):
    def server(self) -> Server:
        """What kind of server this is and how it is set up."""
        return self._ask(Server, "server")[0]

    def vacuum_holders(self, *, limit: int = 5) -> list[VacuumHolder]:
        """Who keeps dead rows from being removed, the oldest first."""
        return self._ask(VacuumHolder, "vacuum_holders", limit=limit)

    def table_health(self, tables: Sequence[str]) -> list[TableHealth]:
        """Dead rows of those of ``tables`` that are there, the most first."""
        return self._ask(TableHealth, "table_health", tables=list(tables))

    def table_rights(self, tables: Sequence[str]) -> list[TableRights]:
        """What this role may do with those of ``tables`` that are there."""
        return self._ask(TableRights, "table_rights", tables=list(tables))

    def functions(self) -> list[Function]:
        """The functions beside our tables, and whether this role may call them."""
        return self._ask(Function, "functions")

    def schema_place(self) -> SchemaPlace:
        """Where this role looks for the tables."""
        return self._ask(SchemaPlace, "schema_place")[0]
