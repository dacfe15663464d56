"""What belongs to one tenant is not there for another, whichever route they try."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import httpx
import pytest
from fastapi import APIRouter
from fastapi.routing import APIRoute

from generation_worker.domain.token import ONE_USER_SCOPES
from generation_worker.web.auth import scope_of
from generation_worker.worker.image_keys import upload_folder
from tests.support import jobs
from tests.support.database import Connection
from tests.support.populated import Population
from tests.support.webhooks import put_endpoint
from tests.web.answers import good, problem
from tests.web.api import Api
from tests.web.conftest import MakeKey

OPEN = {"/health", "/health/ready", "/health/live", "/metrics"}
"""Routes that ask for no key: they tell how this process is, and nothing of anybody."""
SCOPES = {
    ("GET", "/worker/credits/{user_id}"): "read",
    ("GET", "/worker/credits/{user_id}/entries"): "read",
    ("POST", "/worker/credits/{user_id}/grant"): "operate",
    ("GET", "/worker/status"): "read",
    ("GET", "/worker/stats"): "read",
    ("GET", "/worker/workers"): "read",
    ("GET", "/worker/health"): "read",
    ("POST", "/worker/images"): "enqueue",
    ("POST", "/worker/jobs"): "enqueue",
    ("GET", "/worker/jobs"): "read",
    ("GET", "/worker/jobs/{job_id}"): "read",
    ("DELETE", "/worker/jobs/{job_id}"): "enqueue",
    ("POST", "/worker/jobs/{job_id}/retry"): "enqueue",
    ("GET", "/worker/batches/{batch_id}"): "read",
    ("POST", "/worker/jobs/{job_id}/process"): "operate",
    ("POST", "/worker/jobs/cancel"): "operate",
    ("POST", "/worker/jobs/release"): "operate",
    ("POST", "/worker/jobs/retry"): "operate",
    ("POST", "/worker/stop"): "operate",
    ("POST", "/worker/start"): "operate",
    ("POST", "/worker/wake"): "operate",
    ("GET", "/worker/config"): "operate",
    ("PUT", "/worker/config"): "admin",
    ("GET", "/worker/webhooks"): "read",
    ("POST", "/worker/webhooks"): "admin",
    ("GET", "/worker/webhooks/{endpoint_id}"): "read",
    ("DELETE", "/worker/webhooks/{endpoint_id}"): "admin",
    ("POST", "/worker/webhooks/{endpoint_id}/rotate"): "admin",
    ("POST", "/worker/webhooks/{endpoint_id}/disable"): "admin",
    ("POST", "/worker/webhooks/{endpoint_id}/enable"): "admin",
    ("POST", "/worker/webhooks/{endpoint_id}/test"): "admin",
    ("GET", "/worker/webhooks/deliveries"): "read",
    ("POST", "/worker/webhooks/deliveries/{delivery_id}/replay"): "admin",
}


def routes(served: Api) -> list[APIRoute]:
    """Every route that the document knows: all but the pages for people."""
    found = [route for included in served.app.routes for route in routes_in(included) if route.include_in_schema]
    assert {route.path for route in found} == set(served.client.get("/openapi.json").json()["paths"])
    return found


def routes_in(included: Any) -> list[APIRoute]:
    return [route for route in getattr(included, "original_router", APIRouter()).routes if isinstance(route, APIRoute)]


def test_each_route_asks_for_the_scope_that_it_should(served: Api):
    found = {(method, route.path): scope_of(route) for route in routes(served) for method in route.methods or ()}
    closed = {place: scope for place, scope in found.items() if scope is not None}
    assert {place: closed[place] for place in SCOPES} == SCOPES
    assert {path for (_, path), scope in found.items() if scope is None} <= OPEN
    assert {path for _, path in closed} == {path for _, path in found} - OPEN


def test_each_route_of_others_ids_finds_nothing(
    served: Api, connection: Connection, population: Population, key: MakeKey
):
    """Every route that names something, asked for ada's by eve."""
    eve = key("enqueue", "read", user="eve")
    batch = jobs.enqueue_all(connection, "ada", count=2)[0]["batch"]
    before = snapshot(connection)
    theirs = {"batch_id": [batch], "user_id": ["ada", "nobody"]}
    theirs["endpoint_id"] = [put_endpoint(connection), put_endpoint(connection, user_id="ada")]
    theirs["job_id"] = [population.completed, population.failed, population.processing, *population.pending]
    asked: set[str] = set()
    for route in routes(served):
        for name, values in theirs.items():
            if "{" + name + "}" not in route.path or scope_of(route) not in ONE_USER_SCOPES:
                continue
            for value in values:
                for method in route.methods or ():
                    path = route.path.replace("{" + name + "}", str(value))
                    answer = served.client.request(method, path, headers=eve)
                    assert answer.status_code == 404, (method, path, answer.text)
                    assert "red kite" not in answer.text
                    asked.add(route.path)
    assert asked == {r.path for r in routes(served) if "{" in r.path and scope_of(r) in ONE_USER_SCOPES}
    assert snapshot(connection) == before


def snapshot(connection: Connection) -> Any:
    """Everything that a tenant owns."""
    asked = ("id, status, cancel_requested_at FROM generation_job", "user_id, balance FROM credit_account")
    return [connection.execute(f"SELECT {what} ORDER BY 1".encode()).fetchall() for what in asked]


def asking_for(image: str) -> dict[str, Any]:
    operation = {"type": "thumbnail"}
    return {"kind": "image_processing", "payload": {"image": {"key": image}, "operations": [operation]}}


@pytest.fixture
def made(connection: Connection, population: Population) -> str:
    """An image that a job of ada's has made."""
    job = uuid4()
    key = f"images/{job}-0123456789ab.webp"
    jobs.put_job(connection, "completed", id=job, result={"images": [{"key": key}]})
    return key


def test_no_key_is_a_way_to_read_others_images(client: httpx.Client, made: str, key: MakeKey):
    ada, eve = key("enqueue", user="ada"), key("enqueue", user="eve")
    theirs = [made, upload_folder("ada") + "a.png", "shop/coat.png", "uploads/shared/a.png", "images/x.webp"]
    for image in theirs:
        problem(client.post("/worker/jobs", json=asking_for(image), headers=eve), 404, "image_not_found")
    for image in (made, made.replace("images", "thumbnails"), upload_folder("ada") + "a.png"):
        good(client.post("/worker/jobs", json=asking_for(image), headers=ada), 202)
    problem(client.post("/worker/jobs", json=asking_for("shop/coat.png"), headers=ada), 404, "image_not_found")
    service = key("enqueue")
    for image in theirs:
        good(client.post("/worker/jobs", json=asking_for(image) | {"user_id": "eve"}, headers=service), 202)
