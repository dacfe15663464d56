from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg import sql
from psycopg.types.json import Jsonb

from generation_worker.db.statements import load_statements
from tests.support.database import Connection, Database, listen
from tests.support.jobs import (
    NO_TRACEPARENTS,
    PROMPT,
    TRACEPARENT,
    configure,
    enqueue,
    enqueue_all,
    grant,
    job,
    offer_local,
    put_job,
    put_row,
)
from tests.support.payloads import IMAGE, RESIZE
from tests.support.races import at_once, many_at_once
from tests.support.refusals import ANOTHER_REQUEST, INSUFFICIENT_CREDITS, NOT_VALID, refused
from tests.support.waiting import heard, wait_for_lock_waiters

AN_HOUR_FROM_NOW = sql.SQL("clock_timestamp() + interval '1 hour'")
AN_HOUR_AGO = sql.SQL("clock_timestamp() - interval '1 hour'")
LENGTH = timedelta(seconds=10)
"""How long a job of one credit fills its user's private slot."""
CALLERS = 12

PROCESSING: dict[str, Any] = {"kind": "image_processing", "payload": {"image": IMAGE, "operations": [RESIZE]}}


@pytest.fixture
def fleet(connection: Connection) -> Connection:
    """A connection to a fleet that offers `local`, to users ada and bob who have 1000 credits each."""
    offer_local(connection)
    grant(connection, "ada", 1000)
    grant(connection, "bob", 1000)
    return connection


def enqueue_many(connection: Connection, requests: Any) -> list[tuple[Any, ...]]:
    return connection.execute("SELECT * FROM enqueue_generations(%s)", (Jsonb(requests),)).fetchall()


def request(user: str = "ada", **fields: Any) -> dict[str, Any]:
    return {"kind": "text_to_image", "user_id": user, "payload": PROMPT, **fields}


def count_jobs(connection: Connection) -> int:
    row = connection.execute("SELECT count(*) FROM generation_job").fetchone()
    assert row is not None
    return row[0]


# What a new job is ----------------------------------------------------------------------------------------------------


def test_a_job_is_pending_at_the_price_with_the_default_provider(fleet: Connection):
    row = job(fleet, enqueue(fleet))
    expected = {
        "status": "pending", "kind": "text_to_image", "user_id": "ada", "provider": "local", "payload": PROMPT,
        "cost": 1, "debited": False, "priority": 0, "attempt": 0, "max_attempts": None, "crashes": 0, "waits": 0,
        "lease_token": None, "batch_id": None, "batch_index": 0, "idempotency_key": None, "retry_of": None,
        "result": None, "error_code": None, "started_at": None, "finished_at": None,
    }  # fmt: skip
    assert {name: row[name] for name in expected} == expected
    assert timedelta(0) <= row["created_at"] - row["run_at"] < timedelta(seconds=5)
    assert row["deadline_at"] == row["run_at"] + timedelta(days=1)


def test_what_the_caller_asks_for_is_kept(fleet: Connection):
    batch = uuid4()
    row = job(fleet, enqueue(fleet, priority=-3, max_attempts=7, batch_id=batch, deadline_at=AN_HOUR_FROM_NOW))
    assert (row["priority"], row["max_attempts"], row["batch_id"]) == (-3, 7, batch)
    assert timedelta(minutes=59) < row["deadline_at"] - row["created_at"] <= timedelta(hours=1)


def test_ids_are_uuids_of_version_7_in_the_order_of_time(fleet: Connection):
    earlier, later = (enqueue(fleet) for _ in range(2))
    assert earlier.version == later.version == 7
    assert earlier.variant == "specified in RFC 4122"
    assert earlier.int >> 80 <= later.int >> 80
    milliseconds = (earlier.int >> 80) / 1000
    assert abs(milliseconds - job(fleet, earlier)["created_at"].timestamp()) < 1


