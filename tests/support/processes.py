"""Workers as an operator runs them: processes that are started, told to stop, and killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

from tests.canaries.scanner import scanner
from tests.support.waiting import wait_until

PATIENCE = 30.0


def clean_environment(**settings: str) -> dict[str, str]:
    """The environment of a process: what Python needs, and ``settings``; none that this machine happens to have."""
    return {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), **settings}


class WorkerProcess:
    """``generation-worker run`` in a directory of its own, killed at the end of the block at the latest."""

    def __init__(self, directory: Path, settings: Mapping[str, str], arguments: Sequence[str] = ()) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._log = directory / f"log-{time.monotonic_ns()}"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "generation_worker", "run", *arguments],
                env=clean_environment(**settings),
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            sys.stderr.write(self.said())
        self.kill()
        scanner.look("log", "a worker", self.said())

    @property
    def pid(self) -> int:
        return self._process.pid

    def said(self) -> str:
        """Everything that it has written so far."""
        return self._log.read_text()

    def events(self, name: str) -> list[dict[str, Any]]:
        """The events of one name among its log lines."""
        lines = [json.loads(line) for line in self.said().splitlines() if line.startswith("{") and line.endswith("}")]
        return [line for line in lines if line["event"] == name]

    def wait_for(self, event: str, times: int = 1) -> None:
        def has_happened() -> bool:
            assert self._process.poll() is None or len(self.events(event)) >= times, f"it ended:\n{self.said()}"
            return len(self.events(event)) >= times

        wait_until(has_happened, f"{event}, {times} times, in:\n{self.said()[-2000:]}")

    def terminate(self) -> None:
        """What a platform does before it takes the machine away."""
        self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """kill -9: no last words. Its children must notice by themselves."""
        if self._process.poll() is not None:
            return
        children = psutil.Process(self._process.pid).children(recursive=True)
        self._process.kill()
        self._process.wait()
        wait_until(lambda: not any(map(_lives, children)), "the children of a killed worker end")

    def exit_status(self, within: float = PATIENCE) -> int:
        """Wait for its end."""
        try:
            return self._process.wait(within)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {within} s:\n{self.said()[-4000:]}") from None


def _lives(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
