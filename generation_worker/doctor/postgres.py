"""Whether the role may do all that a worker does."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC

from generation_worker.db import migrations
from generation_worker.db.server import Function, OpenDoor, Server, TableHealth, TableRights, VacuumHolder
from generation_worker.db.statements import load_statements, quoted
from generation_worker.domain.estimate import span
from generation_worker.domain.finding import Verdict, fault, ok, skipped, warning
from generation_worker.domain.schema import SCHEMA

ALL = ("SELECT", "INSERT", "UPDATE", "DELETE")
FEWER: Mapping[str, Sequence[str]] = {
    migrations.VERSION_TABLE: ("SELECT",),
    "api_token": ("SELECT", "INSERT", "UPDATE"),
    "api_token_pace": ("SELECT", "INSERT", "UPDATE"),
    "dashboard_session": ("SELECT", "INSERT", "DELETE"),
    "audit_event": ("SELECT", "INSERT"),
    "generation_job": ("SELECT", "UPDATE", "DELETE"),
    "job_attempt": ("SELECT", "INSERT", "DELETE"),
    "credit_account": ("SELECT", "UPDATE"),
    "credit_entry": ("SELECT", "INSERT"),
    "maintenance_task": ("SELECT", "UPDATE"),
    "swept_upload": ("SELECT", "INSERT", "DELETE"),
    "webhook_batch": ("SELECT", "UPDATE", "DELETE"),
}
"""What a worker needs where it does not need all. Enqueueing and granting are functions with rights of their own."""


def our_tables() -> list[str]:
    """The names of all tables, the one of the revision included."""
    return sorted([*migrations.our_tables(), migrations.VERSION_TABLE])


def needed_functions(functions: Sequence[Function]) -> list[Function]:
    """Those of ``functions`` that a worker's statements call, and what these call in turn."""
    called = _words(b"\n".join(load_statements().values()).decode())
    needed: dict[str, Function] = {}
    while new := [one for one in functions if one.name in called and one.name not in needed]:
        needed |= {one.name: one for one in new}
        called |= {word for one in new if not one.definer for word in _words(one.source)}
    return sorted(needed.values())


def judge_rights(
    tables: Sequence[TableRights],
    functions: Sequence[Function],
    role: str,
    *,
    schema: str = SCHEMA,
    usable: bool = True,
) -> Verdict:
    """``usable``: the role may use the schema at all."""
    if not tables:
        return skipped("there are no tables yet")
    hidden = [table.name for table in tables if table.hidden]
    if hidden:
        return fault(
            f"row-level security hides rows of {', '.join(hidden)} from {role}: jobs are there and nobody sees them",
            f"ALTER TABLE {quoted(schema)}.{hidden[0]} DISABLE ROW LEVEL SECURITY, and so on; "
            "or connect as a role with BYPASSRLS",
        )
    missing = {table.name: lacks for table in tables if (lacks := _lacking(table))}
    closed = [function.name for function in needed_functions(functions) if not function.allowed]
    if missing or closed or not usable:
        shut = [] if usable else [f"schema {schema} (USAGE)"]
        usage = [] if usable else [f'GRANT USAGE ON SCHEMA {quoted(schema)} TO "{role}"']
        told = [*shut, *(f"{name} ({', '.join(lacks)})" for name, lacks in missing.items()), *closed]
        return fault(
            f"{role} lacks rights on {', '.join(told)}",
            "; ".join([*usage, *_grants(missing, closed, role, quoted(schema))]),
        )
    owners = sorted({table.owner for table in tables if not table.owned})
    also = f"; to migrate, connect as {', '.join(owners)}" if owners else " and owns the tables"
    return ok(f"{role} may do all that a worker does{also}")


def _words(text: str) -> set[str]:
    return set(re.findall(r"[a-z_]+", text))


def _lacking(table: TableRights) -> list[str]:
    return [right for right in FEWER.get(table.name, ALL) if right not in table.rights]


def _grants(missing: Mapping[str, Iterable[str]], closed: Sequence[str], role: str, schema: str) -> list[str]:
    """One statement for all tables that lack the same, and one for the functions."""
    together: dict[str, list[str]] = defaultdict(list)
    for name, lacks in missing.items():
        together[", ".join(lacks)].append(name)
    grants = [f'GRANT {rights} ON {_in(schema, names)} TO "{role}"' for rights, names in together.items()]
    return [*grants, *([f'GRANT EXECUTE ON FUNCTION {_in(schema, closed)} TO "{role}"'] if closed else [])]


