"""Counts the files that one job, one request, one page and one setting enter: `walks.py [--json] [--names]`.

A file is entered when a function of it is called. The program runs as people start it, on an embedded PostgreSQL, with
the provider that draws on the CPU. Each walk is repeated, and a file counts if every repetition entered it. SQL
statements are counted beside the files of Python: each is known by the comment with which it begins.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import psycopg

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

PACKAGE = f"{ROOT}/generation_worker/"
TIMES = 4
NAME = re.compile(rb"\s*-- (\w+)\n")
OF_REQUESTS = ("web", "AnyIO", "asyncio")
"""How the names of the threads begin that work on a request."""


class Walk:
    """The files that were entered and the statements that were run while it was on."""

    def __init__(self) -> None:
        self.on = False
        self.threads: tuple[str, ...] = ("",)
        self.files: set[str] = set()
        self.statements: set[str] = set()

    def profile(self, frame: FrameType, event: str, _argument: Any) -> None:
        file = frame.f_code.co_filename
        if not (self.on and event == "call" and file.startswith(PACKAGE)):
            return
        if threading.current_thread().name.startswith(self.threads):
            self.files.add(file.removeprefix(PACKAGE))

    def begin(self, threads: tuple[str, ...] = ("",)) -> None:
        """``threads``: how the names of those begin that count."""
        self.threads = threads
        self.files, self.statements, self.on = set(), set(), True

    def end(self) -> frozenset[str]:
        self.on = False
        return frozenset(self.files | {f"{name}.sql" for name in self.statements})


WALK = Walk()


def watch_statements() -> None:
    """Have every statement noted that psycopg sends."""
    execute = psycopg.Cursor.execute

    def noted(self: Any, query: Any, *arguments: Any, **options: Any) -> Any:
        found = NAME.match(query if isinstance(query, bytes) else str(query).encode())
        if WALK.on and found and threading.current_thread().name.startswith(WALK.threads):
            WALK.statements.add(found[1].decode())
        return execute(self, query, *arguments, **options)

    psycopg.Cursor.execute = noted  # pyright: ignore[reportAttributeAccessIssue]


def common(walk: Callable[[], frozenset[str]]) -> list[str]:
    """What each of several walks entered: whatever a loop did meanwhile falls out."""
    entered = walk()
    for _ in range(TIMES - 1):
        entered &= walk()
    return sorted(entered)


def walk_setting() -> frozenset[str]:
    from generation_worker.config import load_settings  # noqa: PLC0415 - watched from its import on

    WALK.begin()
    load_settings({"DATABASE_URL": "postgresql://localhost/app", "WORKER_CONCURRENCY": "7"})
    return WALK.end()


class Worker:
    """What is asked of the worker that runs in this process, from a thread beside it."""

    def __init__(self, conninfo: str, port: int) -> None:
        self._connection = psycopg.connect(conninfo, autocommit=True)
        self._connection.execute("SELECT set_config('search_path', 'generation, public', false)")
        self._connection.execute("SELECT grant_credits('ada', 1000, NULL, 'walks', 'walks')")
        self._url = f"http://127.0.0.1:{port}"

    def wait_until_ready(self) -> None:
        for _ in range(600):
            try:
                urllib.request.urlopen(f"{self._url}/health/ready").read()
                return
            except OSError:
                time.sleep(0.1)
        raise TimeoutError("the worker is not ready after a minute")

    def enqueue(self) -> str:
        call = (
            "SELECT id FROM enqueue_generation('text_to_image', 'ada', '{\"prompt\": \"a kite\"}', provider => 'local')"
        )
        row = self._connection.execute(call).fetchone()
        assert row is not None
        return str(row[0])

    def finish_job(self) -> str:
        """Enqueue a job and wait until it has ended."""
        job = self.enqueue()
        row = None
        for _ in range(600):
            row = self._connection.execute("SELECT status FROM generation_job WHERE id = %s", (job,)).fetchone()
            if row == ("completed",):
                time.sleep(0.3)  # what the worker does after its settlement belongs to the walk
                return job
            time.sleep(0.05)
        raise TimeoutError(f"job {job} has not been completed after half a minute: {row}")

    def walk_job(self) -> frozenset[str]:
        WALK.begin()
        self.finish_job()
        return WALK.end()

    def walk_to(self, path: str) -> frozenset[str]:
        """One request."""
        WALK.begin(OF_REQUESTS)
        with urllib.request.urlopen(self._url + path) as answer:
            answer.read()
        return WALK.end()


def walk_worker(worker: Worker, found: dict[str, list[str]]) -> None:
    try:
        worker.wait_until_ready()
        job = worker.finish_job()  # the first one loads and connects what all later ones find
        found["one job, claim to settle"] = common(worker.walk_job)
        for name, path in {
            "GET /worker/jobs/{id}": f"/worker/jobs/{job}",
            "GET /worker/jobs": "/worker/jobs?limit=5",
            "page of a job": f"/dashboard/jobs/{job}",
            "page of a user": "/dashboard/users/ada",
        }.items():
            worker.walk_to(path)
            found[name] = common(lambda path=path: worker.walk_to(path))
    except Exception as error:  # noqa: BLE001 - shown by the main thread, which is stopped
        found["failed"] = [repr(error)]
    finally:
        os.kill(os.getpid(), signal.SIGTERM)


def measure() -> Mapping[str, list[str]]:
    from generation_worker.db.embedded import EmbeddedPostgres, free_port  # noqa: PLC0415 - watched from its import on

    found: dict[str, list[str]] = {}
    threading.setprofile(WALK.profile)
    sys.setprofile(WALK.profile)
    found["reading the settings"] = common(walk_setting)
    with tempfile.TemporaryDirectory() as directory, EmbeddedPostgres(Path(directory, "db"), durable=False) as server:
        port = free_port()
        os.environ.update(
            DATABASE_URL=server.conninfo(),
            PORT=str(port),
            STORAGE_DIR=f"{directory}/storage",
            LOCAL_PROVIDER="true",
            LOG_LEVEL="error",
            HEALTH_HOST="127.0.0.1",
        )
        program = main_of_program()
        program(["migrate"])
        watch_statements()
        beside = threading.Thread(target=walk_worker, args=(Worker(server.conninfo(), port), found), name="walker")
        beside.start()
        program(["run", "--concurrency", "2"])
        beside.join()
    return found


def main_of_program() -> Callable[[list[str]], int]:
    import importlib  # noqa: PLC0415

    for place in ("generation_worker.cli.app", "generation_worker.cli"):
        module = importlib.import_module(place)
        if hasattr(module, "main"):
            return module.main
    raise ImportError("the program has no main")


def main(arguments: list[str]) -> int:
    found = measure()
    counts = {
        name: {"py": sum(not f.endswith(".sql") for f in files), "sql": sum(f.endswith(".sql") for f in files)}
        for name, files in found.items()
    }
    if "--json" in arguments:
        print(json.dumps({name: {**counts[name], "files": files} for name, files in found.items()}, indent=2))
        return 0
    for name, files in found.items():
        print(f"{name:<28} {counts[name]['py']:>3} py {counts[name]['sql']:>3} sql")
        if "--names" in arguments:
            print("".join(f"    {file}\n" for file in files), end="")
    return 1 if "failed" in found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
