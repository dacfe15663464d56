from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from tests.cli.conftest import ROOT, Command
from tests.support import jobs
from tests.support.database import Connection
from tests.support.populated import WORKER, Population

pytestmark = pytest.mark.usefixtures("settings")

WATCH = [sys.executable, "-m", "generation_worker", "status", "--watch", "--interval", "0.1"]


def test_an_empty_queue(cli: Command):
    done = cli("status")
    assert done.status == 0
    assert done.out.startswith("Jobs\nstatus        jobs\n")
    assert "Processing\n" not in done.out


def test_everything_at_a_glance(process: Command, population: Population, connection: Connection):
    for hours, status in enumerate(("scheduled", "rate_limited"), start=1):
        later = "UPDATE generation_job SET run_at = now() + %s * interval '1 hour' WHERE status = %s"
        connection.execute(later, (hours, status))
    done = process("status")
    lines = [line.split() for line in done.out.splitlines()]
    assert ["pending", "4", "local:", "oldest", "waits"] in [line[:5] for line in lines]
    assert ["scheduled", "1", "next", "in"] in [line[:4] for line in lines]
    assert [str(population.processing), "text_to_image", "ada", "1", "of", "4", WORKER] in [line[:7] for line in lines]
    assert [WORKER, "busy", "1", "of", "5", "local"] in [line[:6] for line in lines]
    assert ["hour", "1", "2", "1"] in [line[:4] for line in lines]
    assert ["content_blocked", "1"] in [line[:2] for line in lines]


def test_as_json(cli: Command, population: Population):
    answer = cli("status", "--json").json
    assert {name: count["count"] for name, count in answer["jobs"].items()} == {
        "pending": 4,
        "scheduled": 1,
        "rate_limited": 1,
        "processing": 1,
        "completed": 1,
        "failed": 2,
        "cancelled": 1,
    }
    assert answer["jobs"]["pending"]["exact"] is True
    assert answer["waiting"][0]["id"] == str(population.pending[0])
    assert answer["next_due"]["id"] == str(population.scheduled)
    assert answer["processing"][0]["worker"] == WORKER
    assert answer["workers"][0]["state"] == "busy"
    assert answer["gates"] == []
    assert (answer["throughput"]["hour"]["completed"], answer["throughput"]["day"]["failed"]) == (1, 2)
    assert [failure["code"] for failure in answer["failures"]] == ["content_blocked", "no_image"]
    assert answer["duplicate_calls"] == {"jobs": 0, "calls": 0, "credits": 0, "example": None}


def test_the_gate_of_a_provider_s_key_says_why_nothing_is_asked(cli: Command, connection: Connection):
    connection.execute(
        "INSERT INTO provider_gate (key_label, provider, calls_per_minute, breaker, opened_at, open_until, opened_for)"
        " VALUES ('far-1', 'far', 60, 'open', now(), now() + interval '1 hour', 'The key is not valid.')"
    )
    out = cli("status").out
    assert "far-1, no worker has it" in out
    assert next(line.split()[5:9] for line in out.splitlines() if "far-1" in line) == ["open", "0", "of", "60"]
    assert "The key is not valid." in out
    [gate] = cli("status", "--json").json["gates"]
    assert (gate["key_label"], gate["state"], gate["workers"]) == ("far-1", "open", 0)
    assert 3500 < gate["seconds"] <= 3600


def test_what_was_paid_for_more_than_once_stands_out(cli: Command, connection: Connection, population: Population):
    assert "Paid more than once" not in cli("status").out
    connection.execute("UPDATE provider_call SET spent = NULL WHERE job_id = %s", (population.completed,))
    connection.execute(
        "INSERT INTO provider_call (job_id, number, lease_token, provider, key_label)"
        " SELECT job_id, 2, lease_token, provider, key_label FROM provider_call WHERE job_id = %s",
        (population.completed,),
    )
    out = cli("status").out
    assert "Paid more than once in the last day" in out
    assert ["1", "1", "1", str(population.completed)] in [line.split() for line in out.splitlines()]
    assert cli("status", "--json").json["duplicate_calls"]["example"] == str(population.completed)


@pytest.mark.usefixtures("population")
def test_a_lane_that_nobody_serves_and_a_lease_that_expired_stand_out(cli: Command, connection: Connection):
    connection.execute("SELECT offer_providers(array['far'])")
    jobs.enqueue(connection, provider="far")
    connection.execute(
        "UPDATE generation_job SET lease_expires_at = now() - interval '90 s' WHERE status = 'processing'"
    )
    out = cli("status").out
    assert re.search(r"far: oldest waits \w+, no worker serves it", out)
    assert re.search(r"-\d+m \d+s: expired", out)


@pytest.mark.usefixtures("population")
def test_what_users_wrote_cannot_steer_the_terminal(cli: Command, connection: Connection):
    connection.execute("UPDATE worker_process SET version = E'\\x1b[2J[bold]'")
    out = cli("status").out
    assert "\x1b" not in out
    assert "[2J[bold]" in out


@pytest.mark.usefixtures("population")
def test_watching_without_a_terminal_is_a_line_at_a_time():
    with subprocess.Popen(WATCH, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()) as watch:
        assert watch.stdout is not None
        lines = [watch.stdout.readline() for _ in range(2)]
        watch.send_signal(signal.SIGINT)
        assert (watch.communicate(timeout=10)[1], watch.returncode) == ("", 0)
    for line in lines:
        assert "pending 4  scheduled 1  rate_limited 1  processing 1" in line
        assert line.endswith("workers 1\n")


@pytest.mark.usefixtures("population")
def test_watching_on_a_terminal_refreshes_in_place():
    ours, theirs = pty.openpty()
    size = {"COLUMNS": "160", "LINES": "60", "TERM": "xterm"}
    with subprocess.Popen(WATCH, stdin=theirs, stdout=theirs, stderr=theirs, env=environment() | size) as watch:
        os.close(theirs)
        shown = read_until(ours, lambda text: text.count("rate_limited") >= 2)
        watch.send_signal(signal.SIGINT)
        read_until(ours, lambda _: False)
        assert watch.wait(10) == 0
    assert "\x1b[H" in shown
    os.close(ours)


@pytest.mark.usefixtures("population")
def test_watching_survives_a_restart_of_the_database(connection: Connection):
    with subprocess.Popen(WATCH, stdout=subprocess.PIPE, text=True, env=environment()) as watch:
        assert watch.stdout is not None
        assert "pending 4" in watch.stdout.readline()
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'generation-worker'"
        )
        lines = [watch.stdout.readline() for _ in range(10)]
        watch.send_signal(signal.SIGINT)
        watch.wait(10)
    assert "pending 4" in lines[-1]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def read_until(terminal: int, enough: Callable[[str], bool]) -> str:
    """What is written on a terminal until it is enough, or the other end is closed."""
    text, give_up_at = "", time.monotonic() + 20
    while not enough(text):
        assert time.monotonic() < give_up_at, text
        try:
            text += os.read(terminal, 65536).decode(errors="replace")
        except OSError:
            return text
    return text
