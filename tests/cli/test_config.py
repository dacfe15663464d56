from __future__ import annotations

import getpass
from typing import Any

import pytest

from tests.cli.conftest import Command
from tests.support.database import Connection

SECRETS = {
    "GEMINI_API_KEY": "gemini-s3cret-1,gemini-s3cret-2",
    "REPLICATE_API_TOKEN": "r8_s3cret",
    "SUPABASE_SERVICE_ROLE_KEY": "s3cret-role",
}


def setting(answer: Any, name: str) -> dict[str, Any]:
    [found] = [row for row in answer["settings"] if row["name"] == name]
    return found


@pytest.mark.usefixtures("fleet")
def test_every_setting_with_its_source(process: Command, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WORKER_MAX_WORKERS", "7")
    done = process("config")
    assert done.status == 0
    lines = [line.split("  ") for line in done.out.splitlines()]
    rows = {line[0]: [cell.strip() for cell in line[1:] if cell.strip()] for line in lines}
    assert rows["WORKER_CONCURRENCY"] == ["7", "environment, alias WORKER_MAX_WORKERS", "5"]
    assert rows["PORT"] == ["8080", "default", "8080"]
    assert rows["price.text_to_image"][0] == "1"
    assert rows["default_provider"][0] == "local"
    assert "STORAGE_DIR" in done.err


@pytest.mark.usefixtures("fleet")
def test_as_json(cli: Command):
    answer = cli("config", "--json").json
    assert set(answer) == {"settings", "notices", "fleet", "fleet_problem"}
    assert setting(answer, "PORT")["value"] == "8080"
    assert {row["name"]: row["value"] for row in answer["fleet"]}["providers"] == ["local"]
    assert answer["fleet_problem"] is None


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_secrets_are_never_shown(cli: Command, monkeypatch: pytest.MonkeyPatch, options: list[str]):
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("DATABASE_URL", "postgresql://app:s3cret-word@127.0.0.1:1/app")
    done = cli("config", *options)
    assert done.status == 0
    assert "s3cret" not in done.out + done.err
    assert "GEMINI_API_KEY" in done.out


@pytest.mark.usefixtures("fleet")
def test_what_the_fleet_has_set_wins_and_says_who_and_when(
    cli: Command, connection: Connection, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("WORKER_CONCURRENCY", "7")
    monkeypatch.setenv("GEMINI_RPM", "60")
    connection.execute("INSERT INTO provider_gate (key_label, provider, calls_per_minute) VALUES ('k', 'gemini', 60)")
    assert setting(cli("config", "--json").json, "GEMINI_RPM")["source"] == "environment"
    cli("config", "set", "concurrency", 3)
    cli("config", "set", "poll_interval", "500ms")
    cli("config", "set", "calls_per_minute.gemini", 30)
    answer = cli("config", "--json").json
    shown = {name: setting(answer, name) for name in ("WORKER_CONCURRENCY", "POLL_INTERVAL_MS", "GEMINI_RPM", "PORT")}
    assert {name: (row["value"], row["source"]) for name, row in shown.items()} == {
        "WORKER_CONCURRENCY": ("3", "database, concurrency"),
        "POLL_INTERVAL_MS": ("500", "database, poll_interval"),
        "GEMINI_RPM": ("30", "database, calls_per_minute.gemini"),
        "PORT": ("8080", "default"),
    }
    assert shown["GEMINI_RPM"]["updated_by"].startswith(f"cli:{getpass.getuser()}@")
    assert shown["GEMINI_RPM"]["updated_at"] is not None
    assert shown["PORT"]["updated_by"] is shown["PORT"]["updated_at"] is None
    cli("config", "unset", "concurrency")
    connection.execute("UPDATE fleet_setting SET value = '\"often\"' WHERE name = 'poll_interval'")
    answer = cli("config", "--json").json
    assert setting(answer, "WORKER_CONCURRENCY")["source"] == "environment"
    assert setting(answer, "POLL_INTERVAL_MS")["source"] == "default"  # as workers do


def test_without_a_database_the_rest_is_shown(cli: Command, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("DATABASE_URL")
    monkeypatch.delenv("DIRECT_URL")
    done = cli("config", "--json")
    assert (done.status, done.json["fleet"]) == (0, None)
    assert done.json["fleet_problem"].startswith("DATABASE_URL is not set")
    plain = cli("config")
    assert "WORKER_CONCURRENCY" in plain.out
    assert "The fleet's settings are not known" in plain.err


@pytest.mark.usefixtures("fleet")
def test_set_fills_in_who_did_it(process: Command, connection: Connection):
    done = process("config", "set", "price.text_to_image.local", 3)
    assert (done.status, done.out) == (0, "price.text_to_image.local is 3 now, for jobs enqueued from now on\n")
    row = connection.execute(
        "SELECT value, updated_by FROM fleet_setting WHERE name = 'price.text_to_image.local'"
    ).fetchone()
    assert row is not None
    assert (row[0], row[1].split("@")[0]) == (3, f"cli:{getpass.getuser()}")


@pytest.mark.usefixtures("fleet")
def test_set_as_json(cli: Command):
    assert cli("config", "set", "caller_may_set_cost", "true", "--json").json == {
        "name": "caller_may_set_cost",
        "value": True,
    }


@pytest.mark.usefixtures("fleet")
@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("prices", "1", "There are price.KIND, price.KIND.PROVIDER"),
        ("price.video", "1", "'video' is not a kind of job"),
        ("price.text_to_image", "cheap", "must be a whole number of credits"),
        ("default_provider", "gemini", "no worker offers 'gemini'"),
    ],
)
def test_set_refuses_what_is_wrong(cli: Command, name: str, value: str, said: str):
    done = cli("config", "set", name, value, "--json")
    assert (done.status, done.json["error"]["code"]) == (2, "invalid_request")
    assert said in done.err
