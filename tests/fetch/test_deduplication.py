"""Jobs that need the same input at the same time share one fetch, and none fails because another was stopped."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from generation_worker.domain.errors import CancelRequested, InputNotFound
from generation_worker.fetch.fetcher import WebFetcher
from tests.fetch.pages import CAT, image, in_turn
from tests.fetch.world import HOST, URL, Attempt, Site, World
from tests.simulators.replies import Exchange, Reply
from tests.support.waiting import wait_until


def waits(attempt: Attempt) -> bool:
    """Whether it has begun, found somebody fetching, and asked again meanwhile."""
    return attempt.checks >= 3


def when(happened: Callable[[], bool], reply: Reply) -> Reply:
    def answer(exchange: Exchange) -> None:
        wait_until(happened, "the other one waits")
        reply(exchange)

    return answer


@contextmanager
def two_jobs(
    site: Site, fetcher: WebFetcher, first: Attempt, second: Attempt, url: str = URL
) -> Generator[tuple[Future[bytes], Future[bytes]]]:
    """The second begins when the first one's request has arrived."""
    with ThreadPoolExecutor(2) as threads:
        leader = threads.submit(fetcher.fetch, URL, first)
        wait_until(lambda: bool(site.asked), "the first request arrives")
        yield leader, threads.submit(fetcher.fetch, url, second)


def test_two_jobs_make_one_request(site: Site, fetcher: WebFetcher) -> None:
    first, second = Attempt(), Attempt()
    site.pages["/cat.png"] = when(lambda: waits(second), image())
    with two_jobs(site, fetcher, first, second) as (leader, follower):
        assert (leader.result(), follower.result()) == (CAT, CAT)
    assert len(site.asked) == 1


def test_two_urls_are_two_requests(site: Site, fetcher: WebFetcher) -> None:
    site.pages["/cat.png"] = when(lambda: len(site.asked) == 2, image())
    other = f"https://{HOST}/cat.png?size=2"
    with two_jobs(site, fetcher, Attempt(), Attempt(), other) as (leader, follower):
        assert (leader.result(), follower.result()) == (CAT, CAT)


def test_what_fails_fails_for_all_that_wait(site: Site, fetcher: WebFetcher) -> None:
    second = Attempt()
    site.pages["/cat.png"] = when(lambda: waits(second), image(status=404))
    with two_jobs(site, fetcher, Attempt(), second) as (leader, follower):
        errors = [job.exception() for job in (leader, follower)]
    assert [type(error) for error in errors] == [InputNotFound, InputNotFound]
    assert str(errors[0]) == str(errors[1])
    assert errors[0] is not errors[1]  # each has the traceback of its own thread
    assert len(site.asked) == 1


def test_who_waits_takes_over_from_who_was_stopped(site: Site, fetcher: WebFetcher) -> None:
    first, second = Attempt(), Attempt()

    def never(exchange: Exchange) -> None:
        wait_until(lambda: waits(second), "the other one waits")
        first.stop(CancelRequested)
        exchange.closing.wait()

    site.pages["/cat.png"] = in_turn(never, image())
    with two_jobs(site, fetcher, first, second) as (leader, follower):
        assert isinstance(leader.exception(), CancelRequested)
        assert follower.result() == CAT
    assert len(site.asked) == 2


def test_who_waits_may_be_stopped_alone(site: Site, fetcher: WebFetcher) -> None:
    second = Attempt().stop_after(3, CancelRequested)
    stopped = threading.Event()
    site.pages["/cat.png"] = when(stopped.is_set, image())
    with two_jobs(site, fetcher, Attempt(), second) as (leader, follower):
        assert isinstance(follower.exception(), CancelRequested)
        stopped.set()
        assert leader.result() == CAT


def test_a_fetch_that_is_over_is_forgotten(world: World, site: Site) -> None:
    """Without a cache the next job fetches anew, after a failure as after an image."""
    fetcher = world.fetcher()
    site.pages["/cat.png"] = in_turn(image(status=404), image(), image(b"another cat"))
    with pytest.raises(InputNotFound):
        fetcher.fetch(URL, Attempt())
    assert fetcher.fetch(URL, Attempt()) == CAT
    assert fetcher.fetch(URL, Attempt()) == b"another cat"
