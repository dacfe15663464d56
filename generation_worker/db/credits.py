"""Credits that no job moves: grants and corrections, inside the caller's transaction."""

from __future__ import annotations

from typing import Any, NamedTuple

import psycopg
from psycopg.rows import class_row

from generation_worker.db.history import Author, record, together
from generation_worker.db.refusals import refusals

Connection = psycopg.Connection[Any]

GRANT = "SELECT entry, balance, duplicate FROM grant_credits(%s, %s, %s, %s, %s)"
ADJUST = "SELECT entry, balance, duplicate FROM adjust_credits(%s, %s, %s, %s, %s)"
ACTIONS = {GRANT: "credits.grant", ADJUST: "credits.adjust"}


class Posting(NamedTuple):
    """An entry in an account."""

    entry: int
    """Its number within the account."""
    balance: int
    """The account's balance now, in credits."""
    duplicate: bool
    """The key was used before; nothing was moved this time."""


def grant_credits(
    connection: Connection,
    user_id: str,
    amount: int,
    *,
    idempotency_key: str | None = None,
    reason: str | None = None,
    actor: str | None = None,
) -> Posting:
    """Give a user ``amount`` credits, for instance in the transaction that records their payment.

    The same ``idempotency_key`` gives them once. With an ``actor`` it stands in the audit trail too. Raises
    InvalidRequest and IdempotencyConflict.
    """
    return _post(connection, GRANT, user_id, amount, idempotency_key, reason, actor)


def adjust_credits(
    connection: Connection,
    user_id: str,
    amount: int,
    *,
    idempotency_key: str | None = None,
    reason: str | None = None,
    actor: str | None = None,
) -> Posting:
    """Correct a balance up or, with a negative ``amount``, down; never below zero.

    With an ``actor`` it stands in the audit trail too. Raises InvalidRequest, IdempotencyConflict, and
    InsufficientCredits if the balance does not cover it.
    """
    return _post(connection, ADJUST, user_id, amount, idempotency_key, reason, actor)


def _post(
    connection: Connection,
    statement: str,
    user_id: str,
    amount: int,
    key: str | None,
    reason: str | None,
    actor: str | None,
) -> Posting:
    with refusals(), together(connection):
        with connection.cursor(row_factory=class_row(Posting)) as cursor:
            posting = cursor.execute(statement.encode(), (user_id, amount, key, reason, actor)).fetchone()
        assert posting is not None
        if actor is not None and not posting.duplicate:
            before, after = {"balance": posting.balance - amount}, {"balance": posting.balance, "entry": posting.entry}
            record(connection, Author(actor, reason), ACTIONS[statement], f"user:{user_id}", before=before, after=after)
    return posting
