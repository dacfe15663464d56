"""What streams cost, and that it is given back: by clients that go, that take nothing, that may no longer listen."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from generation_worker.db import connections as api_pool
from generation_worker.db.access import create_token, revoke_token
from generation_worker.db.query import Queries, Row
from generation_worker.db.streams import JobChanges, ReadPoint, StreamStart
from generation_worker.events import Events
from generation_worker.web import app as server
from generation_worker.web.api import stream_reader as streams, streams as event_stream
from generation_worker.web.api.stream_reader import MOST_ENDED, MOST_JOBS, REPORTED, Stream, StreamUpdate
from tests.support import jobs
from tests.support.database import Connection, Database, queries_on
from tests.support.listening import Crowd
from tests.support.waiting import wait_until
from tests.web.answers import problem
from tests.web.api.test_streams import cancel, of_batch, of_job, of_user
from tests.web.conftest import MakeKey
from tests.web.served_api import Api, api

READER = "streams"
"""The name of the reader's thread."""


@pytest.fixture
def served(served_alone: Api) -> Api:
    """No stream of an earlier test counts."""
    return served_alone


@pytest.fixture
def crowd(client: httpx.Client) -> Iterator[Crowd]:
    with Crowd(str(client.base_url)) as listeners:
        yield listeners


@pytest.fixture
def one_stream(database: Database, tmp_path: Path) -> Iterator[Api]:
    """A server that keeps one stream open, so that whoever opens a second one knows that the first is gone."""
    with api(database, tmp_path / "storage", API_MOST_STREAMS="1", API_REQUESTS_PER_MINUTE="60000") as running:
        yield running


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each of the API's statements was sent."""
    counted: Counter[str] = Counter()
    fetch = Queries._fetch  # pyright: ignore[reportPrivateUsage]

    def counting(self: Queries, factory: Any, statement: str, values: Any) -> Any:
        counted[statement] += 1
        return fetch(self, factory, statement, values)

    monkeypatch.setattr(Queries, "_fetch", counting)
    return counted


def readers() -> int:
    return sum(thread.name == READER for thread in threading.enumerate())


def sessions(connection: Connection) -> int:
    row = connection.execute(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = %s",
        [api_pool.APPLICATION],
    ).fetchone()
    assert row is not None
    return row[0]


def has_room(client: httpx.Client, job: UUID) -> bool:
    with client.stream("GET", of_job(job)) as answer:
        return answer.status_code == 200


def test_a_hundred_listeners_have_one_reader(connection: Connection, crowd: Crowd, asked: Counter[str]):
    of_others = sessions(connection)
    made = [jobs.put_job(connection) for _ in range(50)]
    listening = [crowd.listen(of_job(made[n % 50]), wait=False) for n in range(100)]
    for stream in listening:
        stream.wait_for(lambda it: it.statuses == ["pending"], "each begins")
    assert asked["start_stream"] == 100
    assert readers() == 1
    assert sessions(connection) - of_others <= api_pool.CONNECTIONS
    before = asked.total()
    looks = asked["read_changes"]
    wait_until(lambda: asked["read_changes"] >= looks + 3, "three looks are taken")
    assert asked.total() - before <= 2 * (asked["read_changes"] - looks) + 1, asked
    assert sum(thread.name.startswith("AnyIO") for thread in threading.enumerate()) <= 40
    for job in made:
        cancel(connection, job)
    for stream in listening:
        stream.wait_for_end()
        assert stream.statuses == ["pending", "cancelled"]
    wait_until(lambda: readers() == 0, "nobody reads when nobody listens")
    looks = asked["read_changes"]
    assert has_room_after(crowd, made[0])
    assert asked["read_changes"] == looks


def has_room_after(crowd: Crowd, job: UUID) -> bool:
    """A job that has ended is told of, and needs no further look."""
    stream = crowd.listen(of_job(job))
    stream.wait_for_end()
    return stream.statuses == ["cancelled"]


