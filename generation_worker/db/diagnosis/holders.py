"""Who holds back vacuum. While a snapshot is held, dead rows stay, and each claim has to step over them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC

from generation_worker.db.answers.server import VacuumHolder
from generation_worker.domain.finding import Verdict, fault, ok, warning
from generation_worker.domain.spans import span

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
