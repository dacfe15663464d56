"""Questions about the keys of the API."""

from __future__ import annotations

from generation_worker.db.insights.asking import Asking
from generation_worker.db.tokens import TokenRow


class AccessInsights(Asking):
    def api_keys(
        self, *, active: bool = False, user: str | None = None, before: str | None = None, limit: int = 50
    ) -> list[TokenRow]:
        """Without their secrets, the latest first, from the one before the key ``before`` on.

        ``active``: only those that may be used.
        """
        return self._ask(TokenRow, "api_keys", active=active, user=user, before=before, limit=limit)
