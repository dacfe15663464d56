"""The settler: what waits is written together, what was not written is written again, and nothing holds up the rest."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from generation_worker.domain.errors import InternalError, ProviderUnavailable
from generation_worker.domain.job import Job, Status
from generation_worker.domain.settlement import Cancelled, Completed, Failed, Outcome, Released, RetryPolicy, Settlement
from generation_worker.events import Events
from generation_worker.ports import StoreBusy, StoreUnavailable
from generation_worker.worker.lease import Lease, LeaseBook
from generation_worker.worker.settler import BATCH, Settler
from tests.worker.scripted_store import Clock, RecordedEvents, ScriptedStore, jobs, lease, unavailable

COMPLETED = Completed({"images": []})
FAILED = Failed(ProviderUnavailable("503"))
POLICY = RetryPolicy(initial_delay=10, max_delay=100, jitter=True)
Batch = list[tuple[Job, Settlement]]


@dataclass
class Bench:
    store: ScriptedStore
    clock: Clock
    settler: Settler
    leases: LeaseBook
    due: list[float] = field(default_factory=list[float])
    written: list[int] = field(default_factory=list[int])

    def end(self, outcome: Outcome, number: int = 1, *, first: int = 1, **changes: Any) -> list[Lease]:
        """Attempts that are in the book and end with this outcome."""
        ended = [lease(job, clock=self.clock) for job in jobs(number, first=first, **changes)]
        for held in ended:
            self.leases.add(held)
            self.settler.put(held, outcome)
        return ended

    def batches(self) -> list[Batch]:
        return [args[0] for args, _ in self.store.calls("settle_attempts")]

    def statuses(self) -> list[list[Status]]:
        return [[settlement.status for _, settlement in batch] for batch in self.batches()]


@pytest.fixture
def bench(store: ScriptedStore, clock: Clock, events: Events) -> Bench:
    leases, due, written = LeaseBook(), list[float](), list[int]()
    settler = Settler(store, POLICY, leases, events, due_in=due.append, written=lambda: written.append(len(leases)))
    return Bench(store, clock, settler, leases, due, written)


def test_what_waits_is_written_together(bench: Bench) -> None:
    bench.end(COMPLETED, 3)
    assert bench.settler.waiting == 3
    assert bench.settler.step() is None
    assert bench.statuses() == [["completed"] * 3]
    assert (bench.settler.waiting, len(bench.leases)) == (0, 0)


def test_nothing_is_asked_while_nothing_waits(bench: Bench) -> None:
    assert bench.settler.step() is None
    assert bench.store.queries == []


def test_no_statement_writes_more_than_a_batch(bench: Bench) -> None:
    bench.end(COMPLETED, BATCH + 1)
    assert bench.settler.step() == 0
    assert bench.settler.step() is None
    assert [len(batch) for batch in bench.batches()] == [BATCH, 1]


def test_what_was_written_is_told(bench: Bench, recorded: RecordedEvents) -> None:
    (held,) = bench.end(FAILED)
    bench.clock.advance(3)
    bench.settler.step()
    said = recorded.fields("attempt.settled")
    assert (said["job"], said["outcome"], said["status"], said["seconds"]) == (held.job.id, "failed", "scheduled", 3)
    assert (said["error_code"], said["error_message"]) == ("provider_unavailable", "503")


def test_a_job_that_will_be_due_is_told_to_the_promoter(bench: Bench) -> None:
    bench.end(FAILED)
    bench.settler.step()
    assert bench.due == [bench.batches()[0][0][1].delay]


def test_a_job_that_was_cancelled_meanwhile_will_not_be_due(bench: Bench, recorded: RecordedEvents) -> None:
    (held,) = bench.end(FAILED)
    bench.store.answer("settle_attempts", {held.job.id: "cancelled"})
    bench.settler.step()
    assert bench.due == []
    assert recorded.fields("attempt.settled")["status"] == "cancelled"


def test_leases_are_given_up_before_it_is_said_that_they_are(bench: Bench) -> None:
    bench.end(COMPLETED, 3)
    bench.settler.step()
    assert bench.written == [0]


# the fence


def test_an_attempt_that_lost_its_lease_has_written_nothing(bench: Bench, recorded: RecordedEvents) -> None:
    bench.end(COMPLETED, 2)
    bench.store.answer("settle_attempts", {"job-1": "completed"})
    bench.settler.step()
    assert recorded.names == ["attempt.settled", "lease.lost"]
    assert recorded.fields("lease.lost")["job"] == "job-2"
    assert (bench.settler.waiting, len(bench.leases)) == (0, 0)


# a database that does not answer


def test_the_same_settlements_are_written_when_the_database_answers_again(bench: Bench) -> None:
    bench.end(FAILED, 2)
    bench.store.answer("settle_attempts", unavailable, unavailable)
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            bench.settler.step()
        assert (bench.settler.waiting, len(bench.leases)) == (2, 2)
        bench.clock.advance(30)
    bench.settler.step()
    first, second, third = bench.batches()
    assert first == second == third
    assert bench.settler.waiting == 0


def test_what_ended_meanwhile_is_written_with_it(bench: Bench) -> None:
    bench.end(FAILED)
    bench.store.answer("settle_attempts", unavailable)
    with pytest.raises(StoreUnavailable):
        bench.settler.step()
    bench.end(COMPLETED, first=2)
    bench.settler.step()
    assert bench.statuses()[1] == ["scheduled", "completed"]


def test_a_batch_stays_a_batch_however_long_the_database_is_away(bench: Bench) -> None:
    bench.end(COMPLETED, BATCH + 5)
    bench.store.answer("settle_attempts", unavailable, unavailable)
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            bench.settler.step()
    assert {len(batch) for batch in bench.batches()} == {BATCH}
    assert bench.settler.waiting == BATCH + 5


# a row that somebody holds


def holding(*held: str) -> Any:
    def settle(batch: Batch) -> dict[str, Status]:
        if any(job.id in held for job, _ in batch):
            raise StoreBusy("settle_attempts: canceling statement due to lock timeout")
        return {job.id: settlement.status for job, settlement in batch}

    return settle


def settled(recorded: RecordedEvents) -> list[str]:
    return [fields["job"] for name, fields in recorded.events if name == "attempt.settled"]


def test_a_row_that_somebody_holds_keeps_no_other_settlement_from_being_written(
    bench: Bench, recorded: RecordedEvents
) -> None:
    bench.end(COMPLETED, 6)
    bench.store.answer("settle_attempts", *[holding("job-2", "job-5")] * 100)
    for number in (1, 2):
        with pytest.raises(StoreBusy):
            bench.settler.step()
        bench.end(COMPLETED, first=6 + number)
    with pytest.raises(StoreBusy):
        bench.settler.step()
    assert sorted(settled(recorded)) == ["job-1", "job-3", "job-4", "job-6", "job-7", "job-8"]
    assert bench.settler.waiting == 2


def test_what_is_held_costs_one_wait_at_each_step(bench: Bench) -> None:
    """A wait lasts seconds, and what has just ended is to be written."""
    bench.end(COMPLETED, 20)
    bench.store.answer("settle_attempts", *[holding(*(f"job-{n}" for n in range(1, 20)))] * 100)
    with pytest.raises(StoreBusy):
        bench.settler.step()
    assert [len(batch) for batch in bench.batches()] == [20, 1, 1]


def test_a_settlement_that_is_refused_does_not_wait_for_one_that_is_held(
    bench: Bench, recorded: RecordedEvents
) -> None:
    def refusing_or_holding(batch: Batch) -> dict[str, Status]:
        return {**refusing("job-2")(batch), **holding("job-1")(batch)}

    bench.end(COMPLETED, 2)
    bench.store.answer("settle_attempts", *[refusing_or_holding] * 10)
    with pytest.raises(StoreBusy):
        bench.settler.step()
    assert settled(recorded) == ["job-2"]


def test_what_was_held_is_written_when_it_is_let_go(bench: Bench, recorded: RecordedEvents) -> None:
    bench.end(COMPLETED, 3)
    bench.store.answer("settle_attempts", *[holding("job-1", "job-2", "job-3")] * 2)
    with pytest.raises(StoreBusy):
        bench.settler.step()
    bench.settler.step()
    assert sorted(settled(recorded)) == ["job-1", "job-2", "job-3"]
    assert (bench.settler.waiting, len(bench.leases)) == (0, 0)


# a settlement that the database refuses


def refusing(*broken: str) -> Any:
    def settle(batch: Batch) -> dict[str, Status]:
        if any(job.id in broken and settlement.status == "completed" for job, settlement in batch):
            raise ValueError("invalid byte sequence")
        return {job.id: settlement.status for job, settlement in batch}

    return settle


def test_a_settlement_that_is_refused_does_not_hold_up_the_others(bench: Bench, recorded: RecordedEvents) -> None:
    bench.end(COMPLETED, 3)
    bench.store.answer("settle_attempts", *[refusing("job-2")] * 10)
    bench.settler.step()
    settled = {fields["job"]: fields["status"] for name, fields in recorded.events if name == "attempt.settled"}
    assert settled == {"job-1": "completed", "job-2": "scheduled", "job-3": "completed"}
    assert recorded.fields("settlement.refused")["job"] == "job-2"
    assert (bench.settler.waiting, len(bench.leases)) == (0, 0)


def test_a_settlement_that_is_refused_ends_as_a_failure_that_says_so(bench: Bench) -> None:
    bench.end(COMPLETED)
    bench.store.answer("settle_attempts", refusing("job-1"), refusing("job-1"))
    bench.settler.step()
    _, settlement = bench.batches()[-1][0]
    assert settlement.error_code == "internal_error"
    assert settlement.error_message == "The outcome could not be written: ValueError"


def test_a_failure_that_cannot_be_written_either_is_left_to_the_reclaimer(
    bench: Bench, recorded: RecordedEvents
) -> None:
    bench.end(COMPLETED)
    bench.store.answer("settle_attempts", *[ValueError("never")] * 3)
    bench.settler.step()
    assert len(bench.batches()) == 2
    assert (bench.settler.waiting, len(bench.leases)) == (0, 0)
    assert recorded.names == ["settlement.refused", "settlement.refused"]


def test_a_fault_of_ours_that_is_refused_is_not_tried_as_itself_again(bench: Bench) -> None:
    bench.end(Failed(InternalError("KeyError in the worker")))
    bench.store.answer("settle_attempts", ValueError("never"))
    bench.settler.step()
    assert len(bench.batches()) == 1
    assert len(bench.leases) == 0


def test_what_was_written_apart_is_not_written_again_when_the_database_goes_away(
    bench: Bench, recorded: RecordedEvents
) -> None:
    bench.end(COMPLETED, 3)
    bench.store.answer("settle_attempts", ValueError("one of these"), refusing("job-2"), unavailable)
    with pytest.raises(StoreUnavailable):
        bench.settler.step()
    assert bench.settler.waiting == 2
    bench.store.answer("settle_attempts", *[refusing("job-2")] * 5)
    bench.settler.step()
    settled = [fields["job"] for name, fields in recorded.events if name == "attempt.settled"]
    assert sorted(settled) == ["job-1", "job-2", "job-3"]


# released over its head


@pytest.mark.parametrize("order", ["released first", "released last"])
@pytest.mark.parametrize("outcome", [COMPLETED, FAILED, Cancelled()], ids=lambda outcome: type(outcome).__name__)
def test_an_attempt_that_ends_while_it_is_released_ends_once_and_by_its_own_word(
    bench: Bench, outcome: Outcome, order: str
) -> None:
    first, second = (Released(), outcome) if order == "released first" else (outcome, Released())
    (held,) = bench.end(first)
    bench.settler.put(held, second)
    bench.settler.step()
    assert [len(batch) for batch in bench.batches()] == [1]
    assert bench.statuses()[0][0] != "pending"


def test_an_attempt_that_ends_after_it_was_released_is_not_written_again(
    bench: Bench, recorded: RecordedEvents
) -> None:
    (held,) = bench.end(Released())
    bench.settler.step()
    bench.settler.put(held, COMPLETED)
    bench.settler.step()
    assert bench.statuses() == [["pending"]]
    assert recorded.names == ["attempt.settled"]
    assert bench.settler.waiting == 0
