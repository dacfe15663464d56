"""A proxy between a client and an S3 server that injects faults."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Request:
    """What a client asked for."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes = field(repr=False)


class Answer(NamedTuple):
    """``cut``: close the connection after so many bytes of the body; if ``silent``, leave it open and say no more."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    cut: int | None = None
    silent: bool = False


Forward = Callable[[Request], Answer]
"""Hands a request on to the server."""
Fault = Callable[[Request, Forward], Answer | None]
"""What happens to one request. None: the connection is closed without an answer."""


def xml_error(status: int, code: str) -> Fault:
    """The server refuses; it may say so with status 200."""
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>no</Message></Error>".encode()
    return says(Answer(status, {"Content-Type": "application/xml"}, body))


def says(answer: Answer) -> Fault:
    """The server answers this, whatever it was asked."""
    return lambda request, forward: answer


def answer_lost(request: Request, forward: Forward) -> None:
    """The server does what it was asked for, and nobody hears of it."""
    forward(request)


def changed(request: Request, forward: Forward) -> Answer:
    """A byte of the body is not what it was."""
    return forward(replace(request, body=b"?" + request.body[1:]))


def cut_at(length: int) -> Fault:
    """The answer ends in the middle of its body."""
    return lambda request, forward: forward(request)._replace(cut=length)


class Proxy:
    """``fail(…)`` says what happens to the next requests that ``match``; the others pass."""

    def __init__(self, upstream: str) -> None:
        self.requests: list[Request] = []
        self._upstream = urlsplit(upstream).netloc
        self._faults: list[Fault] = []
        self._matches: Callable[[Request], bool] = lambda request: True
        self._lock = threading.Lock()
        self.released = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self._server.server_address[1]}"

    def fail(self, *faults: Fault, match: Callable[[Request], bool] | None = None) -> None:
        with self._lock:
            self._faults = list(faults)
            self._matches = match or (lambda request: True)

    def hang(self, _request: Request, _forward: Forward) -> None:
        """No answer, until the test is over."""
        self.released.wait()

    def silent_after(self, length: int) -> Fault:
        """The answer stops in the middle of its body, until the test is over."""
        return lambda request, forward: forward(request)._replace(cut=length, silent=True)

    def of(self, method: str) -> list[Request]:
        return [request for request in self.requests if request.method == method]

    @contextmanager
    def running(self) -> Generator[Proxy]:
        thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self.released.set()
            self._server.shutdown()
            self._server.server_close()
            thread.join()

    def answer(self, request: Request) -> Answer | None:
        with self._lock:
            self.requests.append(request)
            fault = self._faults.pop(0) if self._faults and self._matches(request) else None
        return fault(request, self._forward) if fault else self._forward(request)

    def _forward(self, request: Request) -> Answer:
        connection = http.client.HTTPConnection(self._upstream, timeout=30)
        try:
            headers = {name: value for name, value in request.headers.items() if name.lower() != "expect"}
            connection.request(request.method, request.path, request.body, headers)
            response = connection.getresponse()
            return Answer(response.status, dict(response.getheaders()), response.read())
        finally:
            connection.close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                answer = proxy.answer(Request(self.command, self.path, dict(self.headers.items()), body))
                if answer is None:
                    self._close()
                else:
                    self._send(answer)

            do_GET = do_PUT = do_DELETE = do_HEAD = do_POST = do

            def _send(self, answer: Answer) -> None:
                self.send_response_only(answer.status)
                for name, value in answer.headers.items():
                    if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer.body)))
                self.end_headers()
                self.wfile.write(answer.body[: answer.cut])
                if answer.silent:
                    proxy.released.wait()
                if answer.cut is not None:
                    self._close()

            def _close(self) -> None:
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is the library's
                pass

        return Handler


@contextmanager
def proxy_before(upstream: str) -> Generator[Proxy]:
    with Proxy(upstream).running() as proxy:
        yield proxy
