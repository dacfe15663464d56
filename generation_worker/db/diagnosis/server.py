"""Whether a server is one that a queue and its books can rely on."""

from __future__ import annotations

from generation_worker.db.answers.server import Server
from generation_worker.domain.finding import Verdict, fault, ok, warning

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
