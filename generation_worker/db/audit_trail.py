"""The audit trail: who changed what, when, why, and the values before and after."""

import json
from datetime import datetime
from typing import Any, NamedTuple

from generation_worker.db.query import FAR, LAST_EVENT, Queries
from generation_worker.domain.refusals import InvalidRequest

LONGEST_REASON = 2000


class Author(NamedTuple):
    """Who makes a change, such as ``cli:ada`` or ``key:<token id>``, and why."""

    actor: str | None
    """None: the role that is connected to the database."""
    reason: str | None = None


UNKNOWN = Author(None)


class AuditEvent(NamedTuple):
    """One change by a person or a key."""

    id: int
    at: datetime
    actor: str
    action: str
    target: str
    reason: str | None
    before: Any
    after: Any


class ScanEnd(NamedTuple):
    """The earliest event that a bounded scan reads."""

    id: int
    at: datetime
    more: bool
    """There are events before it."""


def record_change(
    queries: Queries, by: Author, action: str, target: str, *, before: Any = None, after: Any = None
) -> None:
    """Write one event, in the transaction that makes the change.

    ``action`` is ``job.cancel``, ``setting.set`` and the like; ``target`` is the changed object: ``job:<id>``,
    ``user:ada``, ``setting:<name>``. ``before`` and ``after`` are its changed values as JSON, without secrets and
    prompts. Raises InvalidRequest if the reason is too long.
    """
    check_reason(by)
    old, new = (None if state is None else json.dumps(state, default=str) for state in (before, after))
    queries.execute(
        "record_change", actor=by.actor, action=action, target=target, reason=by.reason, before=old, after=new
    )


def check_reason(by: Author) -> None:
    """Raises InvalidRequest if the reason is too long."""
    if len(by.reason or "") > LONGEST_REASON:
        raise InvalidRequest(f"reason: has {len(by.reason or '')} characters; {LONGEST_REASON} are allowed")


def list_events(
    queries: Queries,
    *,
    actor: str | None = None,
    action: str | None = None,
    target: str | None = None,
    since: datetime | None = None,
    before: int | None = None,
    limit: int = 50,
    cap: int | None = None,
) -> list[AuditEvent]:
    """Events, the latest first; with ``before`` those with a lower number.

    ``actor``, ``action`` and ``target`` are prefixes: ``cli:``, ``job.``, ``user:ada``. At most ``cap`` events are
    read; without it, a filter that matches few events reads the whole trail.
    """
    latest = LAST_EVENT if before is None else before
    filters: dict[str, Any] = {"actor": actor, "action": action, "target": target, "since": since}
    return queries.all(AuditEvent, "list_events", **filters, before=latest, limit=limit, cap=cap)


def find_scan_end(queries: Queries, *, before: int | None = None, cap: int = FAR) -> ScanEnd | None:
    """Where ``list_events`` with these values stops reading; None if there are no events."""
    return queries.one_or_none(ScanEnd, "find_scan_end", before=LAST_EVENT if before is None else before, cap=cap)
