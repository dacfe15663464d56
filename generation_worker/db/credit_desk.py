"""Accounts of users, as the HTTP API asks for them."""

from __future__ import annotations

from generation_worker.db.answers.accounts import Account, Entry
from generation_worker.db.credits import Posting, adjust_credits, grant_credits
from generation_worker.db.desk import Desk
from generation_worker.db.insights import LAST_ENTRY, Insights
from generation_worker.db.running import Connections


class CreditDesk(Desk):
    """Each method may raise StoreUnavailable."""

    def __init__(self, connections: Connections) -> None:
        super().__init__(connections)
        self._insights = Insights(connections)

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
