"""Starts the measured processes and exchanges lines of JSON with them."""

from __future__ import annotations

import json
import subprocess
import sys
from types import TracebackType
from typing import Any, Self


class Child:
    """A Python module in its own process, which gets its orders as a line of JSON and ends when its input closes."""

    def __init__(self, module: str, orders: dict[str, Any]) -> None:
        command = [sys.executable, "-m", module]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(orders) + "\n")
        self._process.stdin.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def read(self) -> dict[str, Any]:
        """Its next line. Raises RuntimeError if it ended without one; the reason is on stderr."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._process.args} ended with status {self._process.wait()}")
        return json.loads(line)

    def request(self) -> dict[str, Any]:
        """Send an empty line and return the response; for a module that responds to each line."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return self.read()

    def stop(self) -> dict[str, Any]:
        """Close its input; return its last line."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        last = self.read()
        self._process.wait()
        return last


def noop_worker(
    conninfo: str, *, slots: int, listen: bool = True, until_empty: bool = False, note_starts: bool = False
) -> Child:
    """A worker whose jobs do nothing."""
    orders: dict[str, Any] = {"conninfo": conninfo, "slots": slots, "listen": listen}
    return Child("benchmarks.noop_worker", orders | {"until_empty": until_empty, "note_starts": note_starts})
