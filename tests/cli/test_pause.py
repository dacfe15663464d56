from __future__ import annotations

import getpass
from typing import Any

import pytest

from generation_worker.db.protocol import PostgresStore
from generation_worker.domain.job import LANE_START
from tests.cli.conftest import Command
from tests.support import jobs
from tests.support.database import Connection
from tests.support.populated import Population, SingleConnection


def claim(connection: Connection) -> set[str]:
    store = PostgresStore(SingleConnection(connection))
    lanes = {"local": LANE_START, "none": LANE_START}
    return {job.id for job in store.claim_jobs("w", lanes, slots=10, lease=60.0, max_attempts=4).jobs}


def test_pause_and_resume_everything(process: Command, connection: Connection, population: Population):
    done = process("pause", "--reason", "a fire")
    assert (done.status, done.out) == (0, "everything is paused; resume with generation-worker resume\n")
    assert claim(connection) == set()
    assert "already" in process("pause").out
    assert process("resume").out == "everything is resumed\n"
    assert len(claim(connection)) == 4
    again = process("resume")
    assert again.status == 1
    assert "everything was not paused" in again.err


@pytest.mark.parametrize(
    ("options", "left"),
    [(["--provider", "local"], 0), (["--kind", "text_to_image"], 0), (["--user", "ada"], 1), (["--user", "eve"], 4)],
)
def test_a_part_of_it(cli: Command, connection: Connection, population: Population, options: list[str], left: int):
    answer = cli("pause", *options, "--json").json
    assert answer["paused"] == f"{options[0].removeprefix('--')} {options[1]}"
    assert len(claim(connection)) == left
    assert cli("resume", *options, "--json").json["still_paused"] == []
    assert len(claim(connection)) == 4 - left


def test_status_and_config_show_what_is_paused_and_by_whom(cli: Command, population: Population):
    cli("pause", "--user", "ada", "--reason", "too many")
    [found] = cli("status", "--json").json["paused"]
    assert (found["name"], found["reason"]) == ("paused.user.ada", "too many")
    assert found["by"].startswith(f"cli:{getpass.getuser()}@")
    title, _, row = cli("status").out.splitlines()[:3]
    assert (title, row.split()[:2], row.split()[-2:]) == ("Paused", ["user", "ada"], ["too", "many"])
    assert "paused.user.ada" in cli("config").out


@pytest.mark.usefixtures("fleet")
def test_enqueue_during_a_pause_works_and_says_so(cli: Command, connection: Connection):
    cli("pause", "--provider", "local", "--reason", "a fire")
    done = cli("enqueue", "text_to_image", "ada", "--prompt", "a kite")
    assert (done.status, "  pending\n" in done.out) == (0, True)
    assert done.err.startswith(f"It waits: provider local is paused by cli:{getpass.getuser()}@")
    assert done.err.endswith(": a fire\n")
    answer: Any = cli("enqueue", "text_to_image", "ada", "--prompt", "a kite", "--json").json
    assert [found["name"] for found in answer["paused"]] == ["paused.provider.local"]
    cli("resume", "--provider", "local")
    assert cli("enqueue", "text_to_image", "ada", "--prompt", "a kite").err == ""
    assert jobs.balance(connection) == 100


@pytest.mark.usefixtures("fleet")
@pytest.mark.parametrize("command", ["pause", "resume"])
@pytest.mark.parametrize("options", [["--kind", "text_to_image", "--user", "ada"], ["--user", ""], ["--provider", ""]])
def test_what_is_not_clear_is_not_done(cli: Command, command: str, options: list[str]):
    assert cli(command, *options).status == 2
    assert cli("status", "--json").json["paused"] == []


@pytest.mark.usefixtures("fleet")
@pytest.mark.parametrize("options", [["--kind", "video"], ["--provider", "nobody"]])
def test_what_there_is_not_is_not_paused(cli: Command, options: list[str]):
    done = cli("pause", *options, "--json")
    assert (done.status, done.json["error"]["code"]) == (2, "invalid_request")
