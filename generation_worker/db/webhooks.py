"""What people do to webhook endpoints and their deliveries. Each change stands in the audit trail, in its transaction.

``owner`` is the only user whose endpoints may be touched; None: any. What is another user's is as if it were not there.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import psycopg
from psycopg.rows import dict_row

from generation_worker.db.audit_trail import UNKNOWN, Author, record, together
from generation_worker.db.connections import Connections
from generation_worker.db.query import BEGINNING, Asking, Desk, Mark
from generation_worker.domain.refusals import DeliveryNotFound, EndpointDisabled, EndpointNotFound, InvalidRequest
from generation_worker.domain.urls import parse_url
from generation_worker.domain.webhook import EVENTS, OF_OPERATORS, TEST, USUAL

Connection = psycopg.Connection[Any]
Row = dict[str, Any]

SECRET_BYTES = 32
LONGEST_URL = 2000
OLD_SECRET_LASTS = 86_400.0
"""Seconds for which the secret before a new one signs as well."""
MOST_REPLAYED = 10_000
PRIVATE = "For one in a private network set WEBHOOK_ALLOW_PRIVATE=true, for the workers too."

CREATE = """
INSERT INTO webhook_endpoint (url, events, user_id, secret, created_by) VALUES (%s, %s, %s, %s, %s) RETURNING id
"""
FIND = """
SELECT id, url, events, user_id, disabled_at, disabled_for FROM webhook_endpoint
 WHERE id = %s AND (%s::text IS NULL OR user_id = %s) FOR NO KEY UPDATE
"""
ROTATE = """
UPDATE webhook_endpoint
   SET old_secret = secret, old_secret_until = clock_timestamp() + make_interval(secs => %s), secret = %s
 WHERE id = %s
"""
DISABLE = "UPDATE webhook_endpoint SET disabled_at = clock_timestamp(), disabled_for = %s WHERE id = %s"
ENABLE = """
UPDATE webhook_endpoint
   SET disabled_at = NULL, disabled_for = NULL, failing_since = NULL, closed_until = NULL,
       enabled_since = clock_timestamp()
 WHERE id = %s
"""
REMOVE = "DELETE FROM webhook_endpoint WHERE id = %s"
FORGET = "DELETE FROM webhook_delivery WHERE endpoint_id = %s AND status = 'pending'"
PING = """
INSERT INTO webhook_delivery (endpoint_id, event, body)
VALUES (%(id)s, %(event)s,
        webhook_body(%(event)s, clock_timestamp(), jsonb_build_object('endpoint_id', %(id)s::uuid)))
RETURNING id
"""
OF_DELIVERY = "SELECT endpoint_id, status, attempts FROM webhook_delivery WHERE id = %s"
AGAIN = """
UPDATE webhook_delivery
   SET status = 'pending', attempts = 0, next_at = clock_timestamp(), lease_token = NULL, finished_at = NULL
"""
REPLAY = AGAIN + " WHERE id = %s"
REPLAY_SINCE = f"""{AGAIN}
 WHERE id IN (SELECT d.id FROM webhook_delivery d
                JOIN webhook_endpoint e ON e.id = d.endpoint_id AND e.disabled_at IS NULL
               WHERE d.status = 'dead' AND d.last_error IS NOT NULL AND d.created_at >= %s
                 AND (%s::uuid IS NULL OR e.id = %s) AND (%s::text IS NULL OR e.user_id = %s)
               ORDER BY d.created_at LIMIT {MOST_REPLAYED} FOR NO KEY UPDATE OF d)
