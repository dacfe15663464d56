"""`doctor` before a pooler, where there is one (make test-pgbouncer), and before none."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from generation_worker.cli.app import main
from tests.support.database import SCHEMA, Database
from tests.support.findings import Found, by_check

Look = Callable[[str, str | None], tuple[int, dict[str, Found]]]


@pytest.fixture
def look(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Look:
    """What is found with these two addresses: the exit status, and the findings by check."""

    def run(database_url: str, direct_url: str | None) -> tuple[int, dict[str, Found]]:
        monkeypatch.setenv("DATABASE_URL", database_url)
        monkeypatch.setenv("DIRECT_URL", direct_url or "")
        monkeypatch.setenv("DATABASE_SCHEMA", SCHEMA)
        capsys.readouterr()
        only = "database.connection,database.pooling,database.direct,database.listen,database.rights"
        status = main(["doctor", "--json", "--only", only])
        found = by_check(json.loads(capsys.readouterr().out))
        return status, {name.removeprefix("database."): finding for name, finding in found.items()}

    return run


def test_addresses_that_say_what_they_lead_through(look: Look, database: Database):
    status, found = look(database.environment["DATABASE_URL"], database.direct_conninfo)
    assert (status, {finding.status for finding in found.values()}) == (0, {"ok"})
    assert ("a transaction pooler" in found["pooling"].detail) == database.pooled
    assert found["listen"].detail == "a message came back"


def test_a_pooler_that_the_address_does_not_speak_of(look: Look, database: Database):
    status, found = look(database.conninfo, None)
    if database.pooled:
        assert (status, found["pooling"].status, found["listen"].status) == (1, "fault", "skipped")
        assert "?pgbouncer=true" in found["pooling"].remedy
    else:
        assert (status, found["pooling"].status, found["listen"].status) == (0, "ok", "ok")


def test_a_pooler_under_the_direct_address(look: Look, database: Database):
    status, found = look(f"{database.conninfo}?pgbouncer=true", database.conninfo)
    if database.pooled:
        assert (status, found["direct"].status, found["listen"].status) == (1, "fault", "skipped")
        assert "DIRECT_URL" in found["direct"].remedy
    else:
        assert (status, found["pooling"].status) == (0, "warning")
        assert "there is none" in found["pooling"].detail


def test_no_direct_address_at_all(look: Look, database: Database):
    status, found = look(f"{database.conninfo}?pgbouncer=true", None)
    assert (status, found["direct"].status, found["listen"].status) == (0, "warning", "warning")
    assert "jobs are found by polling alone" in found["direct"].detail
