"""The answers of the files in sql/, of a database in which everything has happened."""

from __future__ import annotations

import re

import pytest

from generation_worker.db.enqueue import replay
from generation_worker.db.protocol import PostgresStore
from generation_worker.domain.errors import ProviderUnavailable
from generation_worker.domain.schema import SCHEMA as DEFAULT
from generation_worker.domain.settlement import Crashed, Failed
from generation_worker.ports import LimitedKey, WorkerInfo
from tests.generate_ledger_check import fresh_page
from tests.sql.conftest import FOLDER, Psql
from tests.support import jobs
from tests.support.database import SCHEMA, Connection
from tests.support.populated import WORKER, Population, SingleConnection, claim, end

FILES = sorted(path.name for path in FOLDER.glob("*.sql"))
QUESTIONS = [name for name in FILES if name != "schema.sql"]
HEADS = ("-- READS ONLY\n", "-- CHANGES ROWS\n", "-- CHANGES ROLES\n")


@pytest.mark.parametrize("name", QUESTIONS)
def test_each_says_first_whether_it_changes_rows_and_then_what_for(name: str):
    text = (FOLDER / name).read_text()
    assert text.startswith(HEADS)
    assert re.match(r"-- \S", text.splitlines()[1])
    assert max(map(len, text.splitlines())) <= 120


@pytest.mark.parametrize("name", [name for name in QUESTIONS if name != "roles.sql"])  # has a page of its own
def test_each_runs_in_an_empty_database(psql: Psql, name: str):
    rows = psql(name)
    assert rows == [] or name == "prices.sql"


def test_pending(psql: Psql, population: Population):
    [lane] = psql("pending.sql")
    assert (lane["provider"], lane["jobs"], lane["users"], lane["workers"]) == ("local", "4", "2", "1")


def test_rate_limited(psql: Psql, connection: Connection, population: Population):
    [limited] = psql("rate_limited.sql")
    assert (limited["provider"], limited["jobs"], limited["most_waits"]) == ("local", "1", "1")
    assert limited["earliest_run_at"][:19] == str(jobs.job(connection, population.rate_limited)["run_at"])[:19]


def test_processing(psql: Psql, population: Population):
    [job] = psql("processing.sql")
    assert (job["id"], job["locked_by"], job["attempt"]) == (str(population.processing), WORKER, "1")
    assert job["lease_left"].startswith("00:00:")


def test_stale(psql: Psql, connection: Connection, population: Population):
    assert psql("stale.sql") == []
    connection.execute(
        "UPDATE generation_job SET lease_expires_at = now() - interval '90 s' WHERE status = 'processing'"
    )
    [job] = psql("stale.sql")
    assert (job["id"], job["locked_by"], job["workers_alive"]) == (str(population.processing), WORKER, "1")
    assert job["expired_for"] == "00:01:30"


def lock_for(connection: Connection, minutes: int) -> None:
    connection.execute(
        "UPDATE generation_job SET locked_at = now() - make_interval(mins => %s) WHERE status = 'processing'", [minutes]
    )


def test_release_stale_leaves_what_is_not_locked_for_long(psql: Psql, connection: Connection, population: Population):
    lock_for(connection, 14)
    before = jobs.job(connection, population.processing)
    assert psql("release_stale.sql") == []
    assert jobs.job(connection, population.processing) == before


def test_release_stale_hands_the_job_to_the_reclaimer_and_moves_nothing_else(
    psql: Psql, connection: Connection, population: Population
):
    lock_for(connection, 16)
    before, money = jobs.job(connection, population.processing), jobs.balance(connection)
    [released] = psql("release_stale.sql")
    after = jobs.job(connection, population.processing)
    assert released["id"] == str(population.processing)
    assert {name for name in after if after[name] != before[name]} == {"lease_expires_at"}
    assert jobs.balance(connection) == money
    [taken] = PostgresStore(SingleConnection(connection)).reclaim_jobs(limit=10, lease=60)
    assert taken.job.id == str(population.processing)
    assert psql("release_stale.sql", minutes=30) == []


def test_after_release_stale_the_old_worker_can_write_nothing(psql: Psql, connection: Connection):
    jobs.offer_local(connection)
    jobs.grant(connection)
    job_id = jobs.enqueue(connection)
    store = PostgresStore(SingleConnection(connection))
    old = claim(store)
    lock_for(connection, 16)
    assert len(psql("release_stale.sql")) == 1
    [taken] = store.reclaim_jobs(limit=10, lease=60)
    end(store, taken.job, Crashed(WORKER, timed_out=False))
    end(store, old, Failed(ProviderUnavailable()))
    row = jobs.job(connection, job_id)
    assert (row["status"], row["crashes"], row["error_code"]) == ("scheduled", 1, "worker_lost")
    assert jobs.balance(connection) == 99


def test_oldest_waiting(psql: Psql, connection: Connection, population: Population):
    first, second, *_ = psql("oldest_waiting.sql")
    assert [first["id"], second["id"]] == [str(population.pending[0]), str(population.pending[1])]
    assert second["own_jobs_before"] == "1"
    assert len(psql("oldest_waiting.sql", limit=2)) == 2


