"""Child processes that open images: a pool of them as the worker sees it, and the frames that go over the pipe.

A frame is a JSON header and raw bytes, each with its length. It is not pickle: a child has read untrusted bytes and is
not trusted itself.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from queue import Empty, LifoQueue
from threading import Lock
from time import monotonic
from typing import Any

from generation_worker.domain.errors import InputRejected, InternalError

MB = 1024 * 1024
TRIES = 2
"""A request whose child died through no fault of the image is repeated once, with a new child."""
START_TIMEOUT = 30.0
"""Seconds for a child to start. It takes a second on a busy machine; after this time it never will."""
OUT_OF_MEMORY = 12
"""Exit code of a child that reached its memory limit (errno's ENOMEM)."""
CRASHES = (signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGFPE, signal.SIGILL)
TIMEOUTS = (signal.SIGXCPU, signal.SIGALRM)
LENGTHS = struct.Struct("!IQ")
HEADER_LIMIT = 64 * 1024
"""Bytes."""

Frame = tuple[dict[str, Any], memoryview]


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """The resources that one operation on one image may use.

    ``max_pixels`` is width × height, of the input and of every output. ``max_bytes`` is the size of the input file.
    ``memory`` is the address space of the child process, in bytes. ``seconds`` bounds both the wall time and the CPU
    time of an operation.
    """

    max_pixels: int = 50_000_000
    max_bytes: int = 50 * MB
    memory: int = 1024 * MB
    seconds: float = 30.0

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> ImageLimits:
        return cls(**json.loads(text))


DEFAULTS = ImageLimits()


class ChildPool:
    """Passes each request to an idle child, and waits for one if there is none. Safe to use from many threads.

    A child is started when it is first needed, and replaced when it has died or has served ``served_limit`` requests,
    so that memory leaks of a decoder do not add up.
    """

    def __init__(self, children: int, limits: ImageLimits, *, served_limit: int) -> None:
        self._limits = limits
        self._served_limit = served_limit
        self._lock = Lock()
        self._closed = False
        self._alive: set[Child] = set()
        # Last in, first out: a quiet worker needs one child only.
        self._idle: LifoQueue[Child | None] = LifoQueue()
        for _ in range(children):
            self._idle.put(None)

    def start(self) -> None:
        """Start every idle child and wait until it is ready. Raises InternalError."""
        children = self._take_idle()
        try:
            children = [self._usable(child) for child in children]
            for child in children:
                child.wait_ready()
        except ChildDied as death:
            raise InternalError(f"images cannot be opened on this machine: {death}") from None
        finally:
            for child in children:
                self._put_back(child)

    def request(self, request: Mapping[str, Any], data: bytes) -> Frame:
        """A child's response. Raises InputRejected if the image caused the child's death, InternalError otherwise."""
        child = self._idle.get()
        try:
            for _ in range(TRIES):
                child = self._usable(child)
                try:
                    return child.request(request, data)
                except ChildDied as death:
                    if death.cause is not None:
                        raise InputRejected(death.cause) from None
            raise InternalError(
                f"an image process was lost {TRIES} times in a row for a reason outside the image: "
                "look for kills in this machine's log, for lack of memory above all"
            )
        finally:
            self._put_back(child)

    def close(self) -> None:
        """End every child. Running and waiting requests raise InternalError."""
        with self._lock:
            self._closed = True
            children = list(self._alive)
        for child in children:
            child.kill()
        for child in self._take_idle():
            self._put_back(child)

    def _usable(self, child: Child | None) -> Child:
        """``child`` if it can serve one more request, else a new one in its place."""
        if child is not None and not child.dead and child.served < self._served_limit:
            return child
        if child is not None:
            self._discard(child)
        with self._lock:
            if self._closed:
                raise InternalError("images are no longer opened: the worker is stopping")
            child = Child(self._limits)
            self._alive.add(child)
        return child

    def _put_back(self, child: Child | None) -> None:
        if self._closed and child is not None:
            self._discard(child)
            child = None
        self._idle.put(child)

    def _discard(self, child: Child) -> None:
        with self._lock:
            self._alive.discard(child)
        child.close()

    def _take_idle(self) -> list[Child | None]:
        taken: list[Child | None] = []
        with suppress(Empty):
            while True:
                taken.append(self._idle.get_nowait())
        return taken


class ChildDied(Exception):
    """A child ended during a request. ``cause`` is what the image did to it, or None if the image is not to blame."""

    def __init__(self, cause: str | None, code: int) -> None:
        super().__init__(cause or f"an image process ended with exit code {code}")
        self.cause = cause


class Child:
    """One process. Used by one thread at a time."""

    def __init__(self, limits: ImageLimits) -> None:
        self._limits = limits
        self._pipe, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - our own module, with numbers as its argument
                [sys.executable, "-P", "-m", "generation_worker.images.child", limits.to_json()],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                env=_environment(),
                process_group=0,  # Ctrl-C must not reach the child, even before it ignores the signal
            )
        self._ready = False
        self.served = 0

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def dead(self) -> bool:
        return self._process.poll() is not None

    def wait_ready(self) -> None:
        """Return when the child has started. Raises ChildDied."""
        if not self._ready:
            self._exchange(None, b"", START_TIMEOUT)
            self._ready = True

    def request(self, request: Mapping[str, Any], data: bytes) -> Frame:
        """The child's response to one request. Raises ChildDied."""
        self.wait_ready()
        self.served += 1
        return self._exchange(request, data, self._limits.seconds)

    def kill(self) -> None:
        """End the process; a thread that uses it sees the pipe close."""
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """End the process and close the pipe. Only for the thread that uses the child."""
        self._pipe.close()
        self.kill()

    def _exchange(self, request: Mapping[str, Any] | None, data: bytes, seconds: float) -> Frame:
        deadline = monotonic() + seconds
        try:
            if request is not None:
                send(self._pipe, request, data, until=deadline)
            return receive(self._pipe, self._limits.memory, until=deadline)
        except TimeoutError:
            self.kill()
            raise ChildDied(self._too_slow if request else None, self._process.returncode) from None
        except (EOFError, OSError, FrameError):
            raise self._death() from None

    def _death(self) -> ChildDied:
        """Kill the child, which may only have sent an invalid frame, and return why it ended if it was dying."""
        self.kill()
        return ChildDied(self._cause(self._process.returncode), self._process.returncode)

    def _cause(self, code: int) -> str | None:
        """What the image did, by the exit code. SIGKILL is not the image's fault: an operator or the kernel sent it."""
        if code == OUT_OF_MEMORY:
            return f"the image needs more memory than the {self._limits.memory // MB} MB allowed"
        if -code in TIMEOUTS:
            return self._too_slow
        if -code in CRASHES:
            return f"the image crashed its decoder ({signal.Signals(-code).name})"
        return None

    @property
    def _too_slow(self) -> str:
        return f"the image takes longer than the {self._limits.seconds:g} s allowed"


