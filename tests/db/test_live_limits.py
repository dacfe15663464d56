"""Limits of keys that are changed while workers run win over what workers are started with."""

from __future__ import annotations

from typing import Any

import pytest
from generation_worker.db.insights import Insights

from generation_worker.db.audit_trail import Author
from generation_worker.db.fleet import set_fleet_setting, unset_fleet_setting
from generation_worker.domain.refusals import InvalidRequest
from generation_worker.ports import Key, WorkerInfo
from tests.support.database import Connection
from tests.support.jobs import put_job
from tests.support.protocol import OneConnection, Worker

ADA = Author("cli:ada", "they said so")
ONE, TWO, OTHER = Key("far-1", "far", 60), Key("far-2", "far", 60), Key("near-1", "near", 30)


def register(worker: Worker, *keys: Key) -> None:
    worker.store.register_worker(WorkerInfo(worker.name, "0", ["far", "near"], 5, keys))


def limits(connection: Connection) -> dict[str, int]:
    return {gate.key_label: gate.calls_per_minute for gate in Insights(OneConnection(connection)).gates()}


def test_a_providers_limit_a_keys_limit_and_back(worker: Worker, connection: Connection):
    register(worker, ONE, TWO, OTHER)
    set_fleet_setting(connection, "calls_per_minute.far", 10, by=ADA)
    assert limits(connection) == {"far-1": 10, "far-2": 10, "near-1": 30}
    set_fleet_setting(connection, "calls_per_minute.far-2", "20", by=ADA)
    assert limits(connection) == {"far-1": 10, "far-2": 20, "near-1": 30}
    assert unset_fleet_setting(connection, "calls_per_minute.far", by=ADA) == 10
    assert limits(connection) == {"far-1": 60, "far-2": 20, "near-1": 30}
    unset_fleet_setting(connection, "calls_per_minute.far-2", by=ADA)
    assert limits(connection) == {"far-1": 60, "far-2": 60, "near-1": 30}
    assert [event.action for event in Insights(OneConnection(connection)).audit_events()][::-1] == [
        "setting.set", "setting.set", "setting.unset", "setting.unset",
    ]  # fmt: skip


def test_it_wins_over_a_worker_that_starts_and_one_that_makes_the_gate_again(worker: Worker, connection: Connection):
    register(worker, ONE)
    set_fleet_setting(connection, "calls_per_minute.far-1", 10, by=ADA)
    register(worker, ONE._replace(calls_per_minute=90))
    assert limits(connection) == {"far-1": 10}
    connection.execute("DELETE FROM provider_gate")
    card = WorkerInfo(worker.name, "0", ["far"], 5, [ONE._replace(calls_per_minute=90)])
    worker.store.touch_worker(card, busy=0, stuck=0)
    assert limits(connection) == {"far-1": 10}
    unset_fleet_setting(connection, "calls_per_minute.far-1", by=ADA)
    assert limits(connection) == {"far-1": 90}  # what the worker was started with last


def test_a_heartbeat_puts_right_what_a_start_at_the_same_moment_has_undone(worker: Worker, connection: Connection):
    register(worker, ONE, TWO)
    set_fleet_setting(connection, "calls_per_minute.far", 10, by=ADA)
    connection.execute("UPDATE provider_gate SET calls_per_minute = given_per_minute")
    assert limits(connection) == {"far-1": 60, "far-2": 60}
    worker.store.touch_worker(WorkerInfo(worker.name, "0", ["far"], 5, [ONE]), busy=0, stuck=0)
    assert limits(connection) == {"far-1": 10, "far-2": 60}  # of its own keys


def test_the_next_claim_keeps_to_it(worker: Worker, connection: Connection):
    register(worker, ONE)
    for _ in range(20):
        put_job(connection, provider="far")
    far = Worker(connection, lanes=("far", "none"))
    set_fleet_setting(connection, "calls_per_minute.far", 5, by=ADA)
    assert len(far.claim(keys=[ONE]).jobs) == 5
    set_fleet_setting(connection, "calls_per_minute.far", 8, by=ADA)
    assert len(far.claim(keys=[ONE]).jobs) == 3
    unset_fleet_setting(connection, "calls_per_minute.far", by=ADA)
    assert len(far.claim(keys=[ONE]).jobs) == 12


def test_the_same_limit_again_begins_no_new_count(worker: Worker, connection: Connection):
    register(worker, ONE)
    since = "SELECT limited_since FROM provider_gate"
    begun = connection.execute(since).fetchone()
    set_fleet_setting(connection, "calls_per_minute.far", 60, by=ADA)
    assert connection.execute(since).fetchone() == begun
    set_fleet_setting(connection, "calls_per_minute.far", 61, by=ADA)
    assert connection.execute(since).fetchone() != begun


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("calls_per_minute.far", 0, "must be a whole number from 1 to 30000"),
        ("calls_per_minute.far", "many", "must be a whole number from 1 to 30000"),
        ("calls_per_minute.far", 30_001, "must be a whole number from 1 to 30000"),
        ("calls_per_minute.moon", 5, "there is no key called 'moon'"),
        ("calls_per_minute", 5, "is not a setting of the fleet"),
        ("calls_per_minute.", 5, "is not a setting of the fleet"),
        ("concurrency", 0, "must be a whole number from 1 to 1000"),
        ("concurrency", True, "must be a whole number from 1 to 1000"),
        ("poll_interval", 0, "must be a number of seconds from 0.01 to 3600"),
        ("paused", True, "is not set like this"),
        ("paused.user.ada", True, "is not set like this"),
    ],
)
def test_what_is_wrong_is_refused_as_at_a_start(
    worker: Worker, connection: Connection, name: str, value: Any, said: str
):
    register(worker, ONE)
    with pytest.raises(InvalidRequest, match=said):
        set_fleet_setting(connection, name, value, by=ADA)
    assert Insights(OneConnection(connection)).audit_events() == []


@pytest.mark.parametrize("name", ["price.text_to_image", "seconds_per_credit", "calls_per_minute", "paused"])
def test_what_nothing_stands_behind_is_not_unset(connection: Connection, name: str):
    with pytest.raises(InvalidRequest, match="nothing stands behind it"):
        unset_fleet_setting(connection, name, by=ADA)


def test_what_was_not_set_is_not_unset(connection: Connection):
    assert unset_fleet_setting(connection, "concurrency", by=ADA) is None
    assert Insights(OneConnection(connection)).audit_events() == []


@pytest.mark.parametrize("value", ['"many"', "-5", "1e9", "null", '{"a": 1}'])
def test_a_value_that_was_written_past_the_checks_keeps_no_worker_from_starting_or_living(
    worker: Worker, connection: Connection, value: str
):
    for name in ("calls_per_minute.far", "concurrency", "poll_interval", "paused.kind.x"):
        connection.execute("INSERT INTO fleet_setting (name, value) VALUES (%s, %s::jsonb)", (name, value))
    register(worker, ONE)
    news = worker.store.touch_worker(WorkerInfo(worker.name, "0", ["far"], 5, [ONE]), busy=0, stuck=0)
    assert news is not None
    assert (news.concurrency, news.poll_interval) == (None, None)
    assert 1 <= limits(connection)["far-1"] <= 30_000
