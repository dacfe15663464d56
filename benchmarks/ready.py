"""How long ``generation-worker run`` takes until it is ready, and what it holds in memory when it is."""

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

PATIENCE = 30.0
CALM = 2.0
"""Seconds after which a started worker has allocated what it needs to wait."""
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
                    time.sleep(CALM)
                    memory = memory_of(process)
    return {"seconds": statistics.median(seconds), "slowest": max(seconds), **memory}


@contextmanager
def started(conninfo: str) -> Generator[tuple[psutil.Process, float]]:
    """The program as people start it, with the provider that needs no key; seconds until it was ready."""
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
    """Ask until the answer is yes. Raises RuntimeError if the process ends or takes too long."""
    give_up_at = time.monotonic() + PATIENCE
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
    """Resident megabytes of the process and of each of its children, the pages they share counted in each."""
    children = process.children(recursive=True)
    return {
        "megabytes": process.memory_info().rss / MEGABYTE,
        "children": len(children),
        "children_megabytes": sum(child.memory_info().rss for child in children) / MEGABYTE,
    }


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]
