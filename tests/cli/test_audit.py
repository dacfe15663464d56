from __future__ import annotations

import getpass

import pytest

from tests.cli.conftest import Command
from tests.support.populated import Population


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
    assert cli("audit", "--since", "+1h").out == "Nothing was changed by anybody, as far as was asked.\n"
    page = cli("audit", "--limit", 2, "--json").json
    rest = cli("audit", "--limit", 4, "--before", page["before"], "--json").json
    assert [len(page["events"]), len(rest["events"]), rest["before"]] == [2, 2, None]
    assert f"--before {page['before']}" in cli("audit", "--limit", 2).out


@pytest.mark.parametrize("since", ["yesterday", "-soon", "2030-01-31"])
def test_a_moment_that_is_none(cli: Command, since: str):
    assert cli("audit", "--since", since).status == 2