def test_many_hints_are_few_looks(monkeypatch: pytest.MonkeyPatch, connection: Connection, crowd: Crowd, served: Api):
    """What a busy worker does wakes the reader, and never has it read without a pause."""
    monkeypatch.setattr(streams, "READ_INTERVAL", 3600.0)
    job = jobs.put_job(connection)
    stream = crowd.listen(of_job(job))
    stream.wait_for(lambda it: it.statuses == ["pending"], "it begins")
    cancel(connection, job)
    hinted = served.events
    wait_until(lambda: hinted.emit("attempt.settled", job=str(job)) or stream.ended, "it is heard at once")
    assert stream.statuses == ["pending", "cancelled"]


def test_who_goes_away_leaves_nothing(one_stream: Api, connection: Connection):
    first, second = jobs.put_job(connection), jobs.put_job(connection)
    with Crowd(str(one_stream.client.base_url)) as crowd:
        stream = crowd.listen(of_job(first))
        answer = one_stream.client.get(of_job(second))
        problem(answer, 503, "too_many_streams")
        assert int(answer.headers["retry-after"]) > 0
        crowd.hang_up(stream)
        wait_until(lambda: has_room(one_stream.client, second), "there is room again")
        wait_until(lambda: readers() == 0, "the reader is gone")


def silent_client(served: Api, path: str) -> socket.socket:
    """Asks for a stream and then reads nothing of it."""
    address = httpx.URL(str(served.client.base_url))
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect((address.host, address.port))
    client.sendall(f"GET {path} HTTP/1.1\r\nHost: {address.host}:{address.port}\r\n\r\n".encode())
    return client


def large_batch(connection: Connection) -> UUID:
    """More to tell, 8 MB, than the buffers of a connection hold."""
    batch = uuid4()
    jobs.put_job(connection, batch_id=batch, error_message="🎨" * 2000, error_code="provider_error")
    copy = sql.SQL(
        "INSERT INTO generation_job (kind, user_id, provider, payload, cost, batch_id, batch_index, error_code,"
        " error_message) SELECT kind, user_id, provider, payload, cost, batch_id, n, error_code, error_message"
        " FROM generation_job, generate_series(1, 999) n"
    )
    connection.execute(copy)
    return batch


def blocked(connection: Connection, one_stream: Api) -> socket.socket:
    """A client that takes nothing, and for which the server waits."""
    waiting = silent_client(one_stream, of_batch(large_batch(connection)))
    wait_until(lambda: one_stream.client.get(of_job(uuid4())).status_code == 503, "it has the only stream")
    return waiting


def test_who_never_reads_and_goes_leaves_nothing(one_stream: Api, connection: Connection):
    job = jobs.put_job(connection)
    with closing(blocked(connection, one_stream)):
        assert not has_room(one_stream.client, job)
    wait_until(lambda: has_room(one_stream.client, job), "there is room again")


