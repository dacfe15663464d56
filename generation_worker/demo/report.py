"""What became of everything, and whether it is what was expected."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple
from uuid import UUID

import psycopg
from psycopg.rows import class_row

from generation_worker.db.audit import Violation
from generation_worker.demo.scene import STUDIO, Act, Expected
from generation_worker.demo.stage import Cast, Stage
from generation_worker.ports import Storage

PASSED_BY = 60
"""Jobs of the studio that may start while a user with one job waits: those of the seconds until the next fresh look."""

OUTCOMES = """
SELECT j.id, j.user_id, j.kind, j.status, j.error_code, j.error_message, j.attempt, j.waits, j.cost,
       c.calls, c.paid, coalesce(e.debited, 0)::int AS debited, coalesce(e.refunded, 0)::int AS refunded,
       extract(epoch FROM j.started_at - j.created_at)::float8 AS waited,
       extract(epoch FROM j.finished_at - j.created_at)::float8 AS took,
       rank() OVER (ORDER BY j.finished_at)::int AS finished_as,
       j.result -> 'images' -> 0 AS image,
       s.behind, s.passed
  FROM generation_job j
 CROSS JOIN LATERAL (SELECT count(*)::int AS calls, (count(*) FILTER (WHERE spent IS DISTINCT FROM false))::int AS paid
                       FROM provider_call c WHERE c.job_id = j.id) c
 CROSS JOIN LATERAL (SELECT -sum(amount) FILTER (WHERE kind = 'debit') AS debited,
                            sum(amount) FILTER (WHERE kind = 'refund') AS refunded
                       FROM credit_entry e WHERE e.job_id = j.id) e
 CROSS JOIN LATERAL (SELECT count(*)::int AS behind,
                            (count(*) FILTER (WHERE s.started_at < j.started_at))::int AS passed
                       FROM generation_job s WHERE s.user_id = %(studio)s AND s.started_at > j.created_at) s
 WHERE j.id = ANY (%(ids)s)
"""
ACCOUNTS = """
SELECT user_id AS user, coalesce(sum(amount) FILTER (WHERE kind = 'grant'), 0)::int AS granted,
       coalesce(sum(amount) FILTER (WHERE kind = 'adjustment'), 0)::int AS adjusted,
       coalesce(-sum(amount) FILTER (WHERE kind = 'debit'), 0)::int AS debited,
       coalesce(sum(amount) FILTER (WHERE kind = 'refund'), 0)::int AS refunded,
       a.balance::int AS after
  FROM credit_account a JOIN credit_entry USING (user_id) GROUP BY a.user_id ORDER BY a.created_at, a.user_id
"""


class Outcome(NamedTuple):
    """A job at its end. Times in seconds."""

    id: UUID
    user_id: str
    kind: str
    status: str
    error_code: str | None
    error_message: str | None
    attempt: int
    waits: int
    cost: int
    calls: int
    paid: int
    debited: int
    refunded: int
    waited: float | None
    """Until it started."""
    took: float | None
    """Until it was final."""
    finished_as: int
    image: dict[str, Any] | None
    behind: int
    """Jobs of the studio that were not started when it came."""
    passed: int
    """Those of them that started before it."""


class Account(NamedTuple):
    """A user's credits: granted at the beginning, left after it all."""

    user: str
    granted: int
    adjusted: int
    debited: int
    refunded: int
    after: int


class Told(NamedTuple):
    """A job of the scene, what came of it, and in which ways that is not what was expected."""

    member: Cast
    outcome: Outcome
    problems: list[str]
    lost: bool
    """It was running on the worker that was killed."""


@dataclass(frozen=True, slots=True)
class Report:
    seconds: float
    told: list[Told]
    refused: list[tuple[Act, str, str]]
    """Act, user and message of each request that did not become a job."""
    accounts: list[Account]
    audit: list[str]
    """Violations of what must hold at any moment."""
    problems: list[str] = field(default_factory=list[str])
    """Everything that is not as expected, one line each."""


