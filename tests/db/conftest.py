"""A worker that takes the steps of the protocol one at a time."""

from __future__ import annotations

import pytest

from tests.support.database import Connection
from tests.support.gates import FAR, Fleet
from tests.support.protocol import Worker, set_prices


@pytest.fixture
def worker(connection: Connection) -> Worker:
    """A worker of a database in which `local` is offered and the caller says what a job costs."""
    set_prices(connection)
    return Worker(connection)


@pytest.fixture
def fleet(connection: Connection) -> Fleet:
    """One key for three calls a minute."""
    fleet = Fleet(connection)
    fleet.register(FAR)
    return fleet
