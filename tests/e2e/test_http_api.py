"""What the README sends over HTTP is sent to a real worker, from top to bottom, as it stands."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import httpx
from PIL import Image

from generation_worker.db.access import create_token
from tests.docs.curl import curl
from tests.docs.documents import OVER_HTTP, blocks
from tests.e2e.conftest import StartWorker
from tests.support.database import Connection, queries_on
from tests.support.waiting import wait_until


def test_the_readmes_requests(app: Connection, start_worker: StartWorker, storage: Path, tmp_path: Path):
    Image.new("RGB", (200, 100), (200, 30, 30)).save(tmp_path / "photo.jpg")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    worker = start_worker(PORT=str(port), HEALTH_HOST="127.0.0.1", ENABLE_API="true")
    worker.wait_for("worker.started")
    values = {"API": f"http://127.0.0.1:{port}", "KEY": create_token(queries_on(app), "readme", ["admin"]).key}
    [block] = [block for block in blocks("README.md") if block.first_line == OVER_HTTP]
    answers: list[Any] = []
    for line in block.text.splitlines()[1:]:
        answer = curl(line, values, tmp_path)
        assert answer.is_success, (line, answer.text)
        said = answer.json()
        answers.append(said)
        values |= {"IMAGE": said["key"]} if "key" in said else {}
        values |= {"JOB": said["id"]} if "events_url" in said else {}
    granted, uploaded, accepted, *_, entries, status = answers
    assert granted["balance"] == 10
    assert (storage / uploaded["key"]).stat().st_size == uploaded["bytes"]
    assert entries["entries"][-1]["reason"] == "bought 10"
    assert (status["status"], status["active_workers"]) == ("running", 1)
    shown: Any = {}

    def done() -> bool:
        headers = {"Authorization": f"Bearer {values['KEY']}"}
        shown.update(httpx.get(accepted["status_url"], headers=headers, timeout=60, trust_env=False).json())
        return shown["status"] in ("completed", "failed")

    wait_until(done, "the job ends")
    assert shown["status"] == "completed", shown
    [image] = shown["result"]["images"]
    assert (image["width"], image["height"]) == (64, 32)
    assert (storage / image["key"]).is_file()


def test_a_worker_that_serves_only_the_dashboard(app: Connection, start_worker: StartWorker):
    worker = start_worker(PORT="0", HEALTH_HOST="127.0.0.1", ENABLE_DASHBOARD="true")
    worker.wait_for("http.serving")
    address = worker.events("http.serving")[0]["dashboard"]
    assert "The fleet is" in httpx.get(address, timeout=60, trust_env=False).text
    assert httpx.get(address.replace("/dashboard", "/worker/status"), timeout=60, trust_env=False).status_code == 404
