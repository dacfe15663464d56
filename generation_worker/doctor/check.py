"""What a check is, and what checks of several areas use: sessions, remedies, the check of the settings."""

import re
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg

from generation_worker.config import ConfigurationError, Settings
from generation_worker.config.settings import declarations
from generation_worker.db.connections import SAFE_PATH, Row, apply, connect
from generation_worker.domain.finding import Verdict, fault, ok, skipped
from generation_worker.registrations import REGISTRATIONS, configured_providers

Verdicts = Verdict | Sequence[Verdict]
CAUSES = (
    (("password authentication failed", "no password supplied"),
     "Correct user and password in {name}; percent-encode what is special in a password (@ is %40, / is %2F)"),
    (("tenant or user not found", "enotfound"),
     "Copy host and user for {name} from Supabase's Connect page: its pooler knows users as postgres.PROJECT"),
    (("endpoint id is not specified",), "Give {name} Neon's host name as it stands in its console, not an IP address"),
    (("quota",), "The plan's allowance is used up: raise it at the provider"),
    (("endpoint is disabled", "endpoint has been disabled"), "Enable the compute in Neon's console"),
    (("no pg_hba.conf entry", "not allowed to connect", "ip not allowed"),
     "Let this machine in: pg_hba.conf or the provider's list of addresses; if it says no encryption, add "
     "sslmode=require to {name}"),
    (("could not translate host name", "failed to resolve host", "name resolution"),
     "Correct the host in {name}; a private name is known inside its own network only"),
    (("network is unreachable", "cannot assign requested address", "no route to host"),
     "The host may have an IPv6 address only, as Supabase's direct one, and this machine none: use the session "
     "pooler's host in {name}"),
    (("connection refused",), "Is the server running, and are host and port in {name} right?"),
    (("timeout expired", "timed out"),
     "A firewall or a wrong port lets nothing through; a database that was asleep may answer the second time"),
    (("unsupported startup parameter",),
     "The pooler takes no options: remove them from {name}, use ALTER ROLE … SET instead"),
    (("too many clients", "too many connections", "remaining connection slots", "no more connections allowed"),
     "Close what is idle, raise max_connections, or put a pooler's address into DATABASE_URL"),
    (("does not support ssl",), "Remove sslmode from {name}, or switch TLS on at the server"),
    (("certificate",),
     "Name the server's certificate authority with sslrootcert in {name}, and the host as the certificate has it"),
    (("starting up", "shutting down", "recovery mode", "not yet accepting"), "Wait until the server is up"),
    (("permission denied for database",), "GRANT CONNECT ON DATABASE … to the role in {name}"),
    (("role \"",), "Correct the user in {name}, or create the role"),
    (("database \"",), "Correct the name of the database in {name}, or create it"),
    (("does not exist", "permission denied"), "See database.schema and database.rights"),
    (("statement timeout",), "Try again when the database is less busy"),
)  # fmt: skip
"""Parts of messages of servers, proxies and libpq, in lower case, and the remedy. Most of them have no error code."""
HINT = re.compile(r" Is the server running[^?]*\?")
"""A question of libpq's that the remedy answers better."""
BOUND = {"statement_timeout": "10s", "search_path": SAFE_PATH}
"""No check waits longer for an answer, and the server must not go on with the statement."""
CORRECT = "Correct it in the environment or in .env; .env.example says what each setting takes"
DEPENDENTS = {
    "Database": ("database", "fleet"),
    "Storage: S3": ("storage",),
    "Storage: Cloudflare R2": ("storage",),
    "Storage: local disk": ("storage", "machine.disk"),
    "Inputs by URL": ("machine.disk",),
    "Images": ("images",),
    "HTTP": ("machine.port",),
}
"""Group of settings → the areas and checks that depend on it. A provider's group begins with its name."""


@dataclass(frozen=True, slots=True)
class Check:
    """``name`` begins with the area, as in ``storage.put``.

    ``prepare`` runs before and does not count as its time. If one of ``needs``, checks of the same area, found a
    fault or was skipped, then this one is skipped.
    """

    name: str
    run: Callable[[], Verdicts]
    needs: tuple[str, ...] = ()
    prepare: Callable[[], object] | None = None


class ReadOnlySessions:
    """Connections to one address, each in a transaction that may only read. They work through any pooler.

    Every check that runs has a connection of its own, so a check that hangs keeps no other one waiting.
    """

    def __init__(self, conninfo: str) -> None:
        self._conninfo = conninfo
        self._idle: list[psycopg.Connection[Row]] = []
        self._lock = threading.Lock()

    @contextmanager
    def connection(self) -> Generator[psycopg.Connection[Row]]:
        """A connection for the block. Raises psycopg.OperationalError if the server gives none."""
        connection = self._take()
        try:
            with connection.transaction():
                apply(connection, BOUND, to="transaction")
                yield connection
        except BaseException:
            connection.close()
            raise
        with self._lock:
            self._idle.append(connection)

    def close(self) -> None:
        with self._lock:
            while self._idle:
                self._idle.pop().close()

    def _take(self) -> psycopg.Connection[Row]:
        with self._lock:
            if self._idle:
                return self._idle.pop()
        connection = connect(self._conninfo, prepare=False)
        connection.read_only = True
        return connection


def skipped_check(name: str, reason: str) -> Check:
    """A check that only says why there is nothing to check."""
    return Check(name, lambda: skipped(reason))


def unreachable(error: psycopg.Error, name: str) -> Verdict:
    """Why the address in the variable ``name`` cannot be used."""
    message = HINT.sub("", " ".join(str(error).split()))
    return fault(f"{name}: {message or type(error).__name__}", remedy_for(message, name))


def all_problems(settings: Settings, problems: Sequence[str]) -> list[str]:
    """``problems`` of the settings, and that there is no database if none is named."""
    found = list(problems)
    if not any(re.match(r"DATABASE_URL\b", problem) for problem in found):
        try:
            settings.require_database()
        except ConfigurationError as error:
            found += error.problems
    return found


def settings_check(settings: Settings, problems: Sequence[str]) -> Check:
    def run() -> Verdicts:
        faults = [fault(problem, CORRECT) for problem in problems]
        warnings = [Verdict("warning", notice) for notice in settings.notices]  # a notice names its remedy itself
        return [*faults, *warnings] or [ok(_summary(settings))]

    return Check("settings", run)


def affected_checks(problems: Sequence[str]) -> set[str]:
    """The areas and checks whose settings are wrong."""
    return {name for problem in problems for group in _groups(problem) for name in _dependents(group)}


def remedy_for(message: str, name: str) -> str:
    lower = message.lower()
    for phrases, remedy in CAUSES:
        if any(phrase in lower for phrase in phrases):
            return remedy.format(name=name)
    return f"Check {name} and that the server runs"


def _dependents(group: str) -> Sequence[str]:
    provider = group.split(maxsplit=1)[0].lower()
    of_provider = [f"providers.{each.name}" for each in REGISTRATIONS if each.name == provider]
    return of_provider or DEPENDENTS.get(group, ())


def _groups(problem: str) -> Iterator[str]:
    words = set(re.findall(r"[A-Z][A-Z0-9_]+", problem))
    for setting in declarations().values():
        if words & set(setting.names):
            yield setting.group


def _summary(settings: Settings) -> str:
    providers = ", ".join(configured_providers(settings)) or "none"
    count = len(settings.origins)
    return f"{count} are set; providers: {providers}; storage: {settings.storage}"
