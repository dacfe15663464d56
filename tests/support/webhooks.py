"""Endpoints and their outbox, as tests set them up and look at them."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

from psycopg.rows import dict_row

from generation_worker.db.protocol import PostgresStore
from generation_worker.domain.webhook import EVENTS, Judgement, Reply
from generation_worker.ports import Delivery, Recorded
from tests.support.database import Connection
from tests.support.jobs import put_row
from tests.support.protocol import OneConnection

URL = "https://app.example.com/hook"
SECRET = "whsec_" + "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWY="


def put_endpoint(connection: Connection, **columns: Any) -> UUID:
    """An endpoint that is told of everything, unless ``columns`` say otherwise."""
    events = [event for event in EVENTS if event != "breaker.opened" or columns.get("user_id") is None]
    return put_row(connection, "webhook_endpoint", **({"url": URL, "events": events, "secret": SECRET} | columns))["id"]


def endpoint(connection: Connection, endpoint_id: UUID | str) -> dict[str, Any]:
    return rows(connection, "SELECT * FROM webhook_endpoint WHERE id = %s", endpoint_id)[0]


def outbox(connection: Connection) -> list[dict[str, Any]]:
    """All messages, oldest first."""
    return rows(connection, "SELECT * FROM webhook_delivery ORDER BY created_at, id")


def told(connection: Connection) -> list[tuple[str, Any]]:
    """The type and data of each message, oldest first."""
    return [(row["event"], json.loads(row["body"])["data"]) for row in outbox(connection)]


def rows(connection: Connection, query: str, *values: Any) -> list[dict[str, Any]]:
    return connection.cursor(row_factory=dict_row).execute(query.encode(), values).fetchall()


class Box(PostgresStore):
    """The courier's statements over one connection, with what it usually asks for."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(OneConnection(connection))

    def take(self, slots: int = 100, **changes: Any) -> list[Delivery]:
        usual: dict[str, Any] = {"per_endpoint": 4, "failing_slots": 4, "busy": {}, "lease": 30.0}
        return self.claim_deliveries(slots=slots, **(usual | changes))

    def deliver(self, delivery: Delivery) -> Recorded:
        return self.record_delivery(delivery, Reply(204), Judgement("delivered"))

    def fail(self, delivery: Delivery, *, delay: float = 60.0, rest: float | None = None) -> Recorded:
        return self.record_delivery(delivery, Reply(500), Judgement("pending", "status 500", delay=delay, rest=rest))