def test_a_job_whose_time_lies_ahead_is_scheduled(fleet: Connection):
    row = job(fleet, enqueue(fleet, run_at=AN_HOUR_FROM_NOW))
    assert row["status"] == "scheduled"
    assert row["run_at"] - row["created_at"] > timedelta(minutes=59)
    assert row["deadline_at"] == row["run_at"] + timedelta(days=1)


def test_a_job_whose_time_has_come_is_pending_now(fleet: Connection):
    row = job(fleet, enqueue(fleet, run_at=AN_HOUR_AGO))
    assert row["status"] == "pending"
    assert row["created_at"] - row["run_at"] < timedelta(minutes=1)


def test_images_are_processed_without_a_provider_and_for_nothing(fleet: Connection):
    row = job(fleet, enqueue(fleet, "somebody without an account", **PROCESSING))
    assert (row["provider"], row["cost"]) == ("none", 0)


def test_it_joins_the_callers_transaction(fleet: Connection):
    def fail() -> None:
        with fleet.transaction():
            enqueue(fleet)
            raise LookupError

    with pytest.raises(LookupError):
        fail()
    assert count_jobs(fleet) == 0


# Batches --------------------------------------------------------------------------------------------------------------


def test_a_count_makes_a_batch_of_single_images(fleet: Connection):
    rows = enqueue_all(fleet, count=4)
    jobs = [job(fleet, row["id"]) for row in rows]
    assert [row["batch_index"] for row in jobs] == [0, 1, 2, 3]
    assert {row["batch_id"] for row in jobs} == {rows[0]["batch"]} != {None}
    assert {row["cost"] for row in jobs} == {1}


def test_a_count_of_one_makes_no_batch(fleet: Connection):
    assert [row["batch"] for row in enqueue_all(fleet, count=1)] == [None]


def test_many_requests_are_answered_in_their_order(fleet: Connection):
    rows = enqueue_many(fleet, [request("bob"), request("ada", count=2), request("bob", **PROCESSING)])
    jobs = [job(fleet, row[0]) for row in rows]
    assert [(row["user_id"], row["kind"]) for row in jobs] == [
        ("bob", "text_to_image"), ("ada", "text_to_image"), ("ada", "text_to_image"), ("bob", "image_processing"),
    ]  # fmt: skip


def test_a_thousand_requests_fit_in_one_call(fleet: Connection):
    assert len(enqueue_many(fleet, [request() for _ in range(1000)])) == 1000


@pytest.mark.parametrize("requests", [[], {}, "a", None, [request()] * 1001])
def test_a_call_has_1_to_1000_requests(fleet: Connection, requests: Any):
    with refused(NOT_VALID, match="jobs: must be a JSON array of 1 to 1000 requests"):
        enqueue_many(fleet, requests)


def test_no_request_means_no_request(fleet: Connection):
    with refused(NOT_VALID, match="jobs: must be a JSON array"):
        fleet.execute("SELECT * FROM enqueue_generations(NULL)")


def test_all_requests_of_a_call_are_enqueued_or_none(fleet: Connection):
    with refused(NOT_VALID, match=r"^jobs\[1\]\.payload\.prompt: Field required"):
        enqueue_many(fleet, [request(), request(payload={}), request(payload=5)])
    with refused(INSUFFICIENT_CREDITS, match="carol"):
        enqueue_many(fleet, [request(), request("carol")])
    assert count_jobs(fleet) == 0


# Idempotency ----------------------------------------------------------------------------------------------------------


def test_the_same_key_gives_the_same_job(fleet: Connection):
    first, again = (enqueue_all(fleet, idempotency_key="k") for _ in range(2))
    assert again == [{**first[0], "duplicate": True}]
    assert not first[0]["duplicate"]
    assert count_jobs(fleet) == 1


def test_the_same_key_gives_the_same_batch(fleet: Connection):
    first, again = (enqueue_all(fleet, idempotency_key="k", count=3) for _ in range(2))
    assert [row["id"] for row in again] == [row["id"] for row in first]
    assert [row["batch"] for row in again] == [row["batch"] for row in first]
    assert all(row["duplicate"] for row in again)