def _in(schema: str, names: Iterable[str]) -> str:
    return ", ".join(f"{schema}.{name}" for name in names)


# Who else may use our objects.


SHOWN_DOORS = 3


def judge_doors(doors: Sequence[OpenDoor], *, schema: str = SCHEMA) -> Verdict:
    """``doors`` are what everybody may do, or a role that stands for everybody."""
    if not doors:
        return ok("nobody may read a table or call a function who was not granted it by name")
    told = ", ".join(f"{door.role} may {door.may} {door.object}" for door in doors[:SHOWN_DOORS])
    more = f", and {len(doors) - SHOWN_DOORS} more" if len(doors) > SHOWN_DOORS else ""
    roles = ", ".join(sorted({"PUBLIC" if door.role == "everybody" else door.role for door in doors}))
    place = quoted(schema)
    return warning(
        f"{told}{more}",
        f"Unless you want it: REVOKE ALL ON ALL TABLES IN SCHEMA {place} FROM {roles}; the same for ROUTINES and for "
        f"SCHEMA {place} itself; sql/roles.sql grants what an app needs to a role of its own"
        if schema != "public"
        else f"Unless you want it: REVOKE ALL ON the tables, and ON the functions, that are named here FROM {roles}",
    )


# Who holds back vacuum. While a snapshot is held, dead rows stay, and each claim has to step over them.


LONG, FAR_TOO_LONG = 60.0, 3600.0
"""Seconds from which on a transaction is worth a warning, and a fault."""
MANY = 10_000
"""Transactions that others have made meanwhile, where the time is not known."""
SLOT = "If nobody needs it: SELECT pg_drop_replication_slot('{name}'); until then it keeps write-ahead log on the disk"


def judge_holders(holders: Sequence[VacuumHolder]) -> list[Verdict]:
    """``holders`` come the oldest first. One verdict for each that is too old, or one for all."""
    too_old = [verdict for holder in holders if (verdict := _judge(holder)) is not None]
    if too_old:
        return too_old
    return [ok(f"the oldest: {_told(holders[0])}" if holders else "nobody holds back vacuum")]


def _judge(holder: VacuumHolder) -> Verdict | None:
    if holder.kind == "replication slot":
        return _judge_slot(holder)
    if holder.seconds is None:
        # Of other roles we only see how many transactions there have been since.
        return warning(_told(holder), _remedy(holder)) if (holder.transactions or 0) >= MANY else None
    if holder.seconds >= FAR_TOO_LONG:
        return fault(_told(holder), _remedy(holder))
    return warning(_told(holder), _remedy(holder)) if holder.seconds >= LONG else None


def _judge_slot(slot: VacuumHolder) -> Verdict | None:
    if slot.state == "active" and (slot.transactions or 0) < MANY:
        return None
    return warning(_told(slot), SLOT.format(name=slot.name.replace("'", "''")))


def _told(holder: VacuumHolder) -> str:
    """What it is, whose, for how long, and what was said last."""
    who = [f"process {holder.name}" if holder.kind == "transaction" else f"{holder.kind} {holder.name}"]
    if whose := ", ".join(filter(None, (holder.application, holder.role and f"role {holder.role}"))):
        who.append(f"({whose})")
    parts = [" ".join(who), holder.state or "", _age(holder)]
    if holder.kept_bytes:
        parts.append(f"{holder.kept_bytes / 2**20:.0f} MB of write-ahead log kept")
    if holder.since is not None and holder.query:
        parts.append(f"query since {holder.since.astimezone(UTC):%Y-%m-%d %H:%M:%S}Z: {holder.query}")
    elif holder.query:
        parts.append(holder.query)
    return ", ".join(filter(None, parts))


def _age(holder: VacuumHolder) -> str:
    if holder.seconds is not None:
        return f"for {span(holder.seconds)}"
    return f"{holder.transactions} transactions ago" if holder.transactions is not None else ""


def _remedy(holder: VacuumHolder) -> str:
    if holder.kind == "prepared transaction":
        name = holder.name.replace("'", "''")
        return f"Nobody will end it by themselves: COMMIT PREPARED '{name}' or ROLLBACK PREPARED '{name}'"
    end = f"If it is forgotten: SELECT pg_terminate_backend({holder.name})"
    if holder.state is None or holder.state == "active":
        return f"{end}; a dump or a report that takes long belongs on a replica"
    return f"{end}; against the next one: ALTER ROLE {holder.role} SET idle_in_transaction_session_timeout = '5min'"


# Whether a server is one that a queue and its books can rely on.


