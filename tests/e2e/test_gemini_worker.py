"""Jobs that Gemini makes: a worker process with the real SDK, and a server on loopback that speaks Gemini's format."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from generation_worker.db.ledger import find_violations
from tests.e2e.conftest import StartWorker
from tests.simulators.gemini import GeminiSimulator
from tests.simulators.server import SimulatorServer
from tests.support.database import Connection, queries_on
from tests.support.jobs import enqueue, grant, job

NO_PROXY = {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}


@pytest.fixture
def gemini() -> GeminiSimulator:
    return GeminiSimulator()


@pytest.fixture
def environment(gemini: GeminiSimulator) -> Iterator[dict[str, str]]:
    with SimulatorServer([gemini]) as server:
        yield {**server.environment(), **NO_PROXY}


def test_gemini_is_the_default_provider_and_its_call_is_recorded(
    app: Connection, start_worker: StartWorker, environment: dict[str, str], storage: Path
):
    app.execute("SELECT offer_providers(ARRAY['gemini'])")
    grant(app)
    made = enqueue(app, provider="gemini", payload={"prompt": "a {{thing}}", "inputs": {"thing": "kite"}})
    assert start_worker("--until-empty", **environment).exit_status() == 0

    done = job(app, made)
    assert (done["status"], done["result"]["provider"]) == ("completed", "gemini")
    assert (storage / done["result"]["images"][0]["key"]).is_file()
    columns = "provider, spent, finished_at IS NOT NULL, usage, provider_ref"
    call = app.execute(f"SELECT {columns} FROM provider_call".encode()).fetchone()
    assert call is not None
    assert call[:3] == ("gemini", True, True)
    assert call[3]
    assert call[4]
    assert find_violations(queries_on(app), max_paid_calls=2) == []


def test_what_gemini_blocks_fails_at_once_and_is_refunded(
    app: Connection, start_worker: StartWorker, environment: dict[str, str]
):
    app.execute("SELECT offer_providers(ARRAY['gemini'])")
    grant(app)
    blocked = enqueue(app, provider="gemini", payload={"prompt": "sim:blocked"})
    assert start_worker("--until-empty", **environment).exit_status() == 0

    ended = job(app, blocked)
    assert (ended["status"], ended["error_code"], ended["attempt"]) == ("failed", "content_blocked", 1)
    assert app.execute("SELECT kind FROM credit_entry WHERE job_id = %s ORDER BY seq", (blocked,)).fetchall() == [
        ("debit",),
        ("refund",),
    ]
