"""Serves the web application from a thread of the worker's process."""

from __future__ import annotations

import socket
import threading
import time

import uvicorn
from fastapi import FastAPI

STOP_WITHIN = 3
TAKEN_WITHIN = 60.0
"""Seconds in which a client must take what is sent to it; after that the system drops its connection."""


class WebServer:
    """uvicorn on ``port`` of ``host``; an empty host means every address, IPv4 and IPv6."""

    def __init__(self, app: FastAPI, *, host: str, port: int) -> None:
        self._app = app
        self._socket = open_socket(host, port)
        self.port: int = self._socket.getsockname()[1]
        config = uvicorn.Config(
            app,
            log_config=None,
            log_level="warning",
            access_log=False,
            lifespan="off",
            proxy_headers=False,  # who is on loopback is said by the connection, not by a header
            server_header=False,
            timeout_graceful_shutdown=STOP_WITHIN,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, name="web", daemon=True
        )

    def start(self) -> None:
        self._thread.start()
        while self._thread.is_alive() and not self._server.started:
            time.sleep(0.005)

    def stop(self) -> None:
        for end_answers in self._app.state.stopping:
            end_answers()
        self._server.should_exit = True
        self._thread.join(STOP_WITHIN + 1)
        self._socket.close()


def open_socket(host: str, port: int) -> socket.socket:
    """A listening socket, whose connections do not wait for ever for a client that reads nothing or has vanished.

    Raises OSError, for example when the port is in use.
    """
    listening = _open_socket(host, port)
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # where Linux runs; connections have it from here
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(TAKEN_WITHIN * 1000))
    return listening


def _open_socket(host: str, port: int) -> socket.socket:
    """``::`` alone would be IPv6 only under asyncio, so we open it ourselves."""
    if host:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family)
    if socket.has_dualstack_ipv6():
        return socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", port))
