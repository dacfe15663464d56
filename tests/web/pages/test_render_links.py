"""Which address leads where: to a page of ours, to the sign-in, back, and never elsewhere."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from generation_worker.web.pages.render import DIRECTORY, asset, way_back
from tests.support.database import Connection, Database
from tests.support.waiting import wait_until
from tests.web.pages.browser import NAVIGATION, Browser, Page
from tests.web.pages.conftest import OpenBrowser, SignIn
from tests.web.pages.html import read
from tests.web.served_api import api

OURS = [
    "/dashboard",
    "/dashboard?span=day",
    "/dashboard?a=//b&c=../d",
    "/dashboard#top",
    "/dashboard/jobs",
    "/dashboard/jobs?status=failed&user=a%2Fb",
    "/dashboard/users/a%2Fb",
    "/dashboard/users/a..b",
    "/dashboard/users/%E6%97%A5%20%25",
    "/dashboard/users/https:%2F%2Fx",
    "/dashboard/workers#maintenance",
]
ELSEWHERE = [
    None,
    "",
    "/",
    "//",
    "//evil.example",
    "///evil.example",
    "//evil.example/dashboard",
    "/\\evil.example",
    "\\\\evil.example",
    "/dashboard\\@evil.example",
    "http://evil.example",
    "http://evil.example/dashboard",
    "https:evil.example",
    "HTTPS://evil.example/dashboard/",
    "javascript:alert(1)",
    "javascript:alert(1)//dashboard/",
    "data:text/html,x",
    "dashboard",
    "dashboard/x",
    " /dashboard",
    "/dashboard ",
    "/dashboard/\tx",
    "/dashboard/x\r\nSet-Cookie: a=b",
    "/dashboard/x\n",
    "\t//evil.example",
    "/dashboards",
    "/dashboard.evil.example",
    "/dashboard@evil.example",
    "/dashboard/../docs",
    "/dashboard/..",
    "/dashboard/.",
    "/dashboard/./x",
    "/dashboard/%2e%2e/docs",
    "/dashboard/%2E./docs",
    "/dashboard/.%2e",
    "/dashboard//evil.example",
    "/dashboard/",
    "/dashboard/x//y",
    "/dashboard/\u2028",
    "/dashboard/é",
    "/d\u0430shboard",
    "/dashboard/sign-in",
    "/dashboard/sign-in?back=/dashboard/sign-in",
    "/dashboard/sign-out",
    "/docs",
    "/worker/status",
    "?x",
    "#x",
    "/dashboard/\x00",
]


@pytest.mark.parametrize("asked", OURS)
def test_back_leads_to_our_pages(asked: str):
    assert way_back(asked) == asked


@pytest.mark.parametrize("asked", ELSEWHERE)
def test_back_never_leads_elsewhere(asked: str | None):
    assert way_back(asked) == "/dashboard"
    assert way_back(asked, "/dashboard/jobs") == "/dashboard/jobs"


def test_neither_does_signing_in(open_browser: OpenBrowser, secret: Callable[..., str]):
    key, browser = secret("read"), open_browser()
    for asked in ELSEWHERE:
        fields = {"key": key, **({} if asked is None else {"back": asked})}
        answer = browser.post("/dashboard/sign-in", fields)
        assert answer.headers.get("location", "/dashboard") == "/dashboard", asked
        assert answer.status_code == (422 if asked and "\x00" in asked else 303)
        browser.client.cookies.clear()
        page = Page(browser.client.get("/dashboard/sign-in", params={} if asked is None else {"back": asked}))
        assert page.form("Sign in").fields["back"] == "/dashboard"


def test_who_is_not_signed_in_is_led_there_and_back(open_browser: OpenBrowser, secret: Callable[..., str]):
    key, browser = secret("read"), open_browser()
    answer = browser.client.get("/dashboard?span=day", headers={**NAVIGATION, "Sec-Fetch-Site": "none"})
    assert (answer.status_code, answer.headers["location"]) == (
        303,
        "/dashboard/sign-in?back=%2Fdashboard%3Fspan%3Dday",
    )
    assert browser.sign_in(key, back="/dashboard?span=day").path == "/dashboard?span=day"


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_a_link_on_another_site_arrives(open_browser: OpenBrowser, secret: Callable[..., str], site: str):
    """The browser does not show our cookie on a way that begins elsewhere, but on the next, from our own page."""
    secret("read")
    browser = open_browser()
    answer = browser.client.get("/dashboard?span=day&x='\"<", headers={**NAVIGATION, "Sec-Fetch-Site": site})
    page = read(answer.text)
    assert answer.status_code == 200
    assert page.one("a").attributes["href"].startswith("/dashboard?span=day&x=")
    assert page.one("meta", http_equiv="refresh").attributes["content"] == "0;url=" + page.one("a").attributes["href"]
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    on = browser.client.get("/dashboard?span=day", headers={**NAVIGATION, "Sec-Fetch-Site": "same-origin"})
    assert on.status_code == 303


def test_a_page_that_shows_itself_anew_is_led_whole_to_sign_in(open_browser: OpenBrowser, secret: Callable[..., str]):
    secret("read")
    anew = {"HX-Request": "true", "Sec-Fetch-Site": "same-origin"}
    answer = open_browser().client.get("/dashboard?span=day", headers=anew)
    assert answer.status_code == 401
    assert answer.headers["hx-redirect"] == "/dashboard/sign-in?back=%2Fdashboard%3Fspan%3Dday"
    assert answer.text == ""


def test_other_addresses_of_it(sign_in: SignIn):
    browser = sign_in("read")
    for path in ("/", "/admin/queues", "/dashboard/"):
        assert browser.open(path).path == "/dashboard"


def test_what_there_is_not_is_said_by_a_page(sign_in: SignIn):
    browser = sign_in("read")
    none, not_taken = (404, "not_found"), (405, "method_not_allowed")
    asked = {
        ("GET", "/dashboard/nothing"): none,
        ("GET", "/dashboard/sign-out"): not_taken,
        ("PUT", "/dashboard"): not_taken,
        ("DELETE", "/dashboard/sign-in"): not_taken,
    }
    for signed_in in (True, False):
        for (method, path), expected in asked.items():
            page = Page(browser.client.request(method, path))
            assert (page.status, page.problem) == expected
            assert page.has_form("Sign out") == signed_in
        browser.client.cookies.clear()


def test_elsewhere_it_is_said_as_ever(client: httpx.Client):
    for path in ("/nothing", "/dashboards", "/dashboard.html"):
        answer = client.get(path)
        assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")


def test_an_argument_that_is_none(sign_in: SignIn):
    page = sign_in("read").open("/dashboard?span=year")
    assert (page.status, page.problem) == (422, "invalid_request")


def test_only_the_head(sign_in: SignIn):
    browser = sign_in("read")
    for path in ("/dashboard", "/dashboard/sign-in"):
        answer = browser.client.head(path)
        assert (answer.status_code, answer.text) == (200 if path == "/dashboard" else 303, "")
    browser.client.cookies.clear()
    assert browser.client.head("/dashboard").status_code == 303
    assert browser.client.head("/dashboard/sign-in").status_code == 200


def when_away(browser: Browser, path: str) -> Page:
    """As soon as what was known of the database before is too old."""
    answers: list[httpx.Response] = []

    def is_away() -> bool:
        answers.append(browser.client.get(path))
        return answers[-1].status_code == 503

    wait_until(is_away, f"{path} says that the database is away")
    return Page(answers[-1])


def test_a_database_that_is_away(sign_in: SignIn, open_browser: OpenBrowser, database: Database):
    browser, stranger = sign_in("read"), open_browser()
    page = browser.open("/dashboard")
    with database.connect() as other, other.transaction():
        other.execute("LOCK TABLE api_token, dashboard_session, generation_job IN ACCESS EXCLUSIVE MODE")
        asked = [
            *(when_away(stranger, path) for path in ("/dashboard", "/dashboard/sign-in")),
            Page(stranger.post("/dashboard/sign-in", {"key": "gw_live_" + "a" * 12 + "_" + "0" * 64})),
            browser.send(page.form("Sign out")),
            browser.open("/dashboard"),
        ]
    for each in asked:
        assert (each.status, each.problem) == (503, "database_unavailable")
        assert int(each.answer.headers["retry-after"]) > 0
    assert browser.open("/dashboard").status == 200


def test_headers_of_a_page(sign_in: SignIn):
    browser = sign_in("read")
    for path in ("/dashboard", "/dashboard/nothing"):
        headers = browser.client.get(path).headers
        parts = [part.strip().partition(" ") for part in headers["content-security-policy"].split(";")]
        policy = {name: sources for name, _, sources in parts}
        assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == policy["form-action"] == "'self'"
        assert (headers["cache-control"], headers["x-frame-options"]) == ("no-store", "DENY")
        assert headers["x-content-type-options"] == "nosniff"


def test_files_have_addresses_by_what_they_hold(client: httpx.Client):
    page = read(client.get("/dashboard").text)
    found = [each.attributes["src"] for each in page.all("script", "img")]
    found += [each.attributes["href"] for each in page.all("link")]
    assert len(set(found)) == 6
    for path in found:
        answer = client.get(path)
        assert answer.status_code == 200
        assert "immutable" in answer.headers["cache-control"]
        assert path.split("/")[3] == hashlib.sha256(answer.content).hexdigest()[:12]
        kind = answer.headers["content-type"].partition(";")[0]
        assert kind == {"js": "text/javascript", "css": "text/css", "svg": "image/svg+xml"}[path.rpartition(".")[2]]


def test_nothing_but_those_files_is_served(client: httpx.Client):
    good = asset("dashboard.css")
    digest = good.split("/")[3]
    for path in (
        good.replace(digest, "0" * 12),
        good.replace("dashboard.css", "dashboard.js"),
        good.replace("dashboard.css", "%2e%2e/pages.py"),
        good.replace("dashboard.css", "%2Fetc/passwd"),
        good.replace("dashboard.css", "vendor"),
        good.replace("dashboard.css", "vendor/htmx.LICENSE"),
    ):
        assert client.get(path).status_code == 404, path
    assert re.fullmatch(r"/dashboard/static/[0-9a-f]{12}/dashboard\.css", good)
    assert all(path.is_file() for path in DIRECTORY.glob("*.*"))


def test_it_can_be_left_out(database: Database, tmp_path: Path, connection: Connection):
    with api(database, tmp_path / "storage", ENABLE_DASHBOARD="false") as served:
        for path in ("/dashboard", "/dashboard/sign-in", asset("dashboard.css"), "/", "/admin/queues", "/dashboard/x"):
            answer = served.client.get(path)
            assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json"), path
        assert served.client.post("/dashboard/sign-in", data={"key": "x"}).status_code == 404
        assert served.client.get("/worker/status").status_code == 200


def test_it_is_there_without_the_api(database: Database, tmp_path: Path, secret: Callable[..., str]):
    with api(database, tmp_path / "storage", ENABLE_API="false") as served:
        browser = Browser(str(served.client.base_url))
        assert browser.sign_in(secret("read")).heading.startswith("The fleet is")
        assert served.client.get("/worker/status").status_code == 404
        browser.close()
