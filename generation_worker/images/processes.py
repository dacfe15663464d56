"""The processes that open images, seen from the worker: started, asked, replaced."""

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

# What goes over the pipe: a JSON header and raw bytes, each with its length.
#
# No pickle: the other side has read untrusted bytes and is not trusted itself.


LENGTHS = struct.Struct("!IQ")
HEADER_LIMIT = 64 * 1024


class FrameError(Exception):
    """The other side does not keep to the protocol."""


def send(pipe: socket.socket, header: Mapping[str, Any], *parts: bytes, until: float | None = None) -> None:
    """Write one frame. Raises OSError if the other side is gone, TimeoutError at ``until`` (monotonic seconds)."""
    head = json.dumps(header).encode()
    lengths = LENGTHS.pack(len(head), sum(map(len, parts)))
    for part in (lengths + head, *parts):
        _limit(pipe, until)
        pipe.sendall(part)


def receive(pipe: socket.socket, limit: int, *, until: float | None = None) -> tuple[dict[str, Any], memoryview]:
    """Read one frame whose bytes number no more than ``limit``.

    Raises EOFError or another OSError if the other side is gone, FrameError if it talks nonsense, TimeoutError at
    ``until``.
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
        _limit(pipe, until)
        count = pipe.recv_into(missing)
        if count == 0:
            raise EOFError("the other side closed the pipe")
        missing = missing[count:]
    return received


def _limit(pipe: socket.socket, until: float | None) -> None:
    """Let the next call on ``pipe`` wait no longer than ``until``."""
    if until is None:
        return
    left = until - monotonic()
    if left <= 0:
        raise TimeoutError
    pipe.settimeout(left)


# How much one image may cost, and which formats are let in. Known to both sides of the pipe.


MB = 1024 * 1024
OUT_OF_MEMORY = 12
"""Exit code of a child that reached its memory limit (errno's ENOMEM)."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one operation on one image may use.

    ``max_pixels`` counts width × height, of the input and of every output. ``max_bytes`` is the size of the
    input file. ``memory`` is the address space of the process that decodes, in bytes. ``seconds`` bounds
    both the wall time and the CPU time of an operation.
    """

    max_pixels: int = 50_000_000
    max_bytes: int = 50 * MB
    memory: int = 1024 * MB
    seconds: float = 30.0

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Limits:
        return cls(**json.loads(text))


DEFAULTS = Limits()


START_SECONDS = 30.0
"""How long a child may take until it is ready; a second on a busy machine, so this means that it never will be."""
CRASHES = (signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGFPE, signal.SIGILL)
CLOCKS = (signal.SIGXCPU, signal.SIGALRM)

Answer = tuple[dict[str, Any], memoryview]


class ChildDied(Exception):
    """A child ended in mid-work. ``blame`` says what the image did to it, or is None if it died of something else."""

    def __init__(self, blame: str | None, code: int) -> None:
        super().__init__(blame or f"an image process ended with {code}")
        self.blame = blame


class Child:
    """One process. Used by one thread at a time."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._pipe, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - our own module, with numbers as its argument
                [sys.executable, "-P", "-m", "generation_worker.images.child", limits.to_json()],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                env=_environment(),
                process_group=0,  # Ctrl-C is for the worker, even before the child has learnt to ignore it
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
            self._exchange(None, b"", START_SECONDS)
            self._ready = True

    def ask(self, request: Mapping[str, Any], data: bytes) -> Answer:
        """The child's answer to one request. Raises ChildDied."""
        self.wait_ready()
        self.served += 1
        return self._exchange(request, data, self._limits.seconds)

    def _exchange(self, request: Mapping[str, Any] | None, data: bytes, seconds: float) -> Answer:
        until = monotonic() + seconds
        try:
            if request is not None:
                send(self._pipe, request, data, until=until)
            return receive(self._pipe, self._limits.memory, until=until)
        except TimeoutError:
            self.kill()
            raise ChildDied(self._too_slow if request else None, self._process.returncode) from None
        except (EOFError, OSError, FrameError):
            raise self._obituary() from None

    def _obituary(self) -> ChildDied:
        """Why the child went away. It may still talk nonsense, so it is killed; one that was dying keeps its reason."""
        self.kill()
        return ChildDied(self._blame(self._process.returncode), self._process.returncode)

    def _blame(self, code: int) -> str | None:
        """What the image did, by the child's exit code. SIGKILL blames nobody: an operator or the kernel sent it."""
        if code == OUT_OF_MEMORY:
            return f"the image needs more memory than the {self._limits.memory // MB} MB allowed"
        if -code in CLOCKS:
            return self._too_slow
        if -code in CRASHES:
            return f"the image crashed its decoder ({signal.Signals(-code).name})"
        return None

    @property
    def _too_slow(self) -> str:
        return f"the image takes longer than the {self._limits.seconds:g} s allowed"

    def kill(self) -> None:
        """End the process; whoever is talking to it sees the pipe close."""
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """End the process and let go of the pipe. Only for the thread that uses the child."""
        self._pipe.close()
        self.kill()


def _environment() -> dict[str, str]:
    """What a child needs to find its modules and nothing more: the worker's own environment is full of secrets."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    return kept | {"PYTHONPATH": os.pathsep.join(os.path.abspath(path) for path in sys.path if path)}


# A few children for many threads.


TRIES = 2
"""A child that died through no fault of the image is replaced and asked once more."""


class Pool:
    """Hands each request to an idle child, and waits for one if there is none.

    A child is started when it is first needed, and replaced when it has died or has served ``served_limit`` requests
    (what a decoder leaks does not add up).
    """

    def __init__(self, children: int, limits: Limits, *, served_limit: int) -> None:
        self._limits = limits
        self._served_limit = served_limit
        self._lock = Lock()
        self._closed = False
        self._alive: set[Child] = set()
        # The last one used is the next one asked, so a quiet worker needs only one.
        self._idle: LifoQueue[Child | None] = LifoQueue()
        for _ in range(children):
            self._idle.put(None)

    def start(self) -> None:
        """Have every idle child ready. Raises InternalError."""
        children = self._take_idle()
        try:
            children = [self._fit(child) for child in children]
            for child in children:
                child.wait_ready()
        except ChildDied as death:
            raise InternalError(f"images cannot be opened here: {death}") from None
        finally:
            for child in children:
                self._put_back(child)

    def ask(self, request: Mapping[str, Any], data: bytes) -> Answer:
        """A child's answer. Raises InputRejected if the image is to blame for its death, InternalError otherwise."""
        child = self._idle.get()
        try:
            for _ in range(TRIES):
                child = self._fit(child)
                try:
                    return child.ask(request, data)
                except ChildDied as death:
                    if death.blame is not None:
                        raise InputRejected(death.blame) from None
            raise InternalError(f"an image process was lost {TRIES} times in a row; nothing points to the image")
        finally:
            self._put_back(child)

    def close(self) -> None:
        """End every child. Who is being served or waits gets InternalError."""
        with self._lock:
            self._closed = True
            children = list(self._alive)
        for child in children:
            child.kill()
        for child in self._take_idle():
            self._put_back(child)

    def _fit(self, child: Child | None) -> Child:
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
