"""One attempt: whatever happens in it is an outcome, and nothing is paid for twice that can be helped."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from generation_worker.domain.errors import (
    ContentBlocked,
    InputNotFound,
    InputRejected,
    InputUnavailable,
    JobError,
    NoImage,
    OutputRejected,
    ProviderLimited,
    ProviderRejected,
    ProviderTimedOut,
    ProviderUnavailable,
    StorageUnavailable,
)
from generation_worker.domain.payload import PROMPT_LIMIT
from generation_worker.domain.settlement import Blocked, Cancelled, Completed, Failed, Outcome, RateLimited, Released
from generation_worker.events import Events
from generation_worker.ports import CallBegun, CallReport, Control, Generated, Picture, StoreUnavailable
from generation_worker.worker.attempt import Attempt
from generation_worker.worker.lease import Lease
from generation_worker.worker.paid_call import ProviderKeys
from tests.domain.jobs import a_job
from tests.worker.scripted_store import Clock, RecordedEvents, ScriptedStore, lease as new_lease, unavailable
from tests.worker.scripted_tools import (
    IMAGE,
    ScriptedFetcher,
    ScriptedImages,
    ScriptedProvider,
    ScriptedStorage,
    generated,
)

JOB = a_job()
MINE = f"{JOB.id}-000000000002"
"""What the keys of JOB's attempt have between folder and extension: its id, and the end of its lease's token."""
IMAGE_KEY, THUMBNAIL_KEY = f"images/{MINE}.webp", f"thumbnails/{MINE}.webp"
NEXT: dict[str, Any] = {"lease_token": "0190a000-0000-4000-8000-000000000003", "crashes": 1, "attempt": 2}
"""The attempt after a crash."""
DOWN = StorageUnavailable("503 SlowDown")
PROCESSING = {"image": {"key": "inputs/1.png"}, "operations": [{"type": "thumbnail"}]}


class Bench:
    def __init__(self, store: ScriptedStore, events: Events) -> None:
        self.store = store
        self.provider = ScriptedProvider()
        self.storage = ScriptedStorage()
        self.images = ScriptedImages()
        self.fetcher = ScriptedFetcher()
        self.attempt = Attempt(
            store, ProviderKeys([self.provider]), self.storage, self.fetcher, self.images, events, max_paid_calls=3
        )

    def run(self, lease: Lease | None = None, **job: Any) -> Outcome:
        return self.attempt.run(lease or new_lease(a_job(**job)))

    def report(self) -> CallReport:
        """The outcome of the one finished call."""
        (((_, _, report), _),) = self.store.calls("finish_call")
        return report


@pytest.fixture
def bench(store: ScriptedStore, events: Events) -> Bench:
    return Bench(store, events)


def failure(outcome: Outcome) -> JobError:
    assert isinstance(outcome, Failed)
    return outcome.error


def code(outcome: Outcome) -> str:
    return failure(outcome).code


# an image


def test_an_image_is_made_stored_and_described(bench: Bench) -> None:
    outcome = bench.run()
    stored = b"rendered " + IMAGE
    assert outcome == Completed(
        {
            "images": [
                {
                    "key": IMAGE_KEY,
                    "content_type": "image/webp",
                    "width": 640,
                    "height": 480,
                    "bytes": len(stored),
                    "sha256": hashlib.sha256(stored).hexdigest(),
                    "thumbnail_key": THUMBNAIL_KEY,
                }
            ],
            "provider": "local",
            "model": "local-1",
        }
    )
    assert bench.storage.objects == {IMAGE_KEY: stored, THUMBNAIL_KEY: b"small " + IMAGE}


def test_an_image_is_never_there_without_its_thumbnail(bench: Bench) -> None:
    bench.run()
    assert bench.storage.order == [THUMBNAIL_KEY, IMAGE_KEY]


def test_the_provider_is_asked_for_what_the_job_asks_for(bench: Bench) -> None:
    bench.storage.objects["inputs/1.png"] = b"input"
    payload = {
        "prompt": "a {{color}} kite",
        "inputs": {"color": "red"},
        "images": [{"key": "inputs/1.png"}],
        "aspect_ratio": "16:9",
        "image_size": "2K",
    }
    bench.run(payload=json.dumps(payload), attempt=2, waits=1)
    (request,) = bench.provider.requests
    assert (request.job_id, request.attempt, request.prompt) == (JOB.id, 3, "a red kite")
    assert [image.data for image in request.images] == [b"input"]
    assert (request.aspect_ratio, request.image_size, request.resume) == ("16:9", "2K", None)


def test_an_image_is_processed_here_without_a_call(bench: Bench) -> None:
    bench.storage.objects["inputs/1.png"] = b"input"
    outcome = bench.run(kind="image_processing", provider="none", payload=json.dumps(PROCESSING))
    assert isinstance(outcome, Completed)
    assert (outcome.result["provider"], outcome.result["model"]) == ("none", None)
    assert bench.storage.objects[f"images/{MINE}.jpg"] == b"processed input"
    assert bench.store.queries == []


def test_words_of_the_provider_are_cleaned_before_they_are_stored(bench: Bench) -> None:
    bench.provider.script = [generated(model="nano\0banana\x1b[0m")]
    outcome = bench.run()
    assert isinstance(outcome, Completed)
    assert outcome.result["model"] == "nano banana [0m"


# the call


def test_a_call_is_recorded_before_it_is_made_and_after_it(bench: Bench) -> None:
    def answer(_: Control) -> Generated:
        assert [name for name, _, _ in bench.store.queries] == ["begin_call"]
        return generated(provider_ref="p-1")

    bench.provider.script = [answer]
    bench.run()
    ((begun, named),) = bench.store.calls("begin_call")
    assert (begun[0].id, named) == (JOB.id, {"provider": "local", "key_label": "none", "max_paid_calls": 3})
    report = bench.report()
    assert (report.spent, report.model, report.provider_ref, report.error_code) == (True, "local-1", "p-1", None)
    assert report.usage == {"images": 1}
    assert report.milliseconds >= 0


@pytest.mark.parametrize(
    ("error", "spent"),
    [
        (ProviderRejected("400"), False),
        (ProviderUnavailable("503"), False),
        (ProviderTimedOut("no answer"), None),
        (ProviderLimited("429", wait=3), False),
        (NoImage("STOP"), True),
        (ContentBlocked("SAFETY"), False),
        (StorageUnavailable("the answer's file cannot be read"), False),
        (KeyError("candidates"), None),
        (SystemExit(1), None),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)
def test_a_call_that_failed_is_recorded_with_whether_it_was_paid(
    bench: Bench, error: BaseException, spent: bool | None
) -> None:
    bench.provider.script = [error]
    bench.run()
    report = bench.report()
    assert report.spent is spent
    assert report.error_code == (error.code if isinstance(error, JobError) else type(error).__name__)


@pytest.mark.parametrize("error", [StoreUnavailable("down"), ValueError("no row can hold this")])
def test_a_call_that_cannot_be_recorded_costs_no_image(
    bench: Bench, recorded: RecordedEvents, error: Exception
) -> None:
    bench.store.answer("finish_call", error)
    assert isinstance(bench.run(), Completed)
    assert "call.unrecorded" in recorded.names


@pytest.mark.parametrize(
    ("begun", "expected"),
    [
        (CallBegun(False, False, 0, None), Released()),
        (CallBegun(True, True, 0, None), Cancelled()),
    ],
)
def test_no_call_is_made_that_the_database_does_not_allow(bench: Bench, begun: CallBegun, expected: Outcome) -> None:
    bench.store.answer("begin_call", begun)
    assert bench.run() == expected
    assert bench.provider.requests == []


def test_a_job_that_has_paid_enough_fails_for_good(bench: Bench) -> None:
    bench.store.answer("begin_call", CallBegun(True, False, 3, None))
    error = failure(bench.run())
    assert (error.code, error.retry) == ("paid_calls_exhausted", False)
    assert "3 calls" in error.message
    assert bench.provider.requests == []


def test_no_call_is_made_that_cannot_be_recorded_first(bench: Bench) -> None:
    bench.store.answer("begin_call", unavailable)
    assert bench.run() == Released()
    assert bench.provider.requests == []


def test_no_call_is_made_without_a_proof_of_the_lease(bench: Bench, clock: Clock) -> None:
    lease = new_lease(clock=clock)
    clock.advance(50)
    assert bench.run(lease) == Released()
    assert bench.store.queries == []


# each error


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ContentBlocked("SAFETY"), Blocked),
        (ProviderLimited("429", wait=3), RateLimited),
        (ProviderRejected("400"), Failed),
        (ProviderUnavailable("503"), Failed),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)
def test_an_error_of_the_provider_is_the_outcome_that_it_amounts_to(
    bench: Bench, error: JobError, expected: type[Outcome]
) -> None:
    bench.provider.script = [error]
    outcome = bench.run()
    assert isinstance(outcome, expected)
    assert getattr(outcome, "error") is error  # noqa: B009 - not every outcome has one


@pytest.mark.parametrize(
    ("job", "expected"),
    [
        ({"payload": '{"prompt": ""}'}, "invalid_payload"),
        ({"payload": "{"}, "invalid_payload"),
        ({"payload": json.dumps({"prompt": "x" * (PROMPT_LIMIT + 1)})}, "invalid_payload"),
        ({"kind": "text_to_video"}, "invalid_payload"),
        ({"provider": "gemini"}, "provider_not_configured"),
        ({"payload": '{"prompt": "a", "images": [{"key": "inputs/1.png"}]}'}, "input_not_found"),
        ({"payload": '{"prompt": "a", "images": [{"url": "ftp://example.com/1.png"}]}'}, "invalid_payload"),
    ],
)
def test_a_job_that_cannot_be_done_here_fails_before_anything_is_paid(
    bench: Bench, job: dict[str, Any], expected: str
) -> None:
    error = failure(bench.run(**job))
    assert (error.code, error.retry) == (expected, False)
    assert bench.provider.requests == []


def test_inputs_are_not_loaded_past_the_deadline(bench: Bench, clock: Clock) -> None:
    """Each may take as long as the storage hangs."""
    opened = bench.images.open

    def slowly(data: bytes) -> Picture:
        clock.advance(400)
        return opened(data)

    bench.images.open = slowly
    bench.storage.objects["inputs/1.png"] = b"input"
    payload = json.dumps({"prompt": "a", "images": [{"key": "inputs/1.png"}] * 4})
    assert code(bench.run(new_lease(a_job(payload=payload), clock=clock, duration=3600))) == "attempt_timeout"
    assert len(bench.images.opened) == 2


def test_an_input_that_is_no_image_fails_the_job(bench: Bench) -> None:
    bench.storage.objects["inputs/1.png"] = b"text"
    bench.images.errors = [InputRejected("not an image")]
    assert code(bench.run(payload='{"prompt": "a", "images": [{"key": "inputs/1.png"}]}')) == "input_rejected"


def test_an_input_that_cannot_be_read_just_now_is_worth_another_attempt(bench: Bench) -> None:
    bench.storage.gets = [DOWN]
    error = failure(bench.run(payload='{"prompt": "a", "images": [{"key": "inputs/1.png"}]}'))
    assert (error.code, error.retry) == ("input_unavailable", True)


def test_an_input_by_url_is_fetched_for_as_long_as_the_lease_holds(bench: Bench) -> None:
    bench.fetcher.found["https://example.com/1.png"] = b"input"
    lease = new_lease(a_job(payload='{"prompt": "a", "images": [{"url": "https://example.com/1.png"}]}'))
    bench.run(lease)
    (request,) = bench.provider.requests
    assert [image.data for image in request.images] == [b"input"]
    assert bench.fetcher.watches == [lease]


def test_an_image_to_process_may_have_a_url_too(bench: Bench) -> None:
    bench.fetcher.found["https://example.com/1.png"] = b"input"
    payload = json.dumps({**PROCESSING, "image": {"url": "https://example.com/1.png"}})
    bench.run(kind="image_processing", payload=payload)
    assert b"processed input" in bench.storage.objects.values()


@pytest.mark.parametrize("error", [InputRejected("private"), InputNotFound("gone"), InputUnavailable("late")])
def test_an_input_that_cannot_be_fetched_is_the_outcome_that_its_error_says(bench: Bench, error: JobError) -> None:
    """A URL for development passes as a payload: its worker decides."""
    bench.fetcher.found["http://localhost:3000/1.png"] = error
    outcome = bench.run(payload='{"prompt": "a", "images": [{"url": "http://localhost:3000/1.png"}]}')
    assert failure(outcome) is error
    assert bench.provider.requests == []


def test_an_answer_that_is_no_image_is_the_providers_fault(bench: Bench) -> None:
    bench.images.errors = [InputRejected("a bomb")]
    error = failure(bench.run())
    assert isinstance(error, OutputRejected)
    assert "a bomb" in error.message
    assert bench.storage.objects == {}


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("this error cannot even be printed")

    __repr__ = __str__


@pytest.mark.parametrize(
    "error", [KeyError("x"), Unspeakable(), SystemExit(1), KeyboardInterrupt(), MemoryError(), GeneratorExit()]
)
def test_whatever_is_raised_ends_the_attempt_and_not_its_thread(
    bench: Bench, recorded: RecordedEvents, error: BaseException
) -> None:
    bench.provider.script = [error]
    outcome = bench.run()
    assert code(outcome) == "internal_error"
    assert failure(outcome).message == f"{type(error).__name__} in the worker; its log has the details."
    assert recorded.fields("attempt.broke")["exc_info"] is error


# stopped from outside


@pytest.mark.parametrize(
    ("stop", "expected"), [(Lease.cancel, Cancelled()), (Lease.lose, Released()), (Lease.release, Released())]
)
def test_an_attempt_that_was_stopped_before_it_began_does_nothing(
    bench: Bench, stop: Callable[[Lease], None], expected: Outcome
) -> None:
    lease = new_lease()
    stop(lease)
    assert bench.run(lease) == expected
    assert bench.store.queries == []


@pytest.mark.parametrize(
    ("stop", "expected"), [(Lease.cancel, Cancelled()), (Lease.lose, Released()), (Lease.release, Released())]
)
def test_a_call_that_is_stopped_is_recorded_as_not_known(
    bench: Bench, stop: Callable[[Lease], None], expected: Outcome
) -> None:
    lease = new_lease()

    def stopped(control: Control) -> Generated:
        stop(lease)
        control.pause(10)
        raise AssertionError("not reached")

    bench.provider.script = [stopped]
    assert bench.run(lease) == expected
    assert bench.report().spent is None


def test_an_attempt_that_takes_too_long_may_have_been_paid(bench: Bench, clock: Clock) -> None:
    def slow(control: Control) -> Generated:
        clock.advance(601)
        control.check()
        raise AssertionError("not reached")

    bench.provider.script = [slow]
    assert code(bench.run(new_lease(clock=clock))) == "attempt_timeout"
    assert bench.report().spent is None


def test_a_job_whose_deadline_has_passed_is_not_begun(bench: Bench) -> None:
    assert code(bench.run(seconds_left=-1)) == "attempt_timeout"
    assert bench.store.queries == []


# paid bytes


def real_lease(*, duration: float = 60, timeout: float = 30) -> Lease:
    return Lease(JOB, claimed_at=time.monotonic(), duration=duration, timeout=timeout)


def test_a_storage_that_is_away_for_a_while_costs_no_second_call(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []

    def pause(_: Lease, seconds: float, **_also: Any) -> None:
        pauses.append(seconds)

    monkeypatch.setattr(Lease, "pause", pause)
    bench.storage.puts = [DOWN] * 10
    assert isinstance(bench.run(), Completed)
    assert len(bench.provider.requests) == 1
    assert len(pauses) == 10
    assert pauses == sorted(pauses)
    assert max(pauses) <= 10


def test_a_cancelled_job_is_not_held_up_by_a_storage_that_is_away(bench: Bench) -> None:
    lease = real_lease()
    threading.Timer(0.01, lease.cancel).start()
    bench.storage.puts = [DOWN] * 1000
    assert bench.run(lease) == Cancelled()


def test_a_call_goes_on_while_the_database_is_silent(bench: Bench, clock: Clock) -> None:
    lease = new_lease(clock=clock)

    def slow(control: Control) -> Generated:
        clock.advance(59)
        control.check()
        lease.prove(clock())
        return generated()

    bench.provider.script = [slow]
    assert isinstance(bench.run(lease), Completed)


def test_a_paid_image_is_stored_while_the_database_is_silent(bench: Bench, clock: Clock) -> None:
    """If the lease is lost by the time that it answers, the next attempt searches the storage."""

    def slow(_: Control) -> Generated:
        clock.advance(120)
        return generated()

    bench.provider.script = [slow]
    assert isinstance(bench.run(new_lease(clock=clock)), Completed)
    assert bench.storage.order == [THUMBNAIL_KEY, IMAGE_KEY]
    assert isinstance(bench.run(**NEXT), Completed)
    assert len(bench.provider.requests) == 1


# after a crash


def test_a_crash_behind_it_makes_an_attempt_look_for_the_image(bench: Bench, recorded: RecordedEvents) -> None:
    first = bench.run()
    bench.provider.requests.clear()
    second = bench.run(**NEXT)
    assert isinstance(first, Completed)
    assert isinstance(second, Completed)
    assert second.result["images"] == first.result["images"]
    assert bench.provider.requests == []
    assert recorded.fields("image.found")["attempt"] == 2


def test_the_image_of_any_earlier_attempt_is_found(bench: Bench) -> None:
    others = [f"images/{JOB.id}-{token}.webp" for token in ("aaaaaaaaaaaa", "bbbbbbbbbbbb", "cccccccccccc")]
    for key in others:
        bench.storage.objects[key] = b"stored"
    bench.images.errors = [InputRejected("half an image")]
    outcome = bench.run(**NEXT)
    assert isinstance(outcome, Completed)
    assert outcome.result["images"][0]["key"] == others[1]


def test_images_are_not_looked_at_past_the_deadline(bench: Bench, clock: Clock) -> None:
    for token in ("aaaaaaaaaaaa", "bbbbbbbbbbbb", "cccccccccccc"):
        bench.storage.objects[f"images/{JOB.id}-{token}.webp"] = b"half an image"

    def slowly(data: bytes) -> Picture:
        bench.images.opened.append(data)
        clock.advance(400)
        raise InputRejected("half an image")

    bench.images.open = slowly
    assert code(bench.run(new_lease(a_job(**NEXT), clock=clock, duration=3600))) == "attempt_timeout"
    assert len(bench.images.opened) == 2


@pytest.mark.parametrize(
    "key", [f"images/{JOB.id[:-1]}2-aaaaaaaaaaaa.webp", f"images/{MINE}.gif", f"images/{MINE}/a.webp"]
)
def test_what_no_attempt_at_this_job_stored_is_not_taken_for_its_image(bench: Bench, key: str) -> None:
    bench.storage.objects[key] = b"stored"
    assert isinstance(bench.run(**NEXT), Completed)
    assert len(bench.provider.requests) == 1


def test_no_two_attempts_put_anything_under_one_key(bench: Bench) -> None:
    """Though they share one call: a worker that was taken for dead may have its answer too."""
    bench.store.answer("begin_call", *[CallBegun(True, False, 1, 1, "p-1")] * 2)
    bench.provider.script = [generated(b"one"), generated(b"two")]
    first, second = bench.run(), bench.run(crashes=0, attempt=2, lease_token=NEXT["lease_token"])
    assert isinstance(first, Completed)
    assert isinstance(second, Completed)
    assert len(bench.storage.objects) == 4
    for image in (*first.result["images"], *second.result["images"]):
        assert hashlib.sha256(bench.storage.objects[image["key"]]).hexdigest() == image["sha256"]


def test_an_image_without_a_thumbnail_is_found_as_such(bench: Bench) -> None:
    bench.storage.objects[IMAGE_KEY] = b"stored"
    outcome = bench.run(crashes=1)
    assert isinstance(outcome, Completed)
    assert outcome.result["images"][0]["thumbnail_key"] is None


@pytest.mark.parametrize("extension", ["webp", "png", "jpg"])
def test_an_image_of_any_type_that_it_may_have_is_found(bench: Bench, extension: str) -> None:
    bench.storage.objects[f"images/{MINE}.{extension}"] = b"stored"
    outcome = bench.run(crashes=1, payload='{"prompt": "a", "output": {"format": "original"}}')
    assert isinstance(outcome, Completed)
    assert outcome.result["images"][0]["key"].endswith(extension)


def test_a_thumbnail_alone_is_not_an_image(bench: Bench) -> None:
    bench.storage.objects[THUMBNAIL_KEY] = b"stored"
    assert isinstance(bench.run(crashes=1), Completed)
    assert len(bench.provider.requests) == 1


def test_a_file_that_is_no_image_is_replaced(bench: Bench) -> None:
    bench.storage.objects[IMAGE_KEY] = b"half an image"
    bench.images.errors = [InputRejected("not an image")]
    assert isinstance(bench.run(crashes=1), Completed)
    assert bench.storage.objects[IMAGE_KEY] == b"rendered " + IMAGE


def test_nothing_is_paid_while_it_is_not_known_whether_the_image_is_there(bench: Bench) -> None:
    bench.storage.gets = [DOWN]
    assert code(bench.run(crashes=1)) == "storage_unavailable"
    assert bench.provider.requests == []


def test_a_first_attempt_does_not_look(bench: Bench) -> None:
    bench.storage.objects[IMAGE_KEY] = b"stored"
    bench.run()
    assert len(bench.provider.requests) == 1


# the permit


def test_a_permit_that_no_call_was_made_with_is_given_back(bench: Bench) -> None:
    """Whether one was, the database knows."""
    payload = json.dumps({"prompt": "a fox", "images": [{"key": "inputs/none.png"}]})
    outcome = bench.run(payload=payload, key_label="far-1", permit=7)
    assert code(outcome) == "input_not_found"
    (((job,), _),) = bench.store.calls("return_permit")
    assert (job.key_label, job.permit) == ("far-1", 7)


def test_a_permit_that_cannot_be_given_back_changes_no_outcome(bench: Bench) -> None:
    bench.store.answer("return_permit", unavailable)
    payload = json.dumps({"prompt": "a fox", "images": [{"key": "inputs/none.png"}]})
    assert code(bench.run(payload=payload, key_label="far-1", permit=7)) == "input_not_found"


@pytest.mark.parametrize(
    "job", [{"permit": 7, "key_label": "far-1"}, {"payload": '{"prompt": 1}'}], ids=["used", "none"]
)
def test_a_permit_that_was_used_or_never_taken_is_not_given_back(bench: Bench, job: dict[str, Any]) -> None:
    bench.run(**job)
    assert bench.store.calls("return_permit") == []
