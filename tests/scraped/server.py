"""Starts a Prometheus on loopback and asks it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from generation_worker.db.embedded import LIFELINE, free_port
from tests.support.waiting import wait_until


class Prometheus:
    def __init__(self, port: int) -> None:
        self._client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10)

    def is_ready(self) -> bool:
        try:
            return self._client.get("/-/ready").status_code == 200
        except httpx.HTTPError:
            return False

    def value(self, query: str) -> float | None:
        """What a query gives now; None if nothing."""
        found = self._ask("/api/v1/query", query=query)["result"]
        return float(found[0]["value"][1]) if found else None

    def target(self) -> dict[str, Any]:
        """How the one scrape that it does goes."""
        [target] = self._ask("/api/v1/targets")["activeTargets"]
        return target

    def kinds(self) -> dict[str, str]:
        """The type of each metric, as it has been told."""
        known = self._ask("/api/v1/metadata")
        return {name: told[0]["type"] for name, told in known.items()}

    def close(self) -> None:
        self._client.close()

    def _ask(self, path: str, **parameters: str) -> Any:
        answer = self._client.get(path, params=parameters).json()
        assert answer["status"] == "success", answer
        return answer["data"]


@contextmanager
def scraping(programs: Path, directory: Path, port: int) -> Generator[Prometheus]:
    """A Prometheus that scrapes a worker on ``port`` each second. It goes when this process does, whatever happens."""
    own = free_port()
    configuration, said = directory / "prometheus.yml", directory / "prometheus.log"
    job = {"job_name": "worker", "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}
    configuration.write_text(json.dumps({"global": {"scrape_interval": "1s"}, "scrape_configs": [job]}))
    command = [
        str(programs / "prometheus"),
        f"--config.file={configuration}",
        f"--storage.tsdb.path={directory / 'tsdb'}",
        f"--web.listen-address=127.0.0.1:{own}",
    ]
    with said.open("wb") as log:
        process = subprocess.Popen(
            ["sh", "-c", LIFELINE, "lifeline", *command], cwd=directory, stdin=subprocess.PIPE, stdout=log, stderr=log
        )
    prometheus = Prometheus(own)
    try:
        wait_until(prometheus.is_ready, f"Prometheus is ready; see {said}")
        yield prometheus
    finally:
        prometheus.close()
        process.communicate()
