"""Credits: accounts and their entries, and grants and corrections by people and apps. Amounts are in credits."""

from datetime import datetime
from typing import Any, Literal, NamedTuple
from uuid import UUID

import psycopg

from generation_worker.db import audit_trail, enqueue, query, statements

LAST_CHARACTER = "\U0010ffff"


class Posting(NamedTuple):
    """An entry in an account."""

    entry: int
    """Its number within the account."""
    balance: int
    """The account's balance now."""
    duplicate: bool
    """The key was used before; nothing was moved this time."""


class Balance(NamedTuple):
    """An account in a list of accounts."""

    user_id: str
    balance: int
    entries: int
    fair_weight: float
    created_at: datetime


class AccountDetails(NamedTuple):
    """One user's account."""

    user_id: str
    balance: int
    entries: int
    fair_weight: float
    created_at: datetime
    waiting: int
    """The cost of the user's waiting jobs, which is debited when they start."""


class LedgerEntry(NamedTuple):
    """One movement in an account."""

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


def grant_credits(
    connection: psycopg.Connection[Any],
    user_id: str,
    amount: int,
    *,
    idempotency_key: str | None = None,
    reason: str | None = None,
    actor: str | None = None,
    schema: str = statements.SCHEMA,
) -> Posting:
    """Give a user ``amount`` credits, for instance in the transaction that records their payment.

    Repeating the call with the same ``idempotency_key`` moves nothing. With an ``actor``, the grant is also recorded in
    the audit trail. ``schema`` is the worker's DATABASE_SCHEMA. Raises InvalidRequest and IdempotencyConflict.
    """
    queries = query.Queries.on(connection, schema=schema)
    return post(queries, "grant_credits", user_id, amount, key=idempotency_key, by=audit_trail.Author(actor, reason))


def adjust_credits(
    connection: psycopg.Connection[Any],
    user_id: str,
    amount: int,
    *,
    idempotency_key: str | None = None,
    reason: str | None = None,
    actor: str | None = None,
    schema: str = statements.SCHEMA,
) -> Posting:
    """Correct a balance up or, with a negative ``amount``, down; never below zero.

    With an ``actor``, the correction is also recorded in the audit trail. Raises InvalidRequest, IdempotencyConflict,
    and InsufficientCredits if the balance does not cover it.
    """
    queries = query.Queries.on(connection, schema=schema)
    return post(queries, "adjust_credits", user_id, amount, key=idempotency_key, by=audit_trail.Author(actor, reason))


ACTIONS = {"grant_credits": "credits.grant", "adjust_credits": "credits.adjust"}


def post(
    queries: query.Queries,
    statement: Literal["grant_credits", "adjust_credits"],
    user: str,
    amount: int,
    *,
    key: str | None,
    by: audit_trail.Author,
) -> Posting:
    """Move credits by a grant or a correction. Raises as ``adjust_credits`` does."""
    with enqueue.refusals(), queries.transaction() as transaction:
        values: dict[str, Any] = {"user": user, "amount": amount, "key": key, "reason": by.reason, "actor": by.actor}
        posting = transaction.one(Posting, statement, **values)
        if by.actor is not None and not posting.duplicate:
            before, after = {"balance": posting.balance - amount}, {"balance": posting.balance, "entry": posting.entry}
            audit_trail.record_change(transaction, by, ACTIONS[statement], f"user:{user}", before=before, after=after)
    return posting


def find_account(queries: query.Queries, user: str) -> AccountDetails | None:
    """None if the user has never had credits."""
    return queries.one_or_none(AccountDetails, "account", user=user)


def list_entries(queries: query.Queries, user: str, *, before: int | None = None, limit: int = 50) -> list[LedgerEntry]:
    """Entries of an account, the latest first; with ``before`` those with a lower number."""
    latest = query.LAST_ENTRY if before is None else before
    return queries.all(LedgerEntry, "account_entries", user=user, before=latest, limit=limit)


def list_balances(queries: query.Queries, *, beginning: str = "", after: str = "", limit: int = 100) -> list[Balance]:
    """Accounts of users whose ids begin with ``beginning``, in the order of the ids; with ``after`` those behind it."""
    end = beginning + LAST_CHARACTER
    return queries.all(Balance, "balances", beginning=beginning, end=end, after=after, limit=limit)
