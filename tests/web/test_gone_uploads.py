"""A job failed, and the image that was uploaded for it is deleted: who replays it is told so at once."""

from __future__ import annotations

from io import BytesIO
from typing import Any
from uuid import UUID

import httpx
import pytest
from PIL import Image

from generation_worker.events import Events
from generation_worker.storage.disk import DiskStorage
from generation_worker.worker.maintenance import Sweeper
from tests.support import jobs
from tests.support.database import Connection
from tests.support.protocol import Worker
from tests.web.answers import good, problem
from tests.web.conftest import MakeKey
from tests.web.served_api import Api


@pytest.fixture
def failed(served: Api, connection: Connection) -> tuple[UUID, str]:
    """A job of ada's that failed, and the key of her upload, which has been swept away since."""
    jobs.offer_local(connection)
    jobs.grant(connection, "ada", 10)
    data = BytesIO()
    Image.new("RGB", (8, 8)).save(data, "PNG")
    path, png = "/worker/images?user_id=ada", {"Content-Type": "image/png"}
    key = good(served.client.post(path, content=data.getvalue(), headers=png), 201)["key"]
    payload = {"image": {"key": key}, "operations": [{"type": "thumbnail"}]}
    job = jobs.put_job(connection, "failed", kind="image_processing", provider="none", payload=payload)
    Sweeper(Worker(connection).store, DiskStorage(served.storage), Events(), keep_uploads=0.000001).sweep()
    assert not (served.storage / key).exists()
    return job, key


def test_one_job(client: httpx.Client, connection: Connection, key: MakeKey, failed: tuple[UUID, str]):
    job, image = failed
    before = jobs.balance(connection)
    for headers in (key("enqueue"), key("enqueue", user="ada")):
        found = problem(client.post(f"/worker/jobs/{job}/retry", headers=headers), 409, "input_gone")
        assert found["field"] == "payload.image"
        assert image in found["detail"]
        assert "POST /worker/images" in found["remedy"]
    problem(client.post(f"/worker/jobs/{job}/retry", headers=key("enqueue", user="eve")), 404, "job_not_found")
    assert jobs.balance(connection) == before
    assert connection.execute("SELECT FROM generation_job WHERE retry_of = %s", [job]).fetchall() == []


def test_many_jobs(client: httpx.Client, connection: Connection, key: MakeKey, failed: tuple[UUID, str]):
    other = jobs.put_job(connection, "failed")
    asked: dict[str, Any] = {"filter": {"user_id": "ada"}}
    done = good(client.post("/worker/jobs/retry", json=asked, headers=key("operate")))
    assert done["jobs"] == 1
    assert [(each["id"], each["code"]) for each in done["refused"]] == [(str(failed[0]), "input_gone")]
    assert len(connection.execute("SELECT FROM generation_job WHERE retry_of = %s", [other]).fetchall()) == 1
