from __future__ import annotations

import pytest

from tests.cli.conftest import Command
from tests.support import jobs
from tests.support.database import Connection
from tests.support.populated import Population


def test_list(process: Command, population: Population):
    lines = process("dead", "list").out.splitlines()
    assert lines[0].split() == ["job", "failed", "at", "user", "kind", "code", "message", "replayed", "as"]
    assert [line.split()[0] for line in lines[1:]] == [str(population.blocked), str(population.failed)]


def test_list_page_by_page(cli: Command, population: Population):
    first = cli("dead", "list", "--limit", 1, "--json").json
    assert [job["id"] for job in first["jobs"]] == [str(population.blocked)]
    second = cli("dead", "list", "--limit", 1, "--cursor", first["cursor"], "--json").json
    assert ([job["id"] for job in second["jobs"]], second["cursor"]) == ([str(population.failed)], None)
    assert f"--cursor {first['cursor']}" in cli("dead", "list", "--limit", 1).out


def test_list_by_code_and_user(cli: Command, population: Population):
    found = cli("dead", "list", "--code", "no_image", "--user", "ada", "--json").json
    assert [job["id"] for job in found["jobs"]] == [str(population.failed)]
    assert cli("dead", "list", "--user", "bob").out == "No job has failed.\n"


def test_a_cursor_that_is_not_one(cli: Command):
    assert cli("dead", "list", "--cursor", "x").status == 2


def test_replay_of_those_that_are_named(process: Command, connection: Connection, population: Population):
    done = process("dead", "replay", population.failed, str(population.blocked)[:26])
    assert done.status == 0
    old, new = done.out.splitlines()[0].split("  replayed as ")
    assert (old, jobs.job(connection, new)["retry_of"]) == (str(population.failed), population.failed)  # pyright: ignore[reportArgumentType]
    assert len(done.out.splitlines()) == 2


def test_replay_by_code_first_dry_then_once(cli: Command, connection: Connection, population: Population):
    dry = cli("dead", "replay", "--code", "no_image", "--dry-run", "--json").json
    assert dry == {"dry_run": True, "count": 1, "jobs": [{"retry_of": str(population.failed)}]}
    done = cli("dead", "replay", "--code", "no_image", "--json").json
    assert [job["retry_of"] for job in done["jobs"]] == [str(population.failed)]
    assert cli("dead", "replay", "--code", "no_image").out == "No failed job is left to replay.\n"


def test_replay_of_a_users(cli: Command, population: Population):
    assert len(cli("dead", "replay", "--user", "ada", "--limit", 1, "--json").json["jobs"]) == 1
    assert len(cli("dead", "replay", "--user", "ada", "--json").json["jobs"]) == 1


def test_one_that_cannot_be_replayed_keeps_none_of_the_others(cli: Command, population: Population):
    done = cli("dead", "replay", population.completed, population.failed, "--json")
    refused, replayed = done.json["jobs"]
    assert (done.status, refused["error"]["code"], replayed["duplicate"]) == (1, "job_not_replayable", False)
    plain = cli("dead", "replay", population.completed)
    assert (plain.status, plain.out) == (1, "")
    assert "is completed" in plain.err


def test_one_whose_upload_is_gone_is_not_replayed(cli: Command, connection: Connection, population: Population):
    payload = {"image": {"key": "uploads/shared/a.png"}, "operations": [{"type": "thumbnail"}]}
    gone = jobs.put_job(connection, "failed", kind="image_processing", provider="none", payload=payload)
    connection.execute("INSERT INTO swept_upload (key) VALUES ('uploads/shared/a.png')")
    done = cli("dead", "replay", gone, population.failed, "--json")
    refused, replayed = done.json["jobs"]
    assert (done.status, refused["error"]["code"], replayed["duplicate"]) == (1, "input_gone", False)
    one = cli("job", "retry", gone)
    assert one.status == 1
    assert "payload.image: the uploaded image uploads/shared/a.png was deleted" in one.err
    assert "Upload it again" in one.err


@pytest.mark.parametrize("arguments", [[], ["abcd", "--code", "no_image"]])
def test_it_is_either_ids_or_a_choice(cli: Command, arguments: list[str]):
    assert cli("dead", "replay", *arguments).status == 2
