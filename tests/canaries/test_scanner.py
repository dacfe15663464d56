"""Each way out is watched: what is planted on it is found. A scanner that sees nothing would be content without."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from fastapi import APIRouter

from generation_worker.config.settings import declarations
from generation_worker.db.access import create_token
from generation_worker.log.setup import LineWriter
from generation_worker.web.app import WebServer, create_app
from generation_worker.web.auth import open_to_all
from tests.canaries import channels, tables
from tests.canaries.conftest import Found
from tests.canaries.scanner import RULES, Scanner, scanner
from tests.canaries.secrets import CANARIES
from tests.canaries.values import GEMINI_KEY, MARK, PUBLIC_MARK, S3_SECRET, WISH
from tests.simulators.pictures import picture
from tests.support import jobs
from tests.support.database import Connection, Database, queries_on
from tests.support.processes import WorkerProcess

SPELLINGS: list[Callable[[str], str]] = [
    str,
    repr,
    lambda text: quote(text, safe=""),
    lambda text: text.encode().hex(),
    lambda text: base64.b64encode(text.encode()).decode(),
    lambda text: base64.b64encode(f"x:{text}".encode()).decode(),
    lambda text: base64.urlsafe_b64encode(f"xy:{text}!".encode()).decode(),
]
IMAGE = picture("planted")
TWO_TESTS = f"""
import sys
def test_that_tells(): print({GEMINI_KEY!r}, file=sys.stderr)
def test_that_does_not(): print("nothing")
"""
HOOKS = "pytest_configure, pytest_runtest_makereport, pytest_runtest_setup"
ROOT = Path(__file__).parents[2]
SAID = f"""
import sys
print("{S3_SECRET}")
print("{WISH}", file=sys.stderr)
"""


@pytest.mark.parametrize("secret", sorted({v for values in CANARIES.values() for v in values}))
@pytest.mark.parametrize("spell", SPELLINGS)
def test_a_secret_is_found_however_it_is_written(secret: str, spell: Callable[[str], str]):
    own = Scanner()
    own.look("log", "here", f"before {spell(secret)} after")
    assert own.take()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a key of the API", f"gw_live_0123456789ab_{'0f' * 32}"),
        ("a webhook's secret", "whsec_bm9ib2R5J3MgYnV0IG91cnMhISEh"),
        ("a signed link", f"https://b.test/a?X-Amz-Signature={'0f' * 32}"),
        ("the id of a key", f"Credential={PUBLIC_MARK}/20300101"),
        ("a prompt", f"prompt: {WISH}"),
        ("the bytes of an image", base64.b64encode(IMAGE).decode()),
        ("the bytes of an image", repr(IMAGE)),
        ("the bytes of an image", IMAGE.hex()),
        ("the bytes of an image", base64.b64encode(b"RIFF\x24\0\0\0WEBPVP8 ").decode()),
        ("the bytes of an image", base64.b64encode(b"\xff\xd8\xff\xe0\0\x10JFIF\0").decode()),
    ],
)
def test_each_rule(name: str, text: str):
    own = Scanner()
    for channel in next(rule.where for rule in RULES if rule.name == name):
        own.look(channel, "here", text)
        assert {found.rule for found in own.take()} == {name}


def test_a_password_that_was_made_just_now_is_found():
    own = Scanner()
    own.look("log", "here", "postgresql://postgres:0c7Xyz@127.0.0.1/")
    assert own.take() == []
    own.add_secret("0c7Xyz")
    own.look("log", "here", "postgresql://postgres:0c7Xyz@127.0.0.1/")
    assert [found.rule for found in own.take()] == ["a password"]


def test_the_password_of_the_server_is_known(database: Database, found: Found):
    scanner.look("log", "here", database.direct_conninfo)
    assert [each.rule for each in found()] == ["a password"]


def test_every_secret_of_the_settings_has_one_here():
    secret = {name for name, setting in declarations().items() if setting.secret}
    names = {declarations()[name].names[0] for name in secret}
    assert names == CANARIES.keys() - {"SUPABASE_SERVICE_ROLE_KEY"}
    assert all(MARK in value or PUBLIC_MARK in value for values in CANARIES.values() for value in values)


# the ways out


def test_log_lines(found: Found):
    LineWriter(StringIO()).write(f'{{"event": "{GEMINI_KEY}"}}')
    assert [(each.rule, each.channel) for each in found()] == [("a secret", "log")]


def test_what_processes_say(found: Found):
    subprocess.run([sys.executable, "-c", SAID], check=True, capture_output=True)
    assert {(each.rule, each.channel) for each in found()} == {("a secret", "output")}


def test_what_workers_say(tmp_path: Path, found: Found):
    with WorkerProcess(tmp_path, {"LOG_LEVEL": "debug"}) as worker:
        worker.exit_status()
        next(tmp_path.glob("log-*")).write_text(f"{WISH} {GEMINI_KEY}")
    assert {each.rule for each in found()} == {"a secret", "a prompt"}


def test_what_commands_say(capsys: pytest.CaptureFixture[str], found: Found):
    print(GEMINI_KEY)
    capsys.readouterr()
    assert {(each.rule, each.channel) for each in found()} == {("a secret", "output")}


def test_what_pytest_captures(tmp_path: Path, found: Found):
    """A whole run, in which one test lets a secret out and the other does not."""
    (tmp_path / "conftest.py").write_text(f"from tests.conftest import {HOOKS}\n")
    (tmp_path / "test_two.py").write_text(TWO_TESTS)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-n", "0", str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert "2 passed, 1 error" in done.stdout
    assert "SECRETS WERE FOUND\na secret in log, Captured stderr call: " in done.stdout
    assert "ERROR test_two.py::test_that_tells" in done.stdout
    assert found()


def test_answers_of_a_server_and_its_metrics(found: Found):
    router = APIRouter()
    router.add_api_route("/here", open_to_all(lambda: {"told": S3_SECRET}))
    router.add_api_route("/metrics", open_to_all(lambda: {"told": WISH}))
    channels.watch_servers()
    server = WebServer(create_app([router]), host="127.0.0.1", port=0)
    server.start()
    try:
        for path, channel in (("/here", "http"), ("/metrics", "metrics")):
            httpx.get(f"http://127.0.0.1:{server.port}{path}", trust_env=False)
            # On its way out of the server, and where it arrives: a worker's server is in a process of its own.
            assert [each.channel for each in found()] == [channel, channel]
    finally:
        server.stop()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE generation_job SET error_message = 'it said {}'",
        "INSERT INTO fleet_setting (name, value) VALUES ('told', to_jsonb('{}'::text))",
        "CREATE TABLE told AS SELECT convert_to('{}', 'UTF8') AS bytes",
        "CREATE SCHEMA elsewhere; CREATE TABLE elsewhere.told AS SELECT array['{}'] AS words",
    ],
)
def test_tables(empty_database: Database, found: Found, statement: str):
    empty_database.migrate()
    connection = empty_database.connect_direct()
    jobs.offer_local(connection)
    jobs.put_job(connection)
    tables.prepare(connection)
    tables.look_at_tables(connection)
    assert found() == []
    connection.execute(statement.format(GEMINI_KEY).encode())
    tables.look_at_tables(connection)
    assert [(each.rule, each.channel) for each in found()] == [("a secret", "table")]
    empty_database.connect_direct().execute("DROP SCHEMA IF EXISTS elsewhere CASCADE")
    connection.execute("DROP TABLE IF EXISTS told")
    connection.execute("DELETE FROM fleet_setting WHERE name = 'told'")
    connection.execute(b"UPDATE generation_job SET error_message = NULL")


def test_the_columns_that_may_hold_it_are_there_and_hold_it(connection: Connection, database: Database, found: Found):
    jobs.put_job(connection)
    database.look_for_secrets()
    assert found() == []
    for table, columns in tables.MEANT_TO.items():
        for column in columns:
            connection.execute(f"SELECT {column} FROM {table}".encode())
    row = connection.execute("SELECT payload FROM generation_job").fetchone()
    assert row is not None
    scanner.look("table", "payload", str(row[0]))
    assert [each.rule for each in found()] == ["a prompt"]


@pytest.mark.parametrize("path", ["", "/01a205db-3359-70ae-a24f-a6a612a53162/rotate"])
def test_a_webhooks_secret_may_be_shown_to_whoever_makes_it(path: str, found: Found):
    secret = "whsec_bm9ib2R5J3MgYnV0IG91cnMhISEh"
    channels.look_at_answer(f"POST /worker/webhooks{path}", secret)
    assert found() == []
    channels.look_at_answer(f"GET /worker/webhooks{path}", secret)
    channels.look_at_answer(f"POST /worker/webhooks{path}", GEMINI_KEY)
    assert [each.rule for each in found()] == ["a webhook's secret", "a secret"]


def test_a_key_may_be_shown_to_whoever_makes_it(connection: Connection, database: Database, found: Found):
    key = create_token(queries_on(connection), "web", ["read"]).key
    database.look_for_secrets()
    channels.look_at_command(["generation-worker", "token", "create", "web"], key)
    assert found() == []
    channels.look_at_command(["sh", "-euc", "generation-worker token create web"], key)
    channels.look_at_command(["generation-worker", "token", "list"], key)
    assert [each.rule for each in found()] == ["a key of the API"]
