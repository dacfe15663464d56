"""Webhook endpoints and deliveries, as the HTTP API asks for them and changes them."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from generation_worker.db import webhooks
from generation_worker.db.answers.webhooks import Endpoint, SentMessage
from generation_worker.db.desk import Desk
from generation_worker.db.history import Author
from generation_worker.db.insights import Insights
from generation_worker.db.running import Connections
from generation_worker.db.webhooks import NewEndpoint
from generation_worker.domain.paging import BEGINNING, Mark
from generation_worker.domain.refusals import EndpointNotFound


class WebhookDesk(Desk):
    """Each method may raise StoreUnavailable. ``owner`` is the only user whose endpoints are there; None: all are.

    ``by`` is who asks, ``reason`` why, for the record.
    """

    def __init__(self, connections: Connections, *, allow_private: bool) -> None:
        super().__init__(connections)
        self._insights = Insights(connections)
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
            return webhooks.create_endpoint(
                connection, url, events, user_id=user, allow_private=self._allow_private, by=Author(by, reason)
            )

    def rotate(self, endpoint: UUID, owner: str | None, *, keep: float, by: str, reason: str | None) -> str:
        """The new secret. Raises EndpointNotFound."""
        with self._connections.connection() as connection:
            return webhooks.rotate_secret(connection, endpoint, keep=keep, owner=owner, by=Author(by, reason))

    def disable(self, endpoint: UUID, owner: str | None, *, by: str, reason: str | None) -> None:
        """Raises EndpointNotFound."""
        with self._connections.connection() as connection:
            webhooks.disable_endpoint(connection, endpoint, owner=owner, by=Author(by, reason))

    def enable(self, endpoint: UUID, owner: str | None, *, by: str, reason: str | None) -> None:
        """Raises EndpointNotFound."""
        with self._connections.connection() as connection:
            webhooks.enable_endpoint(connection, endpoint, owner=owner, by=Author(by, reason))

    def remove(self, endpoint: UUID, owner: str | None, *, by: str, reason: str | None) -> None:
        """Raises EndpointNotFound."""
        with self._connections.connection() as connection:
            webhooks.remove_endpoint(connection, endpoint, owner=owner, by=Author(by, reason))

    def test(self, endpoint: UUID, owner: str | None, *, by: str, reason: str | None) -> UUID:
        """The id of the message. Raises EndpointNotFound, EndpointDisabled."""
        with self._connections.connection() as connection:
            return webhooks.send_test(connection, endpoint, owner=owner, by=Author(by, reason))

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
            webhooks.replay_delivery(connection, delivery, owner=owner, by=Author(by, reason))
