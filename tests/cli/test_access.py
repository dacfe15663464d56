"""`token` and `audit`: API keys and the audit trail on the command line."""

from __future__ import annotations

import getpass

import pytest

from generation_worker.domain.token import read_key
from tests.cli.conftest import Command
from tests.support.database import Connection
from tests.support.populated import Population


def test_a_key_is_shown_once(process: Command, connection: Connection):
    done = process("token", "create", "web app", "--scope", "enqueue", "--scope", "read", "--user", "ada")
    assert done.status == 0
    shown = dict(line.split(None, 1) for line in done.out.splitlines()[:-1])
    presented = read_key(shown["key"])
    assert presented is not None
    assert (shown["id"], shown["scopes"], shown["user"]) == (presented.id, "enqueue read", "ada")
    row = connection.execute("SELECT secret_hash, created_by, expires_at - created_at FROM api_token").fetchone()
    assert row is not None
    assert row[0] == presented.secret_hash
    assert row[1].startswith(f"cli:{getpass.getuser()}@")
    assert row[2].days == 364 or row[2].days == 365
    listed = process("token", "list").out
    assert "web app" in listed
    assert shown["key"].rpartition("_")[2] not in listed


def test_list_and_revoke(cli: Command):
    limits = ("--most-waiting", 5, "--max-body", 64)
    made = cli("token", "create", "a", "--scope", "admin", "--expires", "never", *limits, "--json").json
    assert (made["expires_at"], made["most_waiting"], made["requests_per_minute"]) == (None, 5, None)
    assert made["max_body_kb"] == 64
    [listed] = cli("token", "list", "--json").json["tokens"]
    assert listed == {name: value for name, value in made.items() if name != "key"}
    assert listed["state"] == "active"
    revoked = cli("token", "revoke", made["id"], "--json").json
    assert revoked["state"] == "revoked"
    again = cli("token", "revoke", made["key"], "--json").json
    assert again["revoked_at"] == revoked["revoked_at"]
    assert cli("token", "list", "--json").json["tokens"][0]["state"] == "revoked"
    assert f"{made['id']}  a: revoked\n" == cli("token", "revoke", made["id"]).out


def test_the_limits_of_a_key_are_shown(cli: Command):
    made = cli("token", "create", "a", "--scope", "read", "--requests-per-minute", 30, "--max-body", 64).out
    assert "30 requests a minute, bodies of 64 KiB" in made
    assert "as the settings say" in cli("token", "create", "b", "--scope", "read").out
    listed = cli("token", "list").out
    assert "64 KiB" in " ".join(listed.split())


def test_what_is_done_to_keys_is_recorded(cli: Command, connection: Connection):
    made = cli("token", "create", "a", "--scope", "read", "--user", "ada", "--json").json
    for _ in range(2):
        cli("token", "revoke", made["id"], "--reason", "it leaked")
    events = connection.execute("SELECT action, target, reason, after::text FROM audit_event ORDER BY id").fetchall()
    target = f"token:{made['id']}"
    assert [event[:3] for event in events] == [("token.create", target, None), ("token.revoke", target, "it leaked")]
    assert '"user_id": "ada"' in events[0][3]
    assert made["key"].rpartition("_")[2] not in str(events)


def test_no_key_yet(cli: Command):
    assert "loopback only" in cli("token", "list").out
    assert cli("token", "list", "--json").json == {"tokens": []}
    missing = cli("token", "revoke", "nobody", "--json")
    assert (missing.status, missing.json["error"]["code"]) == (1, "token_not_found")


@pytest.mark.parametrize(
    "wrong",
    [
        ("create", "a"),
        ("create", "a", "--scope", "everything"),
        ("create", "", "--scope", "read"),
        ("create", "a", "--scope", "admin", "--user", "ada"),
        ("create", "a", "--scope", "read", "--user", ""),
        ("create", "a", "--scope", "read", "--expires", "soon"),
        ("create", "a", "--scope", "read", "--expires", "0s"),
        ("create", "a", "--scope", "read", "--requests-per-minute", 0),
        ("create", "a", "--scope", "read", "--max-body", 0),
        ("create", "a", "--scope", "read", "--max-body", 51_201),
    ],
)
def test_what_cannot_be_made(cli: Command, connection: Connection, wrong: tuple[object, ...]):
    done = cli("token", *wrong)
    assert done.status == 2
    assert done.err.startswith("Error: ")
    assert connection.execute("SELECT count(*) FROM api_token").fetchone() == (0,)


def test_the_table_itself_refuses_a_user_who_operates(connection: Connection):
    from psycopg import errors  # noqa: PLC0415

    with pytest.raises(errors.CheckViolation):
        connection.execute(
            "INSERT INTO api_token (id, name, secret_hash, scopes, user_id)"
            " VALUES ('aaaaaaaaaaaa', 'a', sha256('a'), '{admin}', 'ada')"
        )


@pytest.mark.usefixtures("fleet")
def test_who_changed_what_and_why(process: Command):
    assert process("config", "set", "price.text_to_image", 3, "--reason", "dearer now").status == 0
    done = process("audit")
    head, line = done.out.splitlines()
    assert head.split() == ["event", "at", "who", "did", "to", "before", "after", "reason"]
    who, did, to, before, after, *reason = line.split()[3:]
    assert who.startswith(f"cli:{getpass.getuser()}@")
    assert (did, to, before, after) == ("setting.set", "setting:price.text_to_image", "1", "3")
    assert reason == ["dearer", "now"]


def test_jobs_and_credits_with_their_reasons(cli: Command, population: Population):
    cli("job", "cancel", population.pending[0], "--reason", "a mistake")
    cli("job", "retry", population.failed, "--reason", "again")
    cli("dead", "replay", population.blocked, "--reason", "prompt was fine")
    cli("credits", "grant", "ada", 5, "--reason", "sorry")
    cli("credits", "adjust", "ada", -2, "--reason", "not that sorry")
    events = cli("audit", "--json").json["events"]
    assert [(event["action"], event["reason"]) for event in reversed(events)] == [
        ("job.cancel", "a mistake"),
        ("job.replay", "again"),
        ("job.replay", "prompt was fine"),
        ("credits.grant", "sorry"),
        ("credits.adjust", "not that sorry"),
    ]


def test_choosing_and_paging(cli: Command, population: Population):
    for job in population.pending:
        cli("job", "cancel", job)
    cli("credits", "grant", "ada", 5)
    assert len(cli("audit", "--action", "job.", "--json").json["events"]) == 3
    assert len(cli("audit", "--target", f"job:{population.pending[1]}", "--json").json["events"]) == 1
    assert len(cli("audit", "--actor", "cli:", "--since", "-1h", "--json").json["events"]) == 4
    assert cli("audit", "--since", "+1h").out == "No event matches.\n"
    page = cli("audit", "--limit", 2, "--json").json
    rest = cli("audit", "--limit", 4, "--before", page["before"], "--json").json
    assert [len(page["events"]), len(rest["events"]), rest["before"]] == [2, 2, None]
    assert f"--before {page['before']}" in cli("audit", "--limit", 2).out


@pytest.mark.parametrize("since", ["yesterday", "-soon", "2030-01-31"])
def test_a_moment_that_is_none(cli: Command, since: str):
    assert cli("audit", "--since", since).status == 2
