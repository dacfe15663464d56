"""Webhook endpoints and their deliveries: lists, and changes, each of which is in the audit trail.

``owner`` restricts a function to the endpoints of one user, as if there were no others; None: all endpoints.
"""

import base64
import secrets
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from generation_worker.db.audit_trail import UNKNOWN, Author, record_change
from generation_worker.db.query import BEGINNING, Mark, Queries
from generation_worker.domain.refusals import DeliveryNotFound, EndpointDisabled, EndpointNotFound, InvalidRequest
from generation_worker.domain.urls import parse_url
from generation_worker.domain.webhook import DEFAULT_EVENTS, EVENTS, OPERATOR_EVENTS, TEST

SECRET_BYTES = 32
LONGEST_URL = 2000
LONGEST_REASON = 500
OLD_SECRET_LASTS = 86_400.0
"""Seconds for which the old secret also signs after a rotation."""
MOST_REPLAYED = 10_000
PRIVATE = "For one in a private network set WEBHOOK_ALLOW_PRIVATE=true, for the workers too."

RELOAD_ENDPOINTS, CLAIM_DELIVERIES = "control", "wake"
"""Messages to the workers: read again which events endpoints want; claim due deliveries."""


class Endpoint(NamedTuple):
    """A URL that receives events."""

    id: UUID
    url: str
    events: list[str]
    user_id: str | None
    """The only user whose events it receives; None: those of all."""
    state: str
    """ok, failing, resting (it asked for a break by Retry-After) or disabled."""
    reason: str | None
    since: datetime | None
    """When it began to fail, or was disabled."""
    waiting: int
    dead: int
    """Deliveries that were given up. Both numbers end at a thousand."""
    created_at: datetime
    created_by: str | None
    old_secret_until: datetime | None
    """Until then the old secret also signs."""


class SentMessage(NamedTuple):
    """A delivery: one message to one endpoint, and the result of its last try."""

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


class NewEndpoint(NamedTuple):
    id: UUID
    secret: str
    """Shown once."""


class LockedEndpoint(NamedTuple):
    """An endpoint before a change."""

    id: UUID
    url: str
    events: list[str]
    user_id: str | None
    disabled_at: datetime | None
    disabled_for: str | None


class DeliveryState(NamedTuple):
    """A delivery before a change."""

    endpoint_id: UUID
    status: str
    attempts: int


class NewRow(NamedTuple):
    """The id of a row that was inserted."""

    id: UUID


# Reading.


def list_endpoints(
    queries: Queries,
    *,
    owner: str | None = None,
    after: UUID | None = None,
    troubled_first: bool = True,
    limit: int = 1000,
) -> list[Endpoint]:
    """Disabled and failing ones first; with ``troubled_first=False`` in the order of their ids, for pages."""
    return queries.all(
        Endpoint,
        "webhook_endpoints",
        endpoint=None,
        user_id=owner,
        after=after,
        troubled_first=troubled_first,
        limit=limit,
    )


def find_endpoint(queries: Queries, endpoint: UUID, *, owner: str | None = None) -> Endpoint:
    """Raises EndpointNotFound."""
    found = queries.one_or_none(
        Endpoint, "webhook_endpoints", endpoint=endpoint, user_id=owner, after=None, troubled_first=False, limit=1
    )
    if found is None:
        raise EndpointNotFound(f"endpoint_id: there is no endpoint {endpoint}")
    return found


def list_deliveries(
    queries: Queries,
    *,
    owner: str | None = None,
    endpoint: UUID | None = None,
    job: UUID | None = None,
    state: str | None = None,
    failed: bool = False,
    before: Mark = BEGINNING,
    limit: int = 100,
) -> list[SentMessage]:
    """The latest deliveries before a mark. ``failed``: only those whose last try failed, tried again or not."""
    return queries.all(
        SentMessage,
        "webhook_deliveries",
        delivery=None,
        endpoint=endpoint,
        job=job,
        state=state,
        failed=failed,
        user_id=owner,
        before=None if before == BEGINNING else before.at,
        before_id=None if before == BEGINNING else before.id,
        limit=limit,
    )


