"""The audit trail: who changed what, why, from what to what."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import psycopg

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


def together(connection: Connection) -> AbstractContextManager[Any]:
    """All or nothing of what the block does. Where the caller commits, that is left to the caller.

    ``transaction()`` alone would commit on a connection that is not in autocommit mode and not in a transaction yet.
    """
    return connection.transaction() if connection.autocommit else nullcontext()


def check_reason(by: Author) -> None:
    """Raises InvalidRequest if the reason is too long."""
    if len(by.reason or "") > LONGEST_REASON:
        raise InvalidRequest(f"reason: has {len(by.reason or '')} characters; {LONGEST_REASON} are allowed")