OLDEST, NEWEST = 14, 18
"""The major versions that are tested."""
FULL = 0.9
"""Share of the connections from which on the next worker may get none."""
SHORT = 5.0
"""Seconds: a statement timeout below that breaks a busy claim or a prune."""
WRAPAROUND = 1_000_000_000
"""Transactions since the oldest row was frozen; at two milliards the server refuses to write."""
PRIMARY = "Name the primary in DATABASE_URL"


def judge_server(server: Server) -> Verdict:
    major = server.version_number // 10_000
    name = f"PostgreSQL {server.version.split()[0]}"
    if major < OLDEST:
        return fault(f"{name} is older than {OLDEST}", f"Upgrade the server to {OLDEST} or newer")
    if server.replica:
        return fault(f"{name} is a replica, which takes no writes", PRIMARY)
    if server.read_only:
        return fault(
            f"{name} takes no writes: default_transaction_read_only is on",
            f"Is its disk full? Then make room; else ALTER ROLE {server.role} RESET default_transaction_read_only",
        )
    if server.isolation != "read committed":
        return fault(
            f"{name} has transactions {server.isolation} by default, and the worker needs them read committed",
            f"ALTER ROLE {server.role} SET default_transaction_isolation = 'read committed'",
        )
    return _judge_limits(server, name, major)


def judge_durability(server: Server) -> Verdict:
    """Whether what was committed survives a crash: debits and refunds are nowhere else."""
    if not server.keeps_files:
        return warning("fsync or full_page_writes is off: a crash of the machine may lose the database", "Set both on")
    if not server.keeps_commits:
        return warning(
            "synchronous_commit is off: a crash of the server loses the last moment, credits and paid calls included",
            f"ALTER ROLE {server.role} SET synchronous_commit = on",
        )
    return ok("what is committed survives a crash")


def judge_connections(server: Server) -> Verdict:
    found = f"{server.connections} of {server.max_connections} connections are in use"
    if server.connections >= FULL * server.max_connections:
        return warning(found, "Close what is idle, raise max_connections, or put a pooler's address into DATABASE_URL")
    return ok(found)


def _judge_limits(server: Server, name: str, major: int) -> Verdict:
    if 0 < server.statement_timeout < SHORT:
        return warning(
            f"{name} ends statements after {server.statement_timeout:g} s, which a busy claim may need",
            f"ALTER ROLE {server.role} SET statement_timeout = '30s'",
        )
    if major > NEWEST:
        return warning(f"{name} is newer than what this version was tested with ({NEWEST})", "Report what goes wrong")
    return ok(f"{name}, the primary, as {server.role}")


# Whether dead rows are swept away.


SHARE = 0.5
"""Of the live rows; our tables ask for a vacuum at a twentieth, or less."""


def judge_autovacuum(server: Server, tables: Sequence[TableHealth]) -> Verdict:
    if server.oldest_xid > WRAPAROUND:
        return fault(
            f"the oldest row is {server.oldest_xid:,} transactions old; at 2,000,000,000 the server refuses to write",
            "VACUUM (FREEZE) the database, after what database.snapshots names has ended",
        )
    if not server.autovacuum:
        return fault(
            "autovacuum or track_counts is off: dead rows stay for ever", "Set both on in the server's settings"
        )
    off = [table.name for table in tables if not table.autovacuum]
    if off:
        return fault(
            f"autovacuum is off for {', '.join(off)}",
            "; ".join(f"ALTER TABLE {name} RESET (autovacuum_enabled)" for name in off),
        )
    return ok("autovacuum is on")


def judge_dead_rows(tables: Sequence[TableHealth]) -> list[Verdict]:
    """``tables`` come with the most dead rows first."""
    if not tables:
        return [skipped("there are no tables yet")]
    full = [table for table in tables if table.dead > max(MANY, SHARE * table.live)]
    return [_too_many(table) for table in full] or [ok(f"the most: {_vacuum_told(tables[0])}")]


def _too_many(table: TableHealth) -> Verdict:
    return warning(_vacuum_told(table), f"Does database.snapshots name who holds it up? Then: VACUUM {table.name}")


def _vacuum_told(table: TableHealth) -> str:
    when = f"{table.vacuumed_at.astimezone(UTC):%Y-%m-%d %H:%M}Z" if table.vacuumed_at else "never"
    size = f"{table.bytes / 2**20:.1f} MB"
    return f"{table.name} has {table.dead:,} dead and {table.live:,} live rows in {size}, vacuumed {when}"
