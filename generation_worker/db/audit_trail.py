"""The audit trail: who changed what, why, from what to what."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from typing import Any, NamedTuple

import psycopg

from generation_worker.db.query import FAR, LAST_EVENT, Asking, Queries, only
from generation_worker.domain.refusals import InvalidRequest

Connection = psycopg.Connection[Any]

LONGEST_REASON = 2000

RECORD = """
INSERT INTO audit_event (actor, action, target, reason, before, after)
VALUES (coalesce(%s, 'sql:' || session_user), %s, %s, %s, %s::jsonb, %s::jsonb)
"""


class Author(NamedTuple):
    """Who changes something, such as ``cli:ada`` or ``key:<token id>``, and why."""

    actor: str | None
    """None: the role that is connected to the database."""
    reason: str | None = None


UNKNOWN = Author(None)


def record(
    connection: Connection, by: Author, action: str, target: str, *, before: Any = None, after: Any = None
) -> None:
    """Write one event, in the transaction that makes the change.

    ``action`` is ``job.cancel``, ``setting.set`` and the like, ``target`` says of what: ``job:<id>``, ``user:ada``,
    ``setting:<name>``. ``before`` and ``after`` are what changed, as JSON, without secrets and prompts. Raises
    InvalidRequest if the reason is too long.
    """
    check_reason(by)
    states = (None if state is None else json.dumps(state, default=str) for state in (before, after))
    connection.execute(RECORD, (by.actor, action, target, by.reason, *states))


def record_change(
    queries: Queries, by: Author, action: str, target: str, *, before: Any = None, after: Any = None
) -> None:
    """Write one event, in the transaction that makes the change.

    ``action`` is ``job.cancel``, ``setting.set`` and the like, ``target`` says of what: ``job:<id>``, ``user:ada``,
    ``setting:<name>``. ``before`` and ``after`` are what changed, as JSON, without secrets and prompts. Raises
    InvalidRequest if the reason is too long.
    """
    check_reason(by)
    was, became = (None if state is None else json.dumps(state, default=str) for state in (before, after))
    queries.execute(
        "record_change", actor=by.actor, action=action, target=target, reason=by.reason, before=was, after=became
    )


def together(connection: Connection) -> AbstractContextManager[Any]:
    """All or nothing of what the block does. Where the caller commits, that is left to the caller.

    ``transaction()`` alone would commit on a connection that is not in autocommit mode and not in a transaction yet.
    """
    return connection.transaction() if connection.autocommit else nullcontext()


def check_reason(by: Author) -> None:
    """Raises InvalidRequest if the reason is too long."""
    if len(by.reason or "") > LONGEST_REASON:
        raise InvalidRequest(f"reason: has {len(by.reason or '')} characters; {LONGEST_REASON} are allowed")


# Answers about what people have set for the whole fleet, and who changed what.


class FleetSetting(NamedTuple):
    name: str
    value: Any
    updated_at: datetime
    updated_by: str | None


class Pause(NamedTuple):
    """What nobody starts. ``name`` is the setting that keeps it, such as ``paused.provider.gemini``."""

    name: str
    reason: str | None
    since: datetime
    by: str | None


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


class AuditReach(NamedTuple):
    """The earliest of the events that were looked at."""

    id: int
    at: datetime
    more: bool
    """There are events before it."""


# Questions about what people have set for the whole fleet, and who changed what.


class ControlInsights(Asking):
    def pauses(self) -> list[Pause]:
        """What nobody starts, and who decided that."""
        return self._ask(Pause, "pauses")

    def fleet_settings(self) -> list[FleetSetting]:
        """What the whole fleet follows: prices, default provider, pace."""
        return self._ask(FleetSetting, "fleet_settings")

    def audit_events(
        self,
        *,
        actor: str | None = None,
        action: str | None = None,
        target: str | None = None,
        since: datetime | None = None,
        before: int = LAST_EVENT,
        limit: int = 50,
        cap: int | None = None,
    ) -> list[AuditEvent]:
        """What people and keys have changed, the latest first, from the event before number ``before`` on.

        ``actor``, ``action`` and ``target`` are how these begin: ``cli:``, ``job.``, ``user:ada``. Without a ``cap``
        on the events that are looked at, what matches seldom is looked for to the beginning.
        """
        return self._ask(
            AuditEvent,
            "audit_events",
            actor=actor,
            action=action,
            target=target,
            since=since,
            before=before,
            limit=limit,
            cap=cap,
        )

    def audit_reach(self, *, before: int = LAST_EVENT, cap: int = FAR) -> AuditReach | None:
        """Where a look at ``cap`` events ends; None if there are none."""
        return only(self._ask(AuditReach, "audit_reach", before=before, cap=cap))
