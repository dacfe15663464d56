"""`doctor` on real parts: healthy ones, and ones that are broken as they break in life."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from generation_worker import __version__
from generation_worker.db import migrations
from generation_worker.db.embedded import free_port
from generation_worker.doctor import postgres as holders
from generation_worker.doctor.postgres import our_tables
from generation_worker.doctor.run import AREAS
from tests.cli.conftest import Command
from tests.support import jobs
from tests.support.database import SCHEMA, Connection, Database
from tests.support.findings import by_check
from tests.support.populated import Population

DATABASE = {
    "database.connection", "database.server", "database.schema", "database.rights",
    "database.access", "database.pooling",
    "database.direct", "database.listen", "database.snapshots", "database.autovacuum", "database.dead_rows",
    "database.durability", "database.connections", "database.clock",
}  # fmt: skip
REST = {
    "settings", "storage.put", "storage.get", "storage.link", "storage.list", "storage.delete", "storage.clock",
    "providers.gemini", "providers.replicate", "providers.local", "images.children", "images.memory",
    "fleet.workers", "fleet.lanes", "fleet.gates", "fleet.maintenance", "fleet.webhooks", "machine.port",
    "machine.disk",
}  # fmt: skip


@pytest.fixture
def place(settings: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A directory for the images, not there yet, and a port that is free."""
    place = tmp_path / "data" / "images"
    monkeypatch.setenv("STORAGE_DIR", str(place))
    monkeypatch.setenv("PORT", str(free_port()))
    return place


def use(monkeypatch: pytest.MonkeyPatch, conninfo: str) -> None:
    monkeypatch.setenv("DATABASE_URL", conninfo)
    monkeypatch.setenv("DIRECT_URL", conninfo)


@pytest.mark.usefixtures("fleet")
def test_all_is_well(process: Command, place: Path, tmp_path: Path):
    done = process("doctor", "--json")
    assert done.err == ""
    found = by_check(done.json)
    assert set(found) == DATABASE | REST
    assert {name for name, finding in found.items() if finding.status == "skipped"} == {
        "storage.link",  # files have no address
        "storage.clock",
        "providers.gemini",
        "providers.replicate",
    }
    # The test's server is not durable, and its machine may be small or busy; nothing else is worth a word.
    worth_a_word = {name for name, finding in found.items() if finding.status in ("warning", "fault")}
    assert worth_a_word <= {"database.durability", "machine.disk", "images.memory"}
    assert "database.durability" in worth_a_word
    assert done.status == 0
    assert list(tmp_path.iterdir()) == [], "nothing stays"


@pytest.mark.usefixtures("fleet")
def test_for_people_it_is_one_line_each_aligned_with_the_remedy_below(process: Command, place: Path):
    done = process("doctor", "--only", "settings,machine.port,database.durability,storage")
    lines = done.out.splitlines()
    width = max(len(line.split()[1]) for line in lines[:-2] if not line.startswith(" "))
    assert lines[0].startswith(f"ok       {'settings':<{width}}  ")
    [durability] = [line for line in lines if "database.durability" in line]
    assert durability.startswith(f"warning  {'database.durability':<{width}}  fsync")
    assert durability.endswith(" ms)")
    assert lines[lines.index(durability) + 1] == "         Set both on"
    assert "skipped  storage.link" in done.out
    assert lines[-1] == "1 warning, 6 ok, 2 skipped."
    assert done.status == 0


