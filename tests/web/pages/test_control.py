"""Pausing, resuming, waking and changing settings, as a person does it: by the forms of the page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support import jobs
from tests.support.database import Connection, Database
from tests.web.pages.browser import Browser, Page
from tests.web.pages.conftest import OpenBrowser, SignIn
from tests.web.served_api import Api, api

PATH = "/dashboard/control"


@pytest.fixture(autouse=True)
def fleet(connection: Connection) -> None:
    """`local` may be named, and there is a key of `gemini` with a limit."""
    jobs.offer_local(connection)
    connection.execute(
        "INSERT INTO provider_gate (key_label, provider, calls_per_minute, given_per_minute)"
        " VALUES ('gemini-1', 'gemini', 60, 60)"
    )


@pytest.fixture
def operator(sign_in: SignIn) -> Browser:
    return sign_in("read", "operate")


@pytest.fixture
def admin(sign_in: SignIn) -> Browser:
    return sign_in("read", "admin")


def events(connection: Connection) -> list[tuple[Any, ...]]:
    query = "SELECT action, target, reason FROM audit_event WHERE target LIKE 'setting:%' ORDER BY id"
    return connection.execute(query.encode()).fetchall()


def kept(connection: Connection, name: str) -> Any:
    row = connection.execute("SELECT value FROM fleet_setting WHERE name = %s", [name]).fetchone()
    return row and row[0]


def test_everything_is_paused_with_a_reason_and_goes_on(operator: Browser, connection: Connection):
    page = operator.open(PATH)
    assert "Nothing is paused." in page.text
    page = operator.send(page.form("Pause everything"), reason="a <b>leak</b>")
    assert page.said == "Everything is paused now; what runs goes on."
    [row] = page.rows("Paused")
    assert (row["what"], row["why"]) == ("everything", "a <b>leak</b>")
    assert row["by"].startswith("dashboard:")
    assert not page.has_form("Pause everything")
    page = operator.send(page.form("Resume everything"), reason="mended")
    assert page.said == "Everything goes on."
    assert "Nothing is paused." in page.text
    assert events(connection) == [("pause", "setting:paused", "a <b>leak</b>"), ("resume", "setting:paused", "mended")]
    [actor] = connection.execute("SELECT DISTINCT actor FROM audit_event WHERE action = 'pause'").fetchall()[0]
    assert actor == row["by"]


@pytest.mark.parametrize(
    ("form", "name", "setting"),
    [
        ("Pause a provider", "local", "paused.provider.local"),
        ("Pause a kind", "image_conversion", "paused.kind.image_conversion"),
        ("Pause a user", 'a/b.<b>"%20', 'paused.user.a/b.<b>"%20'),
    ],
)
def test_one_thing_is_paused(operator: Browser, connection: Connection, form: str, name: str, setting: str):
    page = operator.send(operator.open(PATH).form(form), name=name)
    assert kept(connection, setting) == {"reason": None}
    what = setting.split(".")[1]
    assert [row["what"] for row in page.rows("Paused")] == [f"{what} {name}"]
    page = operator.send(page.form(f"Resume {what} {name}"))
    assert kept(connection, setting) is None
    assert page.said == f"The {what} {name} goes on."


def test_paused_again_it_says_so(operator: Browser):
    form = operator.open(PATH).form("Pause everything")
    operator.send(form)
    assert operator.send(form).said == "Everything was paused already; the reason is noted."
    form = operator.open(PATH).form("Resume everything")
    operator.send(form)
    assert operator.send(form).said == "Everything was not paused."


@pytest.mark.parametrize("what", ["provider", "kind", "user"])
def test_a_name_that_was_left_out_does_not_become_everything(operator: Browser, connection: Connection, what: str):
    form = operator.open(PATH).form("Pause a user")
    for route in ("pause", "resume"):
        answer = operator.post(f"{PATH}/{route}", {**form.fields, "what": what, "name": ""})
        assert answer.status_code == 422
        assert f"enter which {what} is meant" in answer.text
    assert events(connection) == []


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"what": "everything", "name": "local"}, "everything has no name"),
        ({"what": "provider", "name": "moon"}, "no worker offers"),
        ({"what": "kind", "name": "video"}, "kind"),
        ({"what": "moon", "name": "x"}, "what"),
        ({"what": "user", "name": "a", "reason": "x" * 2001}, "reason"),
    ],
)
def test_what_cannot_be_paused_is_refused(operator: Browser, connection: Connection, fields: dict[str, str], said: str):
    form = operator.open(PATH).form("Pause a user")
    page = Page(operator.post(f"{PATH}/pause", {**form.fields, **fields}))
    assert (page.status, page.problem) == (422, "invalid_request")
    assert said in page.text
    assert events(connection) == []


def test_the_fleet_is_woken(operator: Browser, served: Api):
    page = operator.send(operator.open(PATH).form("Wake the fleet"))
    assert page.said == "Every worker looks for work now."
    assert served.supervisor.woken == 1


def test_a_setting_is_changed_and_taken_back(admin: Browser, connection: Connection):
    page = admin.open(PATH)
    before = setting(page, "concurrency")
    assert before["in force"] == "5"
    assert "WORKER_CONCURRENCY of the process that answers (default)" in before["set by"]
    assert setting(page, "poll_interval")["in force"] == "1"
    page = admin.send(page.form("Change concurrency"), value="8", reason="a quiet night")
    assert page.said == "concurrency is 8 now."
    assert kept(connection, "concurrency") == 8
    found = setting(page, "concurrency")
    assert found["in force"] == "8"
    assert found["set by"].startswith("dashboard:")
    page = admin.send(page.form("Take back concurrency"))
    assert kept(connection, "concurrency") is None
    assert setting(page, "concurrency")["in force"] == "5"
    assert events(connection) == [
        ("setting.set", "setting:concurrency", "a quiet night"), ("setting.unset", "setting:concurrency", None),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("poll_interval", "0.5", 0.5),
        ("calls_per_minute.gemini-1", "30", 30),
        ("calls_per_minute.gemini", "30", 30),
        ("price.text_to_image.local", "2", 2),
        ("seconds_per_credit", "2.5", 2.5),
        ("credits_low", "50", 50),
        ("caller_may_set_cost", "true", True),
        ("default_provider", "local", "local"),
    ],
)
def test_each_setting_of_the_fleet(admin: Browser, connection: Connection, name: str, value: str, expected: Any):
    page = admin.send(admin.open(PATH).form("Set another"), name=name, value=value)
    assert page.status == 200, page.text
    assert kept(connection, name) == expected
    assert setting(page, name)["in force"] == value


@pytest.mark.parametrize(
    ("name", "value", "field"),
    [
        ("concurrency", "0", "concurrency"),
        ("concurrency", "many", "concurrency"),
        ("concurrency", "8.5", "concurrency"),
        ("concurrency", '{"a": 1}', "concurrency"),
        ("concurrency", "null", "concurrency"),
        ("poll_interval", "1s", "poll_interval"),
        ("calls_per_minute.gemini", "30001", "calls_per_minute.gemini"),
        ("calls_per_minute.moon", "5", "calls_per_minute.moon"),
        ("calls_per_minute", "5", "calls_per_minute"),
        ("price.video", "1", "price.video"),
        ("price.text_to_image", "-1", "price.text_to_image"),
        ("caller_may_set_cost", "yes", "caller_may_set_cost"),
        ("default_provider", "moon", "default_provider"),
        ("DATABASE_URL", "postgresql://", "DATABASE_URL"),
        ("reason", "x", "name"),
    ],
)
def test_what_is_wrong_is_named_and_nothing_is_changed(
    admin: Browser, connection: Connection, name: str, value: str, field: str
):
    page = admin.send(admin.open(PATH).form("Set another"), name=name, value=value)
    assert (page.status, page.problem) == (422, "invalid_request")
    assert f"invalid_request · {field}" in page.text
    assert events(connection) == []


def test_what_has_nothing_behind_it_cannot_be_taken_back(admin: Browser, connection: Connection):
    page = admin.open(PATH)
    assert not page.has_form("Take back seconds_per_credit")
    form = page.form("Set another")
    fields = {"proof": form.fields["proof"], "name": "seconds_per_credit"}
    assert admin.post(f"{PATH}/settings/unset", fields).status_code == 422
    assert events(connection) == []


def test_each_scope_sees_and_does_what_the_api_lets_it(sign_in: SignIn, connection: Connection):
    reader, operator = sign_in("read"), sign_in("read", "operate")
    page = reader.open(PATH)
    assert "The settings are shown to keys with the scope operate." in page.text
    assert [form.action for form in page.forms] == ["/dashboard/sign-out"]
    proof = page.forms[0].fields["proof"]
    for route in ("pause", "resume", "wake", "settings", "settings/unset"):
        fields = {"proof": proof, "what": "everything"} if route in ("pause", "resume") else {"proof": proof}
        assert Page(reader.post(f"{PATH}/{route}", fields)).problem == "missing_scope", route
    page = operator.open(PATH)
    assert setting(page, "concurrency")["in force"] == "5"
    assert not page.has_form("Change concurrency")
    fields = {"proof": page.forms[0].fields["proof"], "name": "concurrency", "value": "8"}
    for route in ("settings", "settings/unset"):
        assert Page(operator.post(f"{PATH}/{route}", fields)).problem == "missing_scope", route
    assert events(connection) == []


def test_secrets_are_never_shown(database: Database, tmp_path: Path, open_browser: OpenBrowser):
    with api(database, tmp_path, GEMINI_API_KEY="gemini-s3cret", REPLICATE_API_TOKEN="r8_s3cret") as running:
        page = open_browser(str(running.client.base_url)).open(PATH)
        assert "GEMINI_API_KEY" in page.text
        assert "s3cret" not in page.answer.text
        assert database.environment["DATABASE_URL"] not in page.answer.text


def setting(page: Page, name: str) -> dict[str, str]:
    [row] = [row for row in page.rows("Settings that the whole fleet") if row["setting"].split()[0] == name]
    return row
