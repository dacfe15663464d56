"""What people do to jobs one by one and by the hundred."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from generation_worker.db.insights import Insights

from generation_worker.db.audit_trail import Author
from generation_worker.db.bulk import ActionName, Filter, carry_out, count
from generation_worker.db.fleet import pause
from generation_worker.db.jobs import release_job, run_next
from generation_worker.domain.fleet import Extent
from generation_worker.domain.refusals import InvalidRequest, JobNotFound, JobNotReleasable, JobNotWaiting
from tests.support.database import Connection
from tests.support.jobs import balance, enqueue, grant, job, put_job
from tests.support.protocol import BLOCKED, CANCELLED, GAVE_UP, RETRY, OneConnection, Worker, entries
from tests.support.refusals import FINAL, refused

ADA = Author("cli:ada", "because")


def events(connection: Connection) -> list[tuple[str, str, Any]]:
    found = Insights(OneConnection(connection)).audit_events()
    return [(event.action, event.target, event.reason) for event in reversed(found)]


# run next


@pytest.mark.parametrize("priority", [0, -5, 7])
def test_a_job_overtakes_its_lane_whatever_the_priorities(worker: Worker, connection: Connection, priority: int):
    others = [put_job(connection, priority=n) for n in (0, -5, 3)]
    mine = put_job(connection, priority=priority)
    moved = run_next(connection, mine, by=ADA)
    assert (moved["status"], moved["priority"]) == ("pending", -5)
    assert worker.claim_one().id == str(mine)
    assert {each.id for each in worker.claim().jobs} == {str(each) for each in others}
    assert events(connection) == [("job.run_next", f"job:{mine}", "because")]


def test_one_that_is_first_already_keeps_its_place(worker: Worker, connection: Connection):
    first = put_job(connection)
    put_job(connection)
    before = job(connection, first)
    run_next(connection, first, by=ADA)
    assert job(connection, first) == before


@pytest.mark.parametrize("status", ["scheduled", "rate_limited"])
def test_one_that_waits_for_its_time_waits_no_longer(worker: Worker, connection: Connection, status: str):
    grant(connection)
    other = put_job(connection)
    mine = enqueue(connection, cost=2)
    if status == "scheduled":
        claimed = worker.claim(2).jobs
        worker.settle(next(each for each in claimed if each.id == str(mine)), RETRY)
    else:
        mine = put_job(connection, status, waits=1)
    connection.execute("UPDATE generation_job SET run_at = now() + interval '1 hour' WHERE id = %s", (mine,))
    assert job(connection, mine)["status"] == status
    run_next(connection, mine, by=ADA)
    assert worker.claim(1).jobs[0].id == str(mine)
    assert job(connection, other)["status"] in ("pending", "processing")
    assert len(entries(connection)) <= 2  # one that was debited is not debited again


@pytest.mark.parametrize("status", ["processing", "completed", "failed", "cancelled"])
def test_one_that_does_not_wait_is_left_alone(connection: Connection, status: str):
    mine = put_job(connection, status)
    before = job(connection, mine)
    with pytest.raises(JobNotWaiting, match=f"is {status}: it runs, or has ended"):
        run_next(connection, mine, by=ADA)
    with pytest.raises(JobNotFound):
        run_next(connection, uuid4(), by=ADA)
    assert (job(connection, mine), events(connection)) == (before, [])


def test_a_pause_holds_it_all_the_same(worker: Worker, connection: Connection):
    mine = put_job(connection)
    pause(connection, Extent("user", "ada"), by=ADA)
    run_next(connection, mine, by=ADA)
    assert worker.claim().jobs == []


# release


def test_a_released_job_is_taken_over_and_its_old_worker_writes_nothing(worker: Worker, connection: Connection):
    put_job(connection)
    running = worker.claim_one()
    assert release_job(connection, running.id, by=ADA) == ("processing", "worker-1")
    (taken,) = worker.store.reclaim_jobs(limit=10, lease=60)
    assert taken.job.id == running.id
    assert worker.settle(running, RETRY) is None
    assert events(connection) == [("job.release", f"job:{running.id}", "because")]


@pytest.mark.parametrize("status", ["scheduled", "rate_limited"])
def test_what_waits_for_its_time_is_due_now_and_stands_where_it_would(
    worker: Worker, connection: Connection, status: str
):
    grant(connection)
    other = put_job(connection)
    mine = put_job(connection, status, run_at=datetime.now(UTC) + timedelta(hours=1))
    assert worker.store.promote_jobs(limit=10).promoted == 0
    assert release_job(connection, mine, by=ADA) == (status, None)
    assert worker.store.promote_jobs(limit=10).promoted == 1
    assert {each.id for each in worker.claim().jobs} == {str(other), str(mine)}
    assert events(connection) == [("job.release", f"job:{mine}", "because")]


def test_what_waits_for_nothing_is_not_released(connection: Connection):
    for status in ("pending", "completed"):
        with pytest.raises(JobNotReleasable, match=f"is {status}: it neither waits for its time"):
            release_job(connection, put_job(connection, status), by=ADA)
    with pytest.raises(JobNotFound):
        release_job(connection, uuid4(), by=ADA)
    assert events(connection) == []


# by the hundred


def insights_of(connection: Connection) -> Insights:
    return Insights(OneConnection(connection))


def do(connection: Connection, action: ActionName, **chosen: Any) -> tuple[int, list[UUID]]:
    """How many were counted, and what was done."""
    insights, which = Insights(OneConnection(connection)), Filter(**chosen)
    counted = sum(count(insights, action, which).values())
    done = list(carry_out(connection, insights, action, which, by=ADA))
    assert [each.refused for each in done] == [None] * len(done)
    assert count(insights, action, which) == {}
    return counted, [each.id for each in done]


def test_cancel_all_of_a_user_with_their_refunds(worker: Worker, connection: Connection):
    grant(connection)
    grant(connection, "bob")
    mine = [enqueue(connection, cost=2) for _ in range(3)]
    retried = worker.claim_one()
    worker.settle(retried, RETRY)
    running = worker.claim_one()
    ended, bobs = put_job(connection, "completed"), enqueue(connection, "bob", cost=2)
    counted, done = do(connection, "cancel", user="ada")
    assert (counted, set(done)) == (3, set(mine))
    states = {str(each): job(connection, each)["status"] for each in [*mine, ended, bobs]}
    assert states.pop(running.id) == "processing"
    assert sorted(states.values()) == ["cancelled", "cancelled", "completed", "pending"]
    assert balance(connection) == 98
    assert len(events(connection)) == 3


@pytest.mark.parametrize(
    ("chosen", "number"),
    [
        ({"kind": "text_to_image"}, 3),
        ({"kind": "image_conversion"}, 1),
        ({"provider": "other"}, 1),
        ({"batch": UUID(int=7)}, 1),
        ({"older": 3600.0}, 1),
        ({"user": "ada", "provider": "other"}, 0),
        ({"worker": "nobody"}, 0),
    ],
)
def test_a_filter_chooses_what_all_of_it_fits(connection: Connection, chosen: dict[str, Any], number: int):
    put_job(connection, kind="image_conversion", user_id="bob")
    put_job(connection, provider="other", user_id="bob")
    put_job(connection, batch_id=UUID(int=7))
    old = put_job(connection)
    with connection.transaction():
        connection.execute("SET LOCAL session_replication_role = replica")
        connection.execute("UPDATE generation_job SET created_at = now() - interval '2 h' WHERE id = %s", (old,))
    counted, done = do(connection, "cancel", **chosen)
    assert (counted, len(done)) == (number, number)


def test_more_than_one_page(connection: Connection, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("generation_worker.db.bulk.BATCH", 3)
    all_of_them = {put_job(connection) for _ in range(10)}
    counted, done = do(connection, "cancel", user="ada")
    assert (counted, set(done), len(done)) == (10, all_of_them, 10)


def test_release_all_that_a_worker_holds(worker: Worker, connection: Connection):
    for _ in range(3):
        put_job(connection)
    worker.claim()
    other = Worker(connection, "worker-2")
    put_job(connection)
    other.claim()
    counted, done = do(connection, "release", worker="worker-1")
    assert (counted, len(done)) == (3, 3)
    assert {taken.worker for taken in worker.store.reclaim_jobs(limit=10, lease=60)} == {"worker-1"}


def test_a_release_takes_nothing_from_a_worker_unless_asked_to(worker: Worker, connection: Connection):
    late = datetime.now(UTC) + timedelta(hours=1)
    waiting = [put_job(connection, status, run_at=late) for status in ("scheduled", "rate_limited")]
    put_job(connection)
    running = worker.claim_one()
    assert do(connection, "release", user="ada")[1] == sorted(waiting)
    assert worker.store.reclaim_jobs(limit=10, lease=60) == []
    assert do(connection, "release", status="processing") == (1, [UUID(running.id)])
    assert len(worker.store.reclaim_jobs(limit=10, lease=60)) == 1


def test_replay_all_with_a_code_once(worker: Worker, connection: Connection):
    grant(connection)
    for _ in range(3):
        enqueue(connection, cost=2)
    blocked, gave_up, stopped = worker.claim().jobs
    worker.settle(blocked, BLOCKED)
    worker.settle(gave_up, GAVE_UP)
    worker.settle(stopped, CANCELLED)
    assert do(connection, "replay", code="content_blocked") == (1, [UUID(blocked.id)])
    assert do(connection, "replay", user="ada") == (1, [UUID(gave_up.id)])
    assert do(connection, "replay", status="cancelled") == (1, [UUID(stopped.id)])
    assert do(connection, "replay", user="ada") == (0, [])
    assert {job_id for _, job_id, _ in events(connection)} == {f"job:{each.id}" for each in (blocked, gave_up, stopped)}


def test_who_cannot_pay_keeps_no_others_job_from_its_second_chance(worker: Worker, connection: Connection):
    grant(connection, "ada", 2)
    grant(connection, "bob", 4)
    for user in ("ada", "bob"):
        enqueue(connection, user, cost=2)
        worker.settle(worker.claim_one(), GAVE_UP)
    enqueue(connection, "ada", cost=2)
    done = list(carry_out(connection, insights_of(connection), "replay", Filter(code=GAVE_UP.error_code), by=ADA))
    assert sorted(each.refused.code if each.refused else each.result.status for each in done) == [
        "insufficient_credits", "pending",
    ]  # fmt: skip


@pytest.mark.parametrize(("action", "status"), [("cancel", "completed"), ("release", "pending"), ("replay", "pending")])
def test_a_status_that_it_cannot_be_done_to_is_refused(connection: Connection, action: ActionName, status: str):
    with pytest.raises(InvalidRequest, match=f"filter.status: jobs that are '{status}' are not to {action}"):
        do(connection, action, status=status)


def test_nothing_chosen_is_not_everything(connection: Connection):
    put_job(connection)
    with pytest.raises(InvalidRequest, match="nothing is chosen"):
        do(connection, "cancel")
    with pytest.raises(InvalidRequest, match="nothing is chosen"):
        list(carry_out(connection, Insights(OneConnection(connection)), "cancel", Filter(), by=ADA))
    assert events(connection) == []


def test_a_final_job_stays_as_it_is(connection: Connection):
    ended = put_job(connection, "cancelled")
    assert do(connection, "cancel", user="ada") == (0, [])
    with refused(FINAL):
        connection.execute("UPDATE generation_job SET priority = 1 WHERE id = %s", (ended,))
