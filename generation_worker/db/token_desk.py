"""Keys of the HTTP API, as each request asks for them."""

from __future__ import annotations

from generation_worker.db.desk import Desk
from generation_worker.domain.token import Token


class TokenDesk(Desk):
    """Each method may raise StoreUnavailable."""

    def find_token(self, token_id: str) -> Token | None:
        row = self._only("find_token", id=token_id)
        return None if row is None else Token(**row)

    def has_tokens(self) -> bool:
        row = self._only("has_tokens")
        return row is not None and row["found"]

    def note_use(self, token_id: str) -> None:
        self._ask("note_use", id=token_id)

    def draw_request(self, token_id: str, *, gap: float, ahead: float) -> float:
        """0 if a request may go on, else the seconds until one may.

        Requests are ``gap`` seconds apart on average, and may come up to ``ahead`` seconds early.
        """
        row = self._only("draw_request", id=token_id, gap=gap, ahead=ahead)
        assert row is not None
        return row["wait"]
