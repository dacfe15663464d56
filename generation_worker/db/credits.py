"""Credits that no job moves: grants and corrections, inside the caller's transaction."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import psycopg
from psycopg.rows import class_row

from generation_worker.db.audit_trail import Author, record, together
from generation_worker.db.connections import Connections
from generation_worker.db.enqueue import refusals
from generation_worker.db.query import LAST_ENTRY, Asking, Desk, only

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


# Answers about accounts and their entries. Amounts are in credits.


class Balance(NamedTuple):
    user_id: str
    balance: int
    entries: int
    fair_weight: float
    created_at: datetime


class Account(NamedTuple):
    user_id: str
    balance: int
    entries: int
    fair_weight: float
    created_at: datetime
    waiting: int
    """What the user's waiting jobs will cost when they start."""


class Entry(NamedTuple):
    seq: int
    kind: str
    amount: int
    balance_after: int
    job_id: UUID | None
    refund_of: int | None
    idempotency_key: str | None
    reason: str | None
    actor: str | None
    created_at: datetime


# Accounts of users, as the HTTP API asks for them.


class CreditDesk(Desk):
    """Each method may raise StoreUnavailable."""

    def __init__(self, connections: Connections) -> None:
        super().__init__(connections)
        self._insights = AccountInsights(connections)

    def account(self, user: str) -> Account | None:
        """None if the user has never had credits."""
        return self._insights.account(user)

    def entries(self, user: str, *, before: int | None, limit: int) -> list[Entry]:
        """The latest first; with ``before`` from the one before that number on."""
        return self._insights.account_entries(user, before=LAST_ENTRY if before is None else before, limit=limit)

    def grant(self, user: str, amount: int, *, key: str, reason: str | None, by: str) -> Posting:
        """Raises InvalidRequest and IdempotencyConflict."""
        with self._connections.connection() as connection:
            return grant_credits(connection, user, amount, idempotency_key=key, reason=reason, actor=by)

    def adjust(self, user: str, amount: int, *, key: str, reason: str | None, by: str) -> Posting:
        """Correct a balance, up or down. Raises InvalidRequest, IdempotencyConflict and InsufficientCredits."""
        with self._connections.connection() as connection:
            return adjust_credits(connection, user, amount, idempotency_key=key, reason=reason, actor=by)


# Questions about accounts and their entries.


LAST_CHARACTER = "\U0010ffff"


class AccountInsights(Asking):
    def balances(self, *, beginning: str = "", after: str = "", limit: int = 100) -> list[Balance]:
        """Accounts in the order of their users, from the one behind ``after`` on; of users that begin so."""
        return self._ask(
            Balance, "balances", beginning=beginning, end=beginning + LAST_CHARACTER, after=after, limit=limit
        )

    def account(self, user: str) -> Account | None:
        return only(self._ask(Account, "account", user=user))

    def account_entries(self, user: str, *, before: int = LAST_ENTRY, limit: int = 50) -> list[Entry]:
        """The entries of an account, the latest first, from the one before number ``before`` on."""
        return self._ask(Entry, "account_entries", user=user, before=before, limit=limit)
