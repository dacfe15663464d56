"""Facts about the database server and our tables in it, for doctor and metrics. Durations are in seconds."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from generation_worker.db.query import Queries


class Server(NamedTuple):
    """A server, and the settings with which a session of this role begins."""

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
    """A session or slot that keeps vacuum from removing dead rows. None: this role may not see it."""

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
    """The beginning of the last query, without texts in quotes."""
    transactions: int | None
    """Transactions that began since."""
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
    """A function in the schema of our tables. ``definer``: it runs with the rights of its owner."""

    name: str
    source: str
    definer: bool
    allowed: bool


class SnapshotAge(NamedTuple):
    seconds: float


class SchemaPlace(NamedTuple):
    """Whether the current role can use our schema, and which other schemas have tables of ours."""

    role: str
    present: bool
    usable: bool
    has_tables: bool
    has_revision: bool
    elsewhere: list[str]


class OpenDoor(NamedTuple):
    """Something that everybody, or a role that stands for everybody, may do with one of our objects."""

    role: str
    may: str
    object: str


class Backend(NamedTuple):
    pid: int


class ServerClock(NamedTuple):
    seconds: float


class Revision(NamedTuple):
    version_num: str


def read_server(queries: Queries) -> Server:
    """The kind and the settings of the server."""
    return queries.one(Server, "server")


def list_vacuum_holders(queries: Queries, *, limit: int = 5) -> list[VacuumHolder]:
    """The sessions and slots that keep dead rows from being removed, the oldest first."""
    return queries.all(VacuumHolder, "vacuum_holders", limit=limit)


def read_snapshot_age(queries: Queries) -> float:
    """Seconds since the oldest open snapshot was taken, as far as the role may see; 0 if there is none."""
    return queries.one(SnapshotAge, "oldest_snapshot").seconds


def list_table_health(queries: Queries, tables: Sequence[str]) -> list[TableHealth]:
    """Dead rows of those of ``tables`` that exist, the table with the most first."""
    return queries.all(TableHealth, "table_health", schema=queries.schema, tables=list(tables))


def list_table_rights(queries: Queries, tables: Sequence[str]) -> list[TableRights]:
    """The current role's rights on those of ``tables`` that exist."""
    return queries.all(TableRights, "table_rights", schema=queries.schema, tables=list(tables))


def list_functions(queries: Queries) -> list[Function]:
    """The functions in the schema of our tables, and whether this role may call them."""
    return queries.all(Function, "functions", schema=queries.schema)


def find_schema(queries: Queries) -> SchemaPlace:
    """Whether this role can use the schema of ``queries``, and where else there are tables of ours."""
    return queries.one(SchemaPlace, "schema_place", schema=queries.schema)


def find_revision(queries: Queries) -> str | None:
    """The revision of the tables; None if they were migrated back to nothing. Raises psycopg.Error without any."""
    found = queries.one_or_none(Revision, "current_revision")
    return found.version_num if found else None


def list_open_doors(queries: Queries, tables: Sequence[str], functions: Sequence[str]) -> list[OpenDoor]:
    """What PUBLIC, anon and authenticated may do with the schema and these of our tables and functions."""
    return queries.all(OpenDoor, "open_doors", schema=queries.schema, tables=list(tables), functions=list(functions))


def find_backend(queries: Queries) -> int:
    """The process of the server that answers."""
    return queries.one(Backend, "backend").pid


def read_clock(queries: Queries) -> float:
    """The server's clock, in seconds since 1970."""
    return queries.one(ServerClock, "round_trip").seconds
