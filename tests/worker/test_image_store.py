"""What is paid for is stored in the end, though the storage, the database or the worker may have a bad hour."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from generation_worker.domain.errors import InputRejected, OutputRejected, StorageUnavailable
from generation_worker.domain.settlement import Cancelled, Completed, Failed, Outcome, Released
from generation_worker.events import Events
from generation_worker.ports import Control, Generated, Staged, StoreUnavailable
from generation_worker.worker import image_store
from generation_worker.worker.attempt import Attempt
from generation_worker.worker.image_keys import image_key
from generation_worker.worker.lease import Lease
from generation_worker.worker.paid_call import ProviderKeys
from tests.domain.jobs import a_job
from tests.worker.scripted_store import RecordedEvents, ScriptedStore, lease as new_lease, unavailable
from tests.worker.scripted_tools import (
    IMAGE,
    ScriptedFetcher,
    ScriptedImages,
    ScriptedProvider,
    ScriptedStorage,
    generated,
)

DOWN = StorageUnavailable("503 SlowDown")
AWAY = [DOWN] * 100_000
STAGED = Staged(IMAGE, "local", "local-1")
KEY = image_key(a_job(), "image/webp")


class Bench:
    def __init__(self, store: ScriptedStore, events: Events) -> None:
        self.store = store
        self.provider = ScriptedProvider()
        self.storage = ScriptedStorage()
        self.images = ScriptedImages()
        self.attempt = Attempt(
            store, ProviderKeys([self.provider]), self.storage, ScriptedFetcher(), self.images, events, max_paid_calls=2
        )

    def run(self, lease: Lease | None = None, **job: Any) -> Outcome:
        return self.attempt.run(lease or new_lease(a_job(**job)))

    def staged(self) -> list[Staged]:
        return [staged for (_, staged), _ in self.store.calls("stage_image")]


@pytest.fixture
def bench(store: ScriptedStore, events: Events, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """Whose patience with the storage is over at once."""
    monkeypatch.setattr(image_store, "PATIENCE", 0.0)
    return Bench(store, events)


def real_lease(*, timeout: float = 30, **job: Any) -> Lease:
    return Lease(a_job(**job), claimed_at=time.monotonic(), duration=60, timeout=timeout)


def kept(outcome: Outcome) -> bool:
    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, StorageUnavailable)
    return outcome.error.kept


def test_an_image_that_the_storage_does_not_take_is_staged(bench: Bench, recorded: RecordedEvents) -> None:
    bench.storage.puts = [DOWN]
    assert kept(bench.run())
    assert bench.staged() == [STAGED]
    assert "image.stored" not in recorded.names
    assert recorded.fields("image.staged")["bytes"] == len(IMAGE)


def test_what_is_stored_is_told_of_with_its_time(bench: Bench, recorded: RecordedEvents) -> None:
    assert isinstance(bench.run(), Completed)
    said = recorded.fields("image.stored")
    assert (said["job"], said["bytes"]) == (a_job().id, len(b"rendered " + IMAGE))
    assert said["seconds"] >= 0
    assert recorded.names.count("image.stored") == 1


def test_the_next_attempt_stores_it_and_asks_nobody(bench: Bench, recorded: RecordedEvents) -> None:
    bench.store.answer("find_staged", STAGED)
    bench.storage.gets = [DOWN]
    payload = '{"prompt": "a", "images": [{"key": "inputs/1.png"}]}'
    outcome = bench.run(attempt=2, payload=payload, provider="gone")
    assert isinstance(outcome, Completed)
    assert (outcome.result["provider"], outcome.result["model"]) == ("local", "local-1")
    assert bench.storage.objects[KEY] == b"rendered " + IMAGE
    assert (bench.provider.requests, bench.store.calls("begin_call")) == ([], [])
    assert len(bench.store.calls("discard_staged")) == 1
    assert "image.found" in recorded.names


def test_while_the_storage_stays_away_it_stays_staged(bench: Bench) -> None:
    bench.store.answer("find_staged", STAGED)
    bench.storage.puts = [DOWN]
    assert kept(bench.run(attempt=2))
    assert (bench.staged(), bench.store.calls("discard_staged")) == ([], [])


@pytest.mark.parametrize(("job", "asked"), [({}, 0), ({"attempt": 2}, 1), ({"crashes": 1}, 1), ({"waits": 3}, 0)])
def test_only_who_comes_after_another_attempt_asks(bench: Bench, job: dict[str, Any], asked: int) -> None:
    assert isinstance(bench.run(**job), Completed)
    assert len(bench.store.calls("find_staged")) == asked
    assert bench.store.calls("discard_staged") == []


def test_a_storage_that_stays_away_does_not_keep_the_thread(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_store, "PATIENCE", 0.05)
    bench.storage.puts = list(AWAY)
    lease = real_lease()
    assert kept(bench.run(lease))
    assert lease.elapsed() < 10


@pytest.mark.parametrize("end", ["deadline", "shutdown"])
def test_an_attempt_that_must_end_stages_what_it_has(bench: Bench, end: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not as released: that would give the attempt back, and a first attempt does not search for staged images."""
    monkeypatch.setattr(image_store, "PATIENCE", 60.0)
    bench.storage.puts = list(AWAY)
    lease = real_lease(timeout=0.5 if end == "deadline" else 30)

    def paid(_: Control) -> Generated:
        if end == "shutdown":
            threading.Timer(0.01, lease.release).start()
        return generated()

    bench.provider.script = [paid]
    assert kept(bench.run(lease))
    assert bench.staged() == [STAGED]