"""  # noqa: S608 - the statement and the number stand above
HINT = "SELECT pg_notify('generation_worker', hint) FROM unnest(%s::text[]) AS hint"
FOLLOW, LOOK = ["control"], ["wake"]
"""Workers ask what endpoints want; couriers look for what is due."""


class NewEndpoint(NamedTuple):
    id: UUID
    secret: str
    """Shown once."""


def create_endpoint(
    connection: Connection,
    url: str,
    events: Sequence[str] = USUAL,
    *,
    user_id: str | None = None,
    allow_private: bool = False,
    by: Author = UNKNOWN,
) -> NewEndpoint:
    """Tell ``url`` of ``events`` from now on, of all users' jobs or of one user's. Raises InvalidRequest."""
    address = _check(url, events, user_id, allow_private=allow_private)
    ordered, secret = [event for event in EVENTS if event in events], _new_secret()
    with together(connection):
        row = _row(connection, CREATE, (address, ordered, user_id, secret, by.actor))
        assert row is not None
        after = {"url": address, "events": ordered, "user_id": user_id}
        record(connection, by, "webhook.add", _target(row["id"]), after=after)
        connection.execute(HINT, (FOLLOW,))
    return NewEndpoint(row["id"], secret)


def rotate_secret(
    connection: Connection,
    endpoint: UUID,
    *,
    keep: float = OLD_SECRET_LASTS,
    owner: str | None = None,
    by: Author = UNKNOWN,
) -> str:
    """A new secret; for ``keep`` seconds both sign each message. Raises EndpointNotFound."""
    secret = _new_secret()
    with together(connection):
        _find(connection, endpoint, owner)
        connection.execute(ROTATE, (keep, secret, endpoint))
        record(connection, by, "webhook.rotate", _target(endpoint), after={"old_secret_lasts_seconds": keep})
    return secret


def disable_endpoint(connection: Connection, endpoint: UUID, *, owner: str | None = None, by: Author = UNKNOWN) -> None:
    """Tell it nothing until it is enabled; what waits for it goes on waiting. Raises EndpointNotFound."""
    with together(connection):
        if _find(connection, endpoint, owner)["disabled_at"] is not None:
            return
        reason = (by.reason or f"by {by.actor or 'somebody'}")[:500]
        connection.execute(DISABLE, (reason, endpoint))
        after = {"disabled_for": reason}
        record(connection, by, "webhook.disable", _target(endpoint), before={"disabled_for": None}, after=after)
        connection.execute(HINT, (FOLLOW,))


def enable_endpoint(connection: Connection, endpoint: UUID, *, owner: str | None = None, by: Author = UNKNOWN) -> None:
    """Tell it again, first what has waited for it. Raises EndpointNotFound."""
    with together(connection):
        found = _find(connection, endpoint, owner)
        connection.execute(ENABLE, (endpoint,))
        if found["disabled_at"] is not None:
            before = {"disabled_at": found["disabled_at"], "disabled_for": found["disabled_for"]}
            after = dict.fromkeys(before)
            record(connection, by, "webhook.enable", _target(endpoint), before=before, after=after)
        connection.execute(HINT, (FOLLOW + LOOK,))


def remove_endpoint(connection: Connection, endpoint: UUID, *, owner: str | None = None, by: Author = UNKNOWN) -> None:
    """Forget it, and what waits for it. Raises EndpointNotFound."""
    with together(connection):
        found = _find(connection, endpoint, owner)
        connection.execute(REMOVE, (endpoint,))
        connection.execute(FORGET, (endpoint,))
        before = {name: found[name] for name in ("url", "events", "user_id")}
        record(connection, by, "webhook.remove", _target(endpoint), before=before)
        connection.execute(HINT, (FOLLOW,))


def send_test(connection: Connection, endpoint: UUID, *, owner: str | None = None, by: Author = UNKNOWN) -> UUID:
    """Have a courier send a message of the type endpoint.test; its id. Raises EndpointNotFound, EndpointDisabled."""
    with together(connection):
        _enabled(_find(connection, endpoint, owner))
        row = _row(connection, PING, {"id": endpoint, "event": TEST})
        assert row is not None
        record(connection, by, "webhook.test", _target(endpoint), after={"delivery": row["id"]})
        connection.execute(HINT, (LOOK,))
    return row["id"]


def replay_delivery(connection: Connection, delivery: UUID, *, owner: str | None = None, by: Author = UNKNOWN) -> None:
    """Send it once more, delivered or not, with its id and its body; it has all its tries again.

    Raises DeliveryNotFound, EndpointDisabled.
    """
    with together(connection):
        sent = _row(connection, OF_DELIVERY, (delivery,))
        endpoint = sent and _row(connection, FIND, (sent["endpoint_id"], owner, owner))
        if sent is None or endpoint is None:
            raise DeliveryNotFound(f"delivery: there is no {delivery}", "Deliveries are kept for a month at most.")
        _enabled(endpoint)
        connection.execute(REPLAY, (delivery,))
        before = {"status": sent["status"], "attempts": sent["attempts"]}
        record(connection, by, "delivery.replay", f"delivery:{delivery}", before=before)
        connection.execute(HINT, (LOOK,))


def replay_since(
    connection: Connection,
    moment: datetime,
    *,
    endpoint: UUID | None = None,
    owner: str | None = None,
    by: Author = UNKNOWN,
) -> int:
    """Send once more what was given up since ``moment``, MOST_REPLAYED at most; how many. Not to disabled endpoints.

    Raises EndpointNotFound, EndpointDisabled.
    """
    with together(connection):
        if endpoint is not None:
            _enabled(_find(connection, endpoint, owner))
        number = connection.execute(REPLAY_SINCE.encode(), (moment, endpoint, endpoint, owner, owner)).rowcount
        if number:
            target = _target(endpoint) if endpoint else "endpoints"
            record(connection, by, "delivery.replay", target, after={"since": moment, "replayed": number})
            connection.execute(HINT, (LOOK,))
    return number


def _check(url: str, events: Sequence[str], user_id: str | None, *, allow_private: bool) -> str:
    """The URL as it is kept."""
    if unknown := sorted(set(events) - set(EVENTS)):
        raise InvalidRequest(f"events: there is no {', '.join(unknown)}", f"There are {', '.join(EVENTS)}.")
    if not events:
        raise InvalidRequest("events: must name one at least", f"There are {', '.join(EVENTS)}.")
    if user_id is not None and not 1 <= len(user_id) <= 255:
        raise InvalidRequest("user_id: must have 1 to 255 characters")
    if user_id is not None and (too_much := sorted(set(events) & OF_OPERATORS)):
        raise InvalidRequest(f"events: {', '.join(too_much)} is not about one user", "Leave it out, or the user.")
    try:
        address = parse_url(url, private=allow_private).text
    except ValueError as error:
        raise InvalidRequest(f"url: {error}", "" if allow_private else PRIVATE) from None
    if len(address) > LONGEST_URL:
        raise InvalidRequest(f"url: has {len(address)} characters; {LONGEST_URL} are allowed")
    return address


def _find(connection: Connection, endpoint: UUID, owner: str | None) -> Row:
    """Locked, so that two changes of one endpoint come one after the other. Raises EndpointNotFound."""
    if (found := _row(connection, FIND, (endpoint, owner, owner))) is None:
        raise EndpointNotFound(f"endpoint: there is no {endpoint}", "See generation-worker webhook list")
    return found


def _enabled(endpoint: Row) -> None:
    if endpoint["disabled_at"] is not None:
        raise EndpointDisabled(
            f"endpoint: {endpoint['id']} is disabled: {endpoint['disabled_for']}",
            f"Enable it first: generation-worker webhook enable {endpoint['id']}",
        )


def _row(connection: Connection, statement: str, values: Any) -> Row | None:
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(statement.encode(), values).fetchone()


def _new_secret() -> str:
    return "whsec_" + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def _target(endpoint: UUID) -> str:
    return f"endpoint:{endpoint}"


# Answers about endpoints and what they are told.


class Endpoint(NamedTuple):
    """An address that is told of events."""

    id: UUID
    url: str
    events: list[str]
    user_id: str | None
    """The only user whose jobs it is told of; None: of all."""
    state: str
    """ok, failing, resting (it asked to be left alone for a while) or disabled."""
    reason: str | None
    since: datetime | None
    """Of its failing, or of its being disabled."""
    waiting: int
    dead: int
    """Messages that were given up. Both numbers end at a thousand."""
    created_at: datetime
    created_by: str | None
    old_secret_until: datetime | None
    """Until then the secret before the present one signs, too."""


class SentMessage(NamedTuple):
    """A message for one endpoint, and what came of its last try."""

    id: UUID
    endpoint_id: UUID
    event: str
    job_id: UUID | None
    batch_id: UUID | None
    status: str
    """pending, delivered or dead."""
    attempts: int
    next_at: datetime | None
    last_status: int | None
    last_error: str | None
    created_at: datetime
    finished_at: datetime | None


# Questions about endpoints and what they are told.


class WebhookInsights(Asking):
    def webhook_endpoints(
        self,
        *,
        endpoint: UUID | None = None,
        user_id: str | None = None,
        after: UUID | None = None,
        troubled_first: bool = True,
        limit: int = 1000,
    ) -> list[Endpoint]:
        """Those in trouble come first, unless they are asked for page by page, in the order of their ids."""
        return self._ask(
            Endpoint,
            "webhook_endpoints",
            endpoint=endpoint,
            user_id=user_id,
            after=after,
            troubled_first=troubled_first,
            limit=limit,
        )

    def webhook_deliveries(
        self,
        *,
        delivery: UUID | None = None,
        endpoint: UUID | None = None,
        job: UUID | None = None,
        state: str | None = None,
        failed: bool = False,
        user_id: str | None = None,
        before: tuple[datetime, UUID] | None = None,
        limit: int = 100,
    ) -> list[SentMessage]:
        """Messages, the latest first; those before ``before``, which is the time and the id of one."""
        moment, message = before or (None, None)
        return self._ask(
            SentMessage,
            "webhook_deliveries",
            delivery=delivery,
            endpoint=endpoint,
            job=job,
            state=state,
            failed=failed,
            user_id=user_id,
            before=moment,
            before_id=message,
            limit=limit,
        )


# Webhook endpoints and deliveries, as the HTTP API asks for them and changes them.


class WebhookDesk(Desk):
    """Each method may raise StoreUnavailable. ``owner`` is the only user whose endpoints are there; None: all are.

    ``by`` is who asks, ``reason`` why, for the record.
    """

    def __init__(self, connections: Connections, *, allow_private: bool) -> None:
        super().__init__(connections)
        self._insights = WebhookInsights(connections)
        self._allow_private = allow_private

    def endpoints(self, owner: str | None, *, after: UUID | None, limit: int) -> list[Endpoint]:
        """In the order of their ids, from the one after ``after`` on."""
        return self._insights.webhook_endpoints(user_id=owner, after=after, troubled_first=False, limit=limit)

    def endpoint(self, endpoint: UUID, owner: str | None) -> Endpoint:
        """Raises EndpointNotFound."""
        found = self._insights.webhook_endpoints(endpoint=endpoint, user_id=owner)
        if not found:
            raise EndpointNotFound(f"endpoint_id: there is no endpoint {endpoint}")
        return found[0]

    def add(
        self, url: str, events: Sequence[str], user: str | None, *, by: str, reason: str | None = None
    ) -> NewEndpoint:
        """Raises InvalidRequest."""
        with self._connections.connection() as connection:
            return create_endpoint(
                connection, url, events, user_id=user, allow_private=self._allow_private, by=Author(by, reason)
            )

    def rotate(self, endpoint: UUID, owner: str | None, *, keep: float, by: str, reason: str | None) -> str:
        """The new secret. Raises EndpointNotFound."""
        with self._connections.connection() as connection:
            return rotate_secret(connection, endpoint, keep=keep, owner=owner, by=Author(by, reason))

    def disable(self, endpoint: UUID, owner: str | None, *, by: str, reason: str | None) -> None:
        """Raises EndpointNotFound."""
        with self._connections.connection() as connection:
            disable_endpoint(connection, endpoint, owner=owner, by=Author(by, reason))

    def enable(self, endpoint: UUID, owner: str | None, *, by: str, reason: str | None) -> None:
        """Raises EndpointNotFound."""
        with self._connections.connection() as connection:
            enable_endpoint(connection, endpoint, owner=owner, by=Author(by, reason))

    def remove(self, endpoint: UUID, owner: str | None, *, by: str, reason: str | None) -> None:
        """Raises EndpointNotFound."""
        with self._connections.connection() as connection:
            remove_endpoint(connection, endpoint, owner=owner, by=Author(by, reason))

    def test(self, endpoint: UUID, owner: str | None, *, by: str, reason: str | None) -> UUID:
        """The id of the message. Raises EndpointNotFound, EndpointDisabled."""
        with self._connections.connection() as connection:
            return send_test(connection, endpoint, owner=owner, by=Author(by, reason))

    def deliveries(
        self,
        owner: str | None,
        *,
        endpoint: UUID | None,
        job: UUID | None,
        state: str | None,
        failed: bool,
        before: Mark,
        limit: int,
    ) -> list[SentMessage]:
        """The latest first, from the one before ``before`` on."""
        return self._insights.webhook_deliveries(
            endpoint=endpoint,
            job=job,
            state=state,
            failed=failed,
            user_id=owner,
            before=None if before == BEGINNING else before,
            limit=limit,
        )

    def replay(self, delivery: UUID, owner: str | None, *, by: str, reason: str | None) -> None:
        """Raises DeliveryNotFound, EndpointDisabled."""
        with self._connections.connection() as connection:
            replay_delivery(connection, delivery, owner=owner, by=Author(by, reason))
