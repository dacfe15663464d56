"""Signing in and out, as a person does it, and what ends a session."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from generation_worker.db.access import revoke_token
from generation_worker.web.pages.session import SESSION_SECONDS
from tests.support.database import Connection, Database, queries_on
from tests.support.waiting import wait_until
from tests.web.pages.browser import Browser
from tests.web.pages.conftest import OpenBrowser, SignIn
from tests.web.served_api import api

Secret = Callable[..., str]


def sessions(connection: Connection) -> int:
    return connection.execute("SELECT FROM dashboard_session").rowcount


def is_in(browser: Browser) -> bool:
    return browser.open("/dashboard").heading != "Sign in"


def cookie_of(browser: Browser) -> str:
    return browser.client.cookies["generation-worker"]


def test_sign_in_and_out(sign_in: SignIn, connection: Connection):
    browser = sign_in("read")
    page = browser.open("/dashboard")
    assert page.heading.startswith("The fleet is")
    kept = cookie_of(browser)
    left = browser.send(page.form("Sign out"))
    assert left.heading == "Sign in"
    assert not is_in(browser)
    assert sessions(connection) == 0
    browser.client.cookies.set("generation-worker", kept, domain="127.0.0.1", path="/")
    assert not is_in(browser)


def test_both_stand_in_the_audit_trail(sign_in: SignIn, connection: Connection):
    browser = sign_in("read")
    browser.send(browser.open("/dashboard").form("Sign out"))
    [(key,)] = connection.execute("SELECT id FROM api_token").fetchall()
    told = connection.execute("SELECT actor, action, target FROM audit_event WHERE action LIKE 'dash%' ORDER BY id")
    who, target = f"dashboard:{key}", f"token:{key}"
    assert told.fetchall() == [(who, "dashboard.sign_in", target), (who, "dashboard.sign_out", target)]


def test_the_cookie_over_http(open_browser: OpenBrowser, secret: Secret):
    browser = open_browser()
    sent = browser.post("/dashboard/sign-in", {"key": secret("read")})
    name, value = sent.headers["set-cookie"].split(";")[0].split("=")
    assert (name, len(value)) == ("generation-worker", 64)
    attributes = {part.strip().lower() for part in sent.headers["set-cookie"].split(";")[1:]}
    assert attributes == {"httponly", "samesite=strict", "path=/", f"max-age={SESSION_SECONDS:.0f}"}


@pytest.mark.parametrize("told", ["https", "HTTPS, http"])
def test_the_cookie_behind_what_ends_tls(open_browser: OpenBrowser, secret: Secret, told: str):
    """The name that begins so is what binds it to the very host; a browser takes it only if it is secure."""
    browser = open_browser(**{"X-Forwarded-Proto": told, "X-Forwarded-For": "192.0.2.1"})
    sent = browser.post("/dashboard/sign-in", {"key": secret("read")})
    cookie = sent.headers["set-cookie"]
    assert cookie.startswith("__Host-generation-worker=")
    assert {"secure", "httponly", "samesite=strict", "path=/"} <= {p.strip().lower() for p in cookie.split(";")}
    assert "domain" not in cookie.lower()
    shown = {"Cookie": cookie.split(";")[0]}
    assert browser.client.get("/dashboard", headers=shown).status_code == 200
    page = browser.client.get("/dashboard", headers=shown)
    proof = page.text.partition('name="proof" value="')[2].partition('"')[0]
    left = browser.post("/dashboard/sign-out", {"proof": proof}, **shown)
    assert (left.status_code, left.headers["location"]) == (303, "/dashboard/sign-in")
    ended = left.headers["set-cookie"].lower()
    assert ended.startswith('__host-generation-worker=""')
    assert {"max-age=0", "secure", "path=/"} <= {p.strip() for p in ended.split(";")}


def test_over_http_no_other_name_is_heeded(sign_in: SignIn, open_browser: OpenBrowser):
    value = cookie_of(sign_in("read"))
    assert not is_in(open_browser(Cookie=f"__Host-generation-worker={value}"))
    assert not is_in(open_browser(**{"Cookie": f"generation-worker={value}", "X-Forwarded-Proto": "https"}))


def test_a_session_is_made_anew_at_each_sign_in(open_browser: OpenBrowser, secret: Secret, connection: Connection):
    """Whoever has planted a session in somebody's browser does not know theirs."""
    key, other = secret("read"), secret("admin")
    planted = "ab" * 32
    browser = open_browser()
    browser.client.cookies.set("generation-worker", planted, domain="127.0.0.1", path="/")
    browser.sign_in(key)
    first = cookie_of(browser)
    assert first != planted
    browser.post("/dashboard/sign-in", {"key": other})
    second = cookie_of(browser)
    assert second not in (first, planted)
    assert sessions(connection) == 1  # the one before ended
    assert not is_in(open_browser(Cookie=f"generation-worker={first}"))
    assert is_in(open_browser(Cookie=f"generation-worker={second}"))


def test_the_database_has_nothing_that_lets_in(sign_in: SignIn, open_browser: OpenBrowser, connection: Connection):
    value = cookie_of(sign_in("read"))
    [(row, id_hash)] = connection.execute("SELECT s::text, id_hash FROM dashboard_session s").fetchall()
    assert value not in row
    assert not is_in(open_browser(Cookie=f"generation-worker={id_hash.hex()}"))


