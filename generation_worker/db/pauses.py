"""Pausing and resuming everything, one provider, one kind or one user.

A pause holds from its commit on: every claim asks for it. What runs goes on. Jobs may be enqueued meanwhile, and wait.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import psycopg
from psycopg.rows import tuple_row

from generation_worker.db.answers.control import Pause
from generation_worker.db.history import Author, record, together
from generation_worker.db.insights import Insights
from generation_worker.db.reading import Lent
from generation_worker.db.statements import load_bare_statements
from generation_worker.domain.job import NO_PROVIDER
from generation_worker.domain.pause import Extent
from generation_worker.domain.payload import KINDS
from generation_worker.domain.refusals import InvalidRequest

Connection = psycopg.Connection[Any]

BATCH = 2000
"""How many jobs of each lane are looked at together, and put aside if they are paused."""

FOUND = "SELECT value FROM fleet_setting WHERE name = %s FOR NO KEY UPDATE"
PAUSE = """
INSERT INTO fleet_setting (name, value, updated_by) VALUES (%s, %s::jsonb, %s)
ON CONFLICT (name) DO UPDATE SET value = excluded.value, updated_by = excluded.updated_by
"""
RESUME = "DELETE FROM fleet_setting WHERE name = %s"
OFFERED = "SELECT value FROM fleet_setting WHERE name = 'providers'"
HINT = "SELECT pg_notify('generation_worker', hint) FROM unnest(%s::text[]) AS hint"


def pause(connection: Connection, extent: Extent, *, by: Author) -> bool:
    """Let no worker start anything in ``extent`` any more; whether that is news.

    Paused again, it keeps its beginning and takes on the reason. Then call ``put_aside``. Raises InvalidRequest.
    """
    with together(connection), connection.cursor(row_factory=tuple_row) as cursor:
        _check(cursor, extent)
        before = cursor.execute(FOUND, (extent.setting,)).fetchone()
        after = {"reason": by.reason}
        cursor.execute(PAUSE, (extent.setting, json.dumps(after), by.actor))
        record(connection, by, "pause", f"setting:{extent.setting}", before=before and before[0], after=after)
        cursor.execute(HINT, (["control"],))
    return before is None


def resume(connection: Connection, extent: Extent, *, by: Author) -> bool:
    """Let workers start what is in ``extent`` again, unless another pause holds it; whether it was paused.

    Then call ``put_aside``: maintenance does it too, but later.
    """
    with together(connection), connection.cursor(row_factory=tuple_row) as cursor:
        before = cursor.execute(FOUND, (extent.setting,)).fetchone()
        if before is None:
            return False
        cursor.execute(RESUME, (extent.setting,))
        record(connection, by, "resume", f"setting:{extent.setting}", before=before[0])
        cursor.execute(HINT, (["control", "wake"],))
    return True


def put_aside(connection: Connection) -> Iterator[int]:
    """Move what is paused out of the claims' way, and what is not any more back, a batch at a time; how many each time.

    Needs a connection in autocommit mode. Nothing depends on it but how much a claim reads.
    """
    statements = load_bare_statements("queries")
    for statement, enough in ((statements["hold_jobs"], BATCH // 2), (statements["free_jobs"], 1)):
        while True:
            moved = connection.execute(statement, {"limit": BATCH}).rowcount
            yield moved
            if moved < enough:
                break
    connection.execute(HINT, (["wake"],))


def pauses_of(connection: Connection, job_id: Any) -> list[Pause]:
    """What keeps this job waiting, whether it waits already or not."""
    return Insights(Lent(connection)).job_pauses(job_id)


def _check(cursor: psycopg.Cursor[Any], extent: Extent) -> None:
    if extent.what == "kind" and extent.name not in KINDS:
        raise InvalidRequest(f"kind: {extent.name!r} is not a kind of job", f"There are {', '.join(KINDS)}.")
    if extent.what == "user" and not 1 <= len(extent.name) <= 255:
        raise InvalidRequest("user: must have 1 to 255 characters")
    if extent.what == "provider":
        row = cursor.execute(OFFERED).fetchone()
        offered = [*(row[0] if row else ()), NO_PROVIDER]
        if extent.name not in offered:
            raise InvalidRequest(f"provider: no worker offers {extent.name!r}", f"Offered are {', '.join(offered)}.")
