from __future__ import annotations

import pytest

from tests.cli.conftest import Command
from tests.support import jobs
from tests.support.database import Connection
from tests.support.populated import WORKER, Population


def test_cancel_many_first_dry(process: Command, connection: Connection, population: Population):
    dry = process("job", "cancel", "--user", "ada", "--dry-run")
    assert (dry.status, dry.out) == (
        0,
        "6 jobs would be cancelled, or asked to stop (3 pending, 1 processing, 1 rate_limited, 1 scheduled)\n",
    )
    assert jobs.job(connection, population.pending[0])["status"] == "pending"
    done = process("job", "cancel", "--user", "ada", "--reason", "closed their account")
    assert (done.status, done.out) == (0, "6 jobs cancelled, or asked to stop\n")
    assert jobs.job(connection, population.scheduled)["status"] == "cancelled"
    assert jobs.job(connection, population.bobs)["status"] == "pending"


def test_cancel_many_as_json(cli: Command, population: Population):
    assert cli("job", "cancel", "--kind", "text_to_image", "--dry-run", "--json").json == {
        "dry_run": True,
        "jobs": 7,
        "by_status": {"pending": 4, "processing": 1, "rate_limited": 1, "scheduled": 1},
    }
    done = cli("job", "cancel", "--user", "bob", "--json").json
    assert done == {"dry_run": False, "jobs": 1, "refused": []}
    assert cli("job", "cancel", "--user", "bob", "--older-than", "1h").out == "0 jobs cancelled, or asked to stop\n"


def test_progress_stays_off_standard_output(cli: Command, population: Population, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("generation_worker.cli.jobs.PROGRESS_EVERY", 2)
    done = cli("job", "cancel", "--user", "ada")
    assert (done.out, done.err) == ("6 jobs cancelled, or asked to stop\n", "2 of 6\n4 of 6\n6 of 6\n")


def test_release_one_and_all_of_a_worker(cli: Command, connection: Connection, population: Population):
    assert cli("job", "release", "--worker", WORKER, "--dry-run").out == "1 job would be released\n"
    done = cli("job", "release", population.processing, "--reason", "hangs")
    assert (done.status, done.out.split()[:5]) == (0, [str(population.processing), "is", "taken", "from", f"{WORKER};"])
    assert cli("job", "release", "--worker", WORKER, "--json").json["jobs"] == 0
    assert cli("job", "release", population.scheduled).out == f"{population.scheduled}  is due now\n"
    assert cli("job", "release", "--user", "ada", "--json").json["jobs"] == 1
    refused = cli("job", "release", population.completed, "--json")
    assert (refused.status, refused.json["error"]["code"]) == (1, "job_not_releasable")


def test_run_next(process: Command, cli: Command, connection: Connection, population: Population):
    done = process("job", "run-next", population.bobs, "--reason", "a demo")
    assert (done.status, done.out) == (0, f"{population.bobs}  is next\n")
    assert cli("job", "show", population.bobs, "--json").json["queue_position"] == 0
    cli("pause", "--user", "bob")
    paused = cli("job", "run-next", population.bobs)
    assert paused.err == "It still waits: user bob is paused\n"
    refused = cli("job", "run-next", population.completed, "--json")
    assert (refused.status, refused.json["error"]["code"]) == (1, "job_not_waiting")


@pytest.mark.parametrize("command", ["cancel", "release"])
def test_it_is_either_one_job_or_a_choice(cli: Command, population: Population, command: str):
    assert cli("job", command, population.pending[0], "--user", "ada").status == 2
    assert cli("job", command, population.pending[0], "--dry-run").status == 2
    nothing = cli("job", command, "--json")
    assert (nothing.status, nothing.json["error"]["code"]) == (2, "invalid_request")
    assert cli("job", command, "--dry-run").status == 2
    assert cli("job", command, "--older-than", "soon").status == 2


@pytest.mark.usefixtures("fleet")
def test_settings_that_workers_follow(cli: Command, connection: Connection):
    assert cli("config", "set", "concurrency", 8).out == "concurrency is 8 now, in every worker within a heartbeat\n"
    assert cli("config", "set", "poll_interval", "500ms", "--json").json == {"name": "poll_interval", "value": 0.5}
    assert (
        cli("config", "unset", "concurrency").out == "concurrency is no longer 8, in every worker within a heartbeat\n"
    )
    assert cli("config", "unset", "concurrency").out == "concurrency was not set\n"
    assert cli("config", "unset", "poll_interval", "--json").json == {"name": "poll_interval", "was": 0.5}
    assert cli("config", "unset", "price.text_to_image").status == 2
    assert cli("config", "set", "poll_interval", "soon").status == 2
    connection.execute("INSERT INTO provider_gate (key_label, provider, calls_per_minute) VALUES ('k', 'far', 60)")
    done = cli("config", "set", "calls_per_minute.far", 5)
    assert done.out == "calls_per_minute.far is 5 now, for all workers together\n"
    assert [gate["calls_per_minute"] for gate in cli("status", "--json").json["gates"]] == [5]
