"""Checks of the database, over DATABASE_URL and DIRECT_URL: connection, clock, poolers, tables, LISTEN."""

import ipaddress
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, NamedTuple

import psycopg
from psycopg.conninfo import conninfo_to_dict

from generation_worker import wiring
from generation_worker.config import DatabaseAddress, Settings
from generation_worker.db import connections, migrations, query, server, statements
from generation_worker.doctor import postgres
from generation_worker.doctor.check import Check, ReadOnlySessions, Verdicts, skipped_check, unreachable
from generation_worker.domain.estimate import span
from generation_worker.domain.finding import Verdict, fault, ok, skipped, warning
from generation_worker.domain.schema import SCHEMA
from generation_worker.ports import Signals, StoreUnavailable
from generation_worker.worker.signals import receives_own_message

FAR = 0.1
"""Seconds of a round trip that slow down each step of a job."""
SAMPLES = 5
ROUNDS = 5
"""Statements of each client. A busy pooler may give the same process to the same client for a while."""
MIGRATE = "Run: generation-worker migrate"
NAME, DIRECT = "DATABASE_URL", "DIRECT_URL"
REACHED = ("database.connection",)
DIRECT_OK = ("database.direct",)
POLLING = "jobs are found by polling alone, every POLL_INTERVAL_MS"
GIVE_DIRECT = "Put the address without the pooler into DIRECT_URL"
AWAKE = (
    "Neon: a worker keeps this database awake, about 20 dollars a month on the Launch plan; "
    "generation-worker run --until-empty from a scheduler lets it sleep"
)


class Pooling(NamedTuple):
    """``shared``: sessions share server processes. ``proxied``: the other end of the connection is not the server."""

    shared: bool
    proxied: bool


def examine_connection(sessions: ReadOnlySessions, label: str, name: str) -> Verdict:
    """``label`` names the database to people, ``name`` is the variable with its address. Raises psycopg.Error."""
    with sessions.connection() as connection:
        trip = _round_trip(connection)
        encrypted = bool(connection.pgconn.ssl_in_use)
        public = _is_public(connection.info.hostaddr)
    found = f"{label}{', TLS' if encrypted else ''}, a round trip takes {1000 * trip:.1f} ms"
    if public and not encrypted:
        return warning(f"{found}, without encryption over the internet", f"Add sslmode=require to {name}")
    if trip > FAR:
        return warning(found, "Run workers in the region of the database: a job takes a dozen round trips")
    return ok(found)


def examine_clock(sessions: ReadOnlySessions) -> Verdict:
    """How this machine's clock differs from the database's, to half a round trip. Raises psycopg.Error."""
    with sessions.connection() as connection:
        _, ahead = min(_clock(connection) for _ in range(SAMPLES))
    if abs(ahead) < 2:
        return ok(f"this machine and the database differ by {span(abs(ahead))}")
    way = "ahead of" if ahead > 0 else "behind"
    return warning(
        f"this machine is {span(abs(ahead))} {way} the database",
        "Synchronise its clock (NTP); jobs go by the database's, but logs and signatures by this one",
    )


def find_pooling(conninfo: str) -> Pooling:
    """Find out whether a pooler or proxy is between us and the server, whatever the address says.

    Behind a transaction pooler sessions share the server's processes, and state of a session is lost after its
    transaction. So there is a pooler if two clients see the same process number, or one client sees two.

    Raises psycopg.OperationalError.
    """
    with ExitStack() as stack:
        clients = [stack.enter_context(connections.connect(conninfo, prepare=False)) for _ in range(2)]
        seen = [[server.find_backend(query.Queries.on(client)) for client in clients] for _ in range(ROUNDS)]
        announced = [client.info.backend_pid for client in clients]
    return Pooling(
        shared=any(len(set(found)) < len(found) or found != seen[0] for found in seen), proxied=announced != seen[0]
    )


def judge_pooled(found: Pooling, *, declared: bool) -> Verdict:
    """For DATABASE_URL; ``declared``: the address says that there is a pooler."""
    if found.shared and not declared:
        return fault(
            "there is a transaction pooler, and DATABASE_URL does not say so: prepared statements will fail",
            "Add ?pgbouncer=true to DATABASE_URL, and put the address without the pooler into DIRECT_URL",
        )
    if declared and not found.proxied:
        return warning(
            "DATABASE_URL says that there is a pooler, and there is none: statements are parsed each time",
            "Remove pgbouncer=true from DATABASE_URL",
        )
    if found.shared:
        return ok("a transaction pooler, as DATABASE_URL says: nothing is prepared or kept in a session")
    return ok("a proxy that keeps sessions apart" if found.proxied else "a direct connection")


