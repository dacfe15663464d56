"""Sessions of the dashboard."""

from __future__ import annotations

import psycopg

from generation_worker.db.desk import Desk
from generation_worker.db.history import Author, record
from generation_worker.db.running import Row

OPEN = """
INSERT INTO dashboard_session (id_hash, token_id, expires_at)
VALUES (%s, %s, clock_timestamp() + make_interval(secs => %s))
"""
CLOSE = "DELETE FROM dashboard_session WHERE id_hash = %s RETURNING token_id"
DISCARD = """
DELETE FROM dashboard_session WHERE id_hash IN (
  SELECT id_hash FROM dashboard_session WHERE expires_at < statement_timestamp() ORDER BY expires_at LIMIT 100)
"""


class SessionDesk(Desk):
    """Each method may raise StoreUnavailable. ``id_hash`` is the hash of what a browser shows."""

    def open_session(self, id_hash: bytes, token_id: str, *, lasts: float, by: str) -> None:
        """For ``lasts`` seconds. Those that have ended are deleted here: nobody else makes any."""
        with self._connections.connection() as connection, connection.transaction():
            connection.execute(OPEN, [id_hash, token_id, lasts])
            connection.execute(DISCARD)
            _tell(connection, by, "dashboard.sign_in", token_id)

    def find_session(self, id_hash: bytes) -> str | None:
        """The id of the key that it was opened with; None if there is no such session, or no longer."""
        row = self._only("find_session", id_hash=id_hash)
        return None if row is None else row["token_id"]

    def close_session(self, id_hash: bytes, *, by: str) -> None:
        with self._connections.connection() as connection, connection.transaction():
            closed = connection.execute(CLOSE, [id_hash]).fetchone()
            if closed is not None:
                _tell(connection, by, "dashboard.sign_out", closed[0])


def _tell(connection: psycopg.Connection[Row], by: str, action: str, token_id: str) -> None:
    record(connection, Author(by), action, f"token:{token_id}")
