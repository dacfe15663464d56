"""Answers about accounts and their entries. Amounts are in credits."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple
from uuid import UUID


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
