"""Questions about accounts and their entries."""

from __future__ import annotations

from generation_worker.db.answers.accounts import Account, Balance, Entry
from generation_worker.db.insights.asking import Asking, only
from generation_worker.db.insights.bounds import LAST_ENTRY

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
