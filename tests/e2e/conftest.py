"""What the tests of whole processes share: a database with a provider to name, and workers on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

import pytest

from tests.support.database import Connection, Database
from tests.support.jobs import offer_local
from tests.support.processes import WorkerProcess

QUICK = {
    "POLL_INTERVAL_MS": "50",
    "RETRY_INITIAL_DELAY": "100ms",
    "IMAGE_CHILDREN": "2",
    "LOG_LEVEL": "debug",
    "WORKER_ENABLE_HEALTH_CHECK": "false",
    "WORKER_ENABLE_METRICS": "false",
    "ENABLE_API": "false",
    "ENABLE_DASHBOARD": "false",
}


class StartWorker(Protocol):
    def __call__(self, *arguments: str, **settings: str) -> WorkerProcess: ...


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    return tmp_path / "storage"


@pytest.fixture
def start_worker(database: Database, storage: Path, tmp_path: Path) -> Iterator[StartWorker]:
    """Starts workers on the test's database; whoever is left at the end is killed."""
    with ExitStack() as stack:

        def start(*arguments: str, **settings: str) -> WorkerProcess:
            places = {"STORAGE_DIR": str(storage), "FETCH_CACHE_DIR": str(tmp_path)}
            environment = {**database.environment, **places, **QUICK, **settings}
            return stack.enter_context(WorkerProcess(tmp_path / "worker", environment, arguments))

        yield start


@pytest.fixture
def app(database: Database) -> Connection:
    """The app's connection: it enqueues and looks."""
    connection = database.connect()
    offer_local(connection)
    return connection
