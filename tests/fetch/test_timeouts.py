"""A fetch ends at its timeout wherever the host hangs, and as soon as its job is stopped."""

from __future__ import annotations

import socket
import threading
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from generation_worker.domain.errors import (
    AttemptStopped,
    AttemptTimedOut,
    CancelRequested,
    InputUnavailable,
    LeaseLost,
    ShuttingDown,
)
from generation_worker.fetch.connector import MOST_LOOKUPS, DeadlineExceeded, DeadlineWatch, dial_tcp, resolve_addresses
from generation_worker.fetch.fetcher import WebFetcher
from tests.fetch.pages import CAT, SILENT, begun, image, redirect
from tests.fetch.world import HOST, PUBLIC, URL, Attempt, Site, World
from tests.simulators.replies import Reply, later
from tests.support.waiting import wait_until

SHORT = 0.4
"""Seconds: the timeout of fetches that are meant to run into it. Whoever did not end them would wait for minutes."""


@contextmanager
def silent_server(says: bytes = b"", *, backlog: int = 8) -> Generator[int]:
    """The port of a server that takes connections, and of TLS says one byte now and then, if any."""
    over = threading.Event()

    def serve() -> None:
        with suppress(OSError):
            connection, _ = server.accept()
            with connection:
                for byte in says:
                    connection.sendall(bytes([byte]))
                    over.wait(0.05)
                over.wait()

    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(backlog)
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            over.set()
            with suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)
            thread.join()


RECORD = b"\x16\x03\x03\x40\x00" + bytes(10_000)
"""The beginning of a record of TLS that is long in coming."""


def unavailable(fetcher: WebFetcher) -> str:
    with pytest.raises(InputUnavailable) as failed:
        fetcher.fetch(URL, Attempt())
    return failed.value.message


# the time for one input


@pytest.mark.parametrize("page", SILENT.values(), ids=SILENT)
def test_a_host_that_does_not_come_to_an_end_is_left(world: World, site: Site, page: Reply) -> None:
    site.pages["/cat.png"] = page
    assert unavailable(world.fetcher(timeout=SHORT)) == (
        f"The host {HOST} of an input's url did not send a complete response within 0.4 s."
    )


@pytest.mark.parametrize("says", [b"", RECORD], ids=["never a byte", "drips"])
def test_a_handshake_that_does_not_come_to_an_end_is_left(world: World, says: bytes) -> None:
    with silent_server(says) as world.port:
        assert "within 0.4 s" in unavailable(world.fetcher(timeout=SHORT))


def test_a_name_server_that_does_not_answer_is_left(world: World) -> None:
    answered = threading.Event()

    def resolve(host: str) -> Sequence[str]:
        answered.wait()
        return [PUBLIC]

    try:
        assert "within 0.4 s" in unavailable(world.fetcher(timeout=SHORT, resolve=resolve))
    finally:
        answered.set()
    assert world.dialled == []


def test_redirects_do_not_begin_the_time_anew(world: World, site: Site) -> None:
    for n in range(6):
        site.pages[f"/{n}.png"] = later(0.2, redirect(f"/{n + 1}.png"))
    site.pages["/cat.png"], site.pages["/6.png"] = redirect("/2.png"), image()
    assert "within 0.4 s" in unavailable(world.fetcher(timeout=SHORT))


def test_a_host_that_takes_its_time_is_waited_for(world: World, site: Site) -> None:
    site.pages["/cat.png"] = later(0.7, image())
    assert world.fetcher().fetch(URL, Attempt()) == CAT


# the attempt


@pytest.mark.parametrize("page", SILENT.values(), ids=SILENT)
def test_a_fetch_ends_with_its_attempt(world: World, site: Site, page: Reply) -> None:
    site.pages["/cat.png"] = page
    with pytest.raises(AttemptTimedOut):
        world.fetcher().fetch(URL, Attempt(seconds=SHORT))


@pytest.mark.parametrize("reason", [CancelRequested, LeaseLost, ShuttingDown])
@pytest.mark.parametrize("page", SILENT.values(), ids=SILENT)
def test_a_stopped_attempt_stops_its_fetch(
    world: World, site: Site, page: Reply, attempt: Attempt, reason: type[AttemptStopped]
) -> None:
    def stop_first(exchange: Any) -> None:
        attempt.stop(reason)
        page(exchange)

    site.pages["/cat.png"] = stop_first
    with pytest.raises(reason):
        world.fetcher().fetch(URL, attempt)


