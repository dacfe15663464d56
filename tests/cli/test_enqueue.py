from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from generation_worker import enqueue
from tests.cli.conftest import Command
from tests.support import jobs
from tests.support.database import Connection
from tests.support.jobs import PROMPT, TRACEPARENT

pytestmark = pytest.mark.usefixtures("fleet")

OWN = {"id", "user_id", "position", "run_at", "deadline_at", "created_at", "batch_id"}
"""What differs between two jobs that were asked for alike."""


def payload_of(connection: Connection, done: Any) -> Any:
    return jobs.job(connection, UUID(done.json["jobs"][0]["id"]))["payload"]


def test_four_ways_give_one_row(process: Command, connection: Connection):
    asked: dict[str, Any] = {"priority": 2, "max_attempts": 3, "idempotency_key": "k", "count": 2, "provider": "local"}
    for user in ("bob", "eve", "joe"):
        jobs.grant(connection, user)
    requests = [{"kind": "text_to_image", "payload": PROMPT, "user_id": "joe", **asked}]
    options = ["--priority", 2, "--max-attempts", 3, "--key", "k", "--count", 2, "--provider", "local", "--json"]
    done = process("enqueue", "text_to_image", "eve", "--prompt", PROMPT["prompt"], *options)
    ways = [
        [row["id"] for row in jobs.enqueue_all(connection, "ada", **asked)],
        [job.id for job in enqueue(connection, "text_to_image", "bob", PROMPT, **asked)],
        [job["id"] for job in done.json["jobs"]],
        [row[0] for row in connection.execute("SELECT * FROM enqueue_generations(%s)", [json.dumps(requests)])],
    ]
    rows = [[jobs.job(connection, job_id) for job_id in way] for way in ways]
    alike = [[{k: v for k, v in row.items() if k not in OWN} for row in way] for way in rows]
    assert alike[0] == alike[1] == alike[2] == alike[3]
    assert all(len({row["batch_id"] for row in way} - {None}) == 1 for way in rows)


def test_it_says_which_job_it_is(cli: Command, connection: Connection):
    first = cli("enqueue", "text_to_image", "ada", "--prompt", "a kite", "--key", "k")
    job_id, status = first.out.split()
    assert (first.status, status) == (0, jobs.job(connection, UUID(job_id))["status"])
    again = cli("enqueue", "text_to_image", "ada", "--prompt", "a kite", "--key", "k")
    assert again.out == f"{job_id}  pending  (was enqueued before)\n"


def test_the_payload_as_text_file_or_stdin(process: Command, cli: Command, connection: Connection, tmp_path: Path):
    text = json.dumps({"prompt": "ein Drachen über dem Meer"})
    (tmp_path / "payload.json").write_text(text, encoding="utf-8")
    for source in (text, f"@{tmp_path / 'payload.json'}"):
        assert payload_of(connection, cli("enqueue", "text_to_image", "ada", source, "--json")) == json.loads(text)
    done = process("enqueue", "text_to_image", "ada", "-", "--json", stdin=text)
    assert payload_of(connection, done) == json.loads(text)


@pytest.mark.parametrize(
    ("options", "environment", "kept"),
    [
        (["--traceparent", TRACEPARENT], None, TRACEPARENT),
        ([], TRACEPARENT, TRACEPARENT),
        (["--traceparent", TRACEPARENT], f"00-{'1' * 32}-{'2' * 16}-00", TRACEPARENT),
        ([], "nonsense", None),
        ([], None, None),
    ],
)
def test_the_span_that_asks(
    cli: Command,
    connection: Connection,
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    environment: str | None,
    kept: str | None,
):
    if environment is not None:
        monkeypatch.setenv("TRACEPARENT", environment)
    done = cli("enqueue", "text_to_image", "ada", "--prompt", "a", *options, "--json")
    assert jobs.job(connection, UUID(done.json["jobs"][0]["id"]))["traceparent"] == kept


def test_options_complete_the_payload(cli: Command, connection: Connection):
    given = json.dumps({"prompt": "no", "inputs": {"a": "1", "b": "2"}, "aspect_ratio": "16:9"})
    options = ["--prompt", "a {{a}} {{b}}", "--input", "b=x=y", "--image", "k.png", "--image", "https://e.org/i.png"]
    done = cli("enqueue", "text_to_image", "ada", given, *options, "--json")
    assert payload_of(connection, done) == {
        "prompt": "a {{a}} {{b}}",
        "inputs": {"a": "1", "b": "x=y"},
        "aspect_ratio": "16:9",
        "images": [{"key": "k.png"}, {"url": "https://e.org/i.png"}],
    }