def test_the_same_key_in_one_call_gives_one_job(fleet: Connection):
    first, again = enqueue_many(fleet, [request(idempotency_key="k")] * 2)
    assert first[0] == again[0]
    assert {first[3], again[3]} == {False, True}


def test_a_key_belongs_to_its_user(fleet: Connection):
    assert enqueue(fleet, "ada", idempotency_key="k") != enqueue(fleet, "bob", idempotency_key="k")


def test_a_key_is_answered_with_the_status_that_the_job_has_now(fleet: Connection):
    job_id = enqueue(fleet, idempotency_key="k")
    fleet.execute("SELECT cancel_generation(%s)", (job_id,))
    assert [(row["id"], row["status"]) for row in enqueue_all(fleet, idempotency_key="k")] == [(job_id, "cancelled")]


def test_a_key_is_not_refused_for_credits_that_its_job_has_used(fleet: Connection):
    grant(fleet, "carol", 1)
    job_id = enqueue(fleet, "carol", idempotency_key="k")
    assert enqueue(fleet, "carol", idempotency_key="k") == job_id


def test_a_key_keeps_its_price(fleet: Connection):
    job_id = enqueue(fleet, idempotency_key="k")
    configure(fleet, price__text_to_image=5)
    assert enqueue(fleet, idempotency_key="k") == job_id
    assert job(fleet, job_id)["cost"] == 1


@pytest.mark.parametrize(
    "other",
    [
        {"payload": {"prompt": "another"}},
        PROCESSING,
        {"provider": "local"},
        {"cost": 1},
        {"count": 2},
    ],
    ids=["payload", "kind", "provider", "cost", "count"],
)
def test_a_key_is_refused_for_another_request(fleet: Connection, other: dict[str, Any]):
    enqueue(fleet, idempotency_key="k")
    with refused(ANOTHER_REQUEST, match="idempotency_key: 'k' was used by user ada for another request"):
        enqueue(fleet, idempotency_key="k", **other)
    assert count_jobs(fleet) == 1


def test_when_and_how_soon_are_not_part_of_what_a_key_stands_for(fleet: Connection):
    job_id = enqueue(fleet, idempotency_key="k")
    assert enqueue(fleet, idempotency_key="k", run_at=AN_HOUR_FROM_NOW, priority=5, max_attempts=1) == job_id


def test_of_twelve_callers_with_one_key_one_makes_the_job(fleet: Connection, database: Database):
    answers = many_at_once(database, CALLERS, lambda caller: enqueue_all(caller, idempotency_key="k")[0])
    assert len({answer["id"] for answer in answers}) == 1
    assert sorted(answer["duplicate"] for answer in answers) == [False] + [True] * (CALLERS - 1)
    assert count_jobs(fleet) == 1


