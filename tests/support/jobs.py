"""What tests of every kind do to a database: offer a provider, grant credits, enqueue, look."""

from __future__ import annotations

from typing import Any, LiteralString
from uuid import UUID

from psycopg import sql
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from tests.canaries.values import WISH
from tests.support.database import Connection

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
NO_TRACEPARENTS = (
    "",
    "00",
    TRACEPARENT.upper(),
    TRACEPARENT + " ",
    TRACEPARENT + "\n",
    TRACEPARENT + "-more",
    f"01{TRACEPARENT[2:]}",
    f"00-{'0' * 32}-b7ad6b7169203331-01",
    f"00-0af7651916cd43dd8448eb211c80319c-{'0' * 16}-01",
    TRACEPARENT.replace("a", "g"),
)
"""What is not a traceparent as a job keeps it."""

PROMPT = {"prompt": WISH}
"""A valid payload of text_to_image."""


def offer_local(connection: Connection) -> None:
    """Make `local` a provider that may be named, and the default one."""
    connection.execute("SELECT offer_providers(array['local'])")


def grant(connection: Connection, user: str = "ada", amount: int = 100, key: str | None = None) -> int:
    """Give `user` credits; returns their balance."""
    row = connection.execute("SELECT balance FROM grant_credits(%s, %s, %s)", (user, amount, key)).fetchone()
    assert row is not None
    return row[0]


def configure(connection: Connection, **settings: Any) -> None:
    """Set fleet settings; in their names `__` stands for a dot."""
    upsert = "INSERT INTO fleet_setting (name, value) VALUES (%s, %s) ON CONFLICT (name) DO UPDATE SET value = %s"
    for name, value in settings.items():
        connection.execute(upsert, (name.replace("__", "."), Jsonb(value), Jsonb(value)))


def enqueue(connection: Connection, user: str = "ada", **request: Any) -> UUID:
    """Enqueue one job through enqueue_generation and return its id. By default a text_to_image of PROMPT."""
    return enqueue_all(connection, user, **request)[0]["id"]


def enqueue_all(connection: Connection, user: str = "ada", **request: Any) -> list[dict[str, Any]]:
    """As `enqueue`, with all the rows that the function returns."""
    asked = {"kind": "text_to_image", "payload": PROMPT, **request, "user_id": user}
    arguments = _parameters(asked)
    query = sql.SQL("SELECT * FROM enqueue_generation({})").format(_pairs(asked, "=>"))
    return _cursor(connection).execute(query, arguments).fetchall()


def job(connection: Connection, job_id: UUID) -> dict[str, Any]:
    """A job's row."""
    row = _cursor(connection).execute("SELECT * FROM generation_job WHERE id = %s", (job_id,)).fetchone()
    assert row is not None, f"no job {job_id}"
    return row


def balance(connection: Connection, user: str = "ada") -> int:
    row = connection.execute("SELECT balance FROM credit_account WHERE user_id = %s", (user,)).fetchone()
    return row[0] if row else 0


def entries(connection: Connection, user: str = "ada") -> list[tuple[str, int, int]]:
    """Kind, amount and balance after it of each entry of a user's account."""
    query = "SELECT kind, amount, balance_after FROM credit_entry WHERE user_id = %s ORDER BY seq"
    return connection.execute(query, (user,)).fetchall()


def debit(connection: Connection, job_id: UUID) -> None:
    """Charge a job for its cost as a claim does, without starting it."""
    with connection.transaction():
        connection.execute("SET LOCAL session_replication_role = replica")
        connection.execute("UPDATE generation_job SET debited = true WHERE id = %s", (job_id,))
        connection.execute(DEBIT, (job_id,))


def start(connection: Connection, job_id: UUID) -> None:
    """Charge a pending job and make it processing, as a claim does."""
    debit(connection, job_id)
    change_job(connection, job_id, **LEASED, status="processing", attempt=sql.SQL("attempt + 1"), started_at=NOW)


DEBIT = """
WITH account AS (
  UPDATE credit_account a SET balance = a.balance - j.cost, entries = a.entries + 1
    FROM generation_job j WHERE j.id = %s AND a.user_id = j.user_id
  RETURNING a.user_id, a.entries, a.balance, j.id, j.cost
)
INSERT INTO credit_entry (user_id, seq, kind, amount, balance_after, job_id)
SELECT user_id, entries, 'debit', -cost, balance, id FROM account
"""

NOW = sql.SQL("clock_timestamp()")
LEASED: dict[str, Any] = {
    "lease_token": sql.SQL("gen_random_uuid()"),
    "locked_by": "worker-1",
    "locked_at": NOW,
    "lease_expires_at": sql.SQL("clock_timestamp() + interval '1 minute'"),
}
NOT_LEASED: dict[str, Any] = dict.fromkeys(LEASED)
IN_STATUS: dict[str, dict[str, Any]] = {
    "pending": NOT_LEASED,
    "scheduled": NOT_LEASED,
    "rate_limited": NOT_LEASED,
    "processing": LEASED | {"started_at": NOW},
    "completed": NOT_LEASED | {"started_at": NOW, "finished_at": NOW, "result": {"images": [{"key": "a.webp"}]}},
    "failed": NOT_LEASED | {"finished_at": NOW, "error_code": "internal_error"},
    "cancelled": NOT_LEASED | {"finished_at": NOW},
}
"""What the table asks of a row in each status."""


def put_job(connection: Connection, status: str = "pending", **columns: Any) -> UUID:
    """Put a job there in any status, past the state chart and without money; the checks still hold.

    It costs nothing by default. Values may be psycopg.sql expressions. For what enqueue and claim cannot make.
    """
    row = {"kind": "text_to_image", "user_id": "ada", "provider": "local", "payload": PROMPT, "cost": 0}
    with connection.transaction():
        connection.execute("SET LOCAL session_replication_role = replica")
        return put_row(connection, "generation_job", **{**row, "status": status, **IN_STATUS[status], **columns})["id"]


def put_row(connection: Connection, table: str, **columns: Any) -> dict[str, Any]:
    """Insert one row and return it. Values may be psycopg.sql expressions."""
    query = sql.SQL("INSERT INTO {} ({}) VALUES ({}) RETURNING *").format(
        sql.Identifier(table), sql.SQL(", ").join(map(sql.Identifier, columns)), sql.SQL(", ").join(_values(columns))
    )
    row = _cursor(connection).execute(query, _parameters(columns)).fetchone()
    assert row is not None
    return row


def change_job(connection: Connection, job_id: UUID, **columns: Any) -> None:
    """UPDATE one job as anybody could. Values may be psycopg.sql expressions."""
    change = sql.SQL("UPDATE generation_job SET {} WHERE id = {}").format(_pairs(columns, "="), sql.Literal(job_id))
    connection.execute(change, _parameters(columns))


def _pairs(columns: dict[str, Any], sign: LiteralString) -> sql.Composable:
    pairs = zip(columns, _values(columns), strict=True)
    return sql.SQL(", ").join(
        sql.SQL("{} " + sign + " {}").format(sql.Identifier(name), value) for name, value in pairs
    )


def _values(columns: dict[str, Any]) -> list[sql.Composable]:
    return [value if isinstance(value, sql.Composable) else sql.Placeholder(name) for name, value in columns.items()]


def _parameters(columns: dict[str, Any]) -> dict[str, Any]:
    return {name: Jsonb(value) if isinstance(value, dict) else value for name, value in columns.items()}


def _cursor(connection: Connection) -> Any:
    return connection.cursor(row_factory=dict_row)
