"""The parent does not trust the frames that a child sends."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from time import monotonic

import pytest

from generation_worker.images import processes

Pipe = tuple[socket.socket, socket.socket]


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def test_a_frame_arrives_as_it_was_sent(pipe: Pipe) -> None:
    processes.send(pipe[0], {"do": "open"}, b"one", b"two")
    header, body = processes.receive(pipe[1], 6)
    assert (header, bytes(body)) == ({"do": "open"}, b"onetwo")


@pytest.mark.parametrize("lengths", [(2, 2**60), (2, 7), (processes.HEADER_LIMIT + 1, 0)])
def test_no_memory_is_taken_for_a_length_that_is_not_allowed(pipe: Pipe, lengths: tuple[int, int]) -> None:
    pipe[0].sendall(processes.LENGTHS.pack(*lengths) + b"{}")
    with pytest.raises(processes.FrameError, match="longer than allowed"):
        processes.receive(pipe[1], 6)


def test_a_header_that_is_not_json_is_an_error(pipe: Pipe) -> None:
    pipe[0].sendall(processes.LENGTHS.pack(2, 0) + b"\xff{")
    with pytest.raises(processes.FrameError, match="not JSON"):
        processes.receive(pipe[1], 0)


def test_a_frame_that_stops_half_way_is_an_end(pipe: Pipe) -> None:
    pipe[0].sendall(processes.LENGTHS.pack(2, 4) + b"{}ab")
    pipe[0].close()
    with pytest.raises(EOFError):
        processes.receive(pipe[1], 6)


def test_nobody_waits_longer_than_until(pipe: Pipe) -> None:
    for until in (monotonic() + 0.01, monotonic() - 1):
        with pytest.raises(TimeoutError):
            processes.receive(pipe[1], 6, until=until)
        with pytest.raises(TimeoutError):
            processes.send(pipe[0], {}, bytes(10_000_000), until=until)