def test_of_two_requests_with_one_key_one_is_refused_however_close_they_are(fleet: Connection, database: Database):
    def call(prompt: str) -> Callable[[Connection], Any]:
        return lambda connection: enqueue(connection, idempotency_key="k", payload={"prompt": prompt})

    answers = at_once(database, [call("one"), call("other")] * (CALLERS // 2))
    winners = [answer for answer in answers if isinstance(answer, UUID)]
    assert len(set(winners)) == 1
    assert len(winners) == CALLERS // 2
    assert {getattr(answer, "sqlstate", None) for answer in answers} == {None, ANOTHER_REQUEST}


def test_batches_with_the_same_keys_in_another_order_do_not_deadlock(fleet: Connection, database: Database):
    """Both wait for a third, in the middle of their keys; whoever goes on first must not meet the other's."""
    requests = [request(idempotency_key=f"k{n}") for n in range(10, 20)]
    third = database.connect()
    with ThreadPoolExecutor(2) as threads:
        with third.transaction(force_rollback=True):
            enqueue(third, idempotency_key="k15")
            forth = threads.submit(enqueue_many, database.connect(), requests)
            wait_for_lock_waiters(fleet, 1)
            back = threads.submit(enqueue_many, database.connect(), requests[::-1])
            wait_for_lock_waiters(fleet, 2)
        assert [row[0] for row in forth.result()] == [row[0] for row in reversed(back.result())]
    assert count_jobs(fleet) == 10


# Credits and prices ---------------------------------------------------------------------------------------------------


def test_a_user_cannot_enqueue_more_than_they_can_pay(fleet: Connection):
    grant(fleet, "carol", 5)
    for _ in range(5):
        enqueue(fleet, "carol")
    with refused(INSUFFICIENT_CREDITS, match="credits: user carol has 5 and what is waiting, .*, costs 6"):
        enqueue(fleet, "carol")
    assert count_jobs(fleet) == 5


def test_a_batch_must_be_covered_whole(fleet: Connection):
    grant(fleet, "carol", 5)
    with refused(INSUFFICIENT_CREDITS):
        enqueue(fleet, "carol", count=6)
    assert len(enqueue_all(fleet, "carol", count=5)) == 5


def test_a_user_without_an_account_can_pay_nothing(fleet: Connection):
    with refused(INSUFFICIENT_CREDITS, match="user carol has 0"):
        enqueue(fleet, "carol")


@pytest.mark.parametrize("status", ["scheduled", "rate_limited"])
def test_what_waits_for_its_time_is_owed_too(fleet: Connection, status: str):
    grant(fleet, "carol", 1)
    put_job(fleet, status, user_id="carol", cost=1)
    with refused(INSUFFICIENT_CREDITS):
        enqueue(fleet, "carol")


@pytest.mark.parametrize(
    ("status", "debited"), [("pending", True), ("processing", True), ("completed", True), ("cancelled", False)]
)
def test_what_is_paid_or_done_is_not_owed(fleet: Connection, status: str, debited: bool):
    grant(fleet, "carol", 1)
    put_job(fleet, status, user_id="carol", cost=1, debited=debited)
    assert enqueue(fleet, "carol")


def test_prices_are_kept_for_a_kind_or_for_a_kind_by_a_provider(fleet: Connection):
    fleet.execute("SELECT offer_providers(array['gemini'])")
    configure(fleet, price__text_to_image=2, price__text_to_image__gemini=7, price__image_processing=3)
    costs = [
        job(fleet, enqueue(fleet, **asked))["cost"]
        for asked in ({}, {"provider": "local"}, {"provider": "gemini"}, PROCESSING)
    ]
    assert costs == [2, 2, 7, 3]


def test_a_kind_without_a_price_is_refused(fleet: Connection):
    fleet.execute("DELETE FROM fleet_setting WHERE name = 'price.text_to_image'")
    with refused(NOT_VALID, match="cost: the price of text_to_image by local is not set"):
        enqueue(fleet)


def test_a_caller_may_name_the_price_but_set_none(fleet: Connection):
    assert job(fleet, enqueue(fleet, cost=1))["cost"] == 1
    for cost in (0, 2):
        with refused(NOT_VALID, match=f"cost: the price of text_to_image by local is 1, not {cost}"):
            enqueue(fleet, cost=cost)


def test_a_caller_sets_the_cost_where_the_fleet_lets_them(fleet: Connection):
    configure(fleet, caller_may_set_cost=True)
    assert job(fleet, enqueue(fleet, cost=0))["cost"] == 0
    assert job(fleet, enqueue(fleet, cost=42))["cost"] == 42


# The caller's trace ---------------------------------------------------------------------------------------------------


def test_each_job_of_a_batch_keeps_the_callers_span(fleet: Connection):
    many = enqueue_all(fleet, count=2, traceparent=TRACEPARENT)
    assert [job(fleet, row["id"])["traceparent"] for row in many] == [TRACEPARENT] * 2
    assert job(fleet, enqueue(fleet))["traceparent"] is None


def test_a_request_that_is_repeated_in_another_span_is_the_same_request(fleet: Connection):
    first = enqueue(fleet, idempotency_key="k", traceparent=TRACEPARENT)
    assert enqueue(fleet, idempotency_key="k", traceparent=TRACEPARENT.replace("0af", "1af")) == first
    assert job(fleet, first)["traceparent"] == TRACEPARENT


# What is not valid ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"colour": "red"}, "colour: unknown field"),
        ({"user_id": ""}, "user_id: must have 1 to 255 characters"),
        ({"user_id": None}, "user_id: must have 1 to 255 characters"),
        ({"user_id": "a" * 256}, "user_id: must have 1 to 255 characters"),
        ({"idempotency_key": ""}, "idempotency_key: must have 1 to 255 characters"),
        ({"idempotency_key": "a" * 256}, "idempotency_key: must have 1 to 255 characters"),
        ({"count": 0}, "count: 0 is out of range; 1 to 100 are allowed"),
        ({"count": 101}, "count: 101 is out of range; 1 to 100 are allowed"),
        ({"count": "4"}, "count: must be a whole number"),
        ({"count": 1.5}, "count: must be a whole number"),
        ({"count": 2.0}, "count: must be a whole number"),
        ({"cost": 10**30}, "cost: 1000000000000000000000000000000 is out of range"),
        ({"batch_id": "mine"}, "batch_id: must be a UUID"),
        ({"retry_of": 5}, "retry_of: must be a UUID"),
        ({"run_at": "tomorrow week"}, "run_at: 'tomorrow week' is not a date and time"),
        ({"run_at": "infinity"}, "run_at: 'infinity' is not a date and time"),
        ({"deadline_at": "2030-02-31"}, "deadline_at: '2030-02-31' is not a date and time"),
        ({"deadline_at": "infinity"}, "deadline_at: 'infinity' is not a date and time"),
        ({"run_at": "2990-01-02T00:00Z", "deadline_at": "2990-01-01T00:00Z"}, "deadline_at: must lie after run_at"),
        ({"count": True}, "count: must be a whole number"),
        ({"max_attempts": 0}, "max_attempts: 0 is out of range; 1 to 100 are allowed"),
        ({"max_attempts": 101}, "max_attempts: 101 is out of range"),
        ({"cost": -1}, "cost: -1 is out of range; 0 to 1000000000 are allowed"),
        ({"cost": 1_000_000_001}, "cost: 1000000001 is out of range"),
        ({"priority": 1_000_001}, "priority: 1000001 is out of range; -1000000 to 1000000 are allowed"),
        ({"priority": -1_000_001}, "priority: -1000001 is out of range"),
        ({"kind": "video"}, "kind: 'video' is not one of text_to_image, image_conversion, image_processing"),
        ({"kind": None}, "kind: NULL is not one of"),
        ({"payload": None}, "payload: must be a JSON object"),
        ({"payload": {"prompt": "a {{color}}"}}, "payload.prompt: has no input for {{color}}: add color to inputs"),
        ({"payload": {"prompt": "a", "model": "x"}}, "payload.model: unknown field"),
        ({"provider": "gemini"}, "provider: no worker offers 'gemini'; offered are local"),
        *[
            ({"traceparent": text}, f"traceparent: '{text[:80]}' is not of the form 00-<32 hex")
            for text in NO_TRACEPARENTS
        ],
        ({"traceparent": 5}, "traceparent: '5' is not of the form"),
        ({"provider": "none"}, "provider: no worker offers 'none'; offered are local"),
        ({"fallback_provider": "gemini"}, "fallback_provider: no worker offers 'gemini'; offered are local"),
        (
            {"provider": "local", "fallback_provider": "local"},
            "fallback_provider: 'local' is the first provider already",
        ),
        ({"fallback_provider": "local"}, "fallback_provider: 'local' is the first provider already"),
        (
            {
                "kind": "image_processing",
                "payload": {"image": {"key": "a"}, "operations": []},
                "fallback_provider": "local",
            },
            "fallback_provider: image_processing is done without a provider; leave it out",
        ),
        ({**PROCESSING, "provider": "local"}, "provider: image_processing is done without one; leave it out"),
    ],
)
def test_a_request_that_is_not_valid_is_refused(fleet: Connection, fields: dict[str, Any], problem: str):
    with pytest.raises(psycopg.DatabaseError) as caught:
        enqueue_many(fleet, [request(**fields)])
    assert caught.value.sqlstate == NOT_VALID
    assert problem in str(caught.value)
    assert count_jobs(fleet) == 0


