"""Posts webhooks to apps, signed as Standard Webhooks prescribes, only to checked addresses, without redirects."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from typing import TYPE_CHECKING

from generation_worker.domain.urls import parse_url
from generation_worker.domain.webhook import Reply
from generation_worker.fetch.connector import Connector, DeadlineWatch, RequestFailed
from generation_worker.ports import Delivery

if TYPE_CHECKING:
    from standardwebhooks import Webhook

LONGEST_PROBLEM = 300
"""Characters."""


class WebPoster:
    """Posts one delivery at a time per thread. Safe to use from many threads at once.

    ``timeout`` bounds one try, in seconds, from resolving the name to the response's headers. Its body is not read.
    """

    def __init__(self, connector: Connector, *, timeout: float) -> None:
        self._connector = connector
        self._timeout = timeout

    @property
    def longest(self) -> float:
        return self._timeout

    def warm_up(self) -> None:
        self._connector.warm_up()
        _webhook_type()

    def post(self, delivery: Delivery) -> Reply:
        """Try to deliver once. A failure is a reply without a status, whose ``problem`` says what went wrong."""
        watch = DeadlineWatch(_Unwatched(), self._timeout)
        try:
            address = parse_url(delivery.url, private=self._connector.allow_private)
            headers = headers_of(delivery, datetime.now(UTC))
            with self._connector.request("POST", address, headers, watch, delivery.body.encode()) as response:
                return Reply(response.status, retry_after=_seconds(response.header("retry-after")))
        except RequestFailed as error:
            return Reply(None, f"its host {error.reason}"[:LONGEST_PROBLEM])
        except ValueError as error:
            return Reply(None, f"its url {error}"[:LONGEST_PROBLEM])


def headers_of(delivery: Delivery, now: datetime) -> dict[str, str]:
    """The request's headers, with a signature for each secret.

    The id is the same in each try; the timestamp is not, because receivers reject old ones.
    """
    webhook = _webhook_type()
    signatures = [webhook(secret).sign(delivery.id, now, delivery.body) for secret in delivery.secrets]
    return {
        "User-Agent": "generation-worker",
        "Content-Type": "application/json",
        "webhook-id": delivery.id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": " ".join(signatures),
    }


class _Unwatched:
    """Only the timeout ends a try."""

    def check(self) -> None:
        pass

    def seconds_left(self) -> float:
        return float("inf")


@cache
def _webhook_type() -> type[Webhook]:
    from standardwebhooks import Webhook  # noqa: PLC0415 - loaded only when there are webhooks

    return Webhook


def _seconds(retry_after: str | None) -> float | None:
    """The wait in a Retry-After header, given as seconds or as a date; None for any other text."""
    if not retry_after:
        return None
    if retry_after.strip().isdecimal():
        return float(retry_after)
    try:
        moment = parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    return moment.timestamp() - time.time()
