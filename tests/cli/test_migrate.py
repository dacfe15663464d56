from __future__ import annotations

from typing import Any

import pytest

from generation_worker.db import migrations
from tests.cli.conftest import Command
from tests.support.database import SCHEMA, Database


@pytest.fixture
def empty(monkeypatch: pytest.MonkeyPatch, settings: None, empty_database: Database) -> Database:
    for name, value in empty_database.environment.items():
        monkeypatch.setenv(name, value)
    return empty_database


def ask(database: Database, query: str) -> Any:
    row = database.connect_direct().execute(query.encode()).fetchone()
    assert row is not None
    return row[0]


def test_it_brings_an_empty_database_up_and_says_what_it_did(process: Command, empty: Database):
    done = process("migrate")
    assert (done.status, done.err) == (0, "")
    assert done.out.startswith("applied 0001\n")
    assert f"The schema {SCHEMA} is at revision {migrations.head()}.\nJobs may name: local.\n" in done.out
    assert ask(empty, "SELECT value FROM fleet_setting WHERE name = 'default_provider'") == "local"


def test_a_second_time_there_is_nothing_to_do(cli: Command, empty: Database):
    first, second = cli("migrate", "--json").json, cli("migrate", "--json").json
    assert first["applied"][-1] == migrations.head()
    assert second == {"applied": [], "revision": migrations.head(), "providers": ["local"]}


def test_to_a_revision_and_back(cli: Command, empty: Database):
    assert cli("migrate", "--to", "0001", "--json").json == {"applied": ["0001"], "revision": "0001", "providers": []}
    assert cli("migrate", "--down", "base").out == f"The schema {SCHEMA} is at revision base.\n"
    assert ask(empty, "SELECT to_regclass('generation_job')") is None


def test_it_goes_over_the_direct_address(cli: Command, empty: Database, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody@127.0.0.1:1/nowhere")
    monkeypatch.setenv("DIRECT_URL", empty.direct_conninfo)
    assert cli("migrate").status == 0


def test_a_revision_that_does_not_exist(cli: Command, empty: Database):
    done = cli("migrate", "--to", "7777", "--json")
    assert (done.status, done.json["error"]["code"]) == (2, "unknown_revision")
    assert "7777" in done.err


def test_a_database_that_is_newer_than_this_version(cli: Command, empty: Database):
    cli("migrate")
    empty.connect_direct().execute("UPDATE generation_worker_version SET version_num = '9999'")
    done = cli("migrate", "--json")
    assert (done.status, done.json["error"]["code"]) == (2, "newer_database")
    assert "9999" in done.err


def test_up_and_down_at_once_is_wrong(cli: Command):
    assert cli("migrate", "--to", "0001", "--down", "base").status == 2


def test_without_a_provider_none_is_offered(cli: Command, empty: Database, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LOCAL_PROVIDER", "false")
    assert cli("migrate", "--json").json["providers"] == []
    assert ask(empty, "SELECT count(*) FROM fleet_setting WHERE name IN ('providers', 'default_provider')") == 0
