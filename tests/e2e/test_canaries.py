"""A worker with a secret of every kind, whose providers and storage repeat what they are sent, and say no.

Whether a secret gets out is found by the scanner that watches all tests, see tests/canaries. This test makes sure that
there is much to be found: errors that hold keys, logs of every level, all commands that look, all of the HTTP API.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID, uuid4

import httpx
import pytest

from generation_worker.db.access import create_token
from generation_worker.db.ledger import find_violations
from tests.canaries import values
from tests.canaries.scanner import scanner
from tests.e2e.conftest import QUICK, StartWorker
from tests.e2e.test_replicate_worker import all_done
from tests.e2e.test_worker_process import free_port
from tests.simulators.gemini import GeminiSimulator
from tests.simulators.gemini_bodies import error
from tests.simulators.replicate import ReplicateSimulator
from tests.simulators.replicate_bodies import problem
from tests.simulators.replies import json_reply
from tests.simulators.s3.proxy import Answer, Forward, Request, proxy_before
from tests.simulators.s3.server import BUCKET, s3_server
from tests.simulators.server import SimulatorServer
from tests.support.database import Connection, Database, queries_on
from tests.support.jobs import enqueue, grant, job
from tests.support.processes import clean_environment
from tests.support.servers import with_login
from tests.support.waiting import wait_until

LOOKS = [
    ["config"],
    ["config", "--json"],
    ["doctor", "--json"],
    ["status"],
    ["status", "--json"],
    ["dead", "list"],
    ["token", "list", "--json"],
    ["audit", "--json"],
    ["credits", "show", "ada"],
]
REPEATED = f"The key {values.GEMINI_KEY} may not make this."


def repeats(request: Request, forward: Forward) -> Answer:
    """A storage that answers with all that it was told."""
    said = f"<Error><Code>InternalError</Code><Message>{request.path} {request.headers}</Message></Error>"
    return Answer(500, {"Content-Type": "application/xml"}, said.encode())


def stores_an_image(request: Request) -> bool:
    return request.method == "PUT" and "/images/images/" in request.path


@pytest.fixture
def address(database: Database) -> Iterator[str]:
    """The database's, for a role whose password is one of ours; through a pooler, which knows no other, as it is."""
    if database.pooled:
        yield database.conninfo
        return
    name, owner = f"canary_{uuid4().hex[:8]}", database.connect_direct()
    owner.execute(f"CREATE ROLE {name} LOGIN SUPERUSER PASSWORD '{values.PASSWORD}'".encode())
    yield with_login(database.direct_conninfo, name, values.PASSWORD)
    owner = database.connect_direct()
    owner.execute(f"DROP OWNED BY {name}; DROP ROLE {name}".encode())


@pytest.fixture
def gemini() -> GeminiSimulator:
    return GeminiSimulator()


@pytest.fixture
def replicate() -> ReplicateSimulator:
    return ReplicateSimulator()


@pytest.fixture
def environment(
    address: str, app: Connection, gemini: GeminiSimulator, replicate: ReplicateSimulator
) -> Iterator[dict[str, str]]:
    """Every secret that there is."""
    app.execute("SELECT offer_providers(ARRAY['gemini', 'replicate'])")
    port = free_port()
    with SimulatorServer([gemini, replicate]) as server, s3_server() as bucket:
        assert bucket.endpoint_url is not None
        with proxy_before(bucket.endpoint_url) as proxy:
            proxy.fail(repeats, repeats, match=stores_an_image)
            yield {
                **server.environment(),
                "DATABASE_URL": address,
                "DIRECT_URL": address,
                "REPLICATE_WEBHOOK_SECRET": f"{values.REPLICATE_WEBHOOK_NEXT},{values.REPLICATE_WEBHOOK}",
                "REPLICATE_WEBHOOK_URL": f"http://127.0.0.1:{port}",
                "S3_BUCKET": BUCKET,
                "S3_ENDPOINT_URL": proxy.address,
                "AWS_ACCESS_KEY_ID": values.S3_KEY_ID,
                "AWS_SECRET_ACCESS_KEY": values.S3_SECRET,
                "SUPABASE_SERVICE_ROLE_KEY": values.RETIRED,
                "OTEL_EXPORTER_OTLP_HEADERS": f"authorization=Bearer {values.COLLECTOR}",
                "PORT": str(port),
                "HEALTH_HOST": "127.0.0.1",
                "WORKER_ENABLE_HEALTH_CHECK": "true",
                "WORKER_ENABLE_METRICS": "true",
                "ENABLE_API": "true",
                "NO_PROXY": "127.0.0.1",
                "no_proxy": "127.0.0.1",
            }


