"""What the benchmarks read off the server that they measure."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

import benchmarks.server
from benchmarks.server import Server


class Postmaster:
    """Its only child, which has used 3 seconds, goes while it is being counted."""

    def __init__(self, _pid: int) -> None:
        self._gone = False

    def parent(self) -> Postmaster:
        return self

    def cpu_times(self) -> Any:
        return SimpleNamespace(children_user=2.0 * self._gone, children_system=1.0 * self._gone)

    def children(self) -> list[Postmaster]:
        self._gone = True
        return []


def test_a_process_that_goes_meanwhile_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmarks.server.psutil, "Process", Postmaster)
    server = Server.__new__(Server)
    monkeypatch.setattr(server, "_control", SimpleNamespace(info=SimpleNamespace(backend_pid=1)), raising=False)
    assert server.cpu_seconds() == 3.0
