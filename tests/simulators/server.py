"""The HTTP server of all simulated providers. Each connection has a thread, so a response may block."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Protocol, Self


class Exchange:
    """One request, and the means to answer it well or badly."""

    def __init__(self, handler: BaseHTTPRequestHandler, body: bytes, closing: threading.Event) -> None:
        self.method = handler.command
        self.path = handler.path
        self.headers: Mapping[str, str] = {name.lower(): value for name, value in handler.headers.items()}
        self.body = body
        self.client: tuple[str, int] = handler.client_address
        self.closing = closing
        """Set when the server ends: whoever waits stops waiting."""
        self._handler = handler

    def json(self) -> Any:
        return json.loads(self.body)

    def send(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        """A whole answer."""
        self.start(status, {"Content-Length": str(len(body)), **headers})
        self.write(body)

    def start(self, status: int, headers: Mapping[str, str]) -> None:
        """Status and headers; the body is up to the caller."""
        self._handler.send_response(status)
        for name, value in headers.items():
            self._handler.send_header(name, value)
        self._handler.end_headers()

    def write(self, data: bytes) -> None:
        self._handler.wfile.write(data)
        self._handler.wfile.flush()

    def say_goodbye(self) -> None:
        """Tell the client, inside TLS, that this was all; then hang up."""
        connection = self._handler.connection
        assert isinstance(connection, ssl.SSLSocket)
        with suppress(OSError):  # clients rarely wait to answer
            connection.unwrap()
        self.hang_up()

    def hang_up(self, *, reset: bool = False) -> None:
        """End the connection after what was written so far; with ``reset``, the rude way."""
        self._handler.close_connection = True
        if reset:
            # To linger for 0 seconds makes close() send RST instead of FIN; the handler's own end closes the socket.
            self._handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            self._handler.connection.close()


class Simulator(Protocol):
    """One provider's part: which requests are its own, and how it answers them."""

    @property
    def address_setting(self) -> str:
        """The name of the setting that takes the server's address."""
        ...

    @property
    def environment(self) -> Mapping[str, str]:
        """What a worker must be told, besides the address, to use it."""
        ...

    def accepts(self, path: str) -> bool: ...

    def answer(self, exchange: Exchange) -> None: ...


class SimulatorServer:
    """Listens on loopback, and hands each request to the simulator whose it is. They may be exchanged at any time."""

    def __init__(
        self, simulators: Sequence[Simulator] = (), *, port: int = 0, tls: ssl.SSLContext | None = None
    ) -> None:
        self.simulators = simulators
        self.closing = threading.Event()
        self._scheme = "https" if tls else "http"
        self._server = _Server(("127.0.0.1", port), _handler(self))
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self._server.server_address[1]}"

    def environment(self) -> dict[str, str]:
        """The settings that make a worker use this server instead of the providers."""
        settings: dict[str, str] = {}
        for simulator in self.simulators:
            settings |= {simulator.address_setting: self.url, **simulator.environment}
        return settings

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 512

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that gives up, or a hung up connection, is what many tests are about: nothing to print."""


def _handler(server: SimulatorServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            exchange = Exchange(self, body, server.closing)
            for simulator in server.simulators:
                if simulator.accepts(self.path):
                    return simulator.answer(exchange)
            return exchange.send(404, b'{"error": "no simulator answers here"}', {"Content-Type": "application/json"})

        do_GET = do_POST

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's word
            """Nothing: what arrived is in the simulator's own record."""

    return Handler
