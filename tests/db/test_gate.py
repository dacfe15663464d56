"""The gate of a provider's key: how many calls the fleet may make, and when it may make none."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import pytest

from generation_worker.ports import CallReport, Staged, WorkerInfo
from tests.support.database import Database
from tests.support.gates import FAR, OTHER, Fleet
from tests.support.jobs import job
from tests.support.protocol import LIMITED, RETRY, calls
from tests.support.waiting import wait_for_lock_waiters

KEPT = CallReport(milliseconds=1, spent=True)


# the limit


def test_no_more_is_claimed_than_there_are_permits(fleet: Fleet) -> None:
    fleet.enqueue(5)
    claim = fleet.claim()
    assert [claimed.key_label for claimed in claim.jobs] == ["far-1"] * 3
    assert fleet.gate()["calls"] == 3
    assert claim.opens_in is not None
    assert 60 < claim.opens_in <= 60.6
    assert claim.all_breakers_open is False
    again = fleet.claim()
    assert (again.jobs, again.opens_in is not None) == ([], True)


def test_permits_come_back_one_by_one_as_they_leave_the_window(fleet: Fleet) -> None:
    fleet.enqueue(5)
    fleet.claim(1)
    fleet.pass_time(30)
    fleet.claim(2)
    fleet.pass_time(30.6)
    claim = fleet.claim()
    assert len(claim.jobs) == 1
    assert claim.opens_in is not None
    assert 29 < claim.opens_in <= 30.1
    fleet.pass_time(60.6)
    assert len(fleet.claim().jobs) == 1


def test_a_permit_does_not_come_back_within_the_minute_and_its_margin(fleet: Fleet) -> None:
    fleet.enqueue(4)
    fleet.claim()
    fleet.pass_time(60.4)
    assert fleet.claim().jobs == []


def test_a_clock_that_was_set_back_gives_nothing_free(fleet: Fleet) -> None:
    fleet.enqueue(5)
    fleet.claim(2)
    fleet.pass_time(-3600)
    assert len(fleet.claim().jobs) == 1
    assert fleet.gate()["calls"] == 3


def test_the_provider_s_limit_is_not_that_of_others(fleet: Fleet) -> None:
    fleet.enqueue(4)
    fleet.enqueue(4, provider="local")
    claim = fleet.claim()
    assert sorted(claimed.provider for claimed in claim.jobs) == ["far"] * 3 + ["local"] * 4
    assert {claimed.key_label for claimed in claim.jobs if claimed.provider == "local"} == {None}


def test_no_permit_is_taken_for_a_thread_that_there_is_not(fleet: Fleet) -> None:
    fleet.enqueue(3)
    claim = fleet.claim(2)
    assert (len(claim.jobs), claim.opens_in, fleet.gate()["calls"]) == (2, None, 2)


def test_no_permit_is_taken_for_a_job_that_cannot_be_paid(fleet: Fleet) -> None:
    fleet.enqueue(2)
    fleet.connection.execute("ALTER TABLE generation_job DISABLE TRIGGER request_never_changes")
    fleet.connection.execute("UPDATE generation_job SET cost = 5")
    fleet.connection.execute("ALTER TABLE generation_job ENABLE TRIGGER request_never_changes")
    claim = fleet.claim()
    assert (len(claim.refused), fleet.gate()["calls"]) == (2, 0)


def test_an_idle_worker_does_not_touch_a_gate(fleet: Fleet) -> None:
    before = fleet.connection.execute("SELECT xmin, xmax, ctid FROM provider_gate").fetchall()
    fleet.claim()
    assert fleet.connection.execute("SELECT xmin, xmax, ctid FROM provider_gate").fetchall() == before


def test_keys_add_up_and_the_one_with_more_room_goes_first(fleet: Fleet) -> None:
    fleet.register(OTHER, FAR)
    fleet.enqueue(9)
    assert [claimed.key_label for claimed in fleet.claim(2).jobs] == ["far-1", "far-1"]
    assert [claimed.key_label for claimed in fleet.claim().jobs] == ["far-2", "far-2", "far-1"]


def test_a_worker_uses_only_keys_that_it_holds(fleet: Fleet) -> None:
    fleet.register(OTHER, name="worker-2")
    fleet.enqueue(5)
    assert [claimed.key_label for claimed in fleet.claim().jobs] == ["far-2", "far-2"]
    assert fleet.gate("far-1")["calls"] == 0


def test_a_limit_that_is_lowered_holds_for_what_was_used_before(fleet: Fleet) -> None:
    fleet.enqueue(5)
    fleet.claim()
    fleet.register(FAR._replace(calls_per_minute=1))
    assert fleet.claim().jobs == []
    fleet.pass_time(61)
    assert len(fleet.claim().jobs) == 1


# the stamp


def test_a_call_that_begins_at_once_keeps_its_permit(fleet: Fleet) -> None:
    fleet.enqueue()
    (claimed,) = fleet.claim().jobs
    begun = fleet.begin(claimed)
    assert (begun.number, begun.wait) == (1, None)
    assert begun.permit is not None
    assert claimed.permit is not None
    assert fleet.gate()["calls"] == 1


def test_a_permit_that_has_aged_counts_from_the_moment_of_the_call(fleet: Fleet) -> None:
    fleet.enqueue()
    (claimed,) = fleet.claim().jobs
    assert claimed.permit is not None
    aged = claimed._replace(permit=claimed.permit - 300)
    fleet.pass_time(30)
    begun = fleet.begin(aged)
    assert begun.permit is not None
    assert begun.permit >= claimed.permit
    gate = fleet.gate()
    assert (gate["calls"], gate["used"][-1]) == (1, 1)


@pytest.mark.parametrize(("others", "begins"), [(2, True), (3, False)])
def test_a_permit_that_has_left_the_window_needs_room(fleet: Fleet, others: int, begins: bool) -> None:
    fleet.enqueue(4)
    (claimed,) = fleet.claim(1).jobs
    assert claimed.permit is not None
    fleet.pass_time(61)
    assert len(fleet.claim(others).jobs) == others
    begun = fleet.begin(claimed._replace(permit=claimed.permit - 610))
    assert (begun.number is not None, begun.wait is None) == (begins, begins)
    assert fleet.gate()["calls"] == 3
    if not begins:
        assert begun.wait is not None
        assert 59 < begun.wait <= 60.6
        assert begun.reason == "3 calls a minute are used up"
        assert calls(fleet.connection, claimed.id) == []


def test_a_call_without_a_permit_takes_one(fleet: Fleet) -> None:
    fleet.enqueue()
    (claimed,) = fleet.claim().jobs
    fleet.pass_time(61)
    assert fleet.begin(claimed._replace(permit=None)).number == 1
    assert fleet.gate()["used"][-1] == 1


def test_a_key_without_a_gate_has_no_limit(fleet: Fleet) -> None:
    fleet.enqueue(1, provider="local")
    (claimed,) = fleet.claim().jobs
    begun = fleet.worker.store.begin_call(claimed, provider="local", key_label="local", max_paid_calls=1)
    assert (begun.number, begun.permit, begun.wait) == (1, None, None)
    assert fleet.worker.store.renew_permit(claimed, 1, key_label="local", permit=1) is None


def test_a_permit_is_renewed_when_the_request_leaves(fleet: Fleet) -> None:
    fleet.enqueue()
    (claimed,) = fleet.claim().jobs
    begun = fleet.begin(claimed)
    assert begun.permit is not None
    fleet.pass_time(20)
    fleet.connection.execute("UPDATE provider_call SET started_at = started_at - interval '20 s'")
    renewed = fleet.worker.store.renew_permit(claimed, 1, key_label="far-1", permit=begun.permit - 200)
    assert renewed is not None
    assert renewed.wait is None
    assert renewed.permit >= begun.permit
    gate = fleet.gate()
    assert (gate["head"], gate["calls"], gate["used"][-1]) == (renewed.permit, 1, 1)
    (call,) = calls(fleet.connection, claimed.id)
    assert abs(call["started_at"].timestamp() * 10 - renewed.permit) < 2


def test_a_permit_is_not_renewed_through_a_gate_that_has_closed(fleet: Fleet) -> None:
    fleet.enqueue(2)
    first, second = fleet.claim().jobs
    fleet.begin(first)
    permit = fleet.begin(second).permit
    fleet.end(first, "limited", wait=60)
    assert permit is not None
    fleet.pass_time(20)
    gate, begun_calls = fleet.gate(), calls(fleet.connection, second.id)
    renewed = fleet.worker.store.renew_permit(second, 1, key_label="far-1", permit=permit - 200)
    assert renewed is not None
    assert renewed.wait == pytest.approx(40, abs=5)
    assert renewed.reason == "it limited"
    assert (fleet.gate(), calls(fleet.connection, second.id)) == (gate, begun_calls)  # the permit stays where it was


def test_the_stamp_is_later_than_the_statement_by_the_wait_for_the_gate(fleet: Fleet, database: Database) -> None:
    fleet.enqueue()
    (claimed,) = fleet.claim().jobs
    with database.connect(autocommit=False) as other, ThreadPoolExecutor(1) as thread:
        other.execute("SELECT FROM provider_gate FOR UPDATE")
        begun = thread.submit(fleet.begin, claimed)
        wait_for_lock_waiters(database.connect(), 1)
        before = time.monotonic()
        time.sleep(0.2)
        waited = time.monotonic() - before
        other.rollback()
        assert begun.result().stamped_after >= waited


# closed by the provider


def test_a_429_closes_the_gate_for_everyone_for_as_long_as_the_provider_says(fleet: Fleet) -> None:
    fleet.enqueue(3)
    first, second = fleet.claim(2).jobs
    fleet.begin(first)
    news = fleet.end(first, "limited", wait=40)
    assert news is not None
    assert (news.breaker, news.has_alternative) == ("closed", False)
    assert news.closed_for == pytest.approx(40, abs=5)
    claim = fleet.claim()
    assert claim.jobs == []
    assert claim.opens_in == pytest.approx(40, abs=5)
    begun = fleet.begin(second)
    assert (begun.number, begun.reason) == (None, "it limited")
    assert begun.wait == pytest.approx(40, abs=5)
    fleet.pass_time(41)
    assert len(fleet.claim().jobs) == 1


def test_an_earlier_end_does_not_shorten_a_later_one(fleet: Fleet) -> None:
    fleet.enqueue(2)
    first, second = fleet.claim().jobs
    for claimed in (first, second):
        fleet.begin(claimed)
    fleet.end(first, "limited", wait=3600)
    fleet.end(second, "limited", wait=1)
    claim = fleet.claim()
    assert claim.opens_in is None  # nobody waits outside
    fleet.enqueue()
    opens_in = fleet.claim().opens_in
    assert opens_in is not None
    assert opens_in > 3500


def test_a_429_that_does_not_say_how_long_closes_for_longer_each_time(fleet: Fleet) -> None:
    waits: list[float] = []
    for _ in range(5):
        news = fleet.call("limited")
        assert news is not None
        assert news.closed_for is not None
        waits.append(round(news.closed_for))
        fleet.pass_time(61)
    assert waits == [5, 10, 20, 40, 60]
    fleet.call("ok")
    news = fleet.call("limited")
    assert news is not None
    assert news.closed_for == pytest.approx(5, abs=4)


def test_another_key_is_told_of(fleet: Fleet) -> None:
    fleet.register(FAR, OTHER)
    news = fleet.call("limited", wait=40)
    assert news is not None
    assert news.has_alternative
    assert len(fleet.claim().jobs) == 0
    fleet.enqueue(3)
    assert {claimed.key_label for claimed in fleet.claim().jobs} == {"far-2"}


# the breaker


def test_it_opens_after_failures_in_a_row(fleet: Fleet) -> None:
    first = fleet.call("failed")
    assert first is not None
    assert first.breaker == "closed"
    fleet.call("ok")
    assert fleet.gate()["failures"] == 0
    fleet.call("failed")
    fleet.pass_time(61)
    news = fleet.call("failed")
    assert news is not None
    assert (news.breaker_before, news.breaker) == ("closed", "open")
    assert news.closed_for == pytest.approx(30, abs=5)
    gate = fleet.gate()
    assert (gate["opened_for"], gate["probe_job"]) == ("it failed", None)
    fleet.enqueue()
    claim = fleet.claim()
    assert (claim.jobs, claim.all_breakers_open) == ([], True)


def test_it_opens_at_once_when_we_are_refused(fleet: Fleet) -> None:
    news = fleet.call("refused")
    assert news is not None
    assert news.breaker == "open"
    assert fleet.gate()["opened_for"] == "it refused"


def test_one_probe_goes_through_and_closes_it(fleet: Fleet) -> None:
    fleet.call("refused")
    fleet.enqueue(3)
    fleet.pass_time(31)
    (probe,) = fleet.claim().jobs
    assert str(fleet.gate()["probe_job"]) == probe.id
    assert fleet.claim().jobs == []
    assert fleet.begin(probe).number == 1
    news = fleet.end(probe, "ok")
    assert news is not None
    assert (news.breaker_before, news.breaker) == ("open", "closed")
    assert fleet.gate()["openings"] == 0
    fleet.pass_time(61)
    assert len(fleet.claim().jobs) == 2


def test_a_probe_that_fails_opens_it_for_twice_as_long_up_to_a_bound(fleet: Fleet) -> None:
    lengths: list[float] = []
    news = fleet.call("refused")
    for _ in range(4):
        assert news is not None
        assert news.closed_for is not None
        lengths.append(round(news.closed_for))
        fleet.pass_time(130)
        news = fleet.call("failed")
    assert lengths == [30, 60, 70, 70]


def test_a_probe_that_is_never_heard_of_is_followed_by_another(fleet: Fleet) -> None:
    fleet.call("refused")
    fleet.enqueue(2)
    fleet.pass_time(31)
    fleet.claim()
    fleet.pass_time(119)
    assert fleet.claim().jobs == []
    fleet.pass_time(2)
    assert len(fleet.claim().jobs) == 1


def test_calls_that_were_under_way_when_it_opened_do_not_open_it_further(fleet: Fleet) -> None:
    fleet.enqueue(3)
    under_way = fleet.claim().jobs
    for claimed in under_way:
        fleet.begin(claimed)
    fleet.end(under_way[0], "refused")
    fleet.end(under_way[1], "refused")
    gate = fleet.gate()
    assert (gate["openings"], gate["breaker"]) == (1, "open")
    fleet.end(under_way[2], "ok")
    assert fleet.gate()["breaker"] == "closed"


def test_no_call_is_begun_while_it_is_open(fleet: Fleet) -> None:
    fleet.enqueue(2)
    first, second = fleet.claim().jobs
    fleet.begin(first)
    fleet.end(first, "refused")
    begun = fleet.begin(second)
    assert (begun.number, begun.reason) == (None, "it refused")
    assert begun.wait == pytest.approx(30, abs=5)


def test_what_says_nothing_changes_nothing(fleet: Fleet) -> None:
    before = fleet.gate()
    assert fleet.call(None) is None
    assert {name: value for name, value in fleet.gate().items() if name not in ("used", "head", "calls")} == {
        name: value for name, value in before.items() if name not in ("used", "head", "calls")
    }


def test_a_call_that_is_finished_twice_counts_once(fleet: Fleet) -> None:
    fleet.enqueue()
    (claimed,) = fleet.claim().jobs
    fleet.begin(claimed)
    fleet.end(claimed, "failed")
    assert fleet.end(claimed, "failed") is None
    assert fleet.gate()["failures"] == 1


def test_a_worker_that_starts_tries_again(fleet: Fleet) -> None:
    fleet.call("refused")
    fleet.enqueue()
    assert fleet.claim().jobs == []
    fleet.register(FAR)
    assert len(fleet.claim().jobs) == 1


# what is paid for passes


def test_an_image_that_is_staged_passes_a_closed_gate(fleet: Fleet) -> None:
    fleet.enqueue(2)
    first, second = fleet.claim().jobs
    fleet.begin(first)
    fleet.worker.store.finish_call(first, 1, KEPT)
    fleet.worker.store.stage_image(first, Staged(b"bytes", "far", "m"))
    fleet.worker.settle(first, RETRY)
    fleet.begin(second)
    fleet.end(second, "refused")
    fleet.worker.settle(second, LIMITED)
    fleet.worker.promote_now()
    (claimed,) = fleet.claim().jobs
    assert (claimed.id, claimed.key_label) == (first.id, None)


def test_a_call_that_the_provider_keeps_passes_a_closed_gate(fleet: Fleet) -> None:
    fleet.enqueue(2)
    first, second = fleet.claim().jobs
    fleet.begin(first)
    fleet.worker.store.remember_call(first, 1, "p-1")
    fleet.worker.settle(first, RETRY)
    fleet.begin(second)
    fleet.end(second, "refused")
    fleet.worker.promote_now()
    (claimed,) = fleet.claim().jobs
    begun = fleet.begin(claimed)
    assert (claimed.id, begun.resume, begun.key_label, begun.key_is_held) == (first.id, "p-1", "far-1", True)


def test_a_job_whose_answer_is_gone_waits_like_the_others(fleet: Fleet) -> None:
    fleet.enqueue(2)
    first, second = fleet.claim().jobs
    fleet.worker.store.stage_image(first, Staged(b"bytes", "far", "m"))
    fleet.worker.settle(first, RETRY)
    fleet.begin(second)
    fleet.end(second, "refused")
    fleet.worker.store.discard_staged(first)
    fleet.worker.promote_now()
    (claimed,) = fleet.claim().jobs
    assert fleet.begin(claimed).wait is not None
    fleet.worker.settle(claimed, LIMITED)
    fleet.worker.promote_now()
    assert fleet.claim().jobs == []


# the second provider


def second_provider(fleet: Fleet, number: int = 1) -> None:
    fleet.enqueue(number, fallback_provider="local")


def test_a_job_moves_to_its_second_provider_while_the_first_one_s_breaker_is_open(fleet: Fleet) -> None:
    fleet.call("refused")
    second_provider(fleet)
    fleet.enqueue()
    assert fleet.claim().all_breakers_open
    assert fleet.worker.store.move_jobs(limit=10) == 1
    (claimed,) = fleet.claim().jobs
    row = job(fleet.connection, UUID(claimed.id))
    assert (row["provider"], row["fallback_provider"]) == ("local", "far")


@pytest.mark.parametrize("why", ["closed", "limited", "due for a probe", "one key works", "nobody has the second"])
def test_a_job_stays_while_its_provider_may_yet_make_it(fleet: Fleet, why: str) -> None:
    if why != "closed":
        fleet.call("limited" if why == "limited" else "refused", wait=600)
    if why == "due for a probe":
        fleet.pass_time(31)
    if why == "one key works":
        fleet.register(OTHER, name="worker-2")
    if why == "nobody has the second":
        fleet.connection.execute("UPDATE worker_process SET providers = '{far}'")
    second_provider(fleet)
    assert fleet.worker.store.move_jobs(limit=10) == 0


def test_the_gates_of_keys_that_nobody_holds_any_more_do_not_keep_a_job(fleet: Fleet) -> None:
    fleet.register(OTHER, name="worker-2")
    fleet.register(FAR)
    fleet.call("refused")
    fleet.connection.execute("UPDATE worker_process SET seen_at = seen_at - interval '1 hour' WHERE id = 'worker-2'")
    second_provider(fleet)
    assert fleet.worker.store.move_jobs(limit=10) == 1


def test_no_more_move_at_once_than_asked(fleet: Fleet) -> None:
    fleet.call("refused")
    second_provider(fleet, 3)
    assert [fleet.worker.store.move_jobs(limit=2) for _ in range(3)] == [2, 1, 0]


# the row


def test_a_gate_that_was_deleted_is_there_again_with_the_next_heartbeat(fleet: Fleet) -> None:
    fleet.connection.execute("DELETE FROM provider_gate")
    fleet.enqueue()
    assert fleet.claim().jobs == []
    fleet.worker.store.touch_worker(WorkerInfo("worker-1", "0", ("far",), 5, fleet.keys), busy=0, stuck=0)
    assert len(fleet.claim().jobs) == 1


def test_gates_to_which_nobody_has_a_key_are_forgotten_after_a_day(fleet: Fleet) -> None:
    fleet.call("ok")
    fleet.connection.execute("DELETE FROM worker_process")
    fleet.register(OTHER, name="worker-2")
    assert fleet.gate("far-1")["calls"] == 1
    fleet.pass_time(90_000)
    fleet.register(OTHER, name="worker-2")
    labels = fleet.connection.execute("SELECT key_label FROM provider_gate").fetchall()
    assert labels == [("far-2",)]
