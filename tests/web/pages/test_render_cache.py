"""One look at the database serves all who watch at the same time."""

from __future__ import annotations

import threading
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import pytest

from generation_worker import wiring_web
from generation_worker.db.query import Queries
from generation_worker.web.pages import fleet, overview
from generation_worker.web.pages.render import CachedQuery
from tests.support.database import Database
from tests.web.pages.conftest import OpenBrowser
from tests.web.served_api import api

MANY = 20
QUERIES = Queries(Any)  # pyright: ignore[reportArgumentType]


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class Questions:
    """Counts how often it is asked, and does not answer before it is let."""

    def __init__(self) -> None:
        self.asked = 0
        self.let = threading.Event()

    def __call__(self, _queries: Queries) -> int:
        self.asked += 1
        assert self.let.wait(30)
        return self.asked


def test_many_who_look_at_once_ask_no_more_than_one():
    questions = Questions()
    look, seen = CachedQuery(questions, seconds=1.5, clock=Clock()), list[int]()
    together = threading.Barrier(MANY + 1)

    def open_page() -> None:
        together.wait(30)
        seen.append(look(QUERIES))

    threads = [threading.Thread(target=open_page) for _ in range(MANY)]
    for thread in threads:
        thread.start()
    together.wait(30)
    questions.let.set()
    for thread in threads:
        thread.join(30)
    assert (questions.asked, seen) == (1, [1] * MANY)


def test_it_holds_for_its_time_and_not_for_longer():
    questions, clock = Questions(), Clock()
    questions.let.set()
    look = CachedQuery(questions, seconds=1.5, clock=clock)
    assert look(QUERIES) == 1
    clock.now += 1.4
    assert look(QUERIES) == 1
    clock.now += 0.1
    assert look(QUERIES) == 2
    assert look(QUERIES, anew=True) == 3
    assert look(QUERIES) == 3


def test_what_went_wrong_is_not_kept():
    answers = iter([ConnectionError("away"), 1])

    def take(_queries: Queries) -> int:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    look = CachedQuery(take, seconds=1.5, clock=Clock())
    with pytest.raises(ConnectionError):
        look(QUERIES)
    assert look(QUERIES) == 1


def test_another_application_of_the_process_has_its_own():
    questions = Questions()
    questions.let.set()
    look = CachedQuery(questions, seconds=1.5, clock=Clock())
    assert look(QUERIES) == 1
    assert look(Queries(Any)) == 2  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(("path", "looks"), [("/dashboard", 2), ("/dashboard/providers", 2), ("/dashboard/workers", 1)])
def test_pages_that_are_open_at_once_share_their_looks(
    database: Database,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    open_browser: OpenBrowser,
    path: str,
    looks: int,
):
    asked: list[str] = []

    class CountedQueries(Queries):
        @contextmanager
        def read_only(self, *, seconds: float = 2.0) -> Generator[Self]:
            asked.append(path)
            with super().read_only(seconds=seconds) as questions:
                yield questions

    monkeypatch.setattr(wiring_web, "Queries", CountedQueries)
    caches = [*overview.chart_caches.values(), overview.overview_cache]
    for cache in (*caches, fleet.calls_cache, fleet.providers_cache, fleet.workers_cache):
        monkeypatch.setattr(cache, "seconds", 3600)
    with api(database, tmp_path, API_REQUESTS_PER_MINUTE="60000") as running, ThreadPoolExecutor(MANY) as people:
        browser = open_browser(str(running.client.base_url))
        pages = list(people.map(browser.open, [path] * MANY))
    assert [page.status for page in pages] == [200] * MANY
    assert len(asked) == looks
