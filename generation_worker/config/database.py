"""The address of a database: what people write, made into what libpq understands."""

from __future__ import annotations

from dataclasses import dataclass, field

from generation_worker.config import prisma
from generation_worker.config.conninfo import format_conninfo, read_address, secrets_of
from generation_worker.config.errors import ConfigurationError

_DEFAULTS = {
    # A serverless database may have to wake up first.
    "connect_timeout": "15",
    # A connection whose other end has vanished is noticed in about a minute, instead of never
    # (keepalives, while we wait) or after a quarter of an hour (tcp_user_timeout, while we send).
    "keepalives": "1",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "30000",
    "application_name": "generation-worker",
}


@dataclass(frozen=True, slots=True)
class DatabaseAddress:
    """Where a database is and how it may be used."""

    conninfo: str = field(repr=False)
    """For libpq; holds the password."""
    label: str
    """Names the database without revealing anything: ``app at db.example.com:5432``."""
    pooled: bool = False
    """Behind a transaction pooler: no server-side prepared statements, no LISTEN, no session state."""
    pool_size: int | None = None
    """Most connections that the address allows us, or None if it does not say."""
    pool_timeout: float | None = None
    """Seconds to wait for a free connection, or None if it does not say."""
    search_path: str | None = None
    """The schema that the address names, unless it is public; ``conninfo`` sets it already."""
    notices: tuple[str, ...] = ()
    """What was left out or is doubtful, one line each, naming the variable."""

    def secrets(self) -> list[str]:
        """The passwords in ``conninfo``, as plain text."""
        return secrets_of(self.conninfo)


def parse_database_url(url: str, name: str = "DATABASE_URL") -> DatabaseAddress:
    """The address in ``url``: postgres://, postgresql://, postgresql+psycopg:// or key=value pairs.

    Parameters that libpq refuses are translated or left out with a notice. ``name`` is the
    variable that messages speak of. Raises ConfigurationError, which never shows the address.
    """
    given, extra = read_address(url, name)
    found = prisma.translate(given, extra)
    if found.problems:
        raise ConfigurationError([f"{name} {problem}" for problem in found.problems])
    params = _DEFAULTS | found.params
    return DatabaseAddress(
        conninfo=format_conninfo(params, name),
        label=_label(params),
        pooled=found.pooled,
        pool_size=found.pool_size,
        pool_timeout=found.pool_timeout,
        search_path=found.search_path,
        notices=tuple(f"{name} {notice}" for notice in found.notices),
    )


def _label(params: dict[str, str]) -> str:
    host = params.get("host") or params.get("hostaddr") or "the default socket"
    database = params.get("dbname") or params.get("user") or "the default database"
    return f"{database} at {host}:{params.get('port', '5432')}"