def test_a_request_is_an_object(fleet: Connection):
    with refused(NOT_VALID, match=r"jobs\[1\].must be a JSON object"):
        enqueue_many(fleet, [request(), 5])


def test_a_provider_must_be_named_while_no_worker_has_ever_run(connection: Connection):
    with refused(NOT_VALID, match="provider: none is named and the fleet has no default yet"):
        enqueue(connection)


def test_a_provider_may_be_named_before_any_worker_has_run(connection: Connection):
    grant(connection)
    assert job(connection, enqueue(connection, provider="gemini"))["provider"] == "gemini"


def test_the_first_provider_that_is_offered_is_the_default(connection: Connection):
    grant(connection)
    for names in (["gemini", "replicate"], ["local"], ["gemini"]):
        connection.execute("SELECT offer_providers(%s)", (names,))
    assert job(connection, enqueue(connection))["provider"] == "gemini"
    assert job(connection, enqueue(connection, provider="local"))["provider"] == "local"


# Fair order -----------------------------------------------------------------------------------------------------------


def places(connection: Connection, user: str) -> list[datetime]:
    query = "SELECT position FROM generation_job WHERE user_id = %s ORDER BY position"
    return [row[0] for row in connection.execute(query, (user,))]


def gaps(moments: list[datetime]) -> set[timedelta]:
    return {later - earlier for earlier, later in pairwise(moments)}


