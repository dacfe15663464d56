"""A fleet of one worker whose provider's keys are limited, one step at a time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from psycopg.rows import dict_row

from generation_worker.domain.gate import BreakerPolicy, Verdict
from generation_worker.domain.job import Job
from generation_worker.ports import CallBegun, CallReport, Claim, GateChange, Key, WorkerInfo
from tests.support.database import Connection
from tests.support.jobs import configure, enqueue
from tests.support.protocol import Worker

FAR = Key("far-1", "far", 3)
OTHER = Key("far-2", "far", 2)


class Fleet:
    """A worker that holds keys of the provider `far`, and a clock: time passes by moving what its gates have used."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        configure(connection, caller_may_set_cost=True)
        self.worker = Worker(connection, lanes=("far", "local", "none"))

    def register(self, *keys: Key, name: str = "worker-1", providers: tuple[str, ...] = ("far", "local")) -> None:
        self.keys = keys
        self.worker.store.register_worker(WorkerInfo(name, "0", providers, 5, keys))

    def enqueue(self, number: int = 1, **request: Any) -> None:
        for _ in range(number):
            enqueue(self.connection, **(dict[str, Any](provider="far", cost=0) | request))

    def claim(self, slots: int = 100) -> Claim:
        return self.worker.claim(slots, keys=self.keys)

    def begin(self, claimed: Job, key: Key | None = None) -> CallBegun:
        label = claimed.key_label or (key or self.keys[0]).label
        return self.worker.store.begin_call(claimed, provider="far", key_label=label, max_paid_calls=9)

    def end(
        self,
        claimed: Job,
        verdict: Verdict | None,
        *,
        wait: float | None = None,
        number: int = 1,
        policy: BreakerPolicy = BreakerPolicy(failures=2, shortest=30, longest=70),  # noqa: B008 - a frozen value
    ) -> GateChange | None:
        code = None if verdict == "ok" else "provider_unavailable"
        report = CallReport(5, False, error_code=code, verdict=verdict, wait=wait, reason=f"it {verdict}")
        return self.worker.store.finish_call(claimed, number, report, policy=policy)

    def call(self, verdict: Verdict | None, **end: Any) -> GateChange | None:
        """One job's call from its claim to this end."""
        self.enqueue()
        (claimed,) = self.claim(1).jobs
        assert self.begin(claimed).wait is None
        return self.end(claimed, verdict, **end)

    def pass_time(self, seconds: float) -> None:
        """As if the gates had not been touched for so long."""
        self.connection.execute(
            "UPDATE provider_gate SET head = head - %(s)s * 10, closed_until = closed_until - %(s)s * interval '1 s',"
            " open_until = open_until - %(s)s * interval '1 s'",
            {"s": seconds},
        )

    def gate(self, label: str = "far-1") -> Mapping[str, Any]:
        query = "SELECT *, gate_sum(used) AS calls FROM provider_gate WHERE key_label = %s"
        row = self.connection.cursor(row_factory=dict_row).execute(query, (label,)).fetchone()
        assert row is not None
        return row
