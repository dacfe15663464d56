"""Keys of the HTTP API, as the command line makes and takes them back."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

import psycopg
from psycopg.rows import class_row

from generation_worker.db.audit_trail import UNKNOWN, Author, record, together
from generation_worker.db.connections import Row
from generation_worker.db.query import Asking, Desk
from generation_worker.domain.refusals import InvalidRequest
from generation_worker.domain.token import (
    ID_LENGTH,
    OF_ONE_USER,
    PREFIX,
    SCOPES,
    SECRET_BYTES,
    Scope,
    Token,
    hash_secret,
    write_key,
)

Connection = psycopg.Connection[Any]

ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz"
COLUMNS = """
id, name, scopes, user_id, requests_per_minute, most_waiting, max_body_kb, created_at, created_by, expires_at,
revoked_at, last_used_at, CASE WHEN revoked_at IS NOT NULL THEN 'revoked'
                               WHEN expires_at <= statement_timestamp() THEN 'expired' ELSE 'active' END AS state
"""
CREATE = f"""
INSERT INTO api_token (id, name, secret_hash, scopes, user_id, requests_per_minute, most_waiting, max_body_kb,
                       created_by, expires_at)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, statement_timestamp() + make_interval(secs => %s)) RETURNING {COLUMNS}
"""  # noqa: S608 - the columns stand above
LIST = f"SELECT {COLUMNS} FROM api_token ORDER BY created_at, id"  # noqa: S608
ONE = f"SELECT {COLUMNS} FROM api_token WHERE id = %s"  # noqa: S608
REVOKE = f"""
UPDATE api_token SET revoked_at = clock_timestamp() WHERE id = %s AND revoked_at IS NULL RETURNING {COLUMNS}
"""  # noqa: S608


class TokenRow(NamedTuple):
    """A key without what would let anybody use it."""

    id: str
    name: str
    scopes: list[Scope]
    user_id: str | None
    requests_per_minute: int | None
    most_waiting: int | None
    max_body_kb: int | None
    created_at: datetime
    created_by: str | None
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None
    state: str
    """active, expired or revoked."""


class NewToken(NamedTuple):
    token: TokenRow
    key: str
    """Shown once: it is stored nowhere."""


def create_token(
    connection: Connection,
    name: str,
    scopes: Sequence[str],
    *,
    user_id: str | None = None,
    lasts: float | None = None,
    requests_per_minute: int | None = None,
    most_waiting: int | None = None,
    max_body_kb: int | None = None,
    by: Author = UNKNOWN,
) -> NewToken:
    """Make a key that may be used for ``lasts`` seconds (None: until it is revoked). Raises InvalidRequest."""
    _check(name, scopes, user_id)
    token_id = "".join(secrets.choice(ALPHABET) for _ in range(ID_LENGTH))
    secret = secrets.token_bytes(SECRET_BYTES)
    ordered = [scope for scope in SCOPES if scope in scopes]
    values = [
        token_id, name, hash_secret(secret), ordered, user_id, requests_per_minute, most_waiting, max_body_kb,
        by.actor, lasts,
    ]  # fmt: skip
    with together(connection):
        row = _row(connection, CREATE, values)
        assert row is not None
        after = {"name": name, "scopes": ordered, "user_id": user_id, "expires_at": row.expires_at}
        record(connection, by, "token.create", f"token:{token_id}", after=after)
    return NewToken(row, write_key(token_id, secret))


def list_tokens(connection: Connection) -> list[TokenRow]:
    """All that there have ever been, the oldest first."""
    with connection.cursor(row_factory=class_row(TokenRow)) as cursor:
        return cursor.execute(LIST.encode()).fetchall()


def revoke_token(connection: Connection, token_id: str, *, by: Author = UNKNOWN) -> TokenRow | None:
    """From the next second on it lets nobody in; None if there is no such key. ``token_id`` may be the whole key."""
    public = token_id.removeprefix(PREFIX).partition("_")[0]
    with together(connection):
        revoked = _row(connection, REVOKE, [public])
        if revoked is not None:
            before, after = {"state": "active"}, {"state": "revoked"}
            record(connection, by, "token.revoke", f"token:{public}", before=before, after=after)
            return revoked
    return _row(connection, ONE, [public])


def _row(connection: Connection, statement: str, values: Sequence[Any]) -> TokenRow | None:
    with connection.cursor(row_factory=class_row(TokenRow)) as cursor:
        return cursor.execute(statement.encode(), values).fetchone()


def _check(name: str, scopes: Sequence[str], user_id: str | None) -> None:
    if not 1 <= len(name) <= 100 or not name.isprintable():
        raise InvalidRequest("name: must have 1 to 100 printable characters")
    if not scopes or set(scopes) - set(SCOPES):
        raise InvalidRequest(f"scope: must be some of {', '.join(SCOPES)}")
    if user_id is not None and not 1 <= len(user_id) <= 255:
        raise InvalidRequest("user: must have 1 to 255 characters")
    if user_id is not None and (too_much := sorted(set(scopes) - OF_ONE_USER)):
        raise InvalidRequest(
            f"scope: {', '.join(too_much)} is about all users, but the key is to be bound to {user_id}",
            "Leave out the scope, or the user.",
        )


# Questions about the keys of the API.


class AccessInsights(Asking):
    def api_keys(
        self, *, active: bool = False, user: str | None = None, before: str | None = None, limit: int = 50
    ) -> list[TokenRow]:
        """Without their secrets, the latest first, from the one before the key ``before`` on.

        ``active``: only those that may be used.
        """
        return self._ask(TokenRow, "api_keys", active=active, user=user, before=before, limit=limit)


# Keys of the HTTP API, as people take them back in the dashboard.


class KeyDesk(Desk):
    """Each method may raise StoreUnavailable. ``by`` is who asks, ``reason`` why, for the record."""

    def revoke(self, token_id: str, *, by: str, reason: str | None) -> TokenRow | None:
        """The key as it is now: within a second it lets nobody in. None if there is no such key."""
        with self._connections.connection() as connection:
            return revoke_token(connection, token_id, by=Author(by, reason))


# Sessions of the dashboard.


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


# Keys of the HTTP API, as each request asks for them.


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