def judge_direct(found: Pooling) -> Verdict:
    """For DIRECT_URL."""
    if found.shared:
        return fault(
            "DIRECT_URL leads through a transaction pooler: LISTEN receives nothing there, and sessions get mixed up",
            "Put the address without the pooler into DIRECT_URL: Neon's host without -pooler, Supabase's port 5432",
        )
    return ok("a proxy that keeps sessions apart" if found.proxied else "a direct connection")


def examine_schema(queries: query.Queries) -> Verdict:
    """Raises psycopg.Error, also if the role may not read the revision."""
    place = server.find_schema(queries)
    revision = server.find_revision(queries) if place.usable and place.has_revision else None
    return judge_schema(place, revision, migrations.head(), schema=queries.schema)


def judge_schema(place: server.SchemaPlace, revision: str | None, head: str, *, schema: str = SCHEMA) -> Verdict:
    """``revision`` is None where there is none, ``head`` the one that this version needs."""
    if place.present and not place.usable:
        return fault(
            f"{place.role} may not use the schema {schema}",
            f'GRANT USAGE ON SCHEMA {statements.quoted(schema)} TO "{place.role}"; '
            "sql/roles.sql grants all that a worker needs",
        )
    if place.has_tables and not place.has_revision:
        return fault(
            f"the tables in the schema {schema} are not those of this version",
            "Set DATABASE_SCHEMA to a name that is free, and run generation-worker migrate",
        )
    if revision is None or not place.has_tables:
        return _judge_absence(place, schema)
    if revision < head:
        return fault(f"the tables are at revision {revision}, this version needs {head}", MIGRATE)
    if revision > head:
        return warning(
            f"the tables are at revision {revision}, newer than this version knows ({head})",
            "Install the version that migrated them; while a deployment is under way all is well",
        )
    return ok(f"revision {revision}, in schema {schema}")


def database_checks(settings: Settings, sessions: ReadOnlySessions | None) -> list[Check]:
    """``sessions`` are those of DATABASE_URL, None if there is none."""
    if sessions is None:
        return [skipped_check("database", f"{NAME} is not set")]
    address = settings.require_database()
    direct = settings.database_addresses().get(DIRECT)
    queries = query.Queries(sessions, schema=address.schema)

    def check(name: str, run: Callable[[], Verdicts], needs: tuple[str, ...] = REACHED) -> Check:
        return Check(f"database.{name}", lambda: _query(run, NAME), needs)

    return [
        check("connection", lambda: examine_connection(sessions, address.label, NAME), ()),
        check("server", lambda: postgres.judge_server(server.read_server(queries))),
        check("schema", lambda: examine_schema(queries)),
        check("rights", lambda: _examine_rights(queries)),
        check("access", lambda: _examine_access(queries)),
        check("pooling", lambda: judge_pooled(find_pooling(address.conninfo), declared=address.pooled)),
        Check("database.direct", lambda: _examine_direct(direct, address, sessions)),
        # Never through a pooler: its LISTEN would stay in a session that other clients share.
        Check(
            "database.listen",
            lambda: _examine_listen(settings),
            (*REACHED, "database.pooling") if direct is None else DIRECT_OK,
        ),
        check("snapshots", lambda: postgres.judge_holders(server.list_vacuum_holders(queries))),
        check(
            "autovacuum",
            lambda: postgres.judge_autovacuum(
                server.read_server(queries), server.list_table_health(queries, postgres.our_tables())
            ),
        ),
        check("dead_rows", lambda: postgres.judge_dead_rows(server.list_table_health(queries, postgres.our_tables()))),
        check("durability", lambda: postgres.judge_durability(server.read_server(queries))),
        check("connections", lambda: postgres.judge_connections(server.read_server(queries))),
        check("clock", lambda: examine_clock(sessions)),
        *([Check("database.sleep", lambda: ok(AWAKE))] if _sleeps(address) else []),
    ]


