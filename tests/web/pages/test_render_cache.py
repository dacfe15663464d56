"""One look at the database serves all who watch at the same time."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from generation_worker.db.insights import Insights

from generation_worker import wiring_web
from generation_worker.db.connections import DeskConnections
from generation_worker.web.pages import fleet as providers
from generation_worker.web.pages import fleet as workers
from generation_worker.web.pages import overview
from generation_worker.web.pages.render import SharedLook
from generation_worker.wiring_web import fleet_questions
from tests.support.database import Database
from tests.web.pages.conftest import OpenBrowser
from tests.web.served_api import api

MANY = 20


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class Questions:
    """Counts how often it is asked, and does not answer before it is let."""

    def __init__(self) -> None:
        self.asked = 0
        self.let = threading.Event()

    def __call__(self) -> int:
        self.asked += 1
        assert self.let.wait(30)
        return self.asked


def test_many_who_look_at_once_ask_no_more_than_one():
    questions = Questions()
    look, seen = SharedLook(questions, seconds=1.5, clock=Clock()), list[int]()
    together = threading.Barrier(MANY + 1)

    def open_page() -> None:
        together.wait(30)
        seen.append(look())

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
    look = SharedLook(questions, seconds=1.5, clock=clock)
    assert look() == 1
    clock.now += 1.4
    assert look() == 1
    clock.now += 0.1
    assert look() == 2
    assert look(anew=True) == 3
    assert look() == 3


def test_what_went_wrong_is_not_kept():
    answers = iter([ConnectionError("away"), 1])

    def take() -> int:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    look = SharedLook(take, seconds=1.5, clock=Clock())
    with pytest.raises(ConnectionError):
        look()
    assert look() == 1


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

    def counted(desk: DeskConnections) -> AbstractContextManager[Insights]:
        asked.append(path)
        return fleet_questions(desk)

    monkeypatch.setattr(wiring_web, "fleet_questions", counted)
    for page in (overview, providers, workers):
        monkeypatch.setattr(page, "SECONDS", 3600)
    monkeypatch.setattr(providers, "SECONDS_OF_CALLS", 3600)
    with api(database, tmp_path, API_REQUESTS_PER_MINUTE="60000") as running, ThreadPoolExecutor(MANY) as people:
        browser = open_browser(str(running.client.base_url))
        pages = list(people.map(browser.open, [path] * MANY))
    assert [page.status for page in pages] == [200] * MANY
    assert len(asked) == looks
