"""With which key a call is made, and what its end says of the key."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from generation_worker.domain.errors import (
    ContentBlocked,
    GateClosed,
    InternalError,
    JobError,
    NoImage,
    ProviderLimited,
    ProviderNotConfigured,
    ProviderRefused,
    ProviderRejected,
    ProviderTimedOut,
    ProviderUnavailable,
)
from generation_worker.domain.gate import BREAKER
from generation_worker.events import Events
from generation_worker.ports import CallBegun, Control, GateChange, Generated, GenerationRequest, StoreBusy
from generation_worker.worker.paid_call import PaidCalls, ProviderKeys
from tests.domain.jobs import a_job
from tests.worker.scripted_store import ScriptedStore, Told, lease

REQUEST = GenerationRequest("job-1", 1, "a fox")
IMAGE = Generated(b"image", "m")


@dataclass
class Key:
    """An adapter that does what the test says."""

    key_label: str
    way: Callable[[Control], Generated] = lambda _: IMAGE
    asked: list[GenerationRequest] = field(default_factory=list[GenerationRequest])
    name = "far"

    def warm_up(self) -> None: ...

    def generate(self, request: GenerationRequest, control: Control) -> Generated:
        self.asked.append(request)
        return self.way(control)


class Bench:
    def __init__(self) -> None:
        self.store = ScriptedStore()
        self.events = Events()
        self.told = Told(self.events)
        self.keys = [Key("far-1"), Key("far-2")]

    def make(self, **job: Any) -> Generated:
        calls = PaidCalls(self.store, self.events, ProviderKeys(self.keys), 2, BREAKER)
        return calls.make(lease(a_job(**({"provider": "far"} | job))), REQUEST)[1]

    def fail(self, error: JobError, news: GateChange | None = None) -> JobError:
        def way(_control: Control) -> Generated:
            raise error

        self.keys[0].way = way
        self.store.answer("finish_call", news)
        with pytest.raises(type(error)):
            self.make()
        return error

    def report(self) -> Any:
        (((_, _, report), _),) = self.store.calls("finish_call")
        return report


@pytest.fixture
def bench() -> Bench:
    return Bench()


# the key


def test_the_call_is_made_with_the_key_that_the_claim_has_a_permit_for(bench: Bench) -> None:
    bench.make(key_label="far-2", permit=7)
    assert [len(key.asked) for key in bench.keys] == [0, 1]
    (((_,), named),) = bench.store.calls("begin_call")
    assert named["key_label"] == "far-2"


def test_a_job_without_a_permit_uses_the_first(bench: Bench) -> None:
    bench.make()
    assert [len(key.asked) for key in bench.keys] == [1, 0]


def test_a_provider_that_is_not_held_is_said(bench: Bench) -> None:
    with pytest.raises(ProviderNotConfigured, match="'near'"):
        bench.make(provider="near")


def test_an_answer_is_fetched_with_the_key_that_it_is_kept_for(bench: Bench) -> None:
    bench.store.answer("begin_call", CallBegun(True, False, 1, 1, "p-1", "far-2", True))
    bench.make()
    assert [request.resume for request in bench.keys[1].asked] == ["p-1"]


def test_an_answer_that_another_worker_can_fetch_is_left_to_it(bench: Bench) -> None:
    bench.store.answer("begin_call", CallBegun(True, False, 1, 1, "p-1", "far-9", True))
    with pytest.raises(GateClosed, match="far-9, which another worker holds") as caught:
        bench.make()
    assert caught.value.wait == 10.0


def test_an_answer_for_a_key_that_was_replaced_is_asked_for_with_the_new_one(bench: Bench) -> None:
    bench.store.answer("begin_call", CallBegun(True, False, 1, 1, "p-1", "far-9", False))
    bench.make()
    assert [request.resume for request in bench.keys[0].asked] == ["p-1"]


def test_no_call_is_made_through_a_closed_gate(bench: Bench) -> None:
    bench.store.answer("begin_call", CallBegun(True, False, 0, None, wait=40.0, reason="401: the key is wrong"))
    with pytest.raises(GateClosed, match="401: the key is wrong") as caught:
        bench.make()
    assert caught.value.wait == 40.0
    assert bench.store.calls("finish_call") == []


# the end


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (ProviderLimited("429", wait=7.0), "limited"),
        (ProviderRefused("401"), "refused"),
        (ProviderUnavailable("503"), "failed"),
        (ProviderTimedOut(), "failed"),
        (ProviderRejected("400"), "ok"),
        (ContentBlocked(), "ok"),
        (NoImage(), "ok"),
        (GateClosed("closed meanwhile", wait=3.0), None),
        (InternalError(), None),
    ],
    ids=repr,
)
def test_an_end_says_of_the_key(bench: Bench, error: JobError, verdict: str | None) -> None:
    bench.fail(error)
    report = bench.report()
    assert (report.verdict, report.reason) == (verdict, error.message)
    assert report.wait == (error.wait if isinstance(error, ProviderLimited) else None)


def test_an_image_says_that_the_key_works(bench: Bench) -> None:
    bench.make()
    assert bench.report().verdict == "ok"


def test_a_job_waits_for_as_long_as_the_gate_is_closed(bench: Bench) -> None:
    error = ProviderLimited("429", wait=7.0)
    bench.fail(error, GateChange("closed", "closed", 600.0, False))
    assert error.wait == 600.0
    assert bench.told.fields("gate.closed") == {"key": "far-1", "seconds": 600.0, "error": "429"}


def test_a_job_does_not_wait_while_there_is_another_way(bench: Bench) -> None:
    error = ProviderRefused("401")
    bench.fail(error, GateChange("closed", "open", 30.0, True))
    assert error.wait == 0.0
    assert bench.told.fields("breaker.opened") == {"key": "far-1", "seconds": 30.0, "error": "401"}


def test_that_the_breaker_closes_is_told(bench: Bench) -> None:
    bench.store.answer("finish_call", GateChange("open", "closed", None, False))
    bench.make()
    assert bench.told.fields("breaker.closed")["key"] == "far-1"


def test_what_changes_nothing_is_not_told(bench: Bench) -> None:
    bench.fail(ProviderUnavailable("503"), GateChange("closed", "closed", None, False))
    assert not [name for name in bench.told.names if name.startswith(("gate", "breaker"))]


def test_what_was_paid_is_written_even_while_somebody_holds_the_gate(bench: Bench) -> None:
    bench.store.answer("finish_call", StoreBusy("finish_call: lock timeout"))
    bench.make()
    first, second = (report for (_, _, report), _ in bench.store.calls("finish_call"))
    assert (first.verdict, second.verdict) == ("ok", None)
    assert second.spent is True
    assert "call.unrecorded" not in bench.told.names