def make_report(
    connection: psycopg.Connection[Any], stage: Stage, storage: Storage, found: Sequence[Violation], seconds: float
) -> Report:
    told = [_told(member, outcome, stage, storage) for member, outcome in _outcomes(connection, stage.cast)]
    with connection.cursor(row_factory=class_row(Account)) as cursor:
        accounts = cursor.execute(ACCOUNTS).fetchall()
    audit = [f"{violation.invariant}: {dict(violation.row)}" for violation in found]
    return Report(
        seconds=seconds,
        told=told,
        refused=[(refused.act, refused.request.user_id, refused.message) for refused in stage.refused],
        accounts=accounts,
        audit=audit,
        problems=[*_about_the_stage(stage), *_about_jobs(told), *_about_money(accounts, audit)],
    )


def _outcomes(connection: psycopg.Connection[Any], cast: Sequence[Cast]) -> Iterable[tuple[Cast, Outcome]]:
    with connection.cursor(row_factory=class_row(Outcome)) as cursor:
        rows = cursor.execute(OUTCOMES, {"ids": [member.job for member in cast], "studio": STUDIO}).fetchall()
    found = {row.id: row for row in rows}
    return [(member, found[member.job]) for member in cast]


def _told(member: Cast, outcome: Outcome, stage: Stage, storage: Storage) -> Told:
    expected = member.act.expected
    if outcome.id in stage.lost:
        expected = replace(expected, attempts=expected.attempts + 1, calls=expected.calls + 1, paid=expected.paid + 1)
    problems = [
        f"{name} is {found!r}, expected was {wanted!r}"
        for name, found, wanted in _comparisons(expected, outcome)
        if found != wanted
    ]
    if outcome.image is not None and not _is_stored(outcome.image, storage):
        problems.append("its image is not in the storage as the result describes it")
    if member.act.late and outcome.passed > PASSED_BY:
        problems.append(f"{outcome.passed} jobs of the studio started before it, though it came from another user")
    return Told(member, outcome, problems, lost=outcome.id in stage.lost)


def _comparisons(expected: Expected, outcome: Outcome) -> list[tuple[str, Any, Any]]:
    debited = outcome.cost if expected.debited else 0
    return [
        ("status", outcome.status, expected.status),
        ("error_code", outcome.error_code, expected.error_code),
        ("attempt", outcome.attempt, expected.attempts),
        ("waits", outcome.waits, expected.waits),
        ("number of provider calls", outcome.calls, expected.calls),
        ("number of paid calls", outcome.paid, expected.paid),
        ("debit", outcome.debited, debited),
        ("refund", outcome.refunded, 0 if expected.status == "completed" else debited),
    ]


def _is_stored(image: dict[str, Any], storage: Storage) -> bool:
    data = storage.get(image["key"])
    return data is not None and hashlib.sha256(data).hexdigest() == image["sha256"]


def _about_jobs(told: Sequence[Told]) -> list[str]:
    return [
        f"{each.member.act.title}, {each.outcome.user_id}, job {each.outcome.id}: {problem}"
        for each in told
        for problem in each.problems
    ]


def _about_the_stage(stage: Stage) -> list[str]:
    refused = [
        f"{refused.act.title}, {refused.request.user_id}: refused with {refused.message}"
        for refused in stage.refused
        if refused.act.refused != refused.code
    ]
    accepted = [
        f"{member.act.title}, {member.request.user_id}: accepted, expected was {member.act.refused}"
        for member in stage.cast
        if member.act.refused
    ]
    crash = [] if stage.lost else ["the second worker was not killed: it held no jobs"]
    return stage.problems + refused + accepted + crash


def _about_money(accounts: Sequence[Account], audit: Sequence[str]) -> list[str]:
    wrong = [
        f"account {each.user}: {each.after} is not what its entries amount to"
        for each in accounts
        if each.granted + each.adjusted - each.debited + each.refunded != each.after
    ]
    return wrong + [f"audit: {violation}" for violation in audit]
