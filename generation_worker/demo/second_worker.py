"""A second worker, in a process of its own, that is killed in the middle of its work."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

import psycopg

NAME = "second"
STARTS_AT = 5.0
"""Seconds after the start: when it is ready to claim, nothing waits any more but the studio's crowd."""
JOBS = 4
UNSERVED = dict.fromkeys(
    ("WORKER_ENABLE_HEALTH_CHECK", "WORKER_ENABLE_METRICS", "ENABLE_API", "ENABLE_DASHBOARD"), "false"
)

IN_A_CALL = """
SELECT j.id FROM generation_job j JOIN provider_call c ON c.job_id = j.id AND c.lease_token = j.lease_token
 WHERE j.locked_by = %s AND j.status = 'processing'
"""


class SecondWorker:
    """Started by ``step`` when its time has come, and killed when it waits for as many answers as it can."""

    def __init__(
        self, connection: psycopg.Connection[Any], environment: Mapping[str, str], say: Callable[[str], None]
    ) -> None:
        self._connection = connection
        self._environment = environment
        self._say = say
        self._process: subprocess.Popen[bytes] | None = None
        self.lost: set[UUID] = set()
        """The jobs that it held when it was killed."""

    def step(self, seconds: float) -> None:
        if self._process is None and seconds >= STARTS_AT:
            self._start()
        elif self._process is not None and not self.lost:
            waiting = {job for (job,) in self._connection.execute(IN_A_CALL, [NAME]).fetchall()}
            if len(waiting) == JOBS:
                self.close()
                self.lost = waiting
                self._say(f"a second worker is killed, with {JOBS} jobs in its hands")

    def close(self) -> None:
        """Kill it, if it runs."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _start(self) -> None:
        """With a provider that never answers, so that it is in the middle of its calls whenever it is killed."""
        own = {"WORKER_ID": NAME, "WORKER_CONCURRENCY": str(JOBS), "LOCAL_DELAY": "10m"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "generation_worker", "run"],
            env={**_inherited(), **self._environment, **own, **UNSERVED},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the demo
        )


def _inherited() -> dict[str, str]:
    """What Python needs, and no setting of ours that happens to be in the environment."""
    return {name: value for name, value in os.environ.items() if name in ("PATH", "HOME") or name.startswith("PYTHON")}
