"""Streams of events over real HTTP: what a page hears of its jobs, from the first word to the last."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from generation_worker.web.api import stream_reader as streams, streams as event_stream
from tests.support import jobs
from tests.support.database import Connection, Database
from tests.support.listening import Crowd, Listener
from tests.web.answers import good, problem
from tests.web.conftest import MakeKey
from tests.web.served_api import Api

RESULT: dict[str, Any] = {"images": [{"key": "images/a.webp"}], "provider": "local"}


@pytest.fixture
def served(served_alone: Api) -> Api:
    """No stream of an earlier test is still read for."""
    return served_alone


@pytest.fixture
def crowd(client: httpx.Client) -> Iterator[Crowd]:
    with Crowd(str(client.base_url)) as listeners:
        yield listeners


def of_job(job: UUID) -> str:
    return f"/worker/jobs/{job}/events"


def of_batch(batch: UUID) -> str:
    return f"/worker/batches/{batch}/events"


def of_user(user: str) -> str:
    return f"/worker/events?user_id={user}"


def start(connection: Connection, job: UUID) -> None:
    jobs.change_job(connection, job, **jobs.LEASED, status="processing", attempt=1, started_at=jobs.NOW)


def complete(connection: Connection, job: UUID) -> None:
    done = dict(jobs.NOT_LEASED, status="completed", finished_at=jobs.NOW, result=RESULT)
    jobs.change_job(connection, job, **done)


def cancel(connection: Connection, job: UUID) -> None:
    connection.execute("SELECT cancel_generation(%s)", [job])


def resumed(crowd: Crowd, path: str, cut: Listener) -> Listener:
    """As an EventSource comes again by itself."""
    crowd.hang_up(cut)
    return crowd.listen(path, headers={"Last-Event-ID": cut.last_id or ""})


def test_a_job_from_its_first_word_to_its_last(client: httpx.Client, connection: Connection, crowd: Crowd):
    job = jobs.put_job(connection)
    stream = crowd.listen(of_job(job))
    assert stream.status == 200
    assert stream.headers["content-type"].startswith("text/event-stream")
    assert {"no-cache", "no-transform"} <= set(stream.headers["cache-control"].split(", "))
    assert stream.headers["x-accel-buffering"] == "no"
    stream.wait_for(lambda it: it.statuses == ["pending"], "it says at once how the job stands")
    assert stream.jobs[0]["queue_position"] == 0
    assert stream.retry
    start(connection, job)
    stream.wait_for(lambda it: it.statuses[-1] == "processing", "it starts")
    complete(connection, job)
    stream.wait_for_end()
    assert stream.statuses == ["pending", "processing", "completed"]
    assert [event.kind for event in stream.events] == ["job", "job", "job", "end"]
    last = stream.jobs[-1]
    assert last["result"]["images"][0]["url"].startswith("https://images.test/images/a.webp")
    assert stream.events[-1].data == {"reason": "done"}
    shown = good(client.get(last["status_url"]))
    assert {name: shown[name] for name in last} == last


def test_of_a_job_that_has_ended_it_says_so_and_an_event_source_comes_no_more(connection: Connection, crowd: Crowd):
    job = jobs.put_job(connection, "failed")
    stream = crowd.listen(of_job(job))
    stream.wait_for_end()
    assert stream.statuses == ["failed"]
    assert stream.jobs[0]["error"]["code"] == "internal_error"
    assert stream.last_id == "end"
    again = resumed(crowd, of_job(job), stream)
    again.wait_for_end()
    assert (again.status, again.body) == (204, b"")


def test_an_end_that_never_was_is_not_believed(connection: Connection, crowd: Crowd):
    job = jobs.put_job(connection)
    for told in ("end", "x", "-1", "9" * 18, "²", "1" * 100):
        stream = crowd.listen(of_job(job), headers={"Last-Event-ID": told.encode()})
        stream.wait_for(lambda it: it.statuses == ["pending"], f"the job is told of after {told}")


def test_a_lease_that_is_renewed_is_no_event(connection: Connection, crowd: Crowd):
    job = jobs.put_job(connection, "processing")
    stream = crowd.listen(of_job(job))
    for _ in range(3):
        jobs.change_job(connection, job, lease_expires_at=jobs.NOW)
    cancel(connection, job)
    stream.wait_for(lambda it: len(it.jobs) > 1, "a wish to cancel is one")
    complete(connection, job)
    stream.wait_for_end()
    assert [(each["status"], each["cancel_requested"]) for each in stream.jobs] == [
        ("processing", False),
        ("processing", True),
        ("completed", True),
    ]


def test_places_in_line_are_told_anew(connection: Connection, crowd: Crowd, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(streams, "POSITIONS_INTERVAL", 0.1)
    first, _, job = (jobs.put_job(connection) for _ in range(3))
    stream = crowd.listen(of_job(job))
    stream.wait_for(lambda it: [each["queue_position"] for each in it.jobs] == [2], "two go before it")
    cancel(connection, first)
    stream.wait_for(lambda it: [each["queue_position"] for each in it.jobs] == [2, 1], "one goes before it")
    start(connection, job)
    stream.wait_for(lambda it: it.jobs[-1]["queue_position"] is None, "it waits no longer")
    assert [each["queue_position"] for each in stream.jobs] == [2, 1, None]


def test_a_job_that_is_deleted_ends_its_stream(connection: Connection, crowd: Crowd):
    job = jobs.put_job(connection)
    stream = crowd.listen(of_job(job))
    with connection.transaction():
        connection.execute("SET LOCAL session_replication_role = replica")
        connection.execute("DELETE FROM generation_job")
    stream.wait_for_end()
    assert stream.events[-1].data == {"reason": "gone"}


def test_a_batch_until_all_its_jobs_have_ended(client: httpx.Client, connection: Connection, crowd: Crowd):
    batch = uuid4()
    made = [jobs.put_job(connection, batch_id=batch, batch_index=n) for n in range(3)]
    complete_at_once = jobs.put_job(connection, "completed", batch_id=batch, batch_index=3)
    other = jobs.put_job(connection)
    address = good(client.get(f"/worker/batches/{batch}"))["events_url"]
    stream = crowd.listen(address)
    stream.wait_for(lambda it: len(it.jobs) == 4, "all jobs are told of")
    assert [each["id"] for each in stream.jobs] == [str(job) for job in (*made, complete_at_once)]
    cancel(connection, other)
    for job in made:
        cancel(connection, job)
    stream.wait_for_end()
    assert {each["id"] for each in stream.jobs[4:]} == {str(job) for job in made}
    assert {each["status"] for each in stream.jobs[4:]} == {"cancelled"}
    assert stream.events[-1].kind == "end"
    problem(client.get(of_batch(uuid4())), 404, "batch_not_found")


def test_all_jobs_of_a_user_also_those_that_come_and_go(connection: Connection, crowd: Crowd):
    waiting = jobs.put_job(connection)
    running = jobs.put_job(connection, "processing")
    for _ in range(2):
        jobs.put_job(connection, "completed")
    stream = crowd.listen(of_user("ada"))
    stream.wait_for(lambda it: len(it.jobs) == 2, "it begins with what waits or runs")
    assert {each["id"] for each in stream.jobs} == {str(waiting), str(running)}
    bobs = jobs.put_job(connection, user_id="bob")
    quick = jobs.put_job(connection, "completed")
    later = jobs.put_job(connection)
    complete(connection, running)
    stream.wait_for(lambda it: len(it.jobs) == 5, "what comes, what ends, and what did both")
    cancel(connection, bobs)
    cancel(connection, later)
    stream.wait_for(lambda it: len(it.jobs) == 6, "what came ends")
    heard = [(each["id"], each["status"]) for each in stream.jobs[2:]]
    assert heard[-1] == (str(later), "cancelled")
    assert set(heard) == {
        (str(quick), "completed"),
        (str(running), "completed"),
        (str(later), "pending"),
        (str(later), "cancelled"),
    }
    assert not stream.ended


def test_an_end_is_told_once_however_long_others_write(connection: Connection, database: Database, crowd: Crowd):
    """A transaction that has written and goes on holds back from where on is looked."""
    other = database.connect(autocommit=False)
    other.execute("SELECT grant_credits('bob', 1)")
    stream = crowd.listen(of_user("ada"))
    jobs.put_job(connection, "completed")
    for number in range(1, 4):
        jobs.put_job(connection)
        stream.wait_for(lambda it, number=number: it.statuses.count("pending") == number, "another look was taken")
    assert stream.statuses.count("completed") == 1


def test_a_stream_that_was_cut_goes_on_without_a_loss(connection: Connection, crowd: Crowd):
    changed, same = jobs.put_job(connection), jobs.put_job(connection)
    ended = jobs.put_job(connection, "processing")
    stream = crowd.listen(of_user("ada"))
    stream.wait_for(lambda it: it.last_id is not None, "it begins")
    crowd.hang_up(stream)
    start(connection, changed)
    complete(connection, ended)
    again = resumed_later(crowd, of_user("ada"), stream)
    again.wait_for(lambda it: it.last_id is not None, "it goes on")
    assert {(each["id"], each["status"]) for each in again.jobs} == {
        (str(changed), "processing"),
        (str(ended), "completed"),
    }
    cancel(connection, same)
    again.wait_for(lambda it: (it.jobs[-1]["id"], it.statuses[-1]) == (str(same), "cancelled"), "what was not told")


def resumed_later(crowd: Crowd, path: str, cut: Listener) -> Listener:
    assert cut.last_id is not None
    return crowd.listen(path, headers={"Last-Event-ID": cut.last_id})


@pytest.mark.parametrize("kind", ["job", "batch"])
def test_what_ends_during_a_cut_is_told(connection: Connection, crowd: Crowd, kind: str):
    batch = uuid4()
    job = jobs.put_job(connection, batch_id=batch)
    path = of_job(job) if kind == "job" else of_batch(batch)
    stream = crowd.listen(path)
    stream.wait_for(lambda it: it.last_id is not None, "it begins")
    unchanged = resumed(crowd, path, stream)
    unchanged.wait_for(lambda it: it.retry is not None, "it goes on")
    assert unchanged.events == []
    crowd.hang_up(unchanged)
    cancel(connection, job)
    again = resumed_later(crowd, path, stream)
    again.wait_for_end()
    assert (again.statuses, again.last_id) == (["cancelled"], "end")


@pytest.mark.parametrize("more", [0, 2])
def test_what_was_committed_late_is_told(connection: Connection, database: Database, crowd: Crowd, more: int):
    """The row bears a time before the cut, and nobody could see it until after: right away, or some looks later."""
    job = jobs.put_job(connection)
    other = database.connect(autocommit=False)
    cancel(other, job)
    jobs.put_job(connection, user_id="bob")  # begun later, and over
    stream = crowd.listen(of_user("ada"))
    stream.wait_for(lambda it: it.statuses == ["pending"], "it begins")
    for number in range(2, 2 + more):
        jobs.put_job(connection)
        stream.wait_for(lambda it, number=number: len(it.jobs) == number, "it goes on")
    crowd.hang_up(stream)
    other.commit()
    again = resumed_later(crowd, of_user("ada"), stream)
    again.wait_for(lambda it: (str(job), "cancelled") in {(each["id"], each["status"]) for each in it.jobs}, "told")


def test_only_who_has_heard_all_has_an_id(connection: Connection, crowd: Crowd, monkeypatch: pytest.MonkeyPatch):
    """Cut between two jobs of one look, a stream goes on with both."""
    monkeypatch.setattr(event_stream, "CHUNK", 2)
    batch = uuid4()
    for n in range(5):
        jobs.put_job(connection, batch_id=batch, batch_index=n)
    stream = crowd.listen(of_batch(batch))
    stream.wait_for(lambda it: len(it.jobs) == 5, "all are told")
    ids = [event.id for event in stream.events]
    assert ids[:4] == [None] * 4
    assert ids[4]


def test_a_quiet_stream_says_that_it_is_there(connection: Connection, crowd: Crowd, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(event_stream, "HEARTBEAT", 0.05)
    stream = crowd.listen(of_job(jobs.put_job(connection)))
    stream.wait_for(lambda it: it.comments >= 3, "comments come")
    assert stream.statuses == ["pending"]


def test_each_sees_their_own(client: httpx.Client, connection: Connection, crowd: Crowd, key: MakeKey):
    batch = uuid4()
    job = jobs.put_job(connection, batch_id=batch)
    ada, eve, service = key("read", user="ada"), key("read", user="eve"), key("read")
    problem(client.get(of_job(job), headers=eve), 404, "job_not_found")
    problem(client.get(of_batch(batch), headers=eve), 404, "batch_not_found")
    problem(client.get(of_user("ada"), headers=eve), 404, "user_not_found")
    problem(client.get("/worker/events", headers=service), 422, "invalid_request")
    problem(client.get(of_job(job)), 401, "key_required")
    problem(client.get(of_job(job), headers=key("enqueue")), 403, "missing_scope")
    problem(client.get(of_job(uuid4()), headers=service), 404, "job_not_found")
    hers = crowd.listen("/worker/events", headers=ada)
    theirs = crowd.listen("/worker/events", headers=eve)
    all_hers = crowd.listen(of_user("ada"), headers=service)
    cancel(connection, job)
    mark = jobs.put_job(connection, user_id="eve")
    theirs.wait_for(lambda it: len(it.jobs) == 1, "eve hears of her own")
    for stream in (hers, all_hers):
        stream.wait_for(lambda it: it.statuses == ["pending", "cancelled"], "ada's is heard")
    assert [each["id"] for each in theirs.jobs] == [str(mark)]


def test_the_document_says_what_comes(client: httpx.Client):
    paths = client.get("/openapi.json").json()["paths"]
    for path in ("/worker/jobs/{job_id}/events", "/worker/batches/{batch_id}/events", "/worker/events"):
        answers = paths[path]["get"]["responses"]
        assert list(answers["200"]["content"]) == ["text/event-stream"]
        assert "event: end" in answers["200"]["content"]["text/event-stream"]["example"]
        assert {"401", "403", "429", "503"} <= set(answers)
        assert ("204" in answers) is (path != "/worker/events")  # a user's stream has no end to come back after