def test_who_loses_the_job_stages_what_it_has_for_whoever_has_it(bench: Bench) -> None:
    """Not as released, in case the lease held after all and could only not be proved: see above."""
    lease = real_lease()

    def slow(_: Control) -> Generated:
        lease.lose()
        return generated()

    bench.provider.script = [slow]
    assert kept(bench.run(lease))
    assert bench.staged() == [STAGED]
    assert bench.storage.objects == {}


def test_a_cancelled_job_needs_its_image_no_more(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_store, "PATIENCE", 60.0)
    bench.storage.puts = list(AWAY)
    lease = real_lease()
    threading.Timer(0.01, lease.cancel).start()
    assert bench.run(lease) == Cancelled()
    assert bench.staged() == []


@pytest.mark.parametrize("fault", [MemoryError("no child"), ValueError("a bug")], ids=repr)
def test_a_fault_of_ours_is_no_reason_to_pay_again(bench: Bench, fault: Exception) -> None:
    bench.images.errors = [fault]
    assert isinstance(bench.run(), Failed)
    assert bench.staged() == [STAGED]


def test_a_fault_of_the_storage_is_no_reason_either(bench: Bench) -> None:
    bench.storage.puts = [ValueError("a bug")]
    assert isinstance(bench.run(), Failed)
    assert bench.staged() == [STAGED]


def test_what_is_no_image_is_not_staged(bench: Bench) -> None:
    bench.images.errors = [InputRejected("a page")]
    outcome = bench.run()
    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, OutputRejected)
    assert bench.staged() == []


def test_what_is_staged_and_no_image_is_discarded(bench: Bench) -> None:
    bench.store.answer("find_staged", STAGED)
    bench.images.errors = [InputRejected("a page")]
    assert isinstance(bench.run(attempt=2), Failed)
    assert len(bench.store.calls("discard_staged")) == 1


def test_an_image_too_large_for_the_table_is_kept_in_memory_until_the_deadline(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_store, "LARGEST_STAGED", len(IMAGE) - 1)
    bench.storage.puts = [DOWN] * 2
    assert isinstance(bench.run(real_lease()), Completed)
    bench.storage.puts = list(AWAY)
    outcome = bench.run(real_lease(timeout=0.05))
    assert isinstance(outcome, Failed)
    assert outcome.error.code == "attempt_timeout"
    assert bench.staged() == []


@pytest.mark.parametrize("answer", [unavailable, False], ids=["away", "refuses"])
def test_while_neither_takes_it_both_are_tried_again(bench: Bench, answer: Callable[..., Any] | bool) -> None:
    bench.storage.puts = list(AWAY)
    bench.store.answer("stage_image", *[answer] * 3)
    assert kept(bench.run(real_lease()))
    assert len(bench.staged()) == 4
    assert len(AWAY) - len(bench.storage.puts) >= 4


def test_a_stored_image_stays_stored_though_it_cannot_be_discarded(bench: Bench) -> None:
    bench.store.answer("find_staged", STAGED)
    bench.store.answer("discard_staged", unavailable)
    assert isinstance(bench.run(attempt=2), Completed)


def test_who_cannot_ask_what_is_staged_does_not_pay(bench: Bench) -> None:
    bench.store.answer("find_staged", StoreUnavailable("away"))
    assert bench.run(attempt=2) == Released()
    assert bench.provider.requests == []


def test_who_cannot_see_whether_the_image_is_there_uses_up_no_attempt(bench: Bench) -> None:
    bench.storage.gets = [DOWN]
    assert kept(bench.run(crashes=1))


def test_an_image_that_cost_nothing_is_not_staged(bench: Bench) -> None:
    payload = '{"image": {"key": "inputs/1.png"}, "operations": [{"type": "thumbnail"}]}'
    bench.storage.objects["inputs/1.png"] = b"in"
    bench.storage.puts = list(AWAY)
    lease = real_lease(timeout=0.05, kind="image_processing", provider="none", payload=payload)
    assert isinstance(bench.run(lease), Failed)
    assert bench.staged() == []
