"""Questions about endpoints and what they are told."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from generation_worker.db.answers.webhooks import Endpoint, SentMessage
from generation_worker.db.insights.asking import Asking


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