def test_who_never_reads_and_stays_is_dropped(one_stream: Api, connection: Connection, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(event_stream, "SEND_TIMEOUT", 0.2)
    job = jobs.put_job(connection)
    with closing(blocked(connection, one_stream)):
        wait_until(lambda: has_room(one_stream.client, job), "there is room again")


def test_the_system_drops_a_connection_that_takes_nothing(
    database: Database, tmp_path: Path, connection: Connection, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(server, "TAKEN_WITHIN", 0.5)
    job = jobs.put_job(connection)
    with api(database, tmp_path, API_MOST_STREAMS="1") as served, closing(blocked(connection, served)):
        wait_until(lambda: has_room(served.client, job), "there is room again")


def test_one_key_has_its_share(database: Database, tmp_path: Path, connection: Connection, key: MakeKey):
    job = jobs.put_job(connection)
    ada, eve = key("read", user="ada"), key("read", user="eve")
    limits = {"API_STREAMS_PER_KEY": "2", "API_MOST_STREAMS": "3"}
    with api(database, tmp_path, **limits) as served, Crowd(str(served.client.base_url)) as crowd:
        for _ in range(2):
            assert crowd.listen(of_job(job), headers=ada).status == 200
        assert crowd.listen(of_job(job), headers=ada).status == 429
        answer = served.client.get(of_job(job), headers=ada)
        assert problem(answer, 429, "too_many_streams")["remedy"]
        assert int(answer.headers["retry-after"]) > 0
        assert crowd.listen(of_user("eve"), headers=eve).status == 200
        assert crowd.listen(of_user("eve"), headers=eve).status == 503


def test_a_revoked_key_hears_no_more(connection: Connection, crowd: Crowd, key: MakeKey):
    job = jobs.put_job(connection)
    made = create_token(queries_on(connection), "test", ["read"], user_id="ada")
    theirs = crowd.listen(of_job(job), headers={"Authorization": f"Bearer {made.key}"})
    others = crowd.listen(of_job(job), headers=key("read"))
    revoke_token(queries_on(connection), made.token.id)
    theirs.wait_for_end()
    assert [event.kind for event in theirs.events] == ["job"]
    cancel(connection, job)
    others.wait_for_end()
    assert others.statuses == ["pending", "cancelled"]


def test_an_expired_key_hears_no_more(connection: Connection, crowd: Crowd, key: MakeKey):
    made = create_token(queries_on(connection), "test", ["read"], lasts=60)
    stream = crowd.listen(of_user("ada"), headers={"Authorization": f"Bearer {made.key}"})
    connection.execute("UPDATE api_token SET expires_at = clock_timestamp()")
    stream.wait_for_end()


def test_with_the_first_key_the_open_streams_end(connection: Connection, crowd: Crowd, key: MakeKey):
    stream = crowd.listen(of_job(jobs.put_job(connection)))
    key("read")
    stream.wait_for_end()


def test_a_server_that_stops_ends_its_streams_in_good_order(database: Database, tmp_path: Path, connection: Connection):
    """Cut off after the time that the server waits, they would be broken off in the middle of an answer."""
    with api(database, tmp_path) as served, Crowd(str(served.client.base_url)) as crowd:
        job = jobs.put_job(connection)
        listening = [crowd.listen(path) for path in (of_job(job), of_user("ada"))]
        for stream in listening:
            stream.wait_for(lambda it: it.statuses == ["pending"], "it begins")
        served.stop()
        for stream in listening:
            stream.wait_for_end()
            assert stream.broken is None


def test_a_database_that_goes_away_and_comes_back(
    empty_database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(event_stream, "HEARTBEAT", 0.1)
    empty_database.migrate()
    job = jobs.put_job(empty_database.connect_direct())
    with api(empty_database, tmp_path) as served, Crowd(str(served.client.base_url)) as crowd:
        stream = crowd.listen(of_job(job))
        stream.wait_for(lambda it: it.statuses == ["pending"], "it begins")
        shut(empty_database, away=True)
        wait_until(lambda: served.client.get(of_job(job)).status_code == 503, "the database is away")
        comments = stream.comments
        stream.wait_for(lambda it: it.comments > comments + 3, "it says that it is there")
        shut(empty_database, away=False)
        cancel(empty_database.connect_direct(), job)
        stream.wait_for_end()
        assert stream.statuses == ["pending", "cancelled"]


def shut(database: Database, *, away: bool) -> None:
    """Let nobody into the database any more, and put out who is in it; or let them in again."""
    conninfo = database.direct_conninfo
    name = str(conninfo_to_dict(conninfo)["dbname"])
    with psycopg.connect(conninfo, dbname="postgres", autocommit=True) as control:
        allow = sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}")
        control.execute(allow.format(sql.Identifier(name), sql.Literal(not away)))
        if away:
            control.execute("SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = %s", [name])


NOW = datetime.now(UTC)


def seen(job: UUID, **changes: Any) -> dict[str, Any]:
    return {**dict.fromkeys(REPORTED), "id": job, "user_id": "ada", "status": "processing", **changes}


def test_what_waits_for_a_slow_client_is_the_latest_of_each_job() -> None:
    made = [uuid4() for _ in range(3 * MOST_JOBS)]

    async def take_and_tell() -> StreamUpdate | None:
        stream = Stream("key:a", StreamStart(ReadPoint(1, NOW), {}, frozenset()), user="ada")
        for attempt in range(1, 6):
            rows = {job: seen(job, attempt=attempt) for job in made}
            stream.take(JobChanges(ReadPoint(attempt, NOW), rows))
        return stream.next_update()

    news = asyncio.run(take_and_tell())
    assert news is not None
    assert len(news.rows) == MOST_JOBS
    assert {row["attempt"] for row in news.rows} == {5}
    assert news.horizon == 5


def test_of_those_that_ended_a_bounded_number_is_remembered() -> None:
    """None is told of twice while it is remembered; after many others it would be."""

    async def follow() -> list[int]:
        stream = Stream("key:a", StreamStart(ReadPoint(1, NOW), {}, frozenset()), user="ada")
        told: list[int] = []
        several = [[uuid4() for _ in range(MOST_ENDED // 2)] for _ in range(3)]
        for ended in (several[0], several[0], several[1], several[0], several[2], several[0]):
            stream.take(JobChanges(ReadPoint(1, NOW), {job: seen(job, status="completed") for job in ended}))
            news = stream.next_update()
            told.append(len(news.rows) if news else 0)
        assert stream.following == 0
        return told

    half = MOST_ENDED // 2
    assert asyncio.run(follow()) == [half, 0, half, 0, half, half]


class SlowQueries(Queries):
    """A database whose first read ends when it is told to, with ``found``; later reads find nothing."""

    def __init__(self, found: Row) -> None:
        self.reads: list[tuple[set[UUID], int]] = []
        self.found = found
        self.go_on = threading.Event()

    def rows(self, statement: str, **values: Any) -> list[Row]:
        if statement == "gone_callers":
            return []
        self.reads.append((set(values["jobs"]), values["horizon"]))
        self.go_on.wait()
        row = self.found if len(self.reads) == 1 else {"id": None, "watched": None}
        return [{"horizon": 9, "read_at": NOW, **row}]


def test_who_begins_while_a_look_is_under_way_neither_goes_back_nor_misses_anything(monkeypatch: pytest.MonkeyPatch):
    """It has seen later rows than that look brings; and what has changed since it began, only the next look can see."""
    monkeypatch.setattr(streams, "READ_INTERVAL", 0.01)
    first, second = uuid4(), uuid4()
    slow = SlowQueries(seen(second, status="pending"))

    async def begin_meanwhile() -> tuple[int, list[str]]:
        open_streams = streams.Streams(slow, Events(), streams.StreamLimits(9, 9))
        opened = [following(first, 3), following(second, 5)]
        open_streams.add(opened[0])
        await asyncio.to_thread(wait_until, lambda: len(slow.reads) == 1, "a look begins")
        open_streams.add(opened[1])
        slow.go_on.set()
        await asyncio.to_thread(wait_until, lambda: len(slow.reads) >= 2, "another look begins")
        told = [row["status"] for news in [opened[1].next_update()] if news for row in news.rows]
        for stream in opened:
            open_streams.remove(stream)
        return slow.reads[1][1], told

    def following(job: UUID, horizon: int) -> Stream:
        return Stream("key:a", StreamStart(ReadPoint(horizon, NOW), {job: seen(job)}, frozenset()))

    assert asyncio.run(begin_meanwhile()) == (5, [])
    assert slow.reads[0] == ({first}, 3)
    assert slow.reads[1][0] == {first, second}