def _environment() -> dict[str, str]:
    """What a child needs to find its modules, and nothing else: the worker's environment contains secrets."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    return kept | {"PYTHONPATH": os.pathsep.join(os.path.abspath(path) for path in sys.path if path)}


class FrameError(Exception):
    """The other side violates the protocol."""


def send(pipe: socket.socket, header: Mapping[str, Any], *parts: bytes, until: float | None = None) -> None:
    """Write one frame. Raises OSError if the other side is gone, TimeoutError at ``until`` (monotonic seconds)."""
    head = json.dumps(header).encode()
    lengths = LENGTHS.pack(len(head), sum(map(len, parts)))
    for part in (lengths + head, *parts):
        _set_timeout(pipe, until)
        pipe.sendall(part)


def receive(pipe: socket.socket, limit: int, *, until: float | None = None) -> Frame:
    """Read one frame with at most ``limit`` bytes of data.

    Raises EOFError or another OSError if the other side is gone, FrameError for an invalid frame, TimeoutError at
    ``until`` (monotonic seconds).
    """
    head_length, body_length = LENGTHS.unpack(_exactly(pipe, LENGTHS.size, until))
    if head_length > HEADER_LIMIT or body_length > limit:
        raise FrameError("a frame is longer than allowed")
    try:
        header = json.loads(bytes(_exactly(pipe, head_length, until)))
    except ValueError:
        raise FrameError("a header is not JSON") from None
    return header, _exactly(pipe, body_length, until)


def _exactly(pipe: socket.socket, length: int, until: float | None) -> memoryview:
    received = memoryview(bytearray(length))
    missing = received
    while missing:
        _set_timeout(pipe, until)
        count = pipe.recv_into(missing)
        if count == 0:
            raise EOFError("the other side closed the pipe")
        missing = missing[count:]
    return received


def _set_timeout(pipe: socket.socket, until: float | None) -> None:
    """Let the next call on ``pipe`` wait no longer than ``until``."""
    if until is None:
        return
    left = until - monotonic()
    if left <= 0:
        raise TimeoutError
    pipe.settimeout(left)
