"""The child process that opens untrusted images: it reads a request, sends the response, and waits for the next.

``processes.py`` starts it and talks to it over its standard input. It has no secrets, and a bug in a decoder, a bomb or
an endless loop costs this process only.
"""

import math
import os
import resource
import signal
import socket
import sys
from collections.abc import Mapping
from typing import Any

from generation_worker.images import operations
from generation_worker.images.decode import ImageRefused, forbid_bombs
from generation_worker.images.processes import OUT_OF_MEMORY, ImageLimits, receive, send


def main() -> None:
    limits = ImageLimits.from_json(sys.argv[1])
    _ignore_stop_signals()
    _confine(limits)
    forbid_bombs(limits.max_pixels)
    with socket.socket(fileno=0) as pipe:
        send(pipe, {"ready": True})
        while True:
            _serve(pipe, limits)


def _serve(pipe: socket.socket, limits: ImageLimits) -> None:
    try:
        request, data = receive(pipe, limits.max_bytes)
        _start_timers(limits)
        header, parts = _response(request, data, limits)
        del data
        send(pipe, header, *parts)
        _stop_timers()
    except MemoryError:
        os._exit(OUT_OF_MEMORY)  # the heap may be fragmented: a new process is cheap
    except (EOFError, OSError):
        os._exit(0)  # the parent is gone, or has closed this child's pipe


def _response(
    request: Mapping[str, Any], data: memoryview, limits: ImageLimits
) -> tuple[dict[str, Any], tuple[bytes, ...]]:
    try:
        pictures = operations.run(request, data, limits.max_pixels)
    except ImageRefused as refusal:
        return {"refused": str(refusal)}, ()
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - the parent raises it as an internal error
        return {"fault": f"{type(error).__name__}: {error}"}, ()
    return {"pictures": [picture.header() for picture in pictures]}, tuple(picture.data for picture in pictures)


def _ignore_stop_signals() -> None:
    """A signal to the whole group must not end this process: the worker's running jobs still need it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _confine(limits: ImageLimits) -> None:
    """Forbid core dumps, files, and more memory than allowed. Called after the imports, which need files."""
    _lower(resource.RLIMIT_CORE, 0)
    _lower(resource.RLIMIT_FSIZE, 0)
    if sys.platform != "darwin":  # macOS refuses any limit on address space
        _lower(resource.RLIMIT_AS, limits.memory)


def _lower(which: int, value: int) -> None:
    _, hard = resource.getrlimit(which)
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(which, (value, hard))


def _start_timers(limits: ImageLimits) -> None:
    """End by SIGXCPU or SIGALRM when the operation takes too long.

    The parent's own timeout comes first; these end an orphan, whose parent is gone.
    """
    usage = resource.getrusage(resource.RUSAGE_SELF)
    _lower(resource.RLIMIT_CPU, math.ceil(usage.ru_utime + usage.ru_stime + limits.seconds))
    signal.setitimer(signal.ITIMER_REAL, limits.seconds * 1.5)


def _stop_timers() -> None:
    signal.setitimer(signal.ITIMER_REAL, 0)


if __name__ == "__main__":
    main()
