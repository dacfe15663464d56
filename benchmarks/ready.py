"""Measures how long ``generation-worker run`` takes to be ready, and its memory."""

from __future__ import annotations

import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from typing import Any

import psutil

from benchmarks.server import Server

TIMEOUT = 30.0
"""Seconds for a worker to be ready."""
IDLE_AFTER = 2.0
"""Seconds after which a started worker allocates no more memory."""
MEGABYTE = 1024 * 1024


def measure_ready(server: Server, *, starts: int) -> dict[str, Any]:
    """Median of ``starts`` starts; the memory of the last one."""
    seconds: list[float] = []
    memory: dict[str, Any] = {}
    with server.database() as conninfo:
        for number in range(starts):
            with started(conninfo) as (process, taken):
                seconds.append(taken)
                if number == starts - 1:
                    time.sleep(IDLE_AFTER)
                    memory = memory_of(process)
    return {"seconds": statistics.median(seconds), "slowest": max(seconds), **memory}


@contextmanager
def started(conninfo: str) -> Generator[tuple[psutil.Process, float]]:
    """Start a worker with the local provider; yield it and the seconds until it was ready."""
    with tempfile.TemporaryDirectory() as storage:
        port = free_port()
        settings = {"DATABASE_URL": conninfo, "PORT": str(port), "STORAGE_DIR": storage, "LOCAL_PROVIDER": "1"}
        environment = {"PATH": os.environ["PATH"], "LOG_LEVEL": "warning", **settings}
        begun = time.monotonic()
        process = subprocess.Popen([sys.executable, "-m", "generation_worker", "run"], env=environment)
        try:
            wait_until_ready(process, port)
            yield psutil.Process(process.pid), time.monotonic() - begun
        finally:
            process.terminate()
            process.wait()


def wait_until_ready(process: subprocess.Popen[bytes], port: int) -> None:
    """Poll until the worker is ready. Raises RuntimeError if the process ends or takes too long."""
    give_up_at = time.monotonic() + TIMEOUT
    while process.poll() is None and time.monotonic() < give_up_at:
        if is_ready(port):
            return
        time.sleep(0.01)
    raise RuntimeError(f"the worker did not become ready; its exit status: {process.poll()}")


def is_ready(port: int) -> bool:
    connection = HTTPConnection("127.0.0.1", port, timeout=1)
    try:
        connection.request("GET", "/health/ready")
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def memory_of(process: psutil.Process) -> dict[str, Any]:
    """Resident megabytes of the process and of its children; shared pages are counted in each."""
    children = process.children(recursive=True)
    return {
        "megabytes": process.memory_info().rss / MEGABYTE,
        "children": len(children),
        "children_megabytes": sum(child.memory_info().rss for child in children) / MEGABYTE,
    }


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]