def test_images_of_the_other_kinds(cli: Command, connection: Connection):
    done = cli("enqueue", "image_conversion", "ada", "--image", "me.png", "--image", "coat.png", "--json")
    assert payload_of(connection, done) == {"user_image": {"key": "me.png"}, "cloth_image": {"key": "coat.png"}}
    operations = '{"operations": [{"type": "thumbnail"}]}'
    done = cli("enqueue", "image_processing", "ada", operations, "--image", "me.png", "--json")
    assert payload_of(connection, done)["image"] == {"key": "me.png"}


@pytest.mark.parametrize(
    ("when", "distance"),
    [("+5m", timedelta(minutes=5)), ("+1h30m", timedelta(minutes=90)), ("+90", timedelta(seconds=90))],
)
def test_run_at_from_now(cli: Command, connection: Connection, when: str, distance: timedelta):
    done = cli("enqueue", "text_to_image", "ada", "--prompt", "a", "--run-at", when, "--json")
    row = jobs.job(connection, UUID(done.json["jobs"][0]["id"]))
    assert row["status"] == "scheduled"
    assert abs(row["run_at"] - row["created_at"] - distance) < timedelta(seconds=5)


def test_run_at_as_a_moment(cli: Command, connection: Connection):
    done = cli("enqueue", "text_to_image", "ada", "--prompt", "a", "--run-at", "2100-01-31T12:00:00Z", "--json")
    row = jobs.job(connection, UUID(done.json["jobs"][0]["id"]))
    assert row["run_at"] == datetime(2100, 1, 31, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["{"], "is not JSON"),
        (["[]"], "must be a JSON object"),
        (["@nowhere.json"], "nowhere.json: No such file"),
        (["--prompt", "a", "--input", "b"], "'b' is not NAME=VALUE"),
        (["--prompt", "a", "--run-at", "soon"], "must be a moment"),
        (["--prompt", "a", "--run-at", "2100-01-31T12:00"], "no time zone"),
        (["--prompt", "a", "--count", "x"], "--count"),
        ([], "prompt: Field required"),
        (['{"promt": "a"}', "--prompt", "a"], "promt: unknown field"),
        (["--prompt", "a {{b}}"], "no input for {{b}}"),
        (["--prompt", "a", "--provider", "nobody"], "provider: no worker offers 'nobody'; offered are local"),
        (["--prompt", "a", "--cost", "7"], "cost: the price"),
        (["--prompt", "a", "--traceparent", "x"], "traceparent: 'x' is not of the form 00-<32 hex digits>"),
        (["--prompt", "a", "--count", "1000"], "count: 1000 is out of range"),
        (["--prompt", "a", *(["--image", "k"] * 15)], "takes 14 images at most"),
    ],
)
def test_what_is_wrong_is_named(cli: Command, arguments: list[str], said: str):
    done = cli("enqueue", "text_to_image", "ada", *arguments)
    assert (done.status, done.out) == (2, "")
    assert said in done.err


def test_a_kind_that_does_not_exist(cli: Command):
    done = cli("enqueue", "video", "ada", "--prompt", "a", "--json")
    assert (done.status, done.json["error"]["code"]) == (2, "invalid_payload")
    assert "kind: 'video' is not one of text_to_image" in done.err


def test_a_balance_that_does_not_cover_it(cli: Command):
    done = cli("enqueue", "text_to_image", "eve", "--prompt", "a", "--json")
    assert (done.status, done.json["error"]["code"]) == (1, "insufficient_credits")
    assert "credits grant" in done.json["error"]["hint"]


def test_a_key_that_was_used_for_something_else(cli: Command):
    cli("enqueue", "text_to_image", "ada", "--prompt", "a", "--key", "k")
    done = cli("enqueue", "text_to_image", "ada", "--prompt", "b", "--key", "k", "--json")
    assert (done.status, done.json["error"]["code"]) == (1, "idempotency_conflict")


def test_a_url_for_development_needs_the_setting_for_it(cli: Command, monkeypatch: pytest.MonkeyPatch):
    url = "http://localhost:3000/a.png?sig=topsecret"
    asked = ["enqueue", "text_to_image", "ada", "--prompt", "a kite", "--image", url]
    refused = cli(*asked)
    assert refused.status == 2
    assert "images.0.url: must begin with https://" in refused.err
    assert "topsecret" not in refused.err
    monkeypatch.setenv("FETCH_ALLOW_PRIVATE", "true")
    assert cli(*asked).status == 0
