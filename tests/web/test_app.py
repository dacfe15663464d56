"""What holds for every answer: one form of error, bounded bodies, headers."""

from __future__ import annotations

import re
from typing import Annotated, Any

import httpx
import pytest
from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict

from generation_worker.domain.errors import InvalidPayload, StorageUnavailable
from generation_worker.domain.refusals import IdempotencyConflict, InsufficientCredits, InvalidRequest, JobNotFound
from generation_worker.ports import StoreUnavailable
from generation_worker.web.api.fleet import health_router
from generation_worker.web.auth import Caller, Guard, GuardedRoute, needs
from generation_worker.web.requests import MOST_DEEP, depth
from tests.support.waiting import wait_until
from tests.web.conftest import LIMITS, Serve

ERRORS: dict[str, Exception] = {
    "credits": InsufficientCredits("credits: user ada has 0", "Grant credits first"),
    "key": IdempotencyConflict("idempotency_key: 'a' was used"),
    "request": InvalidRequest("run_at: is no moment"),
    "payload": InvalidPayload("prompt: too long"),
    "job": JobNotFound("there is no job"),
    "database": StoreUnavailable("secret words"),
    "storage": StorageUnavailable("secret words"),
    "bug": KeyError("secret words"),
}


class Asked(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    prompt: str
    inputs: dict[str, Any] = {}


def router() -> APIRouter:
    router = APIRouter(prefix="/worker", route_class=GuardedRoute)

    @router.post("/ask")
    def ask(_caller: Annotated[Caller, needs("enqueue")], body: Asked) -> int:  # pyright: ignore[reportUnusedFunction]
        return len(body.prompt)

    @router.get("/fail/{kind}")
    def fail(_caller: Annotated[Caller, needs("read")], kind: str, _limit: int = 1) -> None:  # pyright: ignore[reportUnusedFunction]
        raise ERRORS[kind]

    return router


@pytest.fixture
def client(serve: Serve, guard: Guard) -> httpx.Client:
    return serve(router(), health_router, guard=guard, report=dict)


def problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    found = answer.json()
    assert (found["status"], found["code"], found["type"]) == (status, code, "about:blank")
    assert found["title"]
    assert "secret" not in answer.text
    return found


@pytest.mark.parametrize(
    ("kind", "status", "code", "field"),
    [
        ("credits", 402, "insufficient_credits", "credits"),
        ("key", 409, "idempotency_conflict", "idempotency_key"),
        ("request", 422, "invalid_request", "run_at"),
        ("payload", 422, "invalid_request", "payload.prompt"),
        ("job", 404, "job_not_found", None),
    ],
)
def test_what_is_refused_names_its_field(client: httpx.Client, kind: str, status: int, code: str, field: str | None):
    found = problem(client.get(f"/worker/fail/{kind}"), status, code)
    assert found.get("field") == field
    assert found.get("remedy") == (ERRORS[kind].hint or None if hasattr(ERRORS[kind], "hint") else None)  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]


@pytest.mark.parametrize("kind", ["database", "storage"])
def test_where_waiting_helps_it_says_how_long(client: httpx.Client, kind: str):
    answer = client.get(f"/worker/fail/{kind}")
    problem(answer, 503, f"{kind}_unavailable")
    assert int(answer.headers["retry-after"]) > 0


def test_a_fault_of_ours_tells_nothing(client: httpx.Client, caplog: pytest.LogCaptureFixture):
    problem(client.get("/worker/fail/bug"), 500, "internal_error")
    wait_until(lambda: "KeyError" in caplog.text, "the log tells")


def test_what_the_framework_refuses_has_the_same_form(client: httpx.Client):
    problem(client.get("/nowhere"), 404, "not_found")
    answer = client.put("/worker/ask")
    problem(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == "POST"
    found = problem(client.get("/worker/fail/job", params={"_limit": "many"}), 422, "invalid_request")
    assert found["field"] == "query._limit"


def test_each_fault_is_named_and_nothing_is_repeated(client: httpx.Client):
    found = problem(client.post("/worker/ask", json={"prompt": 1, "hidden": "value-of-it"}), 422, "invalid_request")
    assert {fault["field"] for fault in found["errors"]} == {"prompt", "hidden"}
    assert "value-of-it" not in str(found)


def test_a_body_that_is_no_json(client: httpx.Client):
    assert problem(client.post("/worker/ask", content=b"{", headers=JSON), 400, "invalid_json")["field"] == "body"
    text = {"Content-Type": "text/plain"}
    found = problem(client.post("/worker/ask", content=b'{"prompt": "a"}', headers=text), 415, "unsupported_media_type")
    assert "application/json" in found["remedy"]
    problem(client.post("/worker/ask", content=b'{"prompt": "a"}'), 415, "unsupported_media_type")


JSON = {"Content-Type": "application/json"}


def test_a_body_is_bounded(client: httpx.Client):
    fits = b'{"prompt": "' + b"a" * (LIMITS.most_json - 14) + b'"}'
    assert client.post("/worker/ask", content=fits, headers=JSON).json() == LIMITS.most_json - 14
    problem(client.post("/worker/ask", content=fits + b" ", headers=JSON), 413, "body_too_large")

    def pieces() -> Any:
        for _ in range(20):
            yield b" " * (LIMITS.most_json // 10)

    problem(client.post("/worker/ask", content=pieces(), headers=JSON), 413, "body_too_large")


def test_depth_is_bounded(client: httpx.Client):
    def nested(levels: int) -> bytes:
        inside = b"[" * (levels - 2) + b"]" * (levels - 2)
        return b'{"prompt": "a", "inputs": {"b": ' + inside + b"}}"

    assert client.post("/worker/ask", content=nested(MOST_DEEP), headers=JSON).status_code == 200
    problem(client.post("/worker/ask", content=nested(MOST_DEEP + 1), headers=JSON), 422, "too_deep")
    problem(client.post("/worker/ask", content=b"[" * 100_000, headers=JSON), 422, "too_deep")
    assert depth(rb'{"a": "[[[[\"[[[", "b": [{}]}') == 3


def test_every_answer_has_its_headers(client: httpx.Client):
    for path in ("/worker/fail/job", "/nowhere", "/openapi.json", "/docs"):
        headers = client.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["cache-control"] == "no-store"
        assert headers["content-security-policy"].startswith("default-src 'none'")
        assert "server" not in headers
    asked = client.options(
        "/worker/ask", headers={"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}
    )
    assert not [name for name in asked.headers if name.startswith("access-control")]


def test_problems_stand_in_the_document_under_their_own_type(client: httpx.Client):
    document = client.get("/openapi.json").json()
    assert document["components"]["securitySchemes"]["HTTPBearer"]["scheme"] == "bearer"
    assert document["paths"]["/worker/ask"]["post"]["security"] == [{"HTTPBearer": ["enqueue"]}]


def test_the_page_for_people_needs_nothing_from_elsewhere(client: httpx.Client):
    page = client.get("/docs")
    assert "://" not in page.text
    assert "unsafe-inline" not in page.headers["content-security-policy"].partition("style-src")[0]
    named = re.findall(r'(?:src|href)="(docs/[^"]+)"', page.text)
    assert len(named) == 3
    for path in named:
        assert client.get(f"/{path}").status_code == 200, path
    assert "SwaggerUIBundle" in client.get("/docs/swagger-ui-bundle.js").text
    assert '"openapi.json"' in client.get("/docs/start.js").text
