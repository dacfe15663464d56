"""Two sessions that want the same rows, in the order that hurts most.

One session does its part and keeps its transaction open; the other is started and, where it must wait, is seen to wait
before the first one ends. Afterwards everything that must hold at any moment is asked for.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import TypeVar
from uuid import UUID

import pytest
from psycopg import sql

from generation_worker.db.ledger import find_violations
from generation_worker.domain.job import FINAL, Job
from generation_worker.domain.settlement import Settlement
from generation_worker.ports import CallBegun, Renewal
from tests.support.database import Connection, Database, queries_on
from tests.support.jobs import balance, change_job, enqueue, grant, job
from tests.support.protocol import (
    COMPLETED,
    CRASHED,
    CRASHED_TOO_OFTEN,
    EXPIRED,
    GAVE_UP,
    LIMITED,
    PASSED_OVER,
    RELEASED,
    RENEWED,
    RETRY,
    SETTLEMENTS,
    Worker,
    cancel,
    entries,
    set_prices,
)
from tests.support.races import many_at_once
from tests.support.waiting import wait_for_lock_waiters

T = TypeVar("T")
PAST = sql.SQL("clock_timestamp() - interval '1 second'")
MAX_PAID_CALLS = 3

every_settlement = pytest.mark.parametrize("settlement", SETTLEMENTS.values(), ids=list(SETTLEMENTS))


class Race:
    """Sessions of one database: `look` is in no transaction, `first` keeps its own open, others are started to wait."""

    def __init__(self, database: Database, threads: ThreadPoolExecutor) -> None:
        self._database = database
        self._threads = threads
        self._waiting = 0
        self.look = database.connect()
        self.first = Worker(database.connect(autocommit=False), "worker-1")

    def worker(self, name: str = "worker-2") -> Worker:
        return Worker(self._database.connect(), name)

    def waits(self, step: Callable[[], T]) -> Future[T]:
        """Start a step that has to wait for another session, and return when it does."""
        future = self._threads.submit(step)
        self._waiting += 1
        wait_for_lock_waiters(self.look, self._waiting)
        return future

    def commit(self) -> None:
        self.first.connection.commit()


@pytest.fixture
def race(database: Database) -> Iterator[Race]:
    with ThreadPoolExecutor(8) as threads:
        race = Race(database, threads)
        set_prices(race.look)
        try:
            yield race
            assert find_violations(queries_on(race.look), max_paid_calls=MAX_PAID_CALLS) == []
        finally:
            race.first.connection.rollback()


def queue(race: Race, number: int = 1, *, cost: int = 3, amount: int = 100, user: str = "ada") -> list[UUID]:
    grant(race.look, user, amount)
    return [enqueue(race.look, user, cost=cost) for _ in range(number)]


def claimed(race: Race, *, lease: float = EXPIRED) -> Job:
    """A job that costs 3 of 10 credits, claimed by worker-1."""
    queue(race, amount=10)
    return Worker(race.look, "worker-1").claim_one(lease=lease)


def status(race: Race, job_id: UUID | str) -> str:
    return job(race.look, UUID(str(job_id)))["status"]


# claim against claim


def test_two_claims_share_the_line_without_waiting(race: Race) -> None:
    for user in ("ada", "bob"):
        queue(race, user=user)
    (mine,) = race.first.claim(1).jobs
    (theirs,) = race.worker().claim(10).jobs
    race.commit()
    assert {mine.user_id, theirs.user_id} == {"ada", "bob"}


def test_many_claims_at_once_take_each_job_once(race: Race, database: Database) -> None:
    for user in ("ada", "bob", "eve"):
        queue(race, 20, user=user)

    def take_all(connection: Connection) -> list[str]:
        worker, taken = Worker(connection), list[str]()
        while jobs := worker.claim(3).jobs:
            taken.extend(found.id for found in jobs)
        return taken

    taken = [job_id for worker in many_at_once(database, 4, take_all) for job_id in worker]
    assert len(taken) == len(set(taken))
    assert len(taken) + len(race.worker().claim(100).jobs) == 60


def test_two_claims_on_one_balance_spend_it_once(race: Race) -> None:
    first, second = queue(race, 2, amount=6)
    race.look.execute("SELECT adjust_credits('ada', -3)")
    assert len(race.first.claim(1).jobs) == 1
    other = race.waits(race.worker().claim)
    race.commit()
    assert (other.result().jobs, [each[:2] for each in other.result().refused]) == ([], [(str(second), "ada")])
    assert (status(race, first), status(race, second), balance(race.look)) == ("processing", "failed", 0)


def test_a_claim_that_is_undone_leaves_the_balance_to_the_other(race: Race) -> None:
    _, second = queue(race, 2, amount=6)
    race.look.execute("SELECT adjust_credits('ada', -3)")
    race.first.claim(1)
    other = race.waits(race.worker().claim)
    race.first.connection.rollback()
    assert [UUID(taken.id) for taken in other.result().jobs] == [second]
    assert balance(race.look) == 0


def test_many_claims_on_one_balance_spend_it_once(race: Race, database: Database) -> None:
    queue(race, 30, cost=1, amount=30)
    race.look.execute("SELECT adjust_credits('ada', -20)")
    claims = many_at_once(database, 6, lambda connection: Worker(connection).claim(5))
    assert sum(len(claim.jobs) for claim in claims) == 10
    assert balance(race.look) == 0


def test_claims_of_users_in_opposite_order_do_not_deadlock(race: Race) -> None:
    """Whoever is first in the line, the accounts are locked in the order of their names."""
    for user, priority in (("ada", 0), ("bob", 1), ("bob", 2), ("ada", 3)):
        grant(race.look, user)
        enqueue(race.look, user, cost=1, priority=priority)
    race.first.connection.execute("SELECT FROM credit_account WHERE user_id = 'ada' FOR NO KEY UPDATE")
    claims = [race.waits(lambda: race.worker().claim(2)) for _ in range(2)]
    race.commit()
    assert [len(claim.result().jobs) for claim in claims] == [2, 2]


# claim against grant


def test_a_claim_that_waits_for_a_grant_spends_it(race: Race) -> None:
    (job_id,) = queue(race, amount=3)
    race.look.execute("SELECT adjust_credits('ada', -3)")
    grant(race.first.connection, amount=3)
    claim = race.waits(race.worker().claim)
    race.commit()
    assert [UUID(taken.id) for taken in claim.result().jobs] == [job_id]
    assert balance(race.look) == 0


def test_a_claim_that_waits_for_a_grant_that_is_undone_refuses(race: Race) -> None:
    (job_id,) = queue(race, amount=3)
    race.look.execute("SELECT adjust_credits('ada', -3)")
    grant(race.first.connection, amount=3)
    claim = race.waits(race.worker().claim)
    race.first.connection.rollback()
    assert [each[:2] for each in claim.result().refused] == [(str(job_id), "ada")]


# settle against reclaim


@every_settlement
def test_a_settlement_that_waits_for_a_takeover_writes_nothing(race: Race, settlement: Settlement) -> None:
    late = claimed(race)
    (taken,) = race.first.store.reclaim_jobs(limit=10, lease=60)
    late_answer = race.waits(lambda: race.worker().settle(late, settlement))
    race.commit()
    assert late_answer.result() is None
    assert (status(race, late.id), balance(race.look)) == ("processing", 7)
    assert race.worker().settle(taken.job, CRASHED_TOO_OFTEN) == "failed"
    assert balance(race.look) == 10


def test_a_takeover_that_is_undone_leaves_the_job_to_its_worker(race: Race) -> None:
    late = claimed(race)
    race.first.store.reclaim_jobs(limit=10, lease=60)
    answer = race.waits(lambda: race.worker().settle(late, COMPLETED))
    race.first.connection.rollback()
    assert answer.result() == "completed"


@every_settlement
def test_a_takeover_skips_a_job_that_is_being_settled(race: Race, settlement: Settlement) -> None:
    race.first.settle(claimed(race), settlement)
    other = race.worker()
    assert other.store.reclaim_jobs(limit=10, lease=60) == []
    race.commit()
    assert other.store.reclaim_jobs(limit=10, lease=60) == []


def test_a_job_fails_once_when_two_settlements_of_a_crash_race(race: Race) -> None:
    claimed(race)
    (first,) = race.worker().store.reclaim_jobs(limit=10, lease=EXPIRED)
    (second,) = race.worker().store.reclaim_jobs(limit=10, lease=EXPIRED)
    assert race.first.settle(first.job, CRASHED_TOO_OFTEN) is None
    assert race.worker().settle(second.job, CRASHED_TOO_OFTEN) == "failed"
    race.commit()
    assert entries(race.look)[1:] == [("debit", -3, 7), ("refund", 3, 10)]


@pytest.mark.parametrize("settlement", [COMPLETED, GAVE_UP, RETRY], ids=lambda settlement: settlement.status)
def test_a_settlement_that_is_sent_twice_at_once_is_written_once(race: Race, settlement: Settlement) -> None:
    """Its first connection broke, but the server was still at it when the second one asked."""
    lease = claimed(race)
    race.first.settle(lease, settlement)
    again = race.waits(lambda: race.worker().settle(lease, settlement))
    race.commit()
    assert again.result() in (None, settlement.status)
    assert (status(race, lease.id), len(entries(race.look))) == (settlement.status, 3 if settlement is GAVE_UP else 2)


# settle against cancel


@every_settlement
def test_a_settlement_that_waits_for_a_request_to_cancel_heeds_it(race: Race, settlement: Settlement) -> None:
    lease = claimed(race)
    cancel(race.first.connection, lease.id)
    answer = race.waits(lambda: race.worker().settle(lease, settlement))
    race.commit()
    expected = settlement.status if settlement.status in FINAL else "cancelled"
    assert answer.result() == expected
    assert balance(race.look) == (7 if expected == "completed" else 10)


@every_settlement
def test_a_request_to_cancel_that_waits_for_a_settlement_sees_it(race: Race, settlement: Settlement) -> None:
    lease = claimed(race)
    race.first.settle(lease, settlement)
    asked = race.waits(lambda: cancel(race.worker().connection, lease.id))
    race.commit()
    expected = settlement.status if settlement.status in FINAL else "cancelled"
    assert asked.result()[0] == expected
    assert balance(race.look) == (7 if expected == "completed" else 10)


# refund against refund


@pytest.mark.parametrize("settlement", [RETRY, LIMITED, RELEASED], ids=lambda settlement: settlement.outcome)
def test_a_job_that_is_cancelled_twice_at_once_is_refunded_once(race: Race, settlement: Settlement) -> None:
    lease = claimed(race)
    race.worker().settle(lease, settlement)
    cancel(race.first.connection, lease.id)
    again = race.waits(lambda: cancel(race.worker().connection, lease.id))
    race.commit()
    assert again.result() == ("cancelled", True)
    assert entries(race.look)[1:] == [("debit", -3, 7), ("refund", 3, 10)]


def test_a_job_that_expires_while_it_is_cancelled_is_refunded_once(race: Race) -> None:
    lease = claimed(race)
    race.worker().settle(lease, RELEASED)
    change_job(race.look, UUID(lease.id), deadline_at=PAST)
    cancel(race.first.connection, lease.id)
    assert race.worker().store.expire_jobs(limit=10) == []
    race.commit()
    assert race.worker().store.expire_jobs(limit=10) == []
    assert entries(race.look)[1:] == [("debit", -3, 7), ("refund", 3, 10)]


def test_a_cancel_that_waits_for_an_expiry_changes_nothing(race: Race) -> None:
    lease = claimed(race)
    race.worker().settle(lease, RELEASED)
    change_job(race.look, UUID(lease.id), deadline_at=PAST)
    assert race.first.store.expire_jobs(limit=10)[0].id == lease.id
    asked = race.waits(lambda: cancel(race.worker().connection, lease.id))
    race.commit()
    assert asked.result() == ("failed", False)
    assert entries(race.look)[1:] == [("debit", -3, 7), ("refund", 3, 10)]


def refunds_in_opposite_order(race: Race) -> tuple[list[tuple[Job, Settlement]], list[tuple[Job, Settlement]]]:
    """Two batches: in one ada's job is the older one, in the other bob's."""
    for user in ("ada", "bob"):
        grant(race.look, user)
    for user in ("ada", "bob", "bob", "ada"):
        enqueue(race.look, user, cost=1)
    jobs = sorted(Worker(race.look).claim(4).jobs, key=lambda found: found.id)
    decided = [(found, GAVE_UP) for found in jobs]
    return decided[:2], decided[2:]


def test_refunds_for_users_in_opposite_order_do_not_deadlock(race: Race) -> None:
    one, other = refunds_in_opposite_order(race)
    race.first.connection.execute("SELECT FROM credit_account WHERE user_id = 'ada' FOR NO KEY UPDATE")
    answers = [race.waits(lambda batch=batch: race.worker().store.settle_attempts(batch)) for batch in (one, other)]
    race.commit()
    assert [set(answer.result().values()) for answer in answers] == [{"failed"}, {"failed"}]
    assert balance(race.look, "ada") == balance(race.look, "bob") == 100


def test_expiry_and_settlement_for_users_in_opposite_order_do_not_deadlock(race: Race) -> None:
    settling, expiring = refunds_in_opposite_order(race)
    for number, (late, _) in enumerate(expiring):  # bob's is the first that is late
        race.worker().settle(late, RELEASED)
        change_job(race.look, UUID(late.id), deadline_at=f"2026-01-0{number + 1}")
    race.first.connection.execute("SELECT FROM credit_account WHERE user_id = 'ada' FOR NO KEY UPDATE")
    settled = race.waits(lambda: race.worker().store.settle_attempts(settling))
    expired = race.waits(lambda: race.worker().store.expire_jobs(limit=10))
    race.commit()
    assert (len(settled.result()), len(expired.result())) == (2, 2)


def test_settlements_and_heartbeats_in_any_order_do_not_deadlock(race: Race) -> None:
    queue(race, 2)
    older, newer = sorted(Worker(race.look).claim(2).jobs, key=lambda found: found.id)
    race.first.connection.execute("SELECT FROM generation_job WHERE id = %s FOR NO KEY UPDATE", (older.id,))
    settled = race.waits(lambda: race.worker().store.settle_attempts([(newer, COMPLETED), (older, COMPLETED)]))
    assert race.worker().renew(older, newer) == {older.id: PASSED_OVER, newer.id: RENEWED}
    race.commit()
    assert set(settled.result().values()) == {"completed"}
    assert race.worker().renew(older, newer) == {}


# leases


def test_a_heartbeat_during_a_takeover_proves_nothing_and_the_next_one_knows_that_the_lease_is_lost(race: Race) -> None:
    late = claimed(race)
    (taken,) = race.first.store.reclaim_jobs(limit=10, lease=60)
    assert race.worker().renew(late) == {late.id: PASSED_OVER}
    race.commit()
    assert race.worker().renew(late) == {}
    assert race.worker().renew(taken.job) == {late.id: RENEWED}


def test_a_takeover_skips_a_lease_that_is_being_renewed(race: Race) -> None:
    lease = claimed(race)
    race.first.renew(lease)
    other = race.worker()
    assert other.store.reclaim_jobs(limit=10, lease=60) == []
    race.commit()
    assert other.store.reclaim_jobs(limit=10, lease=60) == []


def test_a_request_to_cancel_that_a_heartbeat_has_just_missed_comes_back_with_the_next_one(race: Race) -> None:
    lease = claimed(race)
    cancel(race.first.connection, lease.id)
    assert race.worker().renew(lease) == {lease.id: PASSED_OVER}
    race.commit()
    assert race.worker().renew(lease) == {lease.id: Renewal(True, cancel_requested=True)}


def test_two_takeovers_at_once_take_each_job_once(race: Race, database: Database) -> None:
    queue(race, 20)
    Worker(race.look).claim(20, lease=EXPIRED)
    taken = many_at_once(database, 4, lambda connection: Worker(connection).store.reclaim_jobs(limit=20, lease=60))
    ids = [found.job.id for part in taken for found in part]
    assert len(ids) == len(set(ids))
    assert len(ids) + len(race.worker().store.reclaim_jobs(limit=20, lease=60)) == 20


# calls


def begin(worker: Worker, lease: Job) -> CallBegun:
    return worker.store.begin_call(lease, provider="local", key_label="none", max_paid_calls=MAX_PAID_CALLS)


def test_a_call_that_waits_for_a_takeover_is_not_begun(race: Race) -> None:
    late = claimed(race)
    race.first.store.reclaim_jobs(limit=10, lease=60)
    begun = race.waits(lambda: begin(race.worker(), late))
    race.commit()
    assert begun.result()[0] is False
    assert race.look.execute("SELECT FROM provider_call").fetchall() == []


def test_a_call_that_waits_for_a_request_to_cancel_is_not_begun(race: Race) -> None:
    lease = claimed(race)
    cancel(race.first.connection, lease.id)
    begun = race.waits(lambda: begin(race.worker(), lease))
    race.commit()
    assert begun.result()[:5] == (True, True, 0, None, None)


def test_a_takeover_skips_a_job_whose_call_is_being_noted(race: Race) -> None:
    late = claimed(race)
    assert begin(race.first, late)[3] == 1
    assert race.worker().store.reclaim_jobs(limit=10, lease=60) == []
    race.commit()
    (taken,) = race.worker().store.reclaim_jobs(limit=10, lease=60)
    assert begin(race.worker(), taken.job)[:5] == (True, False, 1, 2, None)


# waiting jobs


def test_a_claim_skips_a_job_that_is_being_cancelled(race: Race) -> None:
    (job_id,) = queue(race)
    cancel(race.first.connection, job_id)
    assert race.worker().claim().jobs == []
    race.commit()
    assert race.worker().claim().jobs == []
    assert balance(race.look) == 100


def test_a_claim_skips_a_job_that_is_expiring(race: Race) -> None:
    (job_id,) = queue(race)
    change_job(race.look, job_id, deadline_at=PAST)
    race.first.store.expire_jobs(limit=10)
    assert race.worker().claim().jobs == []
    race.commit()
    assert race.worker().claim().jobs == []
    assert balance(race.look) == 100


def test_an_expiry_skips_a_job_that_is_being_claimed(race: Race) -> None:
    (job_id,) = queue(race)
    change_job(race.look, job_id, deadline_at=PAST)
    race.first.claim_one()
    assert race.worker().store.expire_jobs(limit=10) == []
    race.commit()
    assert race.worker().store.expire_jobs(limit=10) == []
    assert status(race, job_id) == "processing"


def test_a_job_is_promoted_once(race: Race) -> None:
    lease = claimed(race)
    race.worker().settle(lease, replace(RETRY, delay=0.0))
    assert race.first.store.promote_jobs(limit=10).promoted == 1
    assert race.worker().store.promote_jobs(limit=10).promoted == 0
    race.commit()
    assert race.worker().store.promote_jobs(limit=10).promoted == 0
    assert race.worker().claim_one().attempt == 2


def test_an_enqueue_that_waits_for_one_with_the_same_key_gives_the_same_job(race: Race) -> None:
    grant(race.look)
    first = enqueue(race.first.connection, cost=1, idempotency_key="order-1")
    second = race.waits(lambda: enqueue(race.worker().connection, cost=1, idempotency_key="order-1"))
    race.commit()
    assert second.result() == first
    assert len(race.worker().claim().jobs) == 1
    assert balance(race.look) == 99


def test_an_enqueue_that_waits_for_one_that_is_undone_makes_the_job(race: Race) -> None:
    grant(race.look)
    first = enqueue(race.first.connection, cost=1, idempotency_key="order-1")
    second = race.waits(lambda: enqueue(race.worker().connection, cost=1, idempotency_key="order-1"))
    race.first.connection.rollback()
    assert second.result() != first
    assert [UUID(taken.id) for taken in race.worker().claim().jobs] == [second.result()]


def test_pruning_skips_a_job_that_somebody_looks_at(race: Race) -> None:
    lease = claimed(race)
    race.worker().settle(lease, COMPLETED)
    race.first.connection.execute("SELECT FROM generation_job WHERE id = %s FOR SHARE", (lease.id,))
    assert race.worker().store.prune_jobs(retention=-1, limit=10) == 0
    race.commit()
    assert race.worker().store.prune_jobs(retention=-1, limit=10) == 1


# everything at once


@pytest.mark.parametrize("seed", range(3))
def test_whatever_many_sessions_do_at_once_the_books_are_right(race: Race, database: Database, seed: int) -> None:
    users = ("ada", "bob", "eve")
    for user in users:
        queue(race, 12, cost=2, amount=24, user=user)
        race.look.execute("SELECT adjust_credits(%s, -6)", (user,))
    numbers = iter(range(100))

    def live(connection: Connection) -> None:
        chance = random.Random(f"{seed} {next(numbers)}")
        worker = Worker(connection, f"worker-{chance.random()}")
        for _ in range(25):
            act(worker, chance)

    def act(worker: Worker, chance: random.Random) -> None:
        jobs = worker.claim(3, lease=chance.choice((EXPIRED, 60)), max_attempts=2).jobs
        jobs += [found.job for found in worker.store.reclaim_jobs(limit=2, lease=chance.choice((EXPIRED, 60)))]
        for found in jobs:
            begin(worker, found)
            if chance.random() < 0.2:
                cancel(worker.connection, found.id)
        worker.renew(*jobs)
        batch = [(found, possible(found, chance)) for found in jobs if chance.random() < 0.9]
        worker.store.settle_attempts(batch)
        if chance.random() < 0.3:
            worker.promote_now()

    def possible(found: Job, chance: random.Random) -> Settlement:
        """`settle` gives no attempt that there is not."""
        last = found.attempt >= found.max_attempts
        choices = (COMPLETED, GAVE_UP, LIMITED, RELEASED, CRASHED_TOO_OFTEN, *(() if last else (RETRY, CRASHED)))
        return chance.choice(choices)

    assert many_at_once(database, 4, live) == [None] * 4
