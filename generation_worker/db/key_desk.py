"""Keys of the HTTP API, as people take them back in the dashboard."""

from __future__ import annotations

from generation_worker.db.desk import Desk
from generation_worker.db.history import Author
from generation_worker.db.tokens import TokenRow, revoke_token


class KeyDesk(Desk):
    """Each method may raise StoreUnavailable. ``by`` is who asks, ``reason`` why, for the record."""

    def revoke(self, token_id: str, *, by: str, reason: str | None) -> TokenRow | None:
        """The key as it is now: within a second it lets nobody in. None if there is no such key."""
        with self._connections.connection() as connection:
            return revoke_token(connection, token_id, by=Author(by, reason))
