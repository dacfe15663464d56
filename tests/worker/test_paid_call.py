"""What becomes of a call: recorded, remembered, left open for the next attempt, or begun anew."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from generation_worker.domain.errors import (
    AttemptTimedOut,
    CallLost,
    CancelRequested,
    ContentBlocked,
    InternalError,
    LeaseLost,
    NoImage,
    PaidCallsExhausted,
    ProviderLimited,
    ProviderRefused,
    ProviderTimedOut,
    ProviderUnavailable,
    ShuttingDown,
)
from generation_worker.domain.gate import BREAKER
from generation_worker.domain.job import LANE_START, Job
from generation_worker.domain.webhook import Notice
from generation_worker.events import Events
from generation_worker.ports import (
    CallBegun,
    CallReport,
    Control,
    Generated,
    GenerationRequest,
    Store,
    StoreUnavailable,
)
from generation_worker.worker.lease import Lease
from generation_worker.worker.paid_call import PaidCalls, ProviderKeys
from generation_worker.worker.signals import ProviderHints
from tests.worker.scripted_store import Clock, Told

JOB = Job("job-1", "text_to_image", "ada", "far", "{}", 1, 1, 4, 0, 0, "token", 3600.0, None, None, LANE_START)
REQUEST = GenerationRequest(JOB.id, 1, "a fox")
IMAGE = Generated(b"image", "far-1", "p-1", {"seconds": 2})
NEW = CallBegun(True, False, 0, 1)
KEPT = CallBegun(True, False, 1, 1, "p-1")

Generate = Callable[[GenerationRequest, Control], Generated]


@dataclass
class ScriptedStore:
    """Answers with ``begun`` in turn; ``away`` is how often it does not answer to a note."""

    begun: list[CallBegun]
    away: int = 0
    remembered: list[tuple[int, str]] = field(default_factory=list[tuple[int, str]])
    finished: list[tuple[int, CallReport]] = field(default_factory=list[tuple[int, CallReport]])

    def begin_call(self, job: Job, **_: Any) -> CallBegun:
        return self.begun.pop(0)

    def remember_call(self, job: Job, number: int, provider_ref: str) -> None:
        self._answer()
        self.remembered.append((number, provider_ref))

    def finish_call(self, job: Job, number: int, report: CallReport, **_: Any) -> None:
        self._answer()
        self.finished.append((number, report))

    def _answer(self) -> None:
        if self.away:
            self.away -= 1
            raise StoreUnavailable

    def ends(self) -> list[tuple[int, bool | None, str | None]]:
        return [(number, report.spent, report.error_code) for number, report in self.finished]


@dataclass
class Far:
    """A provider that does what the test says, call by call."""

    ways: list[Generate]
    asked: list[GenerationRequest] = field(default_factory=list[GenerationRequest])
    name = "far"
    key_label = "far-1"

    def warm_up(self) -> None: ...

    def generate(self, request: GenerationRequest, control: Control) -> Generated:
        self.asked.append(request)
        return self.ways.pop(0)(request, control)


def answers(_request: GenerationRequest, control: Control) -> Generated:
    control.remember("p-1")
    return IMAGE


def keeps(_request: GenerationRequest, _control: Control) -> Generated:
    return IMAGE


def fails(error: BaseException, *, remembered: bool = True) -> Generate:
    def generate(_request: GenerationRequest, control: Control) -> Generated:
        if remembered:
            control.remember("p-1")
        raise error

    return generate


def a_lease() -> Lease:
    return Lease(JOB, claimed_at=0.0, duration=60.0, timeout=600.0, clock=lambda: 1.0)


def make(store: Any, *ways: Generate, lease: Lease | None = None, events: Events | None = None) -> Far:
    provider = Far(list(ways))
    typed: Store = store
    calls = PaidCalls(typed, events or Events(), ProviderKeys([provider]), 2, BREAKER)
    _, generated = calls.make(lease or a_lease(), REQUEST)
    assert generated is IMAGE
    return provider


def raised(store: Any, *ways: Generate, events: Events | None = None) -> BaseException:
    with pytest.raises(BaseException) as caught:  # noqa: PT011 - which one it is, is what is tested
        make(store, *ways, events=events)
    return caught.value


def test_the_id_is_kept_before_the_answer_is_awaited() -> None:
    store = ScriptedStore([NEW])

    def generate(_request: GenerationRequest, control: Control) -> Generated:
        control.remember("p-1")
        assert (store.remembered, store.finished) == ([(1, "p-1")], [])
        return IMAGE

    provider = make(store, generate)
    assert provider.asked[0].resume is None
    assert store.ends() == [(1, True, None)]


def test_an_earlier_call_is_taken_up() -> None:
    store = ScriptedStore([KEPT])
    provider = make(store, keeps)
    assert provider.asked[0].resume == "p-1"
    assert (store.remembered, store.ends()) == ([], [(1, True, None)])


def test_what_is_lost_is_begun_anew() -> None:
    store = ScriptedStore([KEPT, NEW._replace(number=2)])
    provider = make(store, fails(CallLost(), remembered=False), answers)
    assert [request.resume for request in provider.asked] == ["p-1", None]
    assert store.ends() == [(1, True, "call_lost"), (2, True, None)]


def test_the_bound_holds_when_something_is_lost() -> None:
    store = ScriptedStore([KEPT, KEPT._replace(number=None, resume=None)])
    assert isinstance(raised(store, fails(CallLost(), remembered=False)), PaidCallsExhausted)
    assert store.ends() == [(1, True, "call_lost")]


def test_what_is_lost_again_and_again_ends_the_attempt() -> None:
    """The database did not take the note that it is lost, and names the same call again."""
    store = ScriptedStore([KEPT, KEPT, KEPT], away=2)
    lost = fails(CallLost(), remembered=False)
    assert isinstance(raised(store, lost, lost), CallLost)


def test_a_new_call_that_is_lost_ends_the_attempt() -> None:
    store = ScriptedStore([NEW, NEW])
    assert isinstance(raised(store, fails(CallLost())), CallLost)
    assert store.ends() == [(1, True, "call_lost")]


@pytest.mark.parametrize(
    "error",
    [LeaseLost(), ShuttingDown(), AttemptTimedOut(), ProviderRefused(), InternalError(), ValueError(), SystemExit()],
    ids=repr,
)
def test_a_call_with_an_id_stays_open_when_the_provider_has_not_said_its_end(error: BaseException) -> None:
    store = ScriptedStore([NEW])
    assert raised(store, fails(error)) is error
    assert (store.remembered, store.finished) == ([(1, "p-1")], [])


@pytest.mark.parametrize(
    ("error", "spent", "code"),
    [
        (ContentBlocked(), False, "content_blocked"),
        (NoImage(), True, "no_image"),
        (ProviderUnavailable(spent=True), None, "provider_unavailable"),
        (ProviderUnavailable(spent=False), False, "provider_unavailable"),
        (CancelRequested(), None, "CancelRequested"),
    ],
    ids=repr,
)
def test_a_call_ends_with_what_the_provider_says(error: BaseException, spent: bool | None, code: str) -> None:
    store = ScriptedStore([NEW])
    assert raised(store, fails(error)) is error
    assert store.ends() == [(1, spent, code)]


@pytest.mark.parametrize(
    ("error", "spent"),
    [
        (ProviderTimedOut(), None),
        (ProviderTimedOut(spent=False), False),
        (AttemptTimedOut(), None),
        (ProviderLimited(), False),
        (ProviderRefused(), False),
        (LeaseLost(), None),
        (ValueError(), None),
    ],
    ids=repr,
)
def test_a_call_without_an_id_always_ends(error: BaseException, spent: bool | None) -> None:
    store = ScriptedStore([NEW])
    assert raised(store, fails(error, remembered=False)) is error
    assert [(number, told) for number, told, _ in store.ends()] == [(1, spent)]


@pytest.mark.parametrize("way", [answers, fails(ShuttingDown())], ids=["answered", "stopped"])
def test_an_id_that_the_database_did_not_take_is_written_later(way: Generate) -> None:
    store = ScriptedStore([NEW], away=1)
    if way is answers:
        make(store, way)
        assert store.finished[0][1].provider_ref == "p-1"
    else:
        raised(store, way)
        assert store.remembered == [(1, "p-1")]


def test_an_id_is_written_at_the_next_pause() -> None:
    store = ScriptedStore([NEW], away=2)
    seen: list[Sequence[Any]] = []

    def generate(_request: GenerationRequest, control: Control) -> Generated:
        control.remember("p-1")
        for _ in range(3):
            control.pause(0)
            seen.append(list(store.remembered))
        return IMAGE

    make(store, generate)
    assert seen == [[], [(1, "p-1")], [(1, "p-1")]]


@pytest.mark.parametrize(
    ("begun", "error"),
    [
        (CallBegun(False, False, 0, None), LeaseLost),
        (CallBegun(True, True, 0, None), CancelRequested),
        (CallBegun(True, False, 2, None), PaidCallsExhausted),
    ],
)
def test_no_call_is_made_where_none_was_begun(begun: CallBegun, error: type[BaseException]) -> None:
    assert isinstance(raised(ScriptedStore([begun])), error)


def test_no_call_is_begun_without_a_lease() -> None:
    lease = a_lease()
    lease.lose()
    with pytest.raises(LeaseLost):
        make(ScriptedStore([]), answers, lease=lease)


# what is told of it


def test_each_call_is_told_of_once_with_its_outcome(events: Events, told: Told) -> None:
    make(ScriptedStore([KEPT, NEW]), fails(CallLost(), remembered=False), answers, events=events)
    finished = [fields for name, fields in told.events if name == "call.finished"]
    assert [fields["outcome"] for fields in finished] == ["call_lost", "ok"]
    assert [(fields["provider"], fields["job"]) for fields in finished] == [("far", "job-1")] * 2
    assert all(fields["milliseconds"] >= 0 for fields in finished)


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (ContentBlocked(), "content_blocked"),
        (LeaseLost(), "stopped"),
        (CancelRequested(), "stopped"),
        (AttemptTimedOut(), "attempt_timeout"),
        (ValueError("whatever it says"), "internal_error"),
    ],
    ids=repr,
)
def test_a_call_that_fails_is_told_of_by_its_code(
    events: Events, told: Told, error: BaseException, outcome: str
) -> None:
    raised(ScriptedStore([NEW]), fails(error), events=events)
    assert [fields["outcome"] for name, fields in told.events if name == "call.finished"] == [outcome]


# notices


@dataclass
class Waiting:
    """An attempt that waits for p-1, with what it was told in the meantime."""

    notices: ProviderHints = field(default_factory=ProviderHints)
    clock: Clock = field(default_factory=Clock)
    pauses: list[float] = field(default_factory=list[float])
    """How many seconds each pause took."""

    def run(self, *steps: Callable[[], object], away: int = 0, seconds: float = 30.0) -> tuple[ScriptedStore, Told]:
        """Do each step, then pause."""
        store = ScriptedStore([NEW], away=away)

        def generate(_request: GenerationRequest, control: Control) -> Generated:
            control.remember("p-1")
            for step in steps:
                step()
                before = self.clock()
                control.pause(seconds, wake_on="p-1")
                self.pauses.append(self.clock() - before)
            return IMAGE

        events = Events()
        told = Told(events)
        lease = Sleeper(JOB, claimed_at=self.clock(), duration=60.0, timeout=600.0, clock=self.clock)
        calls = PaidCalls(cast("Store", store), events, ProviderKeys([Far([generate])]), 2, BREAKER, self.notices)
        calls.make(lease, REQUEST)
        return store, told

    def post(self, ref: str, delivery: str) -> Callable[[], object]:
        return lambda: self.notices.post(Notice.of(ref, delivery))


class Sleeper(Lease):
    """Its waits take no time, but the clock says that they did."""

    def pause(self, seconds: float, *, proof: bool = True, enough: Callable[[], bool] = lambda: False) -> None:
        if not enough():
            cast("Clock", self._clock).advance(seconds)
        self.check(proof=proof)


def nothing() -> None: ...


def test_without_a_notice_a_pause_lasts() -> None:
    waiting = Waiting()
    _, told = waiting.run(nothing, waiting.post("p-2", "msg_1"))
    assert waiting.pauses == [30, 30]
    assert "call.noticed" not in told.names


def test_a_notice_that_came_before_ends_the_first_pause_and_no_other() -> None:
    waiting = Waiting()
    waiting.post("p-1", "msg_1")()
    _, told = waiting.run(nothing, nothing)
    assert waiting.pauses == [0, 30]
    assert told.fields("call.noticed") == {**JOB.tags, "number": 1}
    assert told.names.count("call.noticed") == 1


def test_a_notice_that_comes_again_ends_no_second_pause_but_another_one_does() -> None:
    waiting = Waiting()
    first = waiting.post("p-1", "msg_1")
    waiting.run(first, first, nothing, waiting.post("p-1", "msg_2"), first, nothing)
    assert waiting.pauses == [0, 30, 30, 0, 0, 30]  # the last one that came is known, so never more looks than webhooks


def test_another_attempt_at_the_same_call_hears_of_the_notice_too() -> None:
    waiting = Waiting()
    waiting.post("p-1", "msg_1")()
    waiting.run(nothing)
    waiting.run(nothing)
    assert waiting.pauses == [0, 0]


def test_a_notice_wakes_an_attempt_that_sleeps() -> None:
    notices, store = ProviderHints(), ScriptedStore([NEW])
    lease = Lease(JOB, claimed_at=time.monotonic(), duration=6000.0, timeout=60.0)  # who is not woken is timed out

    def generate(_request: GenerationRequest, control: Control) -> Generated:
        threading.Timer(0.05, notices.post, [Notice.of("p-1", "msg_1")]).start()
        control.pause(500, wake_on="p-1")
        return IMAGE

    calls = PaidCalls(cast("Store", store), Events(), ProviderKeys([Far([generate])]), 2, BREAKER, notices)
    calls.make(lease, REQUEST)
    assert store.ends() == [(1, True, None)]


def test_a_long_pause_does_not_keep_an_id_unwritten() -> None:
    waiting = Waiting()
    store, _ = waiting.run(nothing, away=3, seconds=20)
    assert store.remembered == [(1, "p-1")]
    assert store.away == 0
    assert waiting.pauses == [20]


def test_an_attempt_that_is_stopped_waits_for_no_notice() -> None:
    notices, lease = ProviderHints(), a_lease()

    def generate(_request: GenerationRequest, control: Control) -> Generated:
        lease.cancel()
        control.pause(30, wake_on="p-1")
        return IMAGE

    calls = PaidCalls(
        cast("Store", ScriptedStore([NEW])), Events(), ProviderKeys([Far([generate])]), 2, BREAKER, notices
    )
    with pytest.raises(CancelRequested):
        calls.make(lease, REQUEST)
    assert not notices.post(Notice.of("p-1", "msg_1"))
