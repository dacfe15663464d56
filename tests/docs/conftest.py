"""What the tests of several documents need."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import pytest

from tests.support.database import Database


@pytest.fixture
def shop(database: Database) -> Iterator[str]:
    """What the names of the shop's roles begin with here; they are gone after the test."""
    prefix = f"shop_{uuid4().hex[:8]}_"
    yield prefix
    connection = database.connect_direct()
    for (name,) in connection.execute(
        "SELECT rolname FROM pg_roles WHERE starts_with(rolname, %s)", (prefix,)
    ).fetchall():
        connection.execute(f"DROP OWNED BY {name}".encode())
        connection.execute(f"DROP ROLE {name}".encode())
