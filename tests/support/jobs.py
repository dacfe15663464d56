"""What tests of every kind do to a database: offer a provider, grant credits, enqueue, look."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from tests.support.database import Connection

PROMPT = {"prompt": "a red kite over the sea"}
"""A valid payload of text_to_image."""


def offer_local(connection: Connection) -> None:
    """Make `local` a provider that may be named, and the default one."""
    connection.execute("SELECT offer_providers(array['local'])")


def grant(connection: Connection, user: str = "ada", amount: int = 100, key: str | None = None) -> int:
    """Give `user` credits; returns their balance."""
    row = connection.execute("SELECT balance FROM grant_credits(%s, %s, %s)", (user, amount, key)).fetchone()
    assert row is not None
    return row[0]


def enqueue(connection: Connection, user: str = "ada", **request: Any) -> UUID:
    """Enqueue one job through enqueue_generation and return its id. By default a text_to_image of PROMPT."""
    return enqueue_all(connection, user, **request)[0]["id"]


def enqueue_all(connection: Connection, user: str = "ada", **request: Any) -> list[dict[str, Any]]:
    """As `enqueue`, with all the rows that the function returns."""
    asked = {"kind": "text_to_image", "payload": PROMPT, **request, "user_id": user}
    arguments = {name: Jsonb(value) if isinstance(value, dict) else value for name, value in asked.items()}
    named = ", ".join(f"{name} => %({name})s" for name in arguments)
    return _cursor(connection).execute(f"SELECT * FROM enqueue_generation({named})".encode(), arguments).fetchall()


def job(connection: Connection, job_id: UUID) -> dict[str, Any]:
    """A job's row."""
    row = _cursor(connection).execute("SELECT * FROM generation_job WHERE id = %s", (job_id,)).fetchone()
    assert row is not None, f"no job {job_id}"
    return row


def balance(connection: Connection, user: str = "ada") -> int:
    row = connection.execute("SELECT balance FROM credit_account WHERE user_id = %s", (user,)).fetchone()
    return row[0] if row else 0


def _cursor(connection: Connection) -> Any:
    return connection.cursor(row_factory=dict_row)
