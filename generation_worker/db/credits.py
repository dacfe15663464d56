"""Credits that no job moves: grants and corrections, inside the caller's transaction."""

from __future__ import annotations

from typing import Any, NamedTuple

import psycopg
from psycopg.rows import class_row

from generation_worker.db.refusals import refusals

Connection = psycopg.Connection[Any]

GRANT = "SELECT entry, balance, duplicate FROM grant_credits(%s, %s, %s, %s, %s)"
ADJUST = "SELECT entry, balance, duplicate FROM adjust_credits(%s, %s, %s, %s, %s)"


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

    The same ``idempotency_key`` gives them once. Raises InvalidRequest and IdempotencyConflict.
    """
    return _post(connection, GRANT, (user_id, amount, idempotency_key, reason, actor))


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

    Raises InvalidRequest, IdempotencyConflict, and InsufficientCredits if the balance does not cover it.
    """
    return _post(connection, ADJUST, (user_id, amount, idempotency_key, reason, actor))


def _post(connection: Connection, statement: str, values: tuple[Any, ...]) -> Posting:
    with refusals(), connection.cursor(row_factory=class_row(Posting)) as cursor:
        posting = cursor.execute(statement.encode(), values).fetchone()
    assert posting is not None
    return posting
