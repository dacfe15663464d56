"""The peer: pgqueuer, the fastest Python queue on Postgres, drains the same number of jobs on the same server.

It is set up as its own benchmark and its tuning guide say: durable tables, its settings for autovacuum, uvloop, several
queue managers in one process; asyncpg where it is installed, which its makers measure at 1.7 times psycopg. It charges
nobody and keeps no row of a job but a line in its log.
"""

from __future__ import annotations

import json
import resource
import sys
from asyncio import gather
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import uvloop
from pgqueuer import PgQueuer, types
from pgqueuer.db import AsyncpgDriver, PsycopgDriver
from pgqueuer.models import Job
from pgqueuer.ports.driver import Driver
from pgqueuer.queries import Queries
from psycopg import AsyncConnection

DRIVER = "asyncpg" if find_spec("asyncpg") else "psycopg"

SPAN = """
SELECT count(*) FILTER (WHERE status = 'successful') AS jobs,
       extract(epoch FROM max(created) FILTER (WHERE status = 'successful')
                        - min(created) FILTER (WHERE status = 'picked'))::float8 AS seconds
  FROM pgqueuer_log
"""


async def connect(conninfo: str) -> Driver:
    """A separate connection, as the guide recommends for a queue manager."""
    if DRIVER == "asyncpg":
        return AsyncpgDriver(await import_module("asyncpg").connect(dsn=conninfo))
    return PsycopgDriver(await AsyncConnection.connect(conninfo, autocommit=True))


async def fill(conninfo: str, jobs: int) -> dict[str, Any]:
    """Create its tables and enqueue ``jobs`` jobs."""
    queries = Queries(await connect(conninfo))
    await queries.install()
    await queries.optimize_autovacuum()
    await queries.enqueue(["noop"] * jobs, [b"a red kite over the sea"] * jobs, [0] * jobs)
    return {"filled": jobs}


async def drain(conninfo: str, managers: int, batch: int) -> dict[str, Any]:
    """Drain the queue with ``managers`` queue managers that take ``batch`` jobs at a time."""

    async def noop(_job: Job) -> None:
        pass

    before = _cpu_seconds()
    runs: list[Any] = []
    for _ in range(managers):
        pgq = PgQueuer(await connect(conninfo))
        pgq.entrypoint("noop")(noop)
        runs.append(pgq.run(batch_size=batch, mode=types.QueueExecutionMode.drain))
    await gather(*runs)
    spent = _cpu_seconds() - before
    span = (await (await connect(conninfo)).fetch(SPAN))[0]
    return {"driver": DRIVER, "cpu_seconds": spent, **span}


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    orders: dict[str, Any] = json.loads(sys.stdin.readline())
    do = {"fill": fill, "drain": drain}[orders.pop("do")]
    print(json.dumps(uvloop.run(do(**orders))), flush=True)


if __name__ == "__main__":
    main()