def test_two_hundred_jobs_of_one_user_delay_another_users_one_job_by_one_job(fleet: Connection):
    enqueue_many(fleet, [request("ada") for _ in range(200)])
    bobs = enqueue(fleet, "bob")
    order = "SELECT id FROM generation_job ORDER BY priority, position, id LIMIT 2"
    assert fleet.execute(order).fetchall()[1] == (bobs,)


def test_a_users_jobs_stand_one_behind_the_other(fleet: Connection):
    enqueue_all(fleet, count=100)
    enqueue(fleet)
    enqueue_many(fleet, [request() for _ in range(3)])
    assert gaps(places(fleet, "ada")) == {LENGTH}


def test_a_weight_shortens_a_users_line(fleet: Connection):
    fleet.execute("UPDATE credit_account SET fair_weight = 2 WHERE user_id = 'bob'")
    enqueue_many(fleet, [request("ada") for _ in range(200)])
    enqueue_many(fleet, [request("bob") for _ in range(200)])
    first = "SELECT user_id FROM generation_job ORDER BY priority, position, id LIMIT 90"
    users = [row[0] for row in fleet.execute(first)]
    assert 58 <= users.count("bob") <= 62


def test_a_job_is_as_long_as_it_is_dear_and_free_ones_count_too(fleet: Connection):
    configure(fleet, caller_may_set_cost=True, seconds_per_credit=2)
    for cost in (5, 0, 1, 3):
        enqueue(fleet, cost=cost)
    ada = places(fleet, "ada")
    assert [(place - ada[0]).total_seconds() for place in ada] == [0, 10, 12, 14]


@pytest.mark.parametrize("weight", ["1", "1e-30", "NaN", "Infinity"])
def test_no_line_reaches_beyond_the_end_of_time(fleet: Connection, weight: str):
    configure(fleet, caller_may_set_cost=True)
    grant(fleet, "ada", 10**12)
    fleet.execute("UPDATE credit_account SET fair_weight = %s::real WHERE user_id = 'ada'", (weight,))
    for _ in range(3):
        enqueue(fleet, cost=10**9)
    assert max(gaps(places(fleet, "ada"))) <= timedelta(days=1)


