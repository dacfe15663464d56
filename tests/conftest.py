"""The database that tests of every kind use, and a look-out for secrets in whatever they say and leave behind.

Each process of a parallel run has a server of its own: it starts in half a second, and is gone when the process is.
"""

from __future__ import annotations

import signal
from collections.abc import Generator, Iterator
from itertools import count
from uuid import uuid4

import pytest

from tests.canaries import channels
from tests.canaries.scanner import scanner
from tests.support.database import Connection, Database
from tests.support.servers import Server, server

_numbers = count()

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # Started in the background, where a shell has Ctrl-C ignored: what a test starts would inherit that, and never end.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """The server, see tests/support/servers.py for how to choose another."""
    with server() as running:
        yield running


@pytest.fixture(scope="session")
def _migrated(postgres: Server) -> Iterator[Database]:
    with postgres.temporary_database(_name()) as addresses:
        database = Database(addresses)
        database.migrate()
        yield database
        database.close()


@pytest.fixture
def database(_migrated: Database) -> Iterator[Database]:
    """A migrated database without jobs."""
    _migrated.reset()
    yield _migrated
    _migrated.close_connections()
    _migrated.look_for_secrets()


@pytest.fixture
def empty_database(postgres: Server) -> Iterator[Database]:
    """A database without tables, for this test alone."""
    with postgres.temporary_database(_name()) as addresses:
        database = Database(addresses)
        yield database
        database.close()


@pytest.fixture
def connection(database: Database) -> Connection:
    """An autocommit connection to a migrated database without jobs."""
    return database.connect()


def pytest_configure() -> None:
    channels.watch()


def pytest_runtest_setup() -> None:
    channels.watch_servers()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(call: pytest.CallInfo[None]) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test that has let a secret out fails, whatever else it says."""
    report = yield
    if call.when == "teardown":
        channels.look_at_sections(report)
        if found := scanner.take():
            report.outcome = "failed"
            report.longrepr = "\n".join(["SECRETS WERE FOUND", *map(str, dict.fromkeys(found))])
    return report


def _name() -> str:
    return f"generation_worker_{uuid4().hex[:8]}_{next(_numbers)}"
