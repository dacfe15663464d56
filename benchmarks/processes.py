"""Starts the processes that are measured and talks with them: a line of JSON each way."""

from __future__ import annotations

import json
import subprocess
import sys
from types import TracebackType
from typing import Any, Self


class Child:
    """A Python module in a process of its own, with its orders as a line of JSON. It ends when its input closes."""

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

    def answer(self) -> dict[str, Any]:
        """Its next line. Raises RuntimeError if it ended without one; what was wrong is on stderr."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._process.args} ended with status {self._process.wait()}")
        return json.loads(line)

    def ask(self) -> dict[str, Any]:
        """How it stands; for a module that answers each line."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return self.answer()

    def stop(self) -> dict[str, Any]:
        """Close its input; its last words."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        answer = self.answer()
        self._process.wait()
        return answer


def noop_worker(
    conninfo: str, *, slots: int, listen: bool = True, until_empty: bool = False, note_starts: bool = False
) -> Child:
    """A worker whose jobs do nothing."""
    orders: dict[str, Any] = {"conninfo": conninfo, "slots": slots, "listen": listen}
    return Child("benchmarks.noop_worker", orders | {"until_empty": until_empty, "note_starts": note_starts})