def test_dear_jobs_that_were_put_off_do_not_keep_others_from_being_promoted(fleet: Connection):
    configure(fleet, seconds_per_credit=3600)
    for user in ["ada"] * 9 + ["bob"]:
        put_job(fleet, "scheduled", user_id=user, cost=10**9, run_at=AN_HOUR_AGO)
    promotion = fleet.execute(load_statements()["promote_jobs"], {"limit": 1000}).fetchone()
    assert promotion == (10, None)


def test_a_line_that_has_been_worked_off_begins_now(fleet: Connection):
    put_job(fleet, user_id="ada", position=AN_HOUR_AGO)
    now = job(fleet, enqueue(fleet))
    assert abs(now["position"] - now["created_at"]) < timedelta(minutes=1)


def test_jobs_that_are_not_due_take_no_place_in_the_line(fleet: Connection):
    enqueue_many(fleet, [request(run_at="2999-01-01T00:00:00Z"), request(), request()])
    enqueue(fleet)
    pending = places(fleet, "ada")[:3]
    assert gaps(pending) == {LENGTH}
    created = fleet.execute("SELECT min(created_at) FROM generation_job").fetchone()
    assert created is not None
    assert abs(pending[0] - created[0]) < LENGTH / 2


# Waking, replaying ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asleep", "seen_at", "woken"),
    [
        (True, sql.SQL("clock_timestamp()"), ["wake"]),
        (False, sql.SQL("clock_timestamp()"), []),
        (True, AN_HOUR_AGO, []),
    ],
    ids=["asleep", "awake", "gone"],
)
def test_a_worker_that_sleeps_is_woken(
    fleet: Connection, database: Database, asleep: bool, seen_at: sql.SQL, woken: list[str]
):
    listener = database.connect_direct()
    listen(listener)
    put_row(
        fleet, "worker_process", id="w", asleep=asleep, seen_at=seen_at, version="1", providers=["local"], concurrency=1
    )
    enqueue(fleet)
    assert heard(listener) == woken


@pytest.mark.parametrize("end", ["failed", "cancelled"])
def test_a_job_that_ended_without_an_image_is_replayed_once(fleet: Connection, end: str):
    dead = put_job(fleet, end)
    first, again = (enqueue_all(fleet, retry_of=dead)[0] for _ in range(2))
    assert again == {**first, "duplicate": True}
    assert job(fleet, first["id"])["retry_of"] == dead


def test_a_replay_is_known_when_the_job_that_it_replays_is_gone(fleet: Connection):
    dead = put_job(fleet, "failed")
    replay = enqueue(fleet, retry_of=dead)
    fleet.execute("DELETE FROM generation_job WHERE id = %s", (dead,))
    assert enqueue(fleet, retry_of=dead) == replay


@pytest.mark.parametrize("status", ["pending", "scheduled", "rate_limited", "processing", "completed"])
def test_only_a_job_that_ended_without_an_image_is_replayed(fleet: Connection, status: str):
    for other in (put_job(fleet, status), uuid4()):
        with refused(NOT_VALID, match=f"retry_of: user ada has no job {other} that failed or was cancelled"):
            enqueue(fleet, retry_of=other)


def test_nobody_replays_the_job_of_somebody_else(fleet: Connection):
    """They would be answered with that user's job, or that user with theirs."""
    bobs = put_job(fleet, "failed", user_id="bob")
    with refused(NOT_VALID, match="retry_of: user ada has no job"):
        enqueue(fleet, "ada", retry_of=bobs)
    replay = enqueue(fleet, "bob", retry_of=bobs)
    with refused(NOT_VALID, match="retry_of: user ada has no job"):
        enqueue(fleet, "ada", retry_of=bobs)
    assert job(fleet, replay)["user_id"] == "bob"


def test_a_replay_is_one_job(fleet: Connection):
    with refused(NOT_VALID, match="count: a replay is one job"):
        enqueue(fleet, retry_of=put_job(fleet, "failed"), count=2)
