"""The process that touches untrusted bytes: it reads a request, answers it, and waits for the next.

It is started by ``children.py`` and talks over its standard input. It holds no secret, and a bug in a decoder,
a bomb or an endless loop costs this process only.
"""

from __future__ import annotations

import math
import os
import resource
import signal
import socket
import sys
from collections.abc import Mapping
from typing import Any

from generation_worker.images import operations
from generation_worker.images import processes as frames
from generation_worker.images.decode import Refused, forbid_bombs
from generation_worker.images.processes import OUT_OF_MEMORY, Limits


def main() -> None:
    limits = Limits.from_json(sys.argv[1])
    _ignore_stop_signals()
    _confine(limits)
    forbid_bombs(limits.max_pixels)
    with socket.socket(fileno=0) as pipe:
        frames.send(pipe, {"ready": True})
        while True:
            _serve(pipe, limits)


def _serve(pipe: socket.socket, limits: Limits) -> None:
    try:
        request, data = frames.receive(pipe, limits.max_bytes)
        _start_clocks(limits)
        answer, parts = _answer(request, data, limits)
        del data
        frames.send(pipe, answer, *parts)
        _stop_clocks()
    except MemoryError:
        os._exit(OUT_OF_MEMORY)  # the heap may be in pieces: a fresh process is cheaper than doubt
    except (EOFError, OSError):
        os._exit(0)  # the parent is gone, or does not want this child any more


def _answer(request: Mapping[str, Any], data: memoryview, limits: Limits) -> tuple[dict[str, Any], tuple[bytes, ...]]:
    try:
        pictures = operations.run(request, data, limits.max_pixels)
    except Refused as refusal:
        return {"refused": str(refusal)}, ()
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - the parent raises it again as a fault of ours
        return {"fault": f"{type(error).__name__}: {error}"}, ()
    return {"pictures": [picture.header() for picture in pictures]}, tuple(picture.data for picture in pictures)


def _ignore_stop_signals() -> None:
    """Whoever stops the worker stops it by name; its jobs finish first, and they need this process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _confine(limits: Limits) -> None:
    """No core dumps, no files, and no more memory than allowed. Called after the imports, which need files."""
    _lower(resource.RLIMIT_CORE, 0)
    _lower(resource.RLIMIT_FSIZE, 0)
    if sys.platform != "darwin":  # refuses any limit on address space
        _lower(resource.RLIMIT_AS, limits.memory)


def _lower(which: int, value: int) -> None:
    _, hard = resource.getrlimit(which)
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(which, (value, hard))


def _start_clocks(limits: Limits) -> None:
    """Die of SIGXCPU or SIGALRM when the operation takes too long, even if there is no parent left to notice.

    The parent's own clock strikes first; an orphan has only these.
    """
    usage = resource.getrusage(resource.RUSAGE_SELF)
    _lower(resource.RLIMIT_CPU, math.ceil(usage.ru_utime + usage.ru_stime + limits.seconds))
    signal.setitimer(signal.ITIMER_REAL, limits.seconds * 1.5)


def _stop_clocks() -> None:
    signal.setitimer(signal.ITIMER_REAL, 0)


if __name__ == "__main__":
    main()
