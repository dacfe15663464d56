"""Whatever a key changes stands in the audit trail; a new route that changes something has to say what it is."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest

from tests.support import jobs
from tests.support.database import Connection
from tests.support.populated import Population
from tests.support.webhooks import put_endpoint
from tests.web.conftest import MakeKey
from tests.web.served_api import Api
from tests.web.test_tenants import routes

ASKS = {"GET", "HEAD"}
IS_ITS_OWN_RECORD = {("POST", "/worker/jobs"), ("POST", "/worker/images")}
"""A job is a row of its own, and an upload that no job names is swept away."""
CHANGES_NOTHING = {("POST", "/worker/wake")}


class Change(NamedTuple):
    """A request that changes something, and what its event is called."""

    method: str
    path: str
    action: str
    target: str
    body: dict[str, Any] | None = None
    """The reason is added; None where it goes into the query."""
    names: str = ""
    """Which job of the population."""


CHANGES = [
    Change("DELETE", "/worker/jobs/{job_id}", "job.cancel", "job:{job_id}", None, "bobs"),
    Change("POST", "/worker/jobs/{job_id}/retry", "job.replay", "job:{job_id}", None, "failed"),
    Change("POST", "/worker/jobs/{job_id}/process", "job.run_next", "job:{job_id}", {}, "bobs"),
    Change("POST", "/worker/jobs/cancel", "job.cancel", "job:{job_id}", {"filter": {"user_id": "bob"}}, "bobs"),
    Change(
        "POST", "/worker/jobs/release", "job.release", "job:{job_id}", {"filter": {"status": "scheduled"}}, "scheduled"
    ),
    Change(
        "POST", "/worker/jobs/retry", "job.replay", "job:{job_id}", {"filter": {"error_code": "no_image"}}, "failed"
    ),
    Change("POST", "/worker/stop", "pause", "setting:paused", {}),
    Change("POST", "/worker/start", "resume", "setting:paused.user.eve", {"user_id": "eve"}),
    Change("POST", "/worker/credits/{user_id}/grant", "credits.grant", "user:ada", {"amount": 5}),
    Change("POST", "/worker/webhooks", "webhook.add", "endpoint:{made}", {"url": "https://app.example.com/"}),
    Change("POST", "/worker/webhooks/{endpoint_id}/rotate", "webhook.rotate", "endpoint:{endpoint_id}", {}),
    Change("POST", "/worker/webhooks/{endpoint_id}/disable", "webhook.disable", "endpoint:{endpoint_id}", {}),
    Change("POST", "/worker/webhooks/{disabled_id}/enable", "webhook.enable", "endpoint:{disabled_id}", {}),
    Change("POST", "/worker/webhooks/{endpoint_id}/test", "webhook.test", "endpoint:{endpoint_id}", {}),
    Change("DELETE", "/worker/webhooks/{endpoint_id}", "webhook.remove", "endpoint:{endpoint_id}"),
    Change("POST", "/worker/webhooks/deliveries/{delivery_id}/replay", "delivery.replay", "delivery:{delivery_id}", {}),
    Change("PUT", "/worker/config", "setting.set", "setting:concurrency", {"concurrency": 3}),
]


def endpoints(connection: Connection) -> dict[str, str]:
    """One that is told, with a message that was, and one that is not told any more."""
    told = put_endpoint(connection)
    disabled = put_endpoint(connection, disabled_at=jobs.NOW, disabled_for="it is gone")
    row = jobs.put_row(connection, "webhook_delivery", endpoint_id=told, event="job.failed", body="{}")
    return {"endpoint_id": str(told), "disabled_id": str(disabled), "delivery_id": str(row["id"])}


def test_each_route_says_whether_it_changes_anything(served: Api):
    found = {(method, route.path) for route in routes(served) for method in route.methods or () if method not in ASKS}
    assert {*IS_ITS_OWN_RECORD, *CHANGES_NOTHING} <= found
    changing = found - IS_ITS_OWN_RECORD - CHANGES_NOTHING
    assert changing == {(c.method, c.path.replace("disabled_id", "endpoint_id")) for c in CHANGES}


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: f"{change.method} {change.path}")
def test_who_what_and_why_before_and_after(
    served: Api, connection: Connection, population: Population, key: MakeKey, change: Change
):
    caller = key("admin") | {"Idempotency-Key": "order-1"}
    jobs.configure(connection, paused__user__eve={"reason": "unpaid"})
    known = connection.execute("SELECT coalesce(max(id), 0) FROM audit_event").fetchone()
    assert known is not None
    names = {"user_id": "ada", "job_id": str(getattr(population, change.names, None)), **endpoints(connection)}
    why = {"reason": "because"}
    sent: dict[str, Any] = {"params": why} if change.body is None else {"json": change.body | why}
    answer = served.client.request(change.method, change.path.format(**names), headers=caller, **sent)
    assert answer.is_success, answer.text
    query = "SELECT actor, action, target, reason, before, after FROM audit_event WHERE id > %s"
    [(actor, action, target, reason, before, after)] = connection.execute(query.encode(), known).fetchall()
    assert actor == "key:" + caller["Authorization"].split("_")[2]
    made = answer.json().get("id") if answer.content else None
    assert (action, target, reason) == (change.action, change.target.format(**names, made=made), "because")
    assert before != after
    assert before is not None or after is not None
