"""Whether a worker can work on this database, asked once, before anything is claimed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_delay, wait_random_exponential

from generation_worker.db import migrations
from generation_worker.db.pool import connect

START_WITHIN = 30.0
"""Seconds in which the database must answer: a serverless one may have to wake up."""
REFUSED = ("password authentication failed", "does not exist", "no pg_hba.conf entry")
"""What the server says when waiting does not help. libpq gives no code for it; another language costs the wait only."""


def problems_of(conninfo: str, label: str, *, waiting: Callable[[int, str], None]) -> list[str]:
    """What is wrong with the database called ``label``, each with its remedy; none if a worker can work on it.

    ``waiting`` is told the number of the try and the error whenever the database has not answered yet.
    """
    try:
        in_recovery, isolation = _first_answer(conninfo, waiting)
    except psycopg.OperationalError as error:
        return [f"{label} does not answer: {_said(error)}"]
    problems: list[str] = []
    if in_recovery:
        problems.append(f"{label} is a replica; name the primary")
    if isolation != "read committed":
        problems.append(
            f"transactions are {isolation!r} by default; make them 'read committed': "
            "ALTER ROLE … SET default_transaction_isolation = 'read committed'"
        )
    current = migrations.current(conninfo)
    if current is None or current < migrations.head():  # a newer schema serves us too, while a deployment is under way
        problems.append(f"the schema is at {current or 'nothing'}; run: generation-worker migrate")
    return problems


def _first_answer(conninfo: str, waiting: Callable[[int, str], None]) -> tuple[bool, str]:
    def ask() -> Any:
        with connect(conninfo, prepare=False) as connection:
            return connection.execute(
                "SELECT pg_is_in_recovery(), current_setting('default_transaction_isolation')"
            ).fetchone()

    def report(state: RetryCallState) -> None:
        assert state.outcome is not None
        waiting(state.attempt_number, _said(state.outcome.exception()))

    patiently = Retrying(
        retry=retry_if_exception(_may_pass),
        wait=wait_random_exponential(multiplier=0.2, max=5),
        stop=stop_after_delay(START_WITHIN),
        before_sleep=report,
        reraise=True,
    )
    return patiently(ask)


def _may_pass(error: BaseException) -> bool:
    return isinstance(error, psycopg.OperationalError) and not any(word in str(error) for word in REFUSED)


def _said(error: BaseException | None) -> str:
    return " ".join(str(error).split())