def test_nothing_says_a_secret(
    app: Connection,
    start_worker: StartWorker,
    environment: dict[str, str],
    gemini: GeminiSimulator,
    replicate: ReplicateSimulator,
    tmp_path: Path,
):
    grant(app)
    gemini.script(json_reply(error(400, "INVALID_ARGUMENT", REPEATED), 400))
    replicate.script("create", json_reply(problem(422, "Invalid input", f"{values.REPLICATE_TOKEN} is known"), 422))
    worker = start_worker(**environment)
    worker.wait_for("worker.started")
    before = scanner.looked.copy()
    refused = [ask(app, provider) for provider in ("gemini", "replicate")]
    wait_until(lambda: all_done(app), "what was refused has ended")
    made = [ask(app, provider) for provider in ("gemini", "replicate", "local")]
    blocked = ask(app, "gemini", "sim:blocked")
    wait_until(lambda: all_done(app), "all jobs have ended")

    assert {job(app, each)["status"] for each in [*refused, blocked]} == {"failed"}
    assert {job(app, each)["status"] for each in made} == {"completed"}
    said = " ".join(job(app, each)["error_message"] for each in refused)
    assert "The key [key] may not" in said, "Gemini has repeated no key"
    assert "[secret] is known" in said, "Replicate has repeated no token"
    look_over_http(app, f"http://127.0.0.1:{environment['PORT']}", made[0])
    for words in [*LOOKS, ["job", "show", str(blocked)]]:
        look_by_command(words, environment, tmp_path)
    worker.terminate()
    assert worker.exit_status() == 0
    assert find_violations(queries_on(app), max_paid_calls=2) == []
    assert {"output", "http", "metrics"} <= (scanner.looked - before).keys()


def ask(app: Connection, provider: str, word: str = "") -> UUID:
    return enqueue(app, provider=provider, payload={"prompt": f"{values.WISH} {word}".strip()})


def look_over_http(app: Connection, url: str, made: UUID) -> None:
    """Every answer is looked at by the scanner, those that refuse too."""
    key = create_token(queries_on(app), "canary", ["enqueue", "read", "operate", "admin"]).key
    with httpx.Client(base_url=url, trust_env=False, timeout=30) as client:
        assert "worker_jobs_total" in client.get("/metrics").text
        for path in ("/health", "/health/ready", "/openapi.json", "/nowhere"):
            assert client.get(path).text
        assert client.get("/worker/jobs", headers={"Authorization": f"Bearer {key[:-1]}x"}).status_code == 401
        client.headers["Authorization"] = f"Bearer {key}"
        assert "X-Amz-Signature=" in client.get(f"/worker/jobs/{made}").text
        assert client.get("/worker/jobs").status_code == 200
        wrong = {"kind": "text_to_image", "user_id": "ada", "payload": {"prompt": values.WISH, "colour": key}}
        assert client.post("/worker/jobs", json=wrong).status_code == 422
        assert client.post("/worker/jobs", json=wrong, headers={"Idempotency-Key": key * 9}).status_code == 422


def look_by_command(words: list[str], environment: dict[str, str], directory: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "generation_worker", *words],
        env=clean_environment(**(QUICK | environment)),
        cwd=directory,
        capture_output=True,
        check=False,
        timeout=120,
    )
    assert done.stdout
    assert done.returncode in (0, 1), done.stderr
