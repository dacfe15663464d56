"""Responses, valid and invalid. A reply is a function of the exchange, called in the connection's thread."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from typing import Any

from tests.simulators.server import Exchange

Reply = Callable[[Exchange], None]

FOREVER = 3600.0
JSON = "application/json; charset=UTF-8"
HTML = b"<!doctype html><html><title>502 Bad Gateway</title><h1>Bad Gateway</h1></html>"


def body_of(value: Any) -> bytes:
    return json.dumps(value).encode()


def json_reply(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Reply:
    return raw_reply(body_of(value), status, {"Content-Type": JSON, **(headers or {})})


def html_reply(status: int = 502) -> Reply:
    """What a gateway in front of the provider says."""
    return raw_reply(HTML, status, {"Content-Type": "text/html"})


def raw_reply(body: bytes, status: int = 200, headers: Mapping[str, str] | None = None) -> Reply:
    return lambda exchange: exchange.send(status, body, headers or {})


def later(seconds: float, reply: Reply) -> Reply:
    """``reply`` after ``seconds`` without a byte: a picture that takes its time."""

    def answer(exchange: Exchange) -> None:
        if not exchange.closing.wait(seconds):
            reply(exchange)

    return answer


def hang(exchange: Exchange) -> None:
    """Never a byte."""
    exchange.closing.wait(FOREVER)
    exchange.hang_up()


def hang_after_headers(exchange: Exchange) -> None:
    exchange.start(200, {"Content-Type": JSON, "Content-Length": "1000"})
    hang(exchange)


def drip(body: bytes, every: float) -> Reply:
    """``body``, one byte at a time."""

    def answer(exchange: Exchange) -> None:
        exchange.start(200, {"Content-Type": JSON, "Content-Length": str(len(body))})
        _drip(exchange, body, every)

    return answer


def drip_headers(every: float) -> Reply:
    """Headers that do not end, one byte at a time: bytes come, but never a chunk of the body."""

    def answer(exchange: Exchange) -> None:
        exchange.write(b"HTTP/1.1 200 OK\r\n")
        _drip(exchange, b"X-Slow: " + b"z" * 10_000, every)

    return answer


def _drip(exchange: Exchange, data: bytes, every: float) -> None:
    for byte in data:
        exchange.write(bytes([byte]))
        if exchange.closing.wait(every):
            break


def truncated(body: bytes, announced: int | None = None) -> Reply:
    """Half of ``body``, and the end of the connection, although ``announced`` bytes (or all) were announced."""

    def answer(exchange: Exchange) -> None:
        exchange.start(200, {"Content-Type": JSON, "Content-Length": str(announced or len(body))})
        exchange.write(body[: len(body) // 2])
        exchange.hang_up()

    return answer


def without_length(body: bytes) -> Reply:
    """An answer that ends when the connection does, so that nobody can see whether something is missing."""

    def answer(exchange: Exchange) -> None:
        exchange.start(200, {"Content-Type": JSON, "Connection": "close"})
        exchange.write(body)
        exchange.hang_up()

    return answer


def endless(exchange: Exchange) -> None:
    """Zeros until the client has enough."""
    exchange.start(200, {"Content-Type": JSON, "Connection": "close"})
    chunk = b"0" * 1_000_000
    while not exchange.closing.is_set():
        exchange.write(chunk)


def hang_up(exchange: Exchange) -> None:
    """Read the request and close the connection without a word."""
    exchange.hang_up()


def reset(exchange: Exchange) -> None:
    exchange.hang_up(reset=True)


def garbage(exchange: Exchange) -> None:
    """Not HTTP at all."""
    exchange.write(b"\x16\x03\x01 this is not the protocol you are looking for\r\n\r\n")
    exchange.hang_up()


def together(count: int, reply: Reply, patience: float = 20.0) -> Reply:
    """``reply``, but only when ``count`` requests are here at the same moment."""
    barrier = threading.Barrier(count)

    def answer(exchange: Exchange) -> None:
        barrier.wait(patience)
        reply(exchange)

    return answer


def drip_chunk_sizes(every: float) -> Reply:
    """A chunked body whose first chunk never begins: the length of it is told with ever more zeros."""

    def answer(exchange: Exchange) -> None:
        exchange.start(200, {"Content-Type": JSON, "Transfer-Encoding": "chunked"})
        _drip(exchange, b"0" * 15, every)
        hang(exchange)

    return answer


def truncated_chunks(body: bytes) -> Reply:
    """One chunk of ``body``, and no end."""

    def answer(exchange: Exchange) -> None:
        exchange.start(200, {"Content-Type": JSON, "Transfer-Encoding": "chunked"})
        exchange.write(b"%x\r\n%s\r\n" % (len(body) // 2, body[: len(body) // 2]))
        exchange.hang_up()

    return answer
