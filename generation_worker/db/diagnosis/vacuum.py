"""Whether dead rows are swept away."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC

from generation_worker.db.answers.server import Server, TableHealth
from generation_worker.db.diagnosis.server import WRAPAROUND
from generation_worker.domain.finding import Verdict, fault, ok, skipped, warning

MANY = 10_000
"""Dead rows that are no matter, however few live ones there are."""
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
    return [_too_many(table) for table in full] or [ok(f"the most: {_told(tables[0])}")]


def _too_many(table: TableHealth) -> Verdict:
    return warning(_told(table), f"Does database.snapshots name who holds it up? Then: VACUUM {table.name}")


def _told(table: TableHealth) -> str:
    when = f"{table.vacuumed_at.astimezone(UTC):%Y-%m-%d %H:%M}Z" if table.vacuumed_at else "never"
    size = f"{table.bytes / 2**20:.1f} MB"
    return f"{table.name} has {table.dead:,} dead and {table.live:,} live rows in {size}, vacuumed {when}"