def test_nothing_is_configured_at_all(process: Command, no_settings: None, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.delenv("DIRECT_URL", raising=False)
    monkeypatch.setenv("PORT", str(free_port()))
    done = process("doctor", "--json")
    found = by_check(done.json)
    assert done.status == 2
    assert found["settings"].detail.startswith("DATABASE_URL is not set")
    assert (found["database"].status, found["fleet"].status) == ("skipped", "skipped")
    assert found["storage.delete"].status == "ok"
    assert found["providers.local"].status == "ok"
    assert found["images.children"].status == "ok"


def test_settings_that_are_wrong_are_told_and_the_rest_is_looked_at(cli: Command, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PORT", "many")
    monkeypatch.setenv("IMAGE_CHILDREN", "0")
    monkeypatch.setenv("REDIS_URL", "redis://localhost")
    done = cli("doctor", "--json", "--only", "settings,machine,database.connection")
    told = [finding for finding in done.json if finding["check"] == "settings"]
    assert [finding["status"] for finding in told if "PORT" in finding["detail"] or "IMAGE" in finding["detail"]] == [
        "fault",
        "fault",
    ]
    assert any(finding["status"] == "warning" and "REDIS_URL" in finding["detail"] for finding in told)
    found = by_check(done.json)
    assert (done.status, found["machine.port"].status) == (2, "skipped")
    assert found["database.connection"].status == "ok"


def test_a_database_that_is_away(process: Command, place: Path, monkeypatch: pytest.MonkeyPatch):
    use(monkeypatch, f"postgresql://app:s3cret-word@127.0.0.1:{free_port()}/app")
    done = process("doctor", "--json", "--only", "database,fleet,storage")
    found = by_check(done.json)
    assert done.status == 1
    assert found["database.connection"].status == "fault"
    assert "Connection refused" in found["database.connection"].detail
    assert "host and port in DATABASE_URL" in found["database.connection"].remedy
    assert {found[name].status for name in DATABASE - {"database.connection", "database.direct"}} == {"skipped"}
    assert found["storage.put"].status == "ok"
    assert "s3cret-word" not in done.out + done.err


def test_a_database_that_takes_the_call_and_says_nothing(cli: Command, place: Path, monkeypatch: pytest.MonkeyPatch):
    with socket.create_server(("127.0.0.1", 0)) as mute:
        use(monkeypatch, f"postgresql://app@127.0.0.1:{mute.getsockname()[1]}/app")
        done = cli("doctor", "--json", "--only", "database,machine.disk", "--timeout", "2")
    found = by_check(done.json)
    assert (done.status, found["database.connection"].detail) == (1, "it did not end within 2 s")
    assert (found["database.schema"].status, found["database.listen"].status) == ("skipped", "skipped")
    assert found["machine.disk"].status != "fault"


def test_a_password_that_is_wrong(cli: Command, database: Database, monkeypatch: pytest.MonkeyPatch):
    address = conninfo_to_dict(database.direct_conninfo)
    use(monkeypatch, f"postgresql://{address['user']}:s3cret-word@{address['host']}:{address['port']}/app")
    done = cli("doctor", "--json", "--only", "database.connection")
    assert "password authentication failed" in by_check(done.json)["database.connection"].detail
    assert "s3cret-word" not in done.out + done.err


def test_a_database_without_tables(cli: Command, empty_database: Database, monkeypatch: pytest.MonkeyPatch):
    use(monkeypatch, empty_database.direct_conninfo)
    done = cli("doctor", "--json", "--only", "database,fleet")
    found = by_check(done.json)
    assert done.status == 1
    assert found["database.schema"].remedy == "Run: generation-worker migrate"
    assert {
        found[name].status for name in ("database.rights", "database.dead_rows", "fleet.workers", "fleet.lanes")
    } == {"skipped"}
    assert found["database.listen"].status == "ok"


def test_one_migration_behind(cli: Command, empty_database: Database, monkeypatch: pytest.MonkeyPatch):
    use(monkeypatch, empty_database.direct_conninfo)
    before = "0000"
    migrations.upgrade(empty_database.direct_conninfo, schema=SCHEMA)
    empty_database.connect_direct().execute("UPDATE generation_worker_version SET version_num = '0000'")
    done = cli("doctor", "--json", "--only", "database")
    found = by_check(done.json)
    assert done.status == 1
    assert (
        found["database.schema"].detail
        == f"the tables are at revision {before}, this version needs {migrations.head()}"
    )
    assert found["database.schema"].remedy == "Run: generation-worker migrate"


def test_a_newer_database_is_worth_a_word_only(cli: Command, connection: Connection):
    connection.execute("UPDATE generation_worker_version SET version_num = '9999'")
    done = cli("doctor", "--json", "--only", "database.schema")
    assert (done.status, by_check(done.json)["database.schema"].status) == (0, "warning")


@pytest.fixture
def low(database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The environment names a role that may connect and nothing else."""
    owner = database.connect_direct()
    role = f"low_{uuid4().hex[:8]}"
    owner.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'low'").format(sql.Identifier(role)))
    address = conninfo_to_dict(database.direct_conninfo)
    use(monkeypatch, f"postgresql://{role}:low@{address['host']}:{address['port']}/{address['dbname']}")
    yield role
    database.reset()
    owner.execute(sql.SQL("DROP OWNED BY {0}; DROP ROLE {0}").format(sql.Identifier(role)))


@pytest.mark.usefixtures("fleet")
def test_a_role_without_rights_can_work_once_it_has_those_that_are_named(
    process: Command, low: str, place: Path, database: Database, connection: Connection
):
    done = process("doctor", "--json", "--only", "database")
    rights = by_check(done.json)["database.rights"]
    assert (done.status, rights.status) == (1, "fault")
    assert all(table in rights.remedy for table in our_tables())
    assert by_check(done.json)["database.schema"].status == "fault", "nor may it read the revision"

    owner = database.connect_direct()
    for statement in rights.remedy.split("; "):
        owner.execute(statement.encode())
    done = process("doctor", "--json", "--only", "database")
    found = by_check(done.json)
    assert done.status == 0
    assert found["database.rights"].detail.startswith(f"{low} may do all that a worker does; to migrate, connect as ")

    good = jobs.enqueue(connection)
    bad = jobs.enqueue(connection, payload={"prompt": "a {{fox}}", "inputs": {"fox": "x"}, "images": [{"key": "none"}]})
    worked = process("run", "--until-empty", "--port", 0, "--concurrency", 1)
    assert worked.status == 0, worked.err
    assert [jobs.job(connection, job)["status"] for job in (good, bad)] == ["completed", "failed"], "and refunded"


def test_a_transaction_that_somebody_forgot(
    cli: Command, database: Database, connection: Connection, monkeypatch: pytest.MonkeyPatch
):
    somebody = database.connect_direct(application_name="psql")
    somebody.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
    somebody.execute("SELECT 's3cret-word'")
    pid = somebody.info.backend_pid
    snapshots = by_check(cli("doctor", "--json", "--only", "database.snapshots").json)["database.snapshots"]
    assert snapshots.status == "ok", "it is young"
    assert f"process {pid} (psql, role {somebody.info.user}), idle in transaction" in snapshots.detail

    monkeypatch.setattr(holders, "LONG", 0.0)
    done = cli("doctor", "--json", "--only", "database.snapshots")
    snapshots = by_check(done.json)["database.snapshots"]
    assert (done.status, snapshots.status) == (0, "warning")
    assert f"SELECT pg_terminate_backend({pid})" in snapshots.remedy
    assert "s3cret-word" not in done.out

    monkeypatch.setattr(holders, "FAR_TOO_LONG", 0.0)
    assert cli("doctor", "--only", "database.snapshots").status == 1


def test_another_database_under_the_direct_address(
    cli: Command, empty_database: Database, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("DIRECT_URL", empty_database.direct_conninfo)
    direct = by_check(cli("doctor", "--json", "--only", "database.direct").json)["database.direct"]
    assert direct.status == "fault"
    assert "is another database than DATABASE_URL" in direct.detail


def test_the_workers_that_are_alive(cli: Command, connection: Connection, population: Population):
    connection.execute("UPDATE worker_process SET version = '0.0.1'")
    found = by_check(cli("doctor", "--json", "--only", "fleet").json)
    assert f"worker-1 (0.0.1, busy, 1 of 5); this is {__version__}" in found["fleet.workers"].detail
    assert found["fleet.lanes"].status == "ok"


def test_jobs_that_nobody_serves(cli: Command, connection: Connection, fleet: None):
    connection.execute("SELECT offer_providers(array['gemini'])")
    jobs.enqueue(connection, provider="gemini")
    lanes = by_check(cli("doctor", "--json", "--only", "fleet.lanes").json)["fleet.lanes"]
    assert (lanes.status, "jobs for gemini wait since" in lanes.detail) == ("warning", True)


def test_what_to_look_at_can_be_chosen(cli: Command, place: Path):
    def chosen(*options: str) -> set[str]:
        return set(by_check(cli("doctor", "--json", *options).json))

    assert chosen("--only", "images") == {"images.children", "images.memory"}
    assert chosen("--only", "machine.port", "--only", "database.server") == {"machine.port", "database.server"}
    assert chosen("--only", "storage.get") == {name for name in REST if name.startswith("storage.")}, "and deleted"
    assert not place.exists()


@pytest.mark.parametrize("only", ["storge", "database.lisen"])
def test_a_check_that_there_is_not(cli: Command, only: str):
    done = cli("doctor", "--only", only)
    assert done.status == 2
    assert f"there is no check '{only}'" in done.err
    assert all(area in done.err for area in AREAS)


def test_the_help_names_the_areas(process: Command):
    done = process("doctor", "--help")
    assert all(area in done.out for area in AREAS)
