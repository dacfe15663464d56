from __future__ import annotations

import getpass

import pytest

from tests.cli.conftest import Command
from tests.support import jobs
from tests.support.database import Connection
from tests.support.populated import Population


def test_grant_and_show(process: Command, connection: Connection):
    done = process("credits", "grant", "eve", 5, "--key", "p1", "--reason", "starter pack")
    assert (done.status, done.out) == (0, "eve has 5 credits now\n")
    row = connection.execute("SELECT kind, amount, idempotency_key, reason, actor FROM credit_entry").fetchone()
    assert row is not None
    assert row[:4] == ("grant", 5, "p1", "starter pack")
    assert row[4].startswith(f"cli:{getpass.getuser()}@")
    shown = process("credits", "show", "eve").out
    assert "balance                 5\n" in shown
    assert "starter pack" in shown


def test_a_key_grants_once(cli: Command):
    cli("credits", "grant", "eve", 5, "--key", "p1")
    again = cli("credits", "grant", "eve", 5, "--key", "p1", "--json").json
    assert again == {"user_id": "eve", "entry": 1, "balance": 5, "duplicate": True}
    other = cli("credits", "grant", "eve", 6, "--key", "p1", "--json")
    assert (other.status, other.json["error"]["code"]) == (1, "idempotency_conflict")


def test_adjust(process: Command, cli: Command):
    cli("credits", "grant", "eve", 5)
    assert process("credits", "adjust", "eve", -2, "--reason", "mistake").out == "eve has 3 credits now\n"
    assert cli("credits", "adjust", "eve", 4, "--json").json["balance"] == 7
    done = cli("credits", "adjust", "eve", -8, "--json")
    assert (done.status, done.json["error"]["code"]) == (1, "insufficient_credits")
    assert cli("credits", "adjust", "eve", 0).status == 2


def test_show_as_json(cli: Command, population: Population):
    answer = cli("credits", "show", "ada", "--limit", 1, "--json").json
    assert (answer["user_id"], answer["balance"], answer["waiting"]) == ("ada", 96, 3)
    assert len(answer["latest_entries"]) == 1


def test_an_account_that_does_not_exist(cli: Command):
    done = cli("credits", "show", "eve", "--json")
    assert (done.status, done.json["error"]["code"]) == (1, "account_not_found")
    assert "credits grant eve AMOUNT" in done.err


@pytest.mark.usefixtures("population")
def test_an_audit_of_right_books(process: Command, cli: Command):
    done = process("credits", "audit")
    assert (done.status, done.out) == (0, "The ledger is consistent.\n")
    assert cli("credits", "audit", "--json").json == {"violations": []}


@pytest.mark.usefixtures("population")
def test_an_audit_names_what_is_wrong(cli: Command, connection: Connection):
    connection.execute("UPDATE credit_account SET balance = balance + 7 WHERE user_id = 'ada'")
    done = cli("credits", "audit")
    assert done.status == 1
    assert "ada" in done.out
    assert done.out.endswith("1 violation.\n")
    violations = cli("credits", "audit", "--json").json["violations"]
    assert {violation["row"]["user_id"] for violation in violations} == {"ada"}
    assert all(violation["meaning"] for violation in violations)


def test_a_job_that_nobody_can_pay(cli: Command, connection: Connection):
    jobs.offer_local(connection)
    assert cli("enqueue", "text_to_image", "eve", "--prompt", "a").status == 1
