"""Streams of events in /metrics: how many are open, and which limit has kept one from being opened."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from generation_worker.events import Events
from generation_worker.web.api import stream_reader as streams
from generation_worker.web.problems import Problem
from tests.metrics.reading import OPENMETRICS, Samples, samples, series, value
from tests.support import jobs
from tests.support.database import Connection, Database
from tests.support.listening import Crowd
from tests.support.waiting import wait_until
from tests.web.answers import problem
from tests.web.conftest import MakeKey
from tests.web.served_api import api
from tests.web.test_events import of_job, of_user

REFUSED = "worker_event_streams_refused_total"


def scraped(client: httpx.Client) -> Samples:
    answer = client.get("/metrics", params={"fleet": "false"}, headers={"Accept": OPENMETRICS})
    return samples(answer.content, answer.headers["content-type"])


def test_what_is_open_and_what_was_refused(
    database: Database, tmp_path: Path, connection: Connection, key: MakeKey, monkeypatch: pytest.MonkeyPatch
):
    job = jobs.put_job(connection)
    ada, eve = key("read", user="ada"), key("read", user="eve")
    settings = {"API_STREAMS_PER_KEY": "2", "API_MOST_STREAMS": "3", "WORKER_ENABLE_METRICS": "true"}
    with api(database, tmp_path, **settings) as served, Crowd(str(served.client.base_url)) as crowd:
        found = scraped(served.client)
        assert value(found, "worker_event_streams") == 0
        assert series(found, REFUSED) == {("streams",): 0, ("jobs",): 0, ("key",): 0}

        listening = [crowd.listen(of_job(job), headers=ada)]
        monkeypatch.setattr(streams, "MOST_WATCHED", 1)
        problem(served.client.get(of_job(job), headers=ada), 503, "too_many_streams")
        monkeypatch.undo()
        listening.append(crowd.listen(of_job(job), headers=ada))
        problem(served.client.get(of_job(job), headers=ada), 429, "too_many_streams")
        listening.append(crowd.listen(of_user("eve"), headers=eve))
        for _ in range(2):
            problem(served.client.get(of_user("eve"), headers=eve), 503, "too_many_streams")
        found = scraped(served.client)
        assert value(found, "worker_event_streams") == 3
        assert series(found, REFUSED) == {("streams",): 2, ("jobs",): 1, ("key",): 1}

        for stream in listening:
            crowd.hang_up(stream)
        wait_until(lambda: value(scraped(served.client), "worker_event_streams") == 0, "none is open")


def test_that_the_process_ends_is_no_limit():
    told: list[str] = []
    events, nobody = Events(), dict[str, Any]()
    events.subscribe(lambda name, _fields: told.append(name))
    ending = streams.Streams(nobody, events, streams.StreamLimits(1, 1))  # pyright: ignore[reportArgumentType]
    ending.close()
    with pytest.raises(Problem, match="as many streams"):
        ending.check_room("key:a")
    assert told == []
