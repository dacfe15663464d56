"""Applications on loopback, asked over real HTTP."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import APIRouter

from generation_worker.db.access import create_token
from generation_worker.db.connections import ApiConnections, open_api_pool
from generation_worker.db.query import Queries
from generation_worker.domain.token import Scope
from generation_worker.web.api import jobs as jobs_api
from generation_worker.web.app import WebServer, create_app
from generation_worker.web.auth import Guard, KeyLimits
from tests.support.database import SCHEMA, Connection, Database, queries_on
from tests.support.populated import Population, populate
from tests.web.served_api import Api, api, as_new, client_of

Serve = Callable[..., httpx.Client]
MakeKey = Callable[..., dict[str, str]]

SETTINGS = {"API_REQUESTS_PER_MINUTE": "60000", "UPLOAD_MAX_MB": "1"}
LIMITS = KeyLimits(requests_per_minute=60_000, most_waiting=1000, most_json=256 * 1024)


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Serves the routers that it is given, and returns a client for them."""
    with ExitStack() as stack:

        def start(*routers: APIRouter, guard: Guard | None = None, **parts: Any) -> httpx.Client:
            server = WebServer(create_app(routers, guard, **parts), host="127.0.0.1", port=0)
            stack.callback(server.stop)
            server.start()
            url = f"http://127.0.0.1:{server.port}"
            return stack.enter_context(client_of(url))

        yield start


@pytest.fixture
def desk(database: Database) -> Iterator[ApiConnections]:
    """The API's own connections to the test's database."""
    with open_api_pool(database.conninfo, prepare=not database.pooled) as pool:
        yield ApiConnections(pool)


@pytest.fixture
def queries(desk: ApiConnections) -> Queries:
    return Queries(desk, schema=SCHEMA)


@pytest.fixture
def guard(queries: Queries) -> Guard:
    return Guard(queries, LIMITS)


@pytest.fixture
def key(connection: Connection) -> MakeKey:
    """Makes a key, and gives the headers that show it."""

    def make(*scopes: Scope, user: str | None = None, **limits: Any) -> dict[str, str]:
        made = create_token(queries_on(connection), "test", scopes, user_id=user, **limits)
        return {"Authorization": f"Bearer {made.key}"}

    return make


@pytest.fixture
def population(connection: Connection) -> Population:
    return populate(connection)


@pytest.fixture
def served_alone(database: Database, tmp_path: Path) -> Iterator[Api]:
    """The whole API, on loopback, for one test: what the process has done before is none of its business."""
    with api(database, tmp_path / "storage", **SETTINGS) as running:
        yield running


@pytest.fixture(scope="session")
def _served(_migrated: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with api(_migrated, tmp_path_factory.mktemp("storage"), **SETTINGS) as running:
        yield running


@pytest.fixture
def served(database: Database, _served: Api, monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    """The whole API, on loopback: one server for all who ask and are answered. To put it together takes the longest."""
    monkeypatch.setattr(jobs_api, "PACE_SECONDS", 0.0)  # nobody is told how quick things were in an earlier test
    with as_new(_served) as running:
        yield running


@pytest.fixture
def client(served: Api) -> httpx.Client:
    return served.client
