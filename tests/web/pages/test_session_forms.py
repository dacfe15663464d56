"""Whom a form is believed from: our own pages, in the session that they were made for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Annotated

import httpx
import pytest
from fastapi import APIRouter, Form as FormBody, Request, Response

from generation_worker.db.query import Queries
from generation_worker.web.app import WebServer, create_app
from generation_worker.web.auth import Caller, Guard
from generation_worker.web.pages import render as assets, session
from generation_worker.web.pages.render import go_back, render
from generation_worker.web.pages.session import (
    MOST_BYTES,
    MOST_FIELDS,
    Form,
    PageRoute,
    SessionGuard,
    answer_with_pages,
    sees,
)
from tests.web.pages.browser import FORM, Browser, Page

Done = list[tuple[str, str | None, str]]
"""Who, why and what."""
DO = "/dashboard/do"


class Doing(Form):
    what: str = ""


def doing_router(done: Done) -> APIRouter:
    """A page with a form, as the pages of the dashboard are made."""
    router = APIRouter(include_in_schema=False, route_class=PageRoute)

    @router.get(DO)
    def page(request: Request, caller: Annotated[Caller, sees("read")]) -> Response:  # pyright: ignore[reportUnusedFunction]
        return render(request, "arrive.html", path=request.state.visitor.proof)

    @router.post(DO)
    def do(caller: Annotated[Caller, sees("operate")], form: Annotated[Doing, FormBody()]) -> Response:  # pyright: ignore[reportUnusedFunction]
        done.append((caller.name, form.reason, form.what))
        return go_back(form.back, f"It is done: {form.what}")

    @router.get("/dashboard/broken")
    def broken(caller: Annotated[Caller, sees("read")]) -> Response:  # pyright: ignore[reportUnusedFunction]
        raise RuntimeError("secret words")

    return router


@pytest.fixture
def done() -> Done:
    return []


@pytest.fixture
def address(guard: Guard, queries: Queries, done: Done) -> Iterator[str]:
    routers = [assets.router, session.router, doing_router(done)]
    app = create_app(routers, guard, sessions=SessionGuard(guard, queries))
    answer_with_pages(app)
    server = WebServer(app, host="127.0.0.1", port=0)
    server.start()
    yield f"http://127.0.0.1:{server.port}"
    server.stop()


@pytest.fixture
def signed_in(address: str, secret: Callable[..., str]) -> Iterator[Browser]:
    browser = Browser(address)
    browser.post("/dashboard/sign-in", {"key": secret("operate", "read")})
    yield browser
    browser.close()


def proof(browser: Browser) -> str:
    return browser.client.get(DO).text.partition("url=")[2].partition('"')[0]


def without(browser: Browser, path: str, fields: dict[str, str], **headers: str) -> httpx.Response:
    """Sent with no more headers than these."""
    return browser.client.post(path, data=fields, headers=headers)


def refused(answer: httpx.Response, status: int, code: str) -> None:
    page = Page(answer)
    assert (page.status, page.problem) == (status, code)


def test_a_form_is_done_once_and_says_so(signed_in: Browser, done: Done):
    sent = signed_in.post(DO, {"proof": proof(signed_in), "what": "<b>", "reason": "why", "back": "/dashboard/x"})
    assert (sent.status_code, sent.headers["location"]) == (303, "/dashboard/x")
    assert [(reason, what) for _, reason, what in done] == [("why", "<b>")]
    assert done[0][0].startswith("dashboard:")
    said = sent.headers["set-cookie"]
    assert {"httponly", "samesite=strict", "path=/dashboard"} <= {p.strip().lower() for p in said.split(";")}
    assert Page(signed_in.client.get("/dashboard/x")).said == "It is done: <b>"
    assert Page(signed_in.client.get("/dashboard/x")).said is None


def test_it_is_not_said_to_a_page_that_shows_itself_anew(signed_in: Browser):
    """Else it would be gone before somebody has read it."""
    signed_in.post(DO, {"proof": proof(signed_in), "what": "one"})
    signed_in.client.get("/dashboard/x", headers={"HX-Request": "true"})
    assert Page(signed_in.client.get("/dashboard/x")).said == "It is done: one"


def test_nothing_that_was_entered_is_nothing(signed_in: Browser, done: Done):
    """A browser sends each field, empty if it is so."""
    signed_in.post(DO, {"proof": proof(signed_in), "what": "", "reason": "", "back": ""})
    assert [tuple(each[1:]) for each in done] == [(None, "")]


def test_a_form_without_the_sessions_proof(signed_in: Browser, address: str, secret: Callable[..., str], done: Done):
    other = Browser(address)
    other.post("/dashboard/sign-in", {"key": secret("admin")})
    assert proof(other) != proof(signed_in)
    for wrong in ({}, {"proof": ""}, {"proof": "0" * 32}, {"proof": proof(other)}, {"proof": "é"}):
        refused(signed_in.post(DO, {"what": "x", **wrong}), 403, "stale_page")
    refused(signed_in.post("/dashboard/sign-out", {"proof": proof(other)}), 403, "stale_page")
    other.close()
    assert done == []


NOT_FROM_HERE = [
    {},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "none"},
    {"Sec-Fetch-Site": "cross-site", "Origin": "{origin}"},
    {"Origin": "http://evil.example"},
    {"Origin": "{origin}.evil.example"},
    {"Origin": "{origin}0"},
    {"Origin": "http://127.0.0.1"},
    {"Origin": "null"},
    {"Origin": ""},
    {"Referer": "{origin}/dashboard"},
]


@pytest.mark.parametrize("path", [DO, "/dashboard/sign-in", "/dashboard/sign-out"])
def test_a_form_that_no_page_of_ours_has_sent(signed_in: Browser, path: str, done: Done, secret: Callable[..., str]):
    fields = {"key": secret("admin")} if path.endswith("sign-in") else {"proof": proof(signed_in)}
    for headers in NOT_FROM_HERE:
        sent = {name: value.format(origin=signed_in.origin) for name, value in headers.items()}
        refused(without(signed_in, path, fields, **sent), 403, "not_from_here")
    assert done == []


def test_an_older_browser_says_its_origin_alone(signed_in: Browser, done: Done):
    answer = without(signed_in, DO, {"proof": proof(signed_in)}, Origin=signed_in.origin)
    assert (answer.status_code, len(done)) == (303, 1)


def test_pages_let_browsers_say_where_forms_come_from(signed_in: Browser):
    """Under a stricter policy a browser gives `null` as the origin of our own forms."""
    assert signed_in.client.get(DO).headers["referrer-policy"] == "same-origin"


def test_what_is_no_form(signed_in: Browser, done: Done):
    content = f"proof={proof(signed_in)}"
    for kind in ("application/json", "text/plain", "multipart/form-data; boundary=x", "", FORM + "x"):
        headers = {"Sec-Fetch-Site": "same-origin", "Content-Type": kind}
        for path in (DO, "/dashboard/sign-in"):
            refused(signed_in.client.post(path, content=content, headers=headers), 415, "unsupported_media_type")
    assert done == []


def test_a_form_that_is_too_large_or_has_too_many_fields(signed_in: Browser, done: Done):
    fields = {"proof": proof(signed_in)}
    refused(signed_in.post(DO, {**fields, "what": "x" * MOST_BYTES}), 413, "body_too_large")
    refused(signed_in.post("/dashboard/sign-in", {"key": "x" * MOST_BYTES}), 413, "body_too_large")
    many = {str(n): "" for n in range(MOST_FIELDS)}
    refused(signed_in.post(DO, {**fields, **many}), 400, "invalid_body")
    refused(signed_in.post(DO, {**fields, "unknown": "x"}), 422, "invalid_request")
    refused(signed_in.post(DO, {**fields, "reason": "x" * 2001}), 422, "invalid_request")
    assert done == []


def test_a_session_that_ended_while_somebody_wrote(signed_in: Browser, done: Done):
    sent = proof(signed_in)
    signed_in.client.cookies.clear()
    answer = signed_in.post(DO, {"proof": sent})
    assert (answer.status_code, answer.headers["location"], done) == (303, "/dashboard/sign-in", [])


def test_who_may_not_do_it(address: str, secret: Callable[..., str], done: Done):
    reader = Browser(address)
    reader.post("/dashboard/sign-in", {"key": secret("read")})
    refused(reader.post(DO, {"proof": proof(reader)}), 403, "missing_scope")
    reader.close()
    assert done == []


def test_an_unforeseen_error_is_a_page_that_tells_nothing(signed_in: Browser):
    answer = signed_in.client.get("/dashboard/broken")
    refused(answer, 500, "internal_error")
    assert "secret words" not in answer.text
    assert Page(answer).has_form("Sign out")
