"""Each page shows itself to whom it should and changes nothing; each form does what it says, for whom it should."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fastapi.routing import APIRoute
from psycopg import sql

from generation_worker.domain.token import SCOPES, Scope, allows
from generation_worker.web.auth import scope_of
from tests.support.database import Connection
from tests.support.populated import Population
from tests.web.conftest import MakeKey
from tests.web.pages.browser import Browser, Page
from tests.web.pages.conftest import OpenBrowser
from tests.web.pages.registry import DONE, OPEN, PICTURES, SEEN, Done, Seen
from tests.web.registry import World
from tests.web.served_api import Api
from tests.web.test_tenants import routes_in

NOTED = {"dashboard_session", "api_token", "api_token_pace"}
"""Who signed in and when a key was last used may be written whatever one looks at."""
every_page = pytest.mark.parametrize("page", SEEN, ids=lambda page: page.path)
every_form = pytest.mark.parametrize("form", DONE, ids=lambda form: form.path)


@pytest.fixture
def world(served: Api, connection: Connection, population: Population, key: MakeKey) -> World:
    return World(served, connection, population, key)


@pytest.fixture
def enter(open_browser: OpenBrowser, secret: Callable[..., str]) -> Callable[..., Browser]:
    """A browser that has signed in, whatever its key may then see."""

    def made(*scopes: Scope) -> Browser:
        browser = open_browser()
        assert browser.post("/dashboard/sign-in", {"key": secret(*scopes)}).status_code == 303
        return browser

    return made


def places(served: Api) -> dict[tuple[str, str], APIRoute]:
    found = [each for included in served.app.routes for each in routes_in(included) if not each.include_in_schema]
    return {(method, each.path): each for each in found for method in each.methods or () if method != "HEAD"}


def proof(browser: Browser) -> str:
    """Stands on whatever page they are shown, be it that they may not see it."""
    return Page(browser.client.get("/dashboard")).form("Sign out").fields["proof"]


def snapshot(connection: Connection) -> dict[str, Any]:
    """Every row of every table but what is noted of visits."""
    tables = connection.execute(
        "SELECT relname FROM pg_class WHERE relkind = 'r'"
        " AND relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = 'generation_job'::regclass)"
    )
    return {
        name: sorted(connection.execute(sql.SQL("SELECT t::text FROM {} t").format(sql.Identifier(name))).fetchall())
        for (name,) in tables.fetchall()
        if name not in NOTED
    }


def test_each_address_stands_in_the_registry(served: Api):
    found = places(served)
    expected = {("GET", page.path): page.scope for page in SEEN} | {("POST", form.path): form.scope for form in DONE}
    expected |= {("GET", path): "read" for path in PICTURES}
    assert {place: scope_of(route) for place, route in found.items()} == {**expected, **dict.fromkeys(OPEN)}


@every_page
def test_who_sees_a_page(world: World, open_browser: OpenBrowser, enter: Callable[..., Browser], page: Seen):
    address = page.address(world)
    world.key("read")
    assert open_browser().open(address).heading == "Sign in"
    for scope in SCOPES:
        shown = Page(enter(scope).client.get(address))
        if allows({scope}, page.scope):
            assert shown.status == 200, (scope, shown.text)
        else:
            assert (shown.status, shown.problem) == (403, "missing_scope"), scope


@every_page
def test_to_look_changes_nothing(world: World, enter: Callable[..., Browser], page: Seen):
    address, browser = page.address(world), enter("admin")
    before = snapshot(world.connection)
    shown = Page(browser.client.get(address))
    assert shown.status == 200, shown.text
    assert browser.client.get(address, headers={"HX-Request": "true"}).status_code == 200
    assert browser.client.head(address).status_code == 200
    assert snapshot(world.connection) == before


@every_page
def test_each_link_leads_somewhere(world: World, enter: Callable[..., Browser], page: Seen):
    browser = enter("admin")
    shown = Page(browser.client.get(page.address(world)))
    for text, href in shown.links.items():
        if href.startswith("/") and "/images/" not in href:  # nothing was drawn here
            status = browser.client.get(href.partition("#")[0]).status_code
            assert status in (200, 307), (text, href, status)


@every_form
def test_a_form_is_believed_with_its_proof_alone(world: World, enter: Callable[..., Browser], form: Done):
    address, fields, browser = form.address(world), form.fields(world), enter("admin")
    before = snapshot(world.connection)
    for wrong in ({}, {"proof": "0" * 32}):
        refused = Page(browser.post(address, {**fields, "reason": "x", **wrong}))
        assert (refused.status, refused.problem) == (403, "stale_page")
    elsewhere = {"Sec-Fetch-Site": "cross-site", "Origin": "http://evil.example"}
    refused = Page(browser.post(address, {**fields, "proof": proof(browser)}, **elsewhere))
    assert (refused.status, refused.problem) == (403, "not_from_here")
    assert snapshot(world.connection) == before


@every_form
def test_who_may_send_a_form(world: World, open_browser: OpenBrowser, enter: Callable[..., Browser], form: Done):
    address, fields = form.address(world), form.fields(world)
    before = snapshot(world.connection)
    for scope in SCOPES:
        if not allows({scope}, form.scope):
            browser = enter(scope)
            refused = Page(browser.post(address, {**fields, "proof": proof(browser)}))
            assert (refused.status, refused.problem) == (403, "missing_scope"), scope
    nobody = open_browser().post(address, {**fields, "proof": "0" * 32})
    assert (nobody.status_code, nobody.headers["location"]) == (303, "/dashboard/sign-in")
    after = snapshot(world.connection)
    assert {**after, "audit_event": None} == {**before, "audit_event": None}  # that they signed in is told


@every_form
def test_what_a_form_does_is_told(world: World, enter: Callable[..., Browser], form: Done):
    address, fields, browser = form.address(world), form.fields(world), enter(form.scope, "read")
    [(key,)] = world.connection.execute("SELECT token_id FROM dashboard_session").fetchall()
    [(known,)] = world.connection.execute("SELECT max(id) FROM audit_event").fetchall()
    sent = browser.post(address, {**fields, "proof": proof(browser), "reason": "because"})
    if form.shows is None:
        assert sent.status_code == 303, Page(sent).text
        assert Page(browser.client.get(sent.headers["location"])).said
    else:
        assert (sent.status_code, form.shows in sent.text) == (200, True), Page(sent).text
    told = "SELECT actor, action, reason FROM audit_event WHERE id > %s"
    events = world.connection.execute(told, [known]).fetchall()
    assert set(events) == ({(f"dashboard:{key}", form.action, "because")} if form.action else set())
