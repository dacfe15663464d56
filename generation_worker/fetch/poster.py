"""Posts messages as Standard Webhooks has them: signed, to an address that was checked, without following anybody."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from typing import TYPE_CHECKING

from generation_worker.domain.urls import parse_url
from generation_worker.domain.webhook import Reply
from generation_worker.fetch.connector import Connector, ExchangeFailed, TimeLimit
from generation_worker.ports import Delivery

if TYPE_CHECKING:
    from standardwebhooks import Webhook

LONGEST_PROBLEM = 300


class WebPoster:
    """``timeout`` seconds for each try, from asking the name server to the answer's head. Its body is not read."""

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
        watch = TimeLimit(_Unwatched(), self._timeout)
        try:
            address = parse_url(delivery.url, private=self._connector.allow_private)
            headers = headers_of(delivery, datetime.now(UTC))
            with self._connector.exchange("POST", address, headers, watch, delivery.body.encode()) as answer:
                return Reply(answer.status, retry_after=_seconds(answer.header("retry-after")))
        except ExchangeFailed as error:
            return Reply(None, f"its host {error.reason}"[:LONGEST_PROBLEM])
        except ValueError as error:
            return Reply(None, f"its url {error}"[:LONGEST_PROBLEM])


def headers_of(delivery: Delivery, now: datetime) -> dict[str, str]:
    """The id is the same at each try; the time is not, for a receiver refuses what is old. Each secret has signed."""
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
    """Nobody ends a try before its time."""

    def check(self) -> None:
        pass

    def seconds_left(self) -> float:
        return float("inf")


@cache
def _webhook_type() -> type[Webhook]:
    from standardwebhooks import Webhook  # noqa: PLC0415 - not for a worker that tells nobody

    return Webhook


def _seconds(retry_after: str | None) -> float | None:
    """Retry-After has seconds or a date. What is neither says nothing."""
    if not retry_after:
        return None
    if retry_after.strip().isdecimal():
        return float(retry_after)
    try:
        moment = parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    return moment.timestamp() - time.time()
