"""A courier over a scripted outbox, and endpoints that answer when a test lets them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from generation_worker.domain.webhook import Judgement, Reply
from generation_worker.events import Events
from generation_worker.ports import Delivery, Recorded, StoreUnavailable
from generation_worker.worker.courier import FAILING, PER_ENDPOINT, Courier
from tests.support.jobs import TRACEPARENT
from tests.support.waiting import wait_until
from tests.worker.scripted_store import RecordedEvents, ScriptedStore


def a_delivery(number: int = 1, endpoint: str = "e", **changes: Any) -> Delivery:
    known: dict[str, Any] = {
        "id": f"d-{number}", "endpoint": endpoint, "event": "job.completed", "url": "https://a.example.com/",
        "secrets": ["whsec_aaaa"], "failing": False, "body": "{}", "attempts": 1, "token": f"t-{number}",
    }  # fmt: skip
    return Delivery(**(known | changes))


class ScriptedOutbox(ScriptedStore):
    """Returns the deliveries that a test puts into it, at most as many as there are slots."""

    def __init__(self) -> None:
        super().__init__()
        self.due: list[Delivery] = []
        self.claims: list[dict[str, Any]] = []
        self.recorded: list[tuple[Delivery, Reply, Judgement]] = []
        self.result: Recorded | StoreUnavailable = Recorded(True)
        self.looked_for_batches = 0

    def claim_deliveries(
        self, *, slots: int, per_endpoint: int, failing_slots: int, busy: Mapping[str, int], lease: float
    ) -> list[Delivery]:
        self.claims.append(
            {"slots": slots, "per_endpoint": per_endpoint, "failing_slots": failing_slots, "busy": busy, "lease": lease}
        )
        taken, self.due = self.due[:slots], self.due[slots:]
        return taken

    def record_delivery(self, delivery: Delivery, reply: Reply, judgement: Judgement) -> Recorded:
        self.recorded.append((delivery, reply, judgement))
        if isinstance(self.result, StoreUnavailable):
            raise self.result
        return self.result

    def finish_batches(self, *, limit: int) -> int:
        self.looked_for_batches += 1
        return 0

    def prune_deliveries(self, *, retention: float, limit: int) -> int:
        return 0


class ScriptedPoster:
    longest = 10.0

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.go_on.set()
        self.posted: list[Delivery] = []
        self.hanging: set[str] = set()
        self.answer: Reply | Callable[[], Reply] = Reply(204)

    def warm_up(self) -> None:
        pass

    def post(self, delivery: Delivery) -> Reply:
        self.posted.append(delivery)
        if delivery.endpoint in self.hanging:
            self.go_on.wait(30)
        return self.answer if isinstance(self.answer, Reply) else self.answer()


@pytest.fixture
def outbox() -> ScriptedOutbox:
    return ScriptedOutbox()


@pytest.fixture
def poster() -> Iterator[ScriptedPoster]:
    poster = ScriptedPoster()
    yield poster
    poster.go_on.set()


@pytest.fixture
def courier(outbox: ScriptedOutbox, poster: ScriptedPoster, events: Events) -> Iterator[Courier]:
    courier = Courier(outbox, poster, events, senders=4, rest=30.0)
    yield courier
    courier.loop.stop()


def ended(recorded: RecordedEvents) -> list[dict[str, Any]]:
    return [fields for name, fields in recorded.events if name == "delivery.ended"]


def test_what_is_told_of_a_job_names_its_trace() -> None:
    delivery = a_delivery(job="job-1", traceparent=TRACEPARENT)
    assert delivery.tags == {
        "delivery": "d-1",
        "endpoint": "e",
        "type": "job.completed",
        "job": "job-1",
        "trace_id": TRACEPARENT[3:35],
        "traceparent": TRACEPARENT,
    }
    assert "job" not in a_delivery().tags


def test_without_an_endpoint_the_database_is_asked_nothing(courier: Courier, outbox: ScriptedOutbox) -> None:
    assert courier.step() is None
    courier.check_now()
    courier.finish(within=30)
    assert (outbox.claims, outbox.looked_for_batches) == ([], 0)


def test_what_is_due_is_posted_and_recorded(
    courier: Courier, outbox: ScriptedOutbox, poster: ScriptedPoster, recorded: RecordedEvents
) -> None:
    outbox.due = [a_delivery(1), a_delivery(2)]
    courier.follow(["job.completed"])
    assert courier.step() == 0
    wait_until(lambda: len(ended(recorded)) == 2, "both have ended")
    assert {delivery.id for delivery in poster.posted} == {"d-1", "d-2"}
    assert [judgement.status for _, _, judgement in outbox.recorded] == ["delivered", "delivered"]
    [first, _] = ended(recorded)
    assert (first["outcome"], first["status"], first["type"], first["attempt"]) == (
        "delivered",
        204,
        "job.completed",
        1,
    )
    assert first["seconds"] >= 0
    assert "whsec" not in str(recorded.events)
    assert "example.com" not in str(recorded.events)


def test_the_lease_outlasts_the_longest_try(courier: Courier, outbox: ScriptedOutbox, poster: ScriptedPoster) -> None:
    courier.follow(["job.completed"])
    courier.step()
    assert outbox.claims[0]["lease"] >= poster.longest + 10


def test_nothing_due_means_a_rest(courier: Courier) -> None:
    courier.follow(["job.completed"])
    assert courier.step() == 30.0


def test_batches_are_looked_for_only_where_somebody_asks(courier: Courier, outbox: ScriptedOutbox) -> None:
    courier.follow(["job.completed"])
    courier.step()
    assert outbox.looked_for_batches == 0
    courier.follow(["job.completed", "batch.finished"])
    courier.step()
    assert outbox.looked_for_batches == 1


def test_no_more_is_taken_than_senders_are_idle(
    courier: Courier, outbox: ScriptedOutbox, poster: ScriptedPoster
) -> None:
    poster.go_on.clear()
    poster.hanging = {"slow", "broken"}
    outbox.due = [
        a_delivery(1, "slow"), a_delivery(2, "slow"), a_delivery(3, "broken", failing=True), a_delivery(4, "slow"),
        a_delivery(5, "slow"),
    ]  # fmt: skip
    courier.follow(["job.completed"])
    outbox.due, later = outbox.due[:3], outbox.due[3:]
    courier.step()
    outbox.due = later
    assert courier.step() == 30.0  # all are busy now: whoever is done wakes the courier
    assert courier.step() == 30.0
    first, second = outbox.claims
    assert first == {
        "slots": 4, "per_endpoint": PER_ENDPOINT, "failing_slots": FAILING, "busy": {}, "lease": first["lease"],
    }  # fmt: skip
    assert (second["slots"], second["busy"], second["failing_slots"]) == (1, {"slow": 2, "broken": 1}, FAILING - 1)
    assert [delivery.id for delivery in outbox.due] == ["d-5"]


def test_an_endpoint_that_hangs_does_not_hold_up_another(
    courier: Courier, outbox: ScriptedOutbox, poster: ScriptedPoster, recorded: RecordedEvents
) -> None:
    poster.go_on.clear()
    poster.hanging = {"slow"}
    courier.loop.start()
    outbox.due = [a_delivery(1, "slow"), a_delivery(2, "slow")]
    courier.follow(["job.completed"])
    wait_until(lambda: len(poster.posted) == 2, "the slow one is asked")
    outbox.due = [a_delivery(n, "quick") for n in range(3, 9)]
    courier.check_now()
    wait_until(lambda: len(ended(recorded)) == 6, "the quick one has its deliveries")
    assert {fields["endpoint"] for fields in ended(recorded)} == {"quick"}


def test_a_failure_is_judged_and_told(
    courier: Courier, outbox: ScriptedOutbox, poster: ScriptedPoster, recorded: RecordedEvents
) -> None:
    poster.answer = Reply(500)
    outbox.due = [a_delivery(1), a_delivery(2, attempts=10)]
    courier.follow(["job.completed"])
    courier.step()
    wait_until(lambda: len(ended(recorded)) == 2, "both have ended")
    assert sorted(fields["outcome"] for fields in ended(recorded)) == ["dead", "failed"]
    assert recorded.fields("delivery.dead")["delivery"] == "d-2"


def test_an_endpoint_that_was_disabled_is_told_of(
    courier: Courier, outbox: ScriptedOutbox, recorded: RecordedEvents
) -> None:
    outbox.result = Recorded(True, "it is gone")
    outbox.due = [a_delivery()]
    courier.follow(["job.completed"])
    courier.step()
    wait_until(lambda: "endpoint.disabled" in recorded.names, "the event is emitted")
    assert recorded.fields("endpoint.disabled") == {"endpoint": "e", "reason": "it is gone"}


def test_one_that_somebody_else_has_by_now_is_lost(
    courier: Courier, outbox: ScriptedOutbox, poster: ScriptedPoster, recorded: RecordedEvents
) -> None:
    outbox.result = Recorded(False)
    poster.answer = Reply(410)
    outbox.due = [a_delivery()]
    courier.follow(["job.completed"])
    courier.step()
    wait_until(lambda: len(ended(recorded)) == 1, "the event is emitted")
    assert ended(recorded)[0]["outcome"] == "lost"
    assert "delivery.dead" not in recorded.names


def test_what_cannot_be_recorded_is_left_to_its_lease(
    courier: Courier, outbox: ScriptedOutbox, recorded: RecordedEvents
) -> None:
    outbox.result = StoreUnavailable("away")
    outbox.due = [a_delivery()]
    courier.follow(["job.completed"])
    courier.step()
    wait_until(lambda: "delivery.unrecorded" in recorded.names, "the event is emitted")
    courier.loop.start()
    courier.finish(within=30)
    assert courier.step() == 30.0


def test_a_fault_of_ours_counts_as_a_try(
    courier: Courier, outbox: ScriptedOutbox, poster: ScriptedPoster, recorded: RecordedEvents
) -> None:
    def broken() -> Reply:
        raise ZeroDivisionError

    poster.answer = broken
    outbox.due = [a_delivery()]
    courier.follow(["job.completed"])
    courier.step()
    wait_until(lambda: len(ended(recorded)) == 1, "the event is emitted")
    assert "delivery.broke" in recorded.names
    assert outbox.recorded[0][2].status == "pending"


def test_finishing_waits_for_what_is_due_and_under_way(
    courier: Courier, outbox: ScriptedOutbox, poster: ScriptedPoster
) -> None:
    courier.loop.start()
    courier.follow(["job.completed"])
    outbox.due = [a_delivery(n) for n in range(1, 20)]
    courier.finish(within=30)
    assert len(outbox.recorded) == 19


def test_finishing_does_not_wait_for_ever(courier: Courier, outbox: ScriptedOutbox, poster: ScriptedPoster) -> None:
    poster.go_on.clear()
    poster.hanging = {"e"}
    outbox.due = [a_delivery()]
    courier.loop.start()
    courier.follow(["job.completed"])
    courier.finish(within=0.05)
    assert outbox.recorded == []