def find_delivery(queries: Queries, delivery: UUID) -> SentMessage | None:
    return queries.one_or_none(
        SentMessage,
        "webhook_deliveries",
        delivery=delivery,
        endpoint=None,
        job=None,
        state=None,
        failed=False,
        user_id=None,
        before=None,
        before_id=None,
        limit=1,
    )


# Changes.


def create_endpoint(
    queries: Queries,
    url: str,
    events: Sequence[str] = DEFAULT_EVENTS,
    *,
    user_id: str | None = None,
    allow_private: bool = False,
    by: Author = UNKNOWN,
) -> NewEndpoint:
    """Send ``events`` to ``url`` from now on, those of all users' jobs or of one user's. Raises InvalidRequest."""
    address = _check(url, events, user_id, allow_private=allow_private)
    ordered, secret = [event for event in EVENTS if event in events], _new_secret()
    with queries.transaction() as together:
        made = together.one(
            NewRow, "create_endpoint", url=address, events=ordered, user=user_id, secret=secret, by=by.actor
        )
        after = {"url": address, "events": ordered, "user_id": user_id}
        record_change(together, by, "webhook.add", _target(made.id), after=after)
        _notify(together, RELOAD_ENDPOINTS)
    return NewEndpoint(made.id, secret)


def rotate_secret(
    queries: Queries,
    endpoint: UUID,
    *,
    keep: float = OLD_SECRET_LASTS,
    owner: str | None = None,
    by: Author = UNKNOWN,
) -> str:
    """Make a new secret; for ``keep`` seconds the old one also signs each message. Raises EndpointNotFound."""
    secret = _new_secret()
    with queries.transaction() as together:
        _lock_endpoint(together, endpoint, owner)
        together.execute("rotate_secret", id=endpoint, secret=secret, lasts=keep)
        record_change(together, by, "webhook.rotate", _target(endpoint), after={"old_secret_lasts_seconds": keep})
    return secret


def disable_endpoint(queries: Queries, endpoint: UUID, *, owner: str | None = None, by: Author = UNKNOWN) -> None:
    """Send nothing to it until it is enabled; its pending deliveries stay. Raises EndpointNotFound."""
    with queries.transaction() as together:
        if _lock_endpoint(together, endpoint, owner).disabled_at is not None:
            return
        reason = (by.reason or f"by {by.actor or 'somebody'}")[:LONGEST_REASON]
        together.execute("disable_endpoint", id=endpoint, reason=reason)
        before, after = {"disabled_for": None}, {"disabled_for": reason}
        record_change(together, by, "webhook.disable", _target(endpoint), before=before, after=after)
        _notify(together, RELOAD_ENDPOINTS)


def enable_endpoint(queries: Queries, endpoint: UUID, *, owner: str | None = None, by: Author = UNKNOWN) -> None:
    """Send to it again, its pending deliveries first. Raises EndpointNotFound."""
    with queries.transaction() as together:
        found = _lock_endpoint(together, endpoint, owner)
        together.execute("enable_endpoint", id=endpoint)
        if found.disabled_at is not None:
            before = {"disabled_at": found.disabled_at, "disabled_for": found.disabled_for}
            after = dict.fromkeys(before)
            record_change(together, by, "webhook.enable", _target(endpoint), before=before, after=after)
        _notify(together, RELOAD_ENDPOINTS, CLAIM_DELIVERIES)


def remove_endpoint(queries: Queries, endpoint: UUID, *, owner: str | None = None, by: Author = UNKNOWN) -> None:
    """Delete it with its pending deliveries. Raises EndpointNotFound."""
    with queries.transaction() as together:
        found = _lock_endpoint(together, endpoint, owner)
        together.execute("remove_endpoint", id=endpoint)
        together.execute("forget_deliveries", id=endpoint)
        before = {"url": found.url, "events": found.events, "user_id": found.user_id}
        record_change(together, by, "webhook.remove", _target(endpoint), before=before)
        _notify(together, RELOAD_ENDPOINTS)


def send_test(queries: Queries, endpoint: UUID, *, owner: str | None = None, by: Author = UNKNOWN) -> UUID:
    """Add a delivery of the event endpoint.test; returns its id. Raises EndpointNotFound, EndpointDisabled."""
    with queries.transaction() as together:
        _check_enabled(_lock_endpoint(together, endpoint, owner))
        made = together.one(NewRow, "ping_endpoint", id=endpoint, event=TEST)
        record_change(together, by, "webhook.test", _target(endpoint), after={"delivery": made.id})
        _notify(together, CLAIM_DELIVERIES)
    return made.id


