"""A socket as httpcore2 wants to see it."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, NoReturn

import httpcore2


class SocketStream(httpcore2.NetworkStream):
    """Reads and writes ``connection``, which is secure already if it is to be."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        with _translated(httpcore2.ReadTimeout, httpcore2.ReadError):
            self._connection.settimeout(timeout)
            return self._connection.recv(max_bytes)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        with _translated(httpcore2.WriteTimeout, httpcore2.WriteError):
            self._connection.settimeout(timeout)
            self._connection.sendall(buffer)

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> NoReturn:
        raise NotImplementedError  # nobody but ``secure`` decides about that

    def close(self) -> None:
        self._connection.close()

    def get_extra_info(self, info: str) -> Any:  # noqa: ARG002 - only a pool asks
        return None


@contextmanager
def _translated(timed_out: type[Exception], failed: type[Exception]) -> Generator[None]:
    try:
        yield
    except TimeoutError as error:
        raise timed_out(str(error)) from None
    except OSError as error:
        raise failed(str(error)) from None
