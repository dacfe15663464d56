"""Answers about the server and the tables in it. Spans are in seconds."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple


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