@pytest.mark.usefixtures("population")
def test_throughput_by_hour(psql: Psql):
    rows = psql("throughput_by_hour.sql")
    totals = [sum(int(row[name]) for row in rows) for name in ("completed", "failed", "cancelled")]
    assert totals == [1, 2, 1]
    assert any(float(row["p95_seconds"] or 0) >= 0 for row in rows)
    assert len(psql("throughput_by_hour.sql", hours=2)) == len(rows)


def test_failures_by_code(psql: Psql, connection: Connection, population: Population):
    blocked, no_image = psql("failures_by_code.sql")
    assert (blocked["error_code"], blocked["jobs"], blocked["example"]) == (
        "content_blocked",
        "1",
        str(population.blocked),
    )
    assert (no_image["message"], no_image["users"]) == ("the provider sent no image", "1")


def test_balances(psql: Psql, connection: Connection, population: Population):
    bob, ada = psql("balances.sql")
    assert (bob["user_id"], bob["balance"], bob["waiting_costs"], bob["short"]) == ("bob", "10", "1", "0")
    assert (ada["balance"], ada["waiting_costs"], ada["debited"], ada["refunded"]) == ("96", "3", "6", "2")
    connection.execute("SELECT adjust_credits('bob', -10)")
    assert psql("balances.sql")[0]["short"] == "1"


@pytest.mark.usefixtures("population")
def test_ledger_check(psql: Psql, connection: Connection):
    assert psql("ledger_check.sql") == []
    connection.execute("UPDATE credit_account SET balance = balance + 7 WHERE user_id = 'ada'")
    broken = psql("ledger_check.sql")
    assert [row["invariant"] for row in broken] == ["balance_is_the_sum_of_entries"]
    assert '"user_id": "ada"' in broken[0]["offender"]
    assert len(psql("ledger_check.sql", max_paid_calls=0)) > 1


@pytest.mark.skipif(SCHEMA != DEFAULT, reason="the page is written for the default schema")
def test_ledger_check_is_what_the_audit_asks():
    assert (FOLDER / "ledger_check.sql").read_text() == fresh_page(), "run: python -m tests.generate_ledger_check"


def test_dead_letters(psql: Psql, connection: Connection, population: Population):
    new = replay(connection, population.failed)
    first, second = psql("dead_letters.sql")
    assert (first["id"], first["error_code"], first["refunded"]) == (str(population.blocked), "content_blocked", "1")
    assert (second["id"], second["replayed_as"]) == (str(population.failed), str(new.id))
    assert len(psql("dead_letters.sql", limit=1)) == 1


def test_waiting_for_user(psql: Psql, population: Population):
    rows = psql("waiting_for_user.sql")
    waiting = [*population.pending, population.scheduled, population.rate_limited]
    assert [row["id"] for row in rows] == [str(job_id) for job_id in waiting]
    assert [row["jobs_before"] for row in rows] == ["0", "1", "2", "", ""]
    [bobs] = psql("waiting_for_user.sql", user="bob")
    assert (bobs["id"], bobs["jobs_before"]) == (str(population.bobs), "3")
    assert psql("waiting_for_user.sql", user="o'neil") == []


@pytest.mark.usefixtures("population")
def test_workers(psql: Psql, connection: Connection):
    [worker] = psql("workers.sql")
    assert (worker["id"], worker["state"], worker["leases"]) == (WORKER, "busy", "1")
    connection.execute("UPDATE worker_process SET seen_at = now() - interval '3 minutes'")
    assert psql("workers.sql")[0]["state"] == "silent"


def test_gates(psql: Psql, connection: Connection):
    assert psql("gates.sql") == []
    key = LimitedKey("far-1", "far", 60)
    PostgresStore(SingleConnection(connection)).register_worker(WorkerInfo("worker-1", "0", ["far"], 5, [key]))
    [gate] = psql("gates.sql")
    assert (gate["key_label"], gate["used"], gate["state"], gate["workers"]) == ("far-1", "0", "ok", "1")
    connection.execute("UPDATE provider_gate SET closed_until = now() + interval '1 min', closed_for = '429'")
    [gate] = psql("gates.sql")
    assert (gate["state"], gate["reason"], gate["until_then"] != "") == ("limited", "429", True)
    opened = "breaker = 'open', opened_at = now(), open_until = now() + interval '1 min', opened_for = '401'"
    connection.execute(f"UPDATE provider_gate SET {opened}".encode())
    assert (psql("gates.sql")[0]["state"], psql("gates.sql")[0]["reason"]) == ("open", "401")
    connection.execute("UPDATE provider_gate SET probe_job = gen_random_uuid()")
    assert psql("gates.sql")[0]["state"] == "probing"


def test_prices(psql: Psql, connection: Connection):
    connection.execute("SELECT offer_providers(array['gemini', 'local'])")
    connection.execute(
        "INSERT INTO fleet_setting (name, value, updated_by) VALUES ('price.text_to_image.gemini', '4', 'ada')"
    )
    rows = {
        (row["kind"], row["provider"]): (row["price"], row["setting"], row["updated_by"]) for row in psql("prices.sql")
    }
    assert rows == {
        ("image_conversion", "gemini"): ("1", "price.image_conversion", ""),
        ("image_conversion", "local"): ("1", "price.image_conversion", ""),
        ("image_processing", "none"): ("0", "price.image_processing", ""),
        ("text_to_image", "gemini"): ("4", "price.text_to_image.gemini", "ada"),
        ("text_to_image", "local"): ("1", "price.text_to_image", ""),
    }
