from __future__ import annotations

from uuid import UUID, uuid4

import pytest

from tests.cli.conftest import Command
from tests.support import jobs
from tests.support.database import Connection
from tests.support.populated import WORKER, Population


def facts(out: str) -> dict[str, str]:
    """The names and values that a text begins with."""
    pairs = (line.split("  ", 1) for line in out.splitlines() if "  " in line)
    return {name: value.strip() for name, value in pairs}


def test_show(process: Command, population: Population):
    out = process("job", "show", population.failed).out
    assert (facts(out)["id"], facts(out)["error_code"]) == (str(population.failed), "no_image")
    for title in ("Attempts", "Provider calls", "Credits"):
        assert f"\n{title}\n" in out
    assert "refund" in out


def test_show_as_json(cli: Command, population: Population):
    answer = cli("job", "show", population.failed, "--json").json
    assert set(answer) == {"job", "queue_position", "attempts", "calls", "entries"}
    assert (answer["job"]["id"], answer["job"]["status"]) == (str(population.failed), "failed")
    assert (answer["attempts"][0]["worker"], answer["calls"][0]["spent"]) == (WORKER, True)
    assert [entry["amount"] for entry in answer["entries"]] == [-1, 1]
    assert cli("job", "show", population.bobs, "--json").json["queue_position"] == 3


def test_the_place_in_line_is_said_in_words(cli: Command, population: Population, monkeypatch: pytest.MonkeyPatch):
    def place(job: UUID) -> str:
        return facts(cli("job", "show", job).out)["queue_position"]

    assert place(population.pending[0]) == "next"
    assert place(population.bobs) == "3 before it"
    monkeypatch.setattr("generation_worker.db.query.FAR", 3)
    assert place(population.bobs) == "≥ 3 before it"


def test_how_an_id_begins_is_enough(cli: Command, population: Population):
    prefix = str(population.failed)[:26]
    assert cli("job", "show", prefix, "--json").json["job"]["id"] == str(population.failed)
    done = cli("job", "show", str(population.failed)[:2], "--json")
    assert (done.status, done.json["error"]["code"]) == (2, "ambiguous_id")


@pytest.mark.parametrize("command", ["show", "cancel", "retry"])
def test_a_job_that_does_not_exist(cli: Command, command: str):
    for text in (uuid4(), "no-id"):
        done = cli("job", command, text, "--json")
        assert (done.status, done.json["error"]["code"]) == (1, "job_not_found")


def test_cancel(process: Command, cli: Command, connection: Connection, population: Population):
    done = process("job", "cancel", population.pending[0])
    assert (done.status, done.out) == (0, f"{population.pending[0]}  cancelled\n")
    running = cli("job", "cancel", population.processing, "--json").json
    assert running == {"id": str(population.processing), "status": "processing", "cancel_requested": True}
    assert jobs.job(connection, population.processing)["cancel_requested_at"] is not None


def test_what_has_ended_cannot_be_cancelled(cli: Command, population: Population):
    done = cli("job", "cancel", population.completed, "--json")
    assert (done.status, done.json["error"]["code"]) == (1, "job_is_final")
    assert cli("job", "cancel", population.cancelled).status == 0


def test_retry(process: Command, cli: Command, connection: Connection, population: Population):
    new = UUID(process("job", "retry", population.failed).out.split()[0])
    assert jobs.job(connection, new)["retry_of"] == population.failed
    assert cli("job", "retry", population.failed).out == f"{new}  pending  (was replayed before)\n"
    assert cli("job", "retry", population.failed, "--json").json == {
        "retry_of": str(population.failed),
        "id": str(new),
        "status": "pending",
        "batch_id": None,
        "duplicate": True,
    }


def test_only_what_failed_or_was_cancelled_is_retried(cli: Command, population: Population):
    done = cli("job", "retry", population.completed, "--json")
    assert (done.status, done.json["error"]["code"]) == (1, "job_not_replayable")
