"""What docs/nextjs.md shows is type-checked, and run by Node with the packages that it names."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from psycopg import errors
from standardwebhooks import Webhook

from generation_worker.db.access import create_token
from generation_worker.fetch.poster import headers_of
from generation_worker.ports import Delivery
from scripts.node_packages import InstallFailed
from tests.canaries.values import PASSWORD
from tests.docs import node_project
from tests.docs.documents import blocks, run
from tests.docs.node_project import PAGE, NodeProject
from tests.support import jobs
from tests.support.database import Connection, Database, queries_on
from tests.support.servers import with_login
from tests.support.webhooks import Box, put_endpoint
from tests.web.served_api import api

SECRET, OLD_SECRET, OTHER_SECRET = (
    "whsec_" + base64.b64encode(word * 6).decode() for word in (b"shop", b"before", b"thief")
)
CLOSED = """
CREATE FUNCTION pg_temp.close() RETURNS trigger LANGUAGE plpgsql AS
  $$ BEGIN RAISE EXCEPTION 'the shop is closed'; END $$;
CREATE TRIGGER closed BEFORE UPDATE ON orders FOR EACH ROW
  WHEN (NEW.key = 'fails after it is enqueued') EXECUTE FUNCTION pg_temp.close()
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> NodeProject:
    try:
        return node_project.make(tmp_path_factory.mktemp("shop") / "app")
    except InstallFailed as problem:
        pytest.skip(f"NOT RUN: {problem}")


@pytest.fixture
def shop_database(database: Database, shop: str, tmp_path: Path) -> Iterator[Connection]:
    """The database as the page has it made, by its owner. `shop` is what the names of the roles begin with.

    The statements of the page run without the tests' search path, as a reader runs them.
    """
    connection, owner = database.connect_direct(), database.connect_direct(options="")
    connection.execute(f"CREATE ROLE {shop}web LOGIN PASSWORD '{PASSWORD}'".encode())
    for block in blocks(PAGE):
        text = block.text.replace("shop_", shop)
        if block.language == "sh" and block.commands[0][0] == "psql":
            run(replace(block, text=text), {"DATABASE_URL": database.direct_conninfo}, tmp_path)
        elif block.language == "sql":
            owner.execute(text.encode())
    jobs.offer_local(connection)
    jobs.grant(connection)
    yield connection
    owner.execute("DROP TABLE orders")


@pytest.fixture
def environment(shop_database: Connection, database: Database, shop: str) -> dict[str, str]:
    """The app's: as its own role, or through a pooler, which knows only one user."""
    own = with_login(database.direct_conninfo, f"{shop}web", PASSWORD)
    return {"DATABASE_URL": database.conninfo if database.pooled else own}


def test_the_types_are_right(project: NodeProject):
    project.run("node_modules/typescript/bin/tsc", "--project", ".")


def test_a_wrong_type_is_noticed(project: NodeProject):
    wrong = project.directory / "wrong.ts"
    wrong.write_text(
        'import { orderImage } from "@/lib/orders-pg";\nvoid orderImage(1, "key", { prompt: "a kite" });\n'
    )
    try:
        with pytest.raises(AssertionError, match=r"wrong\.ts.*TS2345"):
            project.run("node_modules/typescript/bin/tsc", "--project", ".")
    finally:
        wrong.unlink()


@pytest.mark.parametrize("client", ["pg", "drizzle", "prisma"])
def test_each_client(client: str, project: NodeProject, environment: dict[str, str], shop_database: Connection):
    shop_database.execute(CLOSED.encode())
    completed = jobs.put_job(shop_database, "completed")
    failed = jobs.put_job(shop_database, "failed", error_code="content_blocked", error_message="no kites here")
    names = {"CLIENT": client, "COMPLETED": str(completed), "FAILED": str(failed)}
    project.test("orders", environment | names)


def test_the_routes(project: NodeProject, environment: dict[str, str]):
    project.test("routes", environment)


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT payload FROM generation_job",
        "UPDATE generation_job SET priority = -1",
        "SELECT FROM credit_account",
        "SELECT grant_credits('eve', 100)",
    ],
)
def test_the_role_of_the_app_may_do_nothing_else(
    shop_database: Connection, database: Database, shop: str, statement: str
):
    role = database.connect_direct()
    role.execute(f"SET SESSION AUTHORIZATION {shop}web".encode())
    with pytest.raises(errors.InsufficientPrivilege):
        role.execute(statement.encode())


def test_the_webhook(project: NodeProject, environment: dict[str, str], shop_database: Connection):
    """What the courier sends of a job that was cancelled, and what others might."""
    put_endpoint(shop_database, secret=SECRET, old_secret=OLD_SECRET, old_secret_until=datetime.now(UTC) + timedelta(1))
    job_id = jobs.enqueue(shop_database)
    shop_database.execute("SELECT cancel_generation(%s)", (job_id,))
    [delivery] = Box(shop_database).take()
    more = {"GENERATION_WEBHOOK_SECRET": SECRET, "MESSAGES": json.dumps(messages(delivery)), "JOB": str(job_id)}
    project.test("webhook", environment | more)


def test_the_trace(project: NodeProject, environment: dict[str, str], shop_database: Connection):
    project.test("trace", environment)
    kept = shop_database.execute("SELECT traceparent FROM generation_job ORDER BY traceparent").fetchall()
    assert kept == [(jobs.TRACEPARENT,), (None,)]


def test_the_api(project: NodeProject, database: Database, connection: Connection, tmp_path: Path):
    jobs.offer_local(connection)
    jobs.grant(connection)
    ours = create_token(queries_on(connection), "shop", ["enqueue", "read"])
    of_eve = create_token(queries_on(connection), "eve", ["enqueue", "read"], user_id="eve")
    with api(database, tmp_path / "storage") as served:
        url = str(served.client.base_url)
        project.test("worker-api", {"WORKER_URL": url, "WORKER_KEY": ours.key, "KEY_OF_EVE": of_eve.key})


def messages(delivery: Delivery) -> dict[str, dict[str, Any]]:
    """What may arrive at the app's route."""
    now = datetime.now(UTC)
    genuine = {"body": delivery.body, "headers": headers_of(delivery, now)}
    return {
        "genuine": genuine,
        "forged": genuine | {"headers": headers_of(replace(delivery, secrets=[OTHER_SECRET]), now)},
        "changed": genuine | {"body": delivery.body.replace("cancelled", "completed")},
        "old": genuine | {"headers": headers_of(delivery, now - timedelta(minutes=6))},
        "unsigned": genuine | {"headers": {}},
        "unknown": signed("comet.seen", json.loads(delivery.body)["data"], now),
    }


def signed(event: str, data: dict[str, Any], at: datetime) -> dict[str, Any]:
    body = json.dumps({"type": event, "timestamp": at.isoformat(), "data": data})
    headers = {"webhook-id": "msg_1", "webhook-timestamp": str(int(at.timestamp()))}
    return {"body": body, "headers": headers | {"webhook-signature": Webhook(SECRET).sign("msg_1", at, body)}}


def test_live_updates(project: NodeProject, database: Database, connection: Connection, tmp_path: Path):
    """Node has an EventSource as browsers do, when it is asked for."""
    jobs.offer_local(connection)
    jobs.grant(connection)
    jobs.grant(connection, "eve")
    ours = create_token(queries_on(connection), "shop", ["enqueue", "read"])
    with api(database, tmp_path / "storage") as served:
        places = {"WORKER_URL": str(served.client.base_url), "WORKER_KEY": ours.key}
        project.test("events", places | {"NODE_OPTIONS": "--experimental-eventsource"})
