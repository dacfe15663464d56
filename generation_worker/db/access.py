"""Access: API keys, and the sessions of the dashboard that are opened with them. Only hashes of both are stored."""

import secrets
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from generation_worker.db.audit_trail import UNKNOWN, Author, record_change
from generation_worker.db.query import Queries
from generation_worker.domain.refusals import InvalidRequest
from generation_worker.domain.token import (
    ID_LENGTH,
    ONE_USER_SCOPES,
    PREFIX,
    SCOPES,
    SECRET_BYTES,
    Scope,
    Token,
    hash_secret,
    write_key,
)

ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz"


class TokenRow(NamedTuple):
    """A key for people to read: without its secret and without the secret's hash."""

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
    queries: Queries,
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
    """Make a key that is valid for ``lasts`` seconds (None: until it is revoked). Raises InvalidRequest."""
    _check(name, scopes, user_id)
    token_id = "".join(secrets.choice(ALPHABET) for _ in range(ID_LENGTH))
    secret = secrets.token_bytes(SECRET_BYTES)
    ordered = [scope for scope in SCOPES if scope in scopes]
    with queries.transaction() as transaction:
        transaction.execute(
            "create_token",
            id=token_id,
            name=name,
            secret_hash=hash_secret(secret),
            scopes=ordered,
            user=user_id,
            requests_per_minute=requests_per_minute,
            most_waiting=most_waiting,
            max_body_kb=max_body_kb,
            by=by.actor,
            lasts=lasts,
        )
        row = transaction.one(TokenRow, "show_token", id=token_id)
        after = {"name": name, "scopes": ordered, "user_id": user_id, "expires_at": row.expires_at}
        record_change(transaction, by, "token.create", f"token:{token_id}", after=after)
    return NewToken(row, write_key(token_id, secret))


def list_tokens(
    queries: Queries,
    *,
    active: bool = False,
    user: str | None = None,
    before: str | None = None,
    limit: int | None = None,
) -> list[TokenRow]:
    """Keys, the latest first; with ``before`` those that were made before the key with that id.

    ``active`` leaves out revoked and expired keys.
    """
    return queries.all(TokenRow, "list_tokens", active=active, user=user, before=before, limit=limit)


def revoke_token(queries: Queries, token_id: str, *, by: Author = UNKNOWN) -> TokenRow | None:
    """Revoke a key and return it; None if there is no such key. ``token_id`` may be the whole key.

    Processes cache keys for a second; after that no request with it is accepted.
    """
    public = token_id.removeprefix(PREFIX).partition("_")[0]
    with queries.transaction() as transaction:
        if transaction.execute("revoke_token", id=public):
            before, after = {"state": "active"}, {"state": "revoked"}
            record_change(transaction, by, "token.revoke", f"token:{public}", before=before, after=after)
        return transaction.one_or_none(TokenRow, "show_token", id=public)


def find_token(queries: Queries, token_id: str) -> Token | None:
    """The key that a request presents, by its public part."""
    return queries.one_or_none(Token, "find_token", id=token_id)


def has_tokens(queries: Queries) -> bool:
    """Whether any key was ever made. Revoked keys count, so that revoking the last one does not open the API."""
    [row] = queries.rows("has_tokens")
    return row["found"]


def note_use(queries: Queries, token_id: str) -> None:
    """Record that the key is in use, at most once a minute."""
    queries.execute("note_use", id=token_id)


def draw_request(queries: Queries, token_id: str, *, gap: float, ahead: float) -> float:
    """Count a request of a key. Returns 0 if the request may go on, else the seconds until one may.

    Requests are ``gap`` seconds apart on average, and may come up to ``ahead`` seconds early.
    """
    [row] = queries.rows("draw_request", id=token_id, gap=gap, ahead=ahead)
    return row["wait"]


def open_session(queries: Queries, id_hash: bytes, token_id: str, *, lasts: float, by: str) -> None:
    """Open a session for ``lasts`` seconds; ``id_hash`` is the hash of the id in the browser's cookie.

    Also deletes a bounded number of expired sessions: only here are new ones made.
    """
    with queries.transaction() as transaction:
        transaction.execute("open_session", id_hash=id_hash, token=token_id, lasts=lasts)
        transaction.execute("delete_expired_sessions")
        record_change(transaction, Author(by), "dashboard.sign_in", f"token:{token_id}")


def find_session(queries: Queries, id_hash: bytes) -> str | None:
    """The id of the key with which the session was opened; None if there is no such session or it has expired."""
    row = queries.row_or_none("find_session", id_hash=id_hash)
    return None if row is None else row["token_id"]


def close_session(queries: Queries, id_hash: bytes, *, by: str) -> None:
    with queries.transaction() as transaction:
        closed = transaction.row_or_none("close_session", id_hash=id_hash)
        if closed is not None:
            record_change(transaction, Author(by), "dashboard.sign_out", f"token:{closed['token_id']}")


def _check(name: str, scopes: Sequence[str], user_id: str | None) -> None:
    if not 1 <= len(name) <= 100 or not name.isprintable():
        raise InvalidRequest("name: must have 1 to 100 printable characters")
    if not scopes or set(scopes) - set(SCOPES):
        raise InvalidRequest(f"scope: must be some of {', '.join(SCOPES)}")
    if user_id is not None and not 1 <= len(user_id) <= 255:
        raise InvalidRequest("user: must have 1 to 255 characters")
    if user_id is not None and (excess := sorted(set(scopes) - ONE_USER_SCOPES)):
        raise InvalidRequest(
            f"scope: {', '.join(excess)} covers all users, but the key is to be bound to {user_id}",
            "Leave out the scope, or the user.",
        )
