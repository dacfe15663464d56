"""Measures the transactions of an idle worker."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

from benchmarks.processes import Child, noop_worker
from benchmarks.server import Server

START_UP = 3.0
"""Seconds after which a worker has finished its start."""
KINDS = {"listen": True, "poll": False}

TRANSACTIONS = "SELECT (xact_commit + xact_rollback)::int FROM pg_stat_database WHERE datname = %s"
CONNECTED = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s"


class Lifetime(NamedTuple):
    """A worker's time from ready to its end, and all of its transactions."""

    seconds: float
    transactions: int


class IdleWorker:
    """A worker with a database of its own, so that all transactions there are the worker's."""

    def __init__(self, server: Server, stack: ExitStack, *, listen: bool) -> None:
        self._server = server
        conninfo = stack.enter_context(server.database())
        self._database = conninfo.rsplit("/", 1)[1]
        self._before = self._transactions()
        self._worker: Child = stack.enter_context(noop_worker(conninfo, slots=5, listen=listen))
        self._worker.read()
        self._ready_at = time.monotonic()

    def stop(self) -> Lifetime:
        """Stop the worker. All of its transactions are counted once its connections are closed."""
        seconds = time.monotonic() - self._ready_at
        self._worker.stop()
        while self._server.query(CONNECTED, self._database)[0][0]:
            time.sleep(0.01)
        return Lifetime(seconds, self._transactions() - self._before)

    def _transactions(self) -> int:
        return self._server.query(TRANSACTIONS, self._database)[0][0]


def measure_idle(server: Server, *, seconds: float) -> dict[str, Any]:
    """Run two workers of each kind, one of them ``seconds`` longer: the difference is the cost of that time."""
    with without_autovacuum(server), ExitStack() as stack:
        short = {kind: IdleWorker(server, stack, listen=listen) for kind, listen in KINDS.items()}
        long = {kind: IdleWorker(server, stack, listen=listen) for kind, listen in KINDS.items()}
        time.sleep(START_UP)
        begun = {kind: worker.stop() for kind, worker in short.items()}
        time.sleep(seconds)
        whole = {kind: worker.stop() for kind, worker in long.items()}
    return {kind: _rate(begun[kind], whole[kind]) for kind in KINDS}


@contextmanager
def without_autovacuum(server: Server) -> Generator[None]:
    """Turn autovacuum off: its transactions would be counted as a worker's."""
    server.set("autovacuum", "off")
    try:
        yield
    finally:
        server.set("autovacuum", "on")


def _rate(begun: Lifetime, whole: Lifetime) -> dict[str, float]:
    per_second = (whole.transactions - begun.transactions) / (whole.seconds - begun.seconds)
    return {"transactions_per_second": per_second, "queries_per_minute": 60 * per_second}
