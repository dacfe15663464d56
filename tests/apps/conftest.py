from __future__ import annotations

import pytest

from tests.apps.app import Queue
from tests.support.database import Database


@pytest.fixture
def queue(empty_database: Database) -> Queue:
    """Our part of an app's database, which is empty so far."""
    return Queue(empty_database)