def _round_trip(connection: psycopg.Connection[Any]) -> float:
    return min(_clock(connection)[0] for _ in range(SAMPLES))


def _clock(connection: psycopg.Connection[Any]) -> tuple[float, float]:
    """Seconds of a round trip, and how far our clock was ahead of the server's in its middle."""
    started, sent = time.time(), time.monotonic()
    there = server.read_clock(query.Queries.on(connection))
    trip = time.monotonic() - sent
    return trip, started + trip / 2 - there


def _is_public(address: str) -> bool:
    """Whether the other end is somewhere on the internet; a socket has no address."""
    try:
        return ipaddress.ip_address(address).is_global
    except ValueError:
        return False


def _judge_absence(place: server.SchemaPlace, schema: str) -> Verdict:
    if place.elsewhere:
        return fault(
            f"the tables are in the schema {', '.join(place.elsewhere)}, and DATABASE_SCHEMA is {schema}",
            f"Set DATABASE_SCHEMA={place.elsewhere[0]}; or, for a queue of its own, {MIGRATE[0].lower()}{MIGRATE[1:]}",
        )
    return fault(f"there are no tables yet in the schema {schema}", MIGRATE)


def _query(run: Callable[[], Verdicts], name: str) -> Verdicts:
    try:
        return run()
    except psycopg.Error as error:
        return unreachable(error, name)


def _examine_rights(queries: query.Queries) -> Verdict:
    place = server.find_schema(queries)
    if not place.usable:
        return skipped(f"the schema {queries.schema} cannot be used, see database.schema")
    tables, functions = server.list_table_rights(queries, postgres.our_tables()), server.list_functions(queries)
    return postgres.judge_rights(tables, functions, place.role, schema=queries.schema)


def _examine_access(queries: query.Queries) -> Verdict:
    doors = server.list_open_doors(queries, postgres.our_tables(), sorted(migrations.our_functions()))
    return postgres.judge_doors(doors, schema=queries.schema)


def _examine_direct(direct: DatabaseAddress | None, address: DatabaseAddress, sessions: ReadOnlySessions) -> Verdicts:
    if direct is None:
        if address.pooled:
            return warning(f"{DIRECT} is not set and {NAME} leads through a pooler: {POLLING}", GIVE_DIRECT)
        return skipped(f"{DIRECT} is not set; {NAME} is used")
    return _query(lambda: _compare(direct, sessions), DIRECT)


def _compare(direct: DatabaseAddress, sessions: ReadOnlySessions) -> Verdict:
    found = judge_direct(find_pooling(direct.conninfo))
    if found.status == "fault":
        return found
    behind = ReadOnlySessions(direct.conninfo)
    try:
        there = server.read_server(query.Queries(behind))
    finally:
        behind.close()
    try:
        here = server.read_server(query.Queries(sessions))
    except psycopg.Error:
        return found  # database.connection says why
    if here.identity != there.identity:
        return fault(
            f"{DIRECT} ({direct.label}) is another database than {NAME}: migrations and wake-ups go to the wrong one",
            f"Put the address of the same database into {DIRECT}",
        )
    return ok(f"{direct.label}, {found.detail}")


def _examine_listen(settings: Settings) -> Verdict:
    if not settings.listen_notify:
        return skipped("LISTEN_NOTIFY is off")
    signals = wiring.build_signals(settings)
    if signals is None:
        return warning(f"there is no direct address: {POLLING}", GIVE_DIRECT)
    return _try_listen(signals, NAME if settings.direct_url is None else DIRECT)


def _try_listen(signals: Signals, name: str) -> Verdict:
    try:
        signals.open()
        received = receives_own_message(signals)
    except StoreUnavailable as error:
        cause = error.__cause__
        return unreachable(cause, name) if isinstance(cause, psycopg.Error) else fault(str(error), GIVE_DIRECT)
    finally:
        signals.close()
    if received:
        return ok("a message came back")
    return warning(f"LISTEN is accepted and nothing arrives, as behind a pooler: {POLLING}", GIVE_DIRECT)


def _sleeps(address: DatabaseAddress) -> bool:
    host = str(conninfo_to_dict(address.conninfo).get("host", ""))
    return host.endswith((".neon.tech", ".neon.build"))
