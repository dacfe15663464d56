"""This machine: its port, and its disk."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable

from generation_worker.config import Settings
from generation_worker.doctor.check import Check
from generation_worker.doctor.disk import examine_disk
from generation_worker.doctor.neighbour import who_serves
from generation_worker.domain.finding import Verdict, fault, ok, skipped


def machine_checks(settings: Settings) -> list[Check]:
    return [
        Check("machine.port", lambda: _port(settings), prepare=_load),
        Check("machine.disk", lambda: examine_disk(settings)),
    ]


def _port(settings: Settings) -> Verdict:
    if not settings.serves_http:
        return skipped("nothing is served over HTTP")
    if settings.port == 0:
        return ok("any that is free")
    try:
        _load()(settings.health_host, settings.port).close()
    except OSError as error:
        return _taken(settings, error)
    return ok(f"{settings.port} is free")


def _load() -> Callable[[str, int], socket.socket]:
    from generation_worker.web.server import open_socket  # noqa: PLC0415 - half a second

    return open_socket


def _taken(settings: Settings, error: OSError) -> Verdict:
    if error.errno == errno.EADDRINUSE:
        worker = who_serves(settings.health_host, settings.port)
        if worker is not None:
            return ok(f"{settings.port} is served by {worker}; a second worker on this machine needs another PORT")
        return fault(f"{settings.port} is in use by another program", "Choose another PORT, or end that program")
    if error.errno in (errno.EACCES, errno.EPERM):
        return fault(f"{settings.port} may not be opened by this user", "Choose a PORT from 1024 on")
    return fault(f"{settings.port} cannot be opened ({error.strerror})", "Correct PORT and HEALTH_HOST")
