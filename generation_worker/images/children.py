"""The processes that open images, seen from the worker: started, asked, replaced."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from time import monotonic
from typing import Any

from generation_worker.images import frames
from generation_worker.images.limits import MB, OUT_OF_MEMORY, Limits

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
                frames.send(self._pipe, request, data, until=until)
            return frames.receive(self._pipe, self._limits.memory, until=until)
        except TimeoutError:
            self.kill()
            raise ChildDied(self._too_slow if request else None, self._process.returncode) from None
        except (EOFError, OSError, frames.FrameError):
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