@pytest.mark.parametrize(
    "ending",
    [
        "UPDATE api_token SET expires_at = now() - interval '1 second'",
        "UPDATE dashboard_session SET created_at = now() - interval '1 day', expires_at = now() - interval '1 second'",
        "DELETE FROM dashboard_session",
    ],
)
def test_what_ends_a_session(sign_in: SignIn, connection: Connection, ending: str):
    browser = sign_in("read")
    assert is_in(browser)
    connection.execute(ending.encode())
    wait_until(lambda: not is_in(browser), "the session has ended")


def test_a_revoked_key_ends_its_sessions(sign_in: SignIn, connection: Connection):
    browsers = [sign_in("read"), sign_in("read")]
    [(first,), (_,)] = connection.execute("SELECT token_id FROM dashboard_session ORDER BY expires_at").fetchall()
    revoke_token(queries_on(connection), first)
    wait_until(lambda: not is_in(browsers[0]), "the session has ended")
    assert is_in(browsers[1])


def test_half_a_day_ends_it(sign_in: SignIn, connection: Connection):
    assert SESSION_SECONDS == 12 * 3600
    sign_in("read")
    [(left,)] = connection.execute("SELECT extract(epoch FROM expires_at - now()) FROM dashboard_session").fetchall()
    assert SESSION_SECONDS - 600 < left <= SESSION_SECONDS


def test_any_process_knows_a_session(
    sign_in: SignIn, open_browser: OpenBrowser, database: Database, tmp_path: Path, connection: Connection
):
    browser = sign_in("read")
    cookie = f"generation-worker={cookie_of(browser)}"
    with api(database, tmp_path / "other") as another:
        there = open_browser(str(another.client.base_url), Cookie=cookie)
        assert there.open("/dashboard").heading.startswith("The fleet is")
        there.send(there.open("/dashboard").form("Sign out"))
        wait_until(lambda: not is_in(browser), "it has ended here too")
    assert sessions(connection) == 0


def test_what_lets_nobody_in(open_browser: OpenBrowser, secret: Secret, connection: Connection):
    key = secret("read")
    browser = open_browser()
    for wrong in (
        key[:-1] + ("0" if key[-1] != "0" else "1"),
        "gw_live_" + "a" * 12 + "_" + "0" * 64,
        "no key",
        key + "0",
    ):
        page = browser.sign_in(wrong)
        assert (page.status, page.problem, page.heading) == (401, "invalid_key", "Sign in")
        assert wrong not in page.answer.text
    page = browser.send(browser.open("/dashboard/sign-in").form("Sign in"))
    assert (page.status, page.problem) == (422, "invalid_request")
    of_ada = secret("read", user="ada")
    page = browser.sign_in(of_ada)
    assert (page.status, page.problem) == (403, "key_of_one_user")
    assert sessions(connection) == 0
    assert "generation-worker" not in browser.client.cookies
    revoke_token(queries_on(connection), key.split("_")[2])
    sign_in = partial(browser.post, "/dashboard/sign-in", {"key": key})
    wait_until(lambda: sign_in().status_code == 401, "the key is not believed any more")


def test_a_key_that_may_not_read_sees_no_page(open_browser: OpenBrowser, secret: Secret):
    page = open_browser().sign_in(secret("enqueue"))
    assert (page.status, page.problem) == (403, "missing_scope")
    assert page.has_form("Sign out")


def test_who_is_signed_in_is_not_asked_again(sign_in: SignIn):
    browser = sign_in("read")
    assert browser.open("/dashboard/sign-in").heading.startswith("The fleet is")
    assert browser.open("/dashboard/sign-in?back=%2Fdashboard%3Fspan%3Dday").path == "/dashboard?span=day"


def test_after_signing_in_one_is_where_one_wanted_to_be(open_browser: OpenBrowser, secret: Secret):
    page = open_browser().sign_in(secret("read"), back="/dashboard?span=day")
    assert page.path == "/dashboard?span=day"


def test_the_api_takes_no_cookie_and_a_page_no_bearer(sign_in: SignIn, open_browser: OpenBrowser, secret: Secret):
    browser = sign_in("admin")
    assert browser.client.get("/worker/status").status_code == 401
    assert browser.post("/worker/stop", {}).status_code == 401
    bearer = open_browser(Authorization=f"Bearer {secret('admin')}")
    assert bearer.open("/dashboard").heading == "Sign in"
    assert bearer.post("/dashboard/sign-out", {"proof": ""}).headers["location"] == "/dashboard/sign-in"


def test_without_any_key_this_machine_needs_none(open_browser: OpenBrowser):
    browser = open_browser()
    page = browser.open("/dashboard")
    assert page.heading.startswith("The fleet is")
    assert not page.has_form("Sign out")
    assert browser.open("/dashboard/sign-in").path == "/dashboard"


ELSEWHERE = [
    {"X-Forwarded-For": "127.0.0.1"},
    {"Forwarded": "for=127.0.0.1"},
    {"Via": "1.1 proxy"},
    {"Host": "evil.example:8080"},
    {"Host": "127.0.0.1.evil.example"},
    {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"},
    {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"},
    {"Origin": "http://evil.example"},
    {"Origin": "null"},
]


def test_without_any_key_nobody_is_answered_from_elsewhere(open_browser: OpenBrowser):
    browser = open_browser()
    for elsewhere in ELSEWHERE:
        for path in ("/dashboard", "/dashboard/sign-in"):
            answer = browser.client.get(path, headers=elsewhere)
            assert answer.status_code == 403, elsewhere
            assert "loopback_only" in answer.text
            assert "token create" in answer.text
            assert "The fleet" not in answer.text


def test_a_link_from_elsewhere_is_followed_on_this_machine(open_browser: OpenBrowser):
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert open_browser().client.get("/dashboard", headers=link).status_code == 200
