"""Whatever a command changes stands in the audit trail; a new command has to say what it is."""

from __future__ import annotations

import getpass
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from generation_worker.cli.app import LazyCommand, command_line
from tests.cli.conftest import Command
from tests.support import jobs
from tests.support.database import Connection
from tests.support.populated import WORKER, Population
from tests.support.webhooks import put_endpoint

ASKS = {
    "audit", "config", "credits audit", "credits show", "dead list", "doctor", "job show", "status", "token list",
    "webhook deliveries", "webhook list",
}  # fmt: skip
WORKS = {"demo", "run"}
"""What these do, they do as a worker does: jobs and attempts are its record."""
IS_ITS_OWN_RECORD = {"enqueue", "migrate"}
"""A job is a row of its own, and the history of the schema is Alembic's."""


class Change(NamedTuple):
    """A command that changes something, what its events are called, and whether there was and is something."""

    words: str
    action: str
    target: str
    before: bool
    after: bool
    first: str | None = None
    """A command that has to come first."""


CHANGES = [
    Change("job cancel {pending}", "job.cancel", "job:{pending}", True, True),
    Change("job cancel --user bob", "job.cancel", "job:{bobs}", True, True),
    Change("job retry {failed}", "job.replay", "job:{failed}", True, True),
    Change("job release {scheduled}", "job.release", "job:{scheduled}", True, True),
    Change(f"job release --worker {WORKER}", "job.release", "job:{processing}", True, True),
    Change("job run-next {bobs}", "job.run_next", "job:{bobs}", True, True),
    Change("dead replay {blocked}", "job.replay", "job:{blocked}", True, True),
    Change("dead replay --code no_image", "job.replay", "job:{failed}", True, True),
    Change("credits grant ada 5", "credits.grant", "user:ada", True, True),
    Change("credits adjust ada -2", "credits.adjust", "user:ada", True, True),
    Change("config set price.text_to_image 3", "setting.set", "setting:price.text_to_image", True, True),
    Change("config set calls_per_minute.k 3", "setting.set", "setting:calls_per_minute.k", False, True),
    Change("config unset concurrency", "setting.unset", "setting:concurrency", True, False, "config set concurrency 3"),
    Change("pause --user bob", "pause", "setting:paused.user.bob", False, True),
    Change("pause", "pause", "setting:paused", False, True),
    Change("resume", "resume", "setting:paused", True, False, "pause"),
    Change("token create app --scope read", "token.create", "token:", False, True),
    Change("token revoke {token}", "token.revoke", "token:{token}", True, True),
    Change("webhook add https://app.example.com/", "webhook.add", "endpoint:", False, True),
    Change("webhook rotate {endpoint}", "webhook.rotate", "endpoint:{endpoint}", False, True),
    Change("webhook disable {endpoint}", "webhook.disable", "endpoint:{endpoint}", True, True),
    Change(
        "webhook enable {endpoint}", "webhook.enable", "endpoint:{endpoint}", True, True, "webhook disable {endpoint}"
    ),
    Change("webhook remove {endpoint}", "webhook.remove", "endpoint:{endpoint}", True, False),
    Change("webhook test {endpoint} --wait 0s", "webhook.test", "endpoint:{endpoint}", False, True),
    Change("webhook replay {delivery}", "delivery.replay", "delivery:{delivery}", True, False),
]


def commands() -> Iterator[str]:
    """The words of every command."""

    def walk(command: Any, words: tuple[str, ...]) -> Iterator[str]:
        if isinstance(command, LazyCommand):
            command = command.load()
        below = getattr(command, "commands", {})
        for name, each in below.items():
            yield from walk(each, (*words, name))
        if not below or getattr(command, "invoke_without_command", False):
            yield " ".join(words)

    return walk(command_line(), ())


def test_each_command_says_whether_it_changes_anything():
    known = [*ASKS, *WORKS, *IS_ITS_OWN_RECORD]
    changing = {command for command in commands() for change in CHANGES if f"{change.words} ".startswith(f"{command} ")}
    changing.discard("config")  # without a subcommand it shows
    assert sorted([*known, *changing]) == sorted(commands())


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.words)
def test_who_what_and_why_before_and_after(
    cli: Command, connection: Connection, population: Population, change: Change
):
    connection.execute("INSERT INTO provider_gate (key_label, provider, calls_per_minute) VALUES ('k', 'far', 60)")
    names = {name: str(getattr(population, name)) for name in ("failed", "blocked", "scheduled", "processing", "bobs")}
    names |= {"pending": str(population.pending[0])}
    if "{token}" in change.words:
        names["token"] = cli("token", "create", "app", "--scope", "read", "--json").json["id"]
    if "{endpoint}" in change.words or "{delivery}" in change.words:
        names["endpoint"] = str(put_endpoint(connection))
        row = {"endpoint_id": names["endpoint"], "event": "job.completed", "job_id": population.completed, "body": "{}"}
        names["delivery"] = str(jobs.put_row(connection, "webhook_delivery", **row)["id"])
    if change.first:
        assert cli(*change.first.format(**names).split()).status == 0
    known = len(cli("audit", "--json").json["events"])
    done = cli(*change.words.format(**names).split(), "--reason", "because")
    assert done.status == 0, done.err
    events = cli("audit", "--json").json["events"]
    assert len(events) == known + 1
    event = events[0]
    assert event["actor"].startswith(f"cli:{getpass.getuser()}@")
    assert (event["action"], event["reason"]) == (change.action, "because")
    assert event["target"].startswith(change.target.format(**names))
    assert (event["before"] is not None, event["after"] is not None) == (change.before, change.after)
    assert event["before"] != event["after"]


@pytest.mark.parametrize("command", sorted(ASKS - {"doctor"}))
def test_who_only_asks_leaves_no_trace(cli: Command, connection: Connection, population: Population, command: str):
    further = {"credits show": ["ada"], "job show": [population.failed]}
    before = connection.execute("SELECT count(*) FROM audit_event").fetchone()
    assert cli(*command.split(), *further.get(command, [])).status in (0, 1)
    assert connection.execute("SELECT count(*) FROM audit_event").fetchone() == before
    assert jobs.job(connection, population.failed)["status"] == "failed"