def replay_delivery(queries: Queries, delivery: UUID, *, owner: str | None = None, by: Author = UNKNOWN) -> None:
    """Send a message once more, delivered or not, with the same id and body; it gets all its tries again.

    Raises DeliveryNotFound, EndpointDisabled.
    """
    with queries.transaction() as together:
        sent = together.one_or_none(DeliveryState, "delivery_state", id=delivery)
        endpoint = sent and together.one_or_none(LockedEndpoint, "lock_endpoint", id=sent.endpoint_id, user=owner)
        if sent is None or endpoint is None:
            raise DeliveryNotFound(f"delivery: there is no {delivery}", "Deliveries are kept for a month at most.")
        _check_enabled(endpoint)
        together.execute("replay_delivery", id=delivery)
        before = {"status": sent.status, "attempts": sent.attempts}
        record_change(together, by, "delivery.replay", f"delivery:{delivery}", before=before)
        _notify(together, CLAIM_DELIVERIES)


def replay_since(
    queries: Queries,
    moment: datetime,
    *,
    endpoint: UUID | None = None,
    owner: str | None = None,
    by: Author = UNKNOWN,
) -> int:
    """Send the messages once more that were given up since ``moment``, at most MOST_REPLAYED; returns their number.

    Messages to disabled endpoints are left out. Raises EndpointNotFound, EndpointDisabled.
    """
    with queries.transaction() as together:
        if endpoint is not None:
            _check_enabled(_lock_endpoint(together, endpoint, owner))
        number = together.execute("replay_deliveries", since=moment, endpoint=endpoint, user=owner, limit=MOST_REPLAYED)
        if number:
            target = _target(endpoint) if endpoint else "endpoints"
            record_change(together, by, "delivery.replay", target, after={"since": moment, "replayed": number})
            _notify(together, CLAIM_DELIVERIES)
    return number


def _check(url: str, events: Sequence[str], user_id: str | None, *, allow_private: bool) -> str:
    """The normalized URL. Raises InvalidRequest."""
    if unknown := sorted(set(events) - set(EVENTS)):
        raise InvalidRequest(f"events: there is no {', '.join(unknown)}", f"There are {', '.join(EVENTS)}.")
    if not events:
        raise InvalidRequest("events: must name one at least", f"There are {', '.join(EVENTS)}.")
    if user_id is not None and not 1 <= len(user_id) <= 255:
        raise InvalidRequest("user_id: must have 1 to 255 characters")
    if user_id is not None and (too_much := sorted(set(events) & OPERATOR_EVENTS)):
        raise InvalidRequest(f"events: {', '.join(too_much)} is not about one user", "Leave it out, or the user.")
    try:
        address = parse_url(url, private=allow_private).text
    except ValueError as error:
        raise InvalidRequest(f"url: {error}", "" if allow_private else PRIVATE) from None
    if len(address) > LONGEST_URL:
        raise InvalidRequest(f"url: has {len(address)} characters; {LONGEST_URL} are allowed")
    return address


def _lock_endpoint(queries: Queries, endpoint: UUID, owner: str | None) -> LockedEndpoint:
    """Locked, so that two changes of one endpoint run one after the other. Raises EndpointNotFound."""
    found = queries.one_or_none(LockedEndpoint, "lock_endpoint", id=endpoint, user=owner)
    if found is None:
        raise EndpointNotFound(f"endpoint: there is no {endpoint}", "See generation-worker webhook list")
    return found


def _check_enabled(endpoint: LockedEndpoint) -> None:
    if endpoint.disabled_at is not None:
        raise EndpointDisabled(
            f"endpoint: {endpoint.id} is disabled: {endpoint.disabled_for}",
            f"Enable it first: generation-worker webhook enable {endpoint.id}",
        )


def _notify(queries: Queries, *messages: str) -> None:
    queries.execute("send_messages", messages=list(messages))


def _new_secret() -> str:
    return "whsec_" + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def _target(endpoint: UUID) -> str:
    return f"endpoint:{endpoint}"