def test_a_stopped_attempt_does_not_wait_for_a_handshake(world: World, attempt: Attempt) -> None:
    with silent_server() as world.port, pytest.raises(CancelRequested):
        world.fetcher().fetch(URL, attempt.stop_after(6, CancelRequested))


def test_a_stopped_attempt_does_not_wait_for_a_connection(attempt: Attempt) -> None:
    with socket.socket() as server, socket.socket() as first, socket.socket() as second:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        for other in (first, second):  # nobody accepts them, and there is no room for a third
            other.setblocking(False)
            other.connect_ex(server.getsockname())
        with pytest.raises(CancelRequested):
            dial_tcp("127.0.0.1", server.getsockname()[1], attempt.stop_after(2, CancelRequested))


def test_a_stopped_attempt_begins_no_fetch(world: World, attempt: Attempt) -> None:
    attempt.stop(CancelRequested)
    with pytest.raises(CancelRequested):
        world.fetcher().fetch(URL, attempt)
    assert (world.looked_up, world.dialled) == ([], [])


def test_an_attempt_that_is_stopped_as_the_connection_breaks_is_stopped(world: World, attempt: Attempt) -> None:
    """Not failed: an attempt that was used up for nothing."""

    def dial(address: str, port: int, watch: Any) -> socket.socket:
        attempt.stop(CancelRequested)
        raise ConnectionRefusedError

    with pytest.raises(CancelRequested):
        world.fetcher(dial=dial).fetch(URL, attempt)


def test_the_time_limit_counts_from_its_beginning_and_keeps_the_attempts(attempt: Attempt) -> None:
    now = 0.0
    limit = DeadlineWatch(attempt, 10.0, clock=lambda: now)
    limit.check()
    assert limit.seconds_left() == 10.0
    now = 9.5
    limit.check()
    assert limit.seconds_left() == 0.5
    now = 11.0
    with pytest.raises(DeadlineExceeded):
        limit.check()
    assert limit.seconds_left() == 0.0
    assert DeadlineWatch(Attempt(seconds=5), 10.0).seconds_left() <= 5


# names that nobody waits for any more


def test_lookups_that_were_given_up_do_not_pile_up() -> None:
    answered, begun_lookups = threading.Event(), threading.Semaphore(0)

    def resolve(host: str) -> Sequence[str]:
        begun_lookups.release()
        answered.wait()
        return [PUBLIC]

    def look_up() -> list[Any]:
        return resolve_addresses(HOST, resolve, Attempt(), private=False)

    with ThreadPoolExecutor(MOST_LOOKUPS + 1) as threads:
        waiting = [threads.submit(look_up) for _ in range(MOST_LOOKUPS)]
        try:
            for _ in waiting:
                assert begun_lookups.acquire(timeout=30)
            late = Attempt().stop_after(3, CancelRequested)
            with pytest.raises(CancelRequested):
                resolve_addresses(HOST, resolve, late, private=False)
            assert not begun_lookups.acquire(blocking=False)  # the one too many has not even begun
        finally:
            answered.set()
        assert all([str(address) for address in one.result(30)] == [PUBLIC] for one in waiting)
    assert look_up()


def test_a_resolver_that_breaks_gives_its_place_back() -> None:
    def resolve(host: str) -> Sequence[str]:
        raise OSError("no name server")

    for _ in range(MOST_LOOKUPS + 1):
        with pytest.raises(Exception, match="could not be found by its name"):
            resolve_addresses(HOST, resolve, Attempt(), private=False)


def test_nothing_is_left_open(world: World, site: Site, attempt: Attempt) -> None:
    """Neither by a fetch that ends well, nor by one that is stopped in its middle."""
    here = threading.Event()

    def rest(exchange: Any) -> None:
        attempt.stop(CancelRequested)
        with suppress(OSError):
            while exchange._handler.connection.recv(1):  # pyright: ignore[reportPrivateUsage]
                pass
        here.set()

    site.pages["/cat.png"] = begun(rest, Content_Length="1000")
    with pytest.raises(CancelRequested):
        world.fetcher().fetch(URL, attempt)
    wait_until(here.is_set, "the server sees that the connection was closed")
